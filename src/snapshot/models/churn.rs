//! Model card of the churn model.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    config::level,
    snapshot::{
        models::{ModelFile, RiskLevelFigures, SeenPredictions, Training},
        rfc3339,
    },
};

/// Churn model: target, training data, and accuracy on customers and periods outside the training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChurnModel {
    /// Horizon in days. Churn means no purchase within the horizon after `as_of`.
    #[schema(example = 90)]
    pub horizon_days: u32,
    /// Candidate that computes the probabilities: `logistic`, `boosted`, `blend`, …, or `rule` if there is
    /// too little data.
    #[schema(example = "blend")]
    pub chosen: String,
    /// Whether the probabilities are reliable.
    #[schema(example = true)]
    pub trusted: bool,
    /// Reasons why the probabilities are not reliable.
    #[schema(example = json!([
        "the purchase history is too short for a horizon of 90 days"
    ]))]
    pub reasons: Vec<String>,
    /// Limits of reliable probabilities.
    #[schema(example = json!([
        "the share that churned moved between 0.40 and 0.52 over the training cuts: the level of the \
         probabilities may be off by as much"
    ]))]
    pub caveats: Vec<String>,
    /// Cutoffs of the training rows of the served model, oldest first.
    #[schema(example = json!(["2011-01-12T00:00:00Z", "2011-02-11T00:00:00Z"]))]
    pub training_cuts: Vec<String>,
    /// Horizons of the sub-models in days, the full horizon last. The score is the mean of their log-odds.
    /// After the latest cutoffs only the shorter horizons have ended.
    #[serde(default)]
    #[schema(example = json!([45, 90]))]
    pub learned_days: Vec<u32>,
    /// Number of training rows of the served model: one per customer and cutoff.
    #[schema(example = 14_321)]
    pub training_rows: u64,
    /// Sampling of customers for training.
    #[schema(example = "all customers")]
    pub sampling: String,
    /// Share of churn among the training rows whose horizon has ended.
    #[schema(example = 0.466)]
    pub base_rate: f64,
    /// Factor on the log-odds, fitted on cutoffs outside the training data; 1 is no change.
    #[schema(example = 0.94)]
    pub calibration_slope: f64,
    /// Cutoffs whose share of churn is the level of the probabilities: `all_cuts`, or `newest_cut`, the
    /// newest one whose horizon has ended, if that was better on all measured cutoffs.
    #[serde(default = "all_cuts")]
    #[schema(example = "all_cuts")]
    pub calibration_level: String,
    /// Cutoffs of the measurement, oldest first. Each candidate is trained only on data known at the cutoff.
    pub cuts: Vec<ChurnCut>,
    /// Features, by descending weight.
    pub features: Vec<ModelFeature>,
    /// Purchase models that are candidates or inputs of candidates, fitted to the latest training cutoff,
    /// with each customer once; absent if there is too little data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchases: Option<PurchaseModels>,
    /// Model of `expected_value`.
    pub expected_value: ExpectedValueModel,
    /// Whether the probability depends on recency, orders and spending only in the direction that common
    /// sense expects.
    #[serde(default)]
    #[schema(example = true)]
    pub monotone: bool,
    /// Rule of the risk levels: `thresholds` of the probability, or `top`, the greatest values at risk.
    #[serde(default = "thresholds")]
    #[schema(example = "thresholds")]
    pub level_rule: String,
    /// Lower bounds of the risk levels, for the rule `thresholds`.
    pub thresholds: RiskThresholds,
    /// Customers of each risk level, and outcomes of the level on the held-out cutoff.
    #[serde(default)]
    pub risk_levels: Vec<RiskLevelFigures>,
    /// Lower bounds of the value levels, for the policy table.
    pub value_levels: ValueLevels,
    /// Predictions of the snapshots about 30, 60 and 90 days ago, and what happened since. Empty if the lake
    /// has no such snapshots.
    #[serde(default)]
    pub seen: Vec<SeenPredictions>,
    /// When the model was trained; absent in snapshots of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// The model itself, if later builds may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<ModelFile>,
}

/// A cutoff that candidates were measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChurnCut {
    /// Instant of the cutoff.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-09-09T00:00:00Z")]
    pub at: DateTime<Utc>,
    /// Whether the choice among candidates, or the calibration, uses this cutoff. The latest cutoff is held
    /// out of both if there are others.
    #[schema(example = false)]
    pub used_to_choose: bool,
    /// Number of training rows of the candidates.
    #[schema(example = 9_842)]
    pub training_rows: u64,
    /// Number of measured customers.
    #[schema(example = 3_362)]
    pub customers: u64,
    /// Share of churned customers.
    #[schema(example = 0.433)]
    pub churned: f64,
    /// Accuracy of each candidate, and of the served `model`: the chosen candidate, calibrated.
    pub candidates: Vec<CandidateFigures>,
    /// Calibration of the `model` in ten bins of equal size, lowest risk first.
    pub bins: Vec<ChurnBin>,
}

