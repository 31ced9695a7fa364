//! Model card of the customer value.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PurchaseModels;
use crate::snapshot::rfc3339;

/// Forecast of the spending and the orders of each customer: method, training data, and accuracy on periods
/// outside the training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValueModel {
    /// Days after `as_of` that the forecast covers.
    #[schema(example = 365)]
    pub horizon_days: u32,
    /// Days that the forecast was measured over on the latest cutoff; 0 if nothing was measured.
    #[schema(example = 124)]
    pub measured_days: u32,
    /// Days after the training cutoffs whose outcome was learned; 0 without a model.
    #[schema(example = 124)]
    pub learned_days: u32,
    /// Candidate that computes `predicted_clv`: `own_rate`, `nbd`, `bg_nbd`, `boosted` or `blend`, or `rule`
    /// if there is too little data.
    #[schema(example = "blend")]
    pub chosen: String,
    /// Candidate that computes `predicted_number_of_orders`: `own_rate`, `nbd`, `bg_nbd` or `boosted`, or
    /// `rule`.
    #[schema(example = "boosted")]
    pub chosen_for_orders: String,
    /// Whether the forecast is reliable.
    #[schema(example = true)]
    pub trusted: bool,
    /// Reasons why the forecast is not reliable.
    #[schema(example = json!(["the purchase history of 40 days is too short to measure a forecast"]))]
    pub reasons: Vec<String>,
    /// Limits of a reliable forecast.
    #[schema(example = json!(["the history allows to measure 124 days, not 365"]))]
    pub caveats: Vec<String>,
    /// Cutoffs of the training rows of the served model, oldest first.
    #[schema(example = json!(["2011-07-11T00:00:00Z", "2011-08-10T00:00:00Z"]))]
    pub training_cuts: Vec<String>,
    /// Number of training rows of the served model: one per customer and cutoff.
    #[schema(example = 11_042)]
    pub training_rows: u64,
    /// Sampling of customers for training and measurement.
    #[schema(example = "all customers")]
    pub sampling: String,
    /// Purchases expected within `horizon_days`, divided by those within `learned_days`: the factor that
    /// extends what was learned to the horizon. Purchase models forecast any horizon and do not need it.
    #[schema(example = 2.94)]
    pub stretch: f64,
    /// Purchase models, fitted to all purchases up to `as_of`; absent without a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchases: Option<PurchaseModels>,
    /// Cutoffs of the measurement, oldest first. Each candidate is trained only on data known at the cutoff.
    pub cuts: Vec<ValueCut>,
}

/// A cutoff that the forecast was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValueCut {
    /// Instant of the cutoff.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-08-06T00:00:00Z")]
    pub at: DateTime<Utc>,
    /// Days after the cutoff that were forecast and observed.
    #[schema(example = 124)]
    pub horizon_days: u32,
    /// Whether the choice among candidates uses this cutoff. The latest cutoff is held out of the choice if
    /// there are others.
    #[schema(example = false)]
    pub used_to_choose: bool,
    /// Number of measured customers: those with an order up to the cutoff.
    #[schema(example = 3_170)]
    pub customers: u64,
    /// Share of customers who ordered within the horizon.
    #[schema(example = 0.61)]
    pub returned: f64,
    /// Mean spending of a customer within the horizon.
    #[schema(example = 812.5)]
    pub mean_spending: f64,
    /// Accuracy of each candidate for spending. `last_year` is the baseline: the spending of the last 365
    /// days (or of the whole history, if that is shorter) at the same rate.
    pub candidates: Vec<ForecastFigures>,
    /// Accuracy of each candidate for the number of orders.
    pub orders: Vec<ForecastFigures>,
    /// Accuracy of the expected dates of the next order; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_order: Option<NextOrderFigures>,
}

/// Accuracy of a candidate on a cutoff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastFigures {
    /// Name of the candidate.
    #[schema(example = "blend")]
    pub name: String,
    /// Mean absolute error over customers, in money or orders.
    #[schema(example = 641.3)]
    pub mean_absolute_error: f64,
    /// Relative error of the total over all customers: 0.1 is 10 % too much.
    #[schema(example = -0.08)]
    pub bias: f64,
    /// Rank correlation (Spearman) of forecast and outcome.
    #[schema(example = 0.58)]
    pub rank_correlation: f64,
    /// Share of the Poisson deviance that the forecasts explain: 1 is perfect, 0 is no better than the mean
    /// of the outcomes for all customers. The candidate with the greatest mean on the cutoffs of the choice
    /// is chosen. Unlike the absolute error, it does not prefer forecasts that are too low.
    #[schema(example = 0.72)]
    pub explained_deviance: f64,
    /// Outcomes of the tenth of customers with the greatest forecasts, divided by those of the tenth with the
    /// greatest outcomes.
    #[schema(example = 0.81)]
    pub top_decile_share: f64,
}

/// Accuracy of the expected dates of the next order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NextOrderFigures {
    /// Customers with an expected date within the horizon of the cutoff.
    #[schema(example = 1_804)]
    pub customers: u64,
    /// Share of these who ordered by their date. A date at which an order is as likely as not has a half.
    #[schema(example = 0.52)]
    pub ordered_by_date: f64,
    /// Share of the other customers who ordered within the horizon.
    #[schema(example = 0.31)]
    pub others_ordered: f64,
}
