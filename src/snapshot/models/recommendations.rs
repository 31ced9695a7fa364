//! Model card of the recommendations.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Training;
use crate::snapshot::rfc3339;

/// Method of the recommendations, and their accuracy against simpler methods on a period after the training
/// data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecommendationsModel {
    /// Method, in a sentence or two.
    #[schema(example = "Products whose buyers overlap more than chance explains …")]
    pub method: String,
    /// Limits of the figures, such as a short history or few customers.
    #[schema(example = json!(["evaluated over 30 days, a third of the history, instead of 90"]))]
    pub notes: Vec<String>,
    /// Number of products that can be recommended.
    #[schema(example = 3_660)]
    pub products: u64,
    /// Number of products that match the exclude patterns.
    #[schema(example = 8)]
    pub excluded_products: u64,
    /// Patterns of product ids that are never recommended.
    #[schema(example = json!(["POST", "BANK CHARGES", "gift_0*"]))]
    pub exclude: Vec<String>,
    /// Number of customers whose lists derive from their purchases.
    #[schema(example = 4_333)]
    pub customers_with_history: u64,
    /// Number of customers without a purchase. Their lists hold best sellers.
    #[schema(example = 39)]
    pub customers_without_history: u64,
    /// Maximum number of products in a list.
    #[schema(example = 10)]
    pub length: u64,
    /// Maximum number of products in `buy_again`: the mean number of products that a returning customer
    /// bought again, rounded up.
    #[schema(example = 8)]
    pub buy_again_length: u64,
    /// Ranking rule of `buy_again`: the most accurate rule within the horizon before the split of the
    /// measurement; the simplest rule if too few customers bought.
    #[serde(default)]
    #[schema(example = "time-decayed order count and current sales")]
    pub buy_again_rule: String,
    /// Number of latest products of a customer that count as bought together.
    #[schema(example = 100)]
    pub basket_cap: u64,
    /// Number of similar products per product.
    #[schema(example = 100)]
    pub neighbours: u64,
    /// Minimum log-likelihood ratio at which two products count as bought together more often than by chance.
    #[schema(example = 3.84)]
    pub min_significance: f64,
    /// Minimum number of customers who bought both of two similar products.
    #[schema(example = 2)]
    pub min_customers: u64,
    /// Half-life of a purchase, in days.
    #[schema(example = 180)]
    pub half_life_days: u64,
    /// Half-life of a sale in the current trend, in days.
    #[schema(example = 15)]
    pub trend_half_life_days: u64,
    /// When the rule was chosen and the lists were measured; absent in snapshots of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// Measurement; absent if there is too little data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<RecommendationsMeasured>,
}

/// Measurement by a split in time: trained on data before the split, evaluated on purchases after the split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecommendationsMeasured {
    /// Instant of the split. Later data is not used for training.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-09-10T12:50:00Z")]
    pub split: DateTime<Utc>,
    /// Length of the evaluated period after the split, in days.
    #[schema(example = 90)]
    pub horizon_days: f64,
    /// Measured share of all eligible customers: 1, or less for a sample, which is even over ids.
    #[schema(example = 1.0)]
    pub sample: f64,
    /// Share of repeat purchases (customer and product) among the purchases after the split.
    #[schema(example = 0.27)]
    pub repeat_share: f64,
    /// Mean number of products that a returning customer bought again.
    #[schema(example = 7.6)]
    pub repeats_per_customer: f64,
    /// `products`, measured on customers with a history who bought a new product; only new products count.
    pub products: ListMeasured,
    /// `buy_again`, measured on customers with a history who bought; all purchases count.
    pub buy_again: ListMeasured,
}

/// Accuracy of the candidates for one list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListMeasured {
    /// Number of measured customers, the same for each candidate.
    #[schema(example = 1_844)]
    pub customers: u64,
    /// The candidates; the last one is served.
    pub candidates: Vec<CandidateMeasured>,
}

/// Accuracy of a candidate's lists of ten products, as means over customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CandidateMeasured {
    /// Name of the candidate.
    #[schema(example = "raw co-occurrence")]
    pub name: String,
    /// Share of customers who bought at least one of the ten.
    #[schema(example = 0.48)]
    pub hit_rate: f64,
    /// Share of a customer's purchased products that are among the ten.
    #[schema(example = 0.045)]
    pub recall: f64,
    /// Normalized discounted cumulative gain: like recall, but early positions count more.
    #[schema(example = 0.11)]
    pub ndcg: f64,
}