/// Accuracy of a candidate on a cutoff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CandidateFigures {
    /// Name of the candidate.
    #[schema(example = "logistic")]
    pub name: String,
    /// Area under the ROC curve: the chance that a churned customer has a higher probability than a retained
    /// customer.
    #[schema(example = 0.745)]
    pub auc: f64,
    /// Mean log loss.
    #[schema(example = 0.598)]
    pub log_loss: f64,
    /// Brier score: the mean squared difference of probability and outcome.
    #[schema(example = 0.206)]
    pub brier: f64,
    /// Calibration error: the mean absolute difference of predicted and observed shares over ten bins of
    /// equal size.
    #[schema(example = 0.041)]
    pub calibration_error: f64,
    /// Share of churn in the decile of highest risk, divided by the share among all customers.
    #[schema(example = 1.9)]
    pub top_lift: f64,
}

/// A decile of the customers of a cutoff, by probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChurnBin {
    /// Number of customers.
    #[schema(example = 336)]
    pub customers: u64,
    /// Mean probability.
    #[schema(example = 0.81)]
    pub foretold: f64,
    /// Share of churned customers.
    #[schema(example = 0.79)]
    pub seen: f64,
    /// Share of churned customers, divided by the share among all customers.
    #[schema(example = 1.83)]
    pub lift: f64,
}

/// An input of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelFeature {
    /// Name of the input.
    #[schema(example = "log_recency")]
    pub name: String,
    /// Feature that the input derives from.
    #[schema(example = "rfm.recency_days")]
    pub source: String,
    /// Change of the log-odds per standard deviation, in the logistic regression.
    #[schema(example = 0.41)]
    pub weight: f64,
    /// Share of the gain of the boosted trees' splits, 0 to 1.
    #[schema(example = 0.22)]
    pub importance: f64,
}

/// Parameters of the purchase models. A purchase is a day (UTC) with an order; times are in days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PurchaseModels {
    /// NBD: purchases at a constant rate per customer. `null` if the fit is degenerate.
    pub nbd: Option<PurchaseFit>,
    /// BG/NBD (Fader, Hardie and Lee 2005): NBD with a chance of churn after each purchase.
    pub bg_nbd: Option<PurchaseFit>,
    /// Gamma-gamma model of the value of a purchase (Fader, Hardie and Lee 2005).
    pub gamma_gamma: Option<GammaGammaFit>,
    /// Degenerate fits, with the reason. They are never chosen.
    #[schema(example = json!([
        "bg_nbd: no evidence that customers leave: the fit is no better than NBD"
    ]))]
    pub degenerate: Vec<String>,
}

/// Parameters of NBD or BG/NBD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PurchaseFit {
    /// Shape of the gamma distribution of purchase rates over customers.
    #[schema(example = 0.243)]
    pub r: f64,
    /// Rate of the same distribution, in days.
    #[schema(example = 30.9)]
    pub alpha: f64,
    /// First parameter of the beta distribution of churn chances; `null` for NBD.
    #[schema(example = 0.793)]
    pub a: Option<f64>,
    /// Second parameter of the same distribution; `null` for NBD.
    #[schema(example = 2.426)]
    pub b: Option<f64>,
    /// Log-likelihood over the customers of the fit, at most 20,000.
    #[schema(example = -9_582.4)]
    pub log_likelihood: f64,
}

/// Parameters of the gamma-gamma model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GammaGammaFit {
    /// Shape of the gamma distribution of a purchase's value.
    #[schema(example = 6.25)]
    pub p: f64,
    /// Shape of the gamma distribution of value rates over customers.
    #[schema(example = 3.74)]
    pub q: f64,
    /// Rate of the same distribution, in money.
    #[schema(example = 15.44)]
    pub gamma: f64,
}

/// Model of `expected_value`. `own_rate`: scale × (own × the customer's spending rate + (1 − own) × the
/// mean), over the horizon. `gamma_gamma`: scale × expected value of a purchase × expected number of
/// purchases of a retained customer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExpectedValueModel {
    /// Candidate that computes the values: `own_rate` or `gamma_gamma`.
    #[serde(default = "own_rate")]
    #[schema(example = "own_rate")]
    pub chosen: String,
    /// Weight of the customer's own rate in `own_rate`, chosen on the latest cutoff of the training rows.
    #[schema(example = 0.75)]
    pub own: f64,
    /// Factor that matches the sum over the training cutoffs.
    #[schema(example = 1.12)]
    pub scale: f64,
    /// Mean spending of retained customers over the horizon.
    #[schema(example = 702.4)]
    pub mean: f64,
    /// Mean absolute error on the latest cutoff over retained customers, when trained on earlier data.
    #[schema(example = 480.2)]
    pub error: f64,
    /// Mean absolute error of predicting the mean for all customers.
    #[schema(example = 650.9)]
    pub error_of_mean: f64,
    /// Errors of each candidate.
    #[serde(default)]
    pub candidates: Vec<ValueFigures>,
}

fn own_rate() -> String {
    "own_rate".to_owned()
}

/// Accuracy of a candidate for `expected_value`: mean absolute errors over retained customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValueFigures {
    /// `mean` (the same value for all customers), `own_rate` or `gamma_gamma`.
    #[schema(example = "gamma_gamma")]
    pub name: String,
    /// Error on the cutoffs of the choice.
    #[schema(example = 471.3)]
    pub error_to_choose: f64,
    /// Error on the latest cutoff, which is held out of the choice if there are others.
    #[schema(example = 480.2)]
    pub error: f64,
}

/// Lower bounds of the risk levels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RiskThresholds {
    /// Minimum probability of high risk.
    #[schema(example = 0.6)]
    pub high: f64,
    /// Minimum probability of medium risk.
    #[schema(example = 0.3)]
    pub medium: f64,
}

fn all_cuts() -> String {
    "all_cuts".to_owned()
}

fn thresholds() -> String {
    "thresholds".to_owned()
}

/// Lower bounds of the value levels: the top 20 % are high, the next 30 % medium. Customers with equal
/// expected values share a level: the lower one if they are too many for the higher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValueLevels {
    /// Minimum expected value of the level high; null if no customer has the level.
    #[schema(example = 1_204.5)]
    pub high: Option<f64>,
    /// Minimum expected value of the level medium; null if no customer has the level.
    #[schema(example = 402.1)]
    pub medium: Option<f64>,
    /// Share of customers with the level high.
    #[serde(default)]
    #[schema(example = 0.2)]
    pub high_share: f64,
    /// Share of customers with the level medium.
    #[serde(default)]
    #[schema(example = 0.3)]
    pub medium_share: f64,
}

impl ValueLevels {
    /// Computes the levels for `expected` values.
    #[must_use]
    pub fn of(expected: &[f64]) -> Self {
        let mut sorted = expected.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let (high, highs) = level_from(&sorted, sorted.len() / 5);
        let (medium, mediums) = level_from(&sorted, sorted.len() / 2);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = |customers: usize| (customers as f64 / sorted.len().max(1) as f64 * 1e4).round() / 1e4;
        Self { high, medium, high_share: share(highs), medium_share: share(mediums - highs) }
    }

    /// Returns the level of `value`: `high`, `medium` or `low`.
    #[must_use]
    pub fn level(&self, value: f64) -> &'static str {
        level(value, self.high.unwrap_or(f64::INFINITY), self.medium.unwrap_or(f64::INFINITY))
    }

    /// Explains why the levels do not have the shares of 20 % and 30 %, if they differ.
    #[must_use]
    pub fn caveat(&self) -> Option<String> {
        const SLACK: f64 = 0.02;
        let differs = |share: f64, expected: f64| (expected - share).abs() > SLACK;
        if !differs(self.high_share, 0.2) && !differs(self.high_share + self.medium_share, 0.5) {
            return None;
        }
        Some(format!(
            "customers are few or have equal expected values, so the value levels do not have the shares of \
             20 % and 30 %: {:.1} % are high, {:.1} % medium",
            self.high_share * 100.0,
            self.medium_share * 100.0
        ))
    }
}

/// Returns the least of the first `count` values, which are sorted in descending order, and the number of
/// values. Takes fewer values if the last one ties with the next.
fn level_from(sorted: &[f64], count: usize) -> (Option<f64>, usize) {
    let tied = |count: usize| count > 0 && sorted.get(count).is_some_and(|next| *next >= sorted[count - 1]);
    let mut count = count;
    while tied(count) {
        count -= 1;
    }
    (count.checked_sub(1).map(|last| sorted[last]), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tied_values_share_a_level() {
        let levels = |values: &[f64]| {
            let levels = ValueLevels::of(values);
            (levels.high, levels.medium, levels.high_share, levels.medium_share, levels.caveat().is_some())
        };
        let ten: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(levels(&ten), (Some(80.0), Some(50.0), 0.2, 0.3, false));
        assert_eq!(levels(&[7.0; 100]), (None, None, 0.0, 0.0, true));
        // 80 % tie at the least value.
        let mut few = vec![1.0; 80];
        few.extend((0..20).map(|at| f64::from(at) + 2.0));
        assert_eq!(levels(&few), (Some(2.0), Some(2.0), 0.2, 0.0, true));
        // 25 % tie at the greatest value.
        let mut many = vec![9.0; 25];
        many.extend((0..75).map(|at| f64::from(at) / 100.0));
        assert_eq!(levels(&many), (None, Some(0.5), 0.0, 0.5, true));
        assert_eq!(ValueLevels::of(&many).level(9.0), "medium");
        assert_eq!(levels(&[]), (None, None, 0.0, 0.0, true));
    }
}
