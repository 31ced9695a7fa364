//! The model card of the recommendations.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::snapshot::rfc3339;

/// How recommendations are made, and how they did against simpler ways on a time that they had not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecommendationsModel {
    /// How the lists are made, in a sentence or two.
    #[schema(example = "Products whose buyers overlap more than chance explains …")]
    pub method: String,
    /// What a reader should know before believing the figures: a short history, few customers.
    #[schema(example = json!(["the history is short: measured over 30 days instead of 90"]))]
    pub notes: Vec<String>,
    /// Products that can be recommended.
    #[schema(example = 3_660)]
    pub products: u64,
    /// Products that the exclude patterns leave out.
    #[schema(example = 8)]
    pub excluded_products: u64,
    /// The patterns of product ids that are no products.
    #[schema(example = json!(["POST", "BANK CHARGES", "gift_0*"]))]
    pub exclude: Vec<String>,
    /// Customers whose lists come from what they bought.
    #[schema(example = 4_333)]
    pub customers_with_history: u64,
    /// Customers who bought nothing: they get best sellers.
    #[schema(example = 39)]
    pub customers_without_history: u64,
    /// Lists hold at most this many products.
    #[schema(example = 10)]
    pub length: u64,
    /// `buy_again` holds at most this many: as many as a customer who came back bought again on average, rounded up.
    #[schema(example = 8)]
    pub buy_again_length: u64,
    /// How `buy_again` is ranked: the rule that met best what customers bought within the horizon before the split of the measurement;
    /// the simplest where too few bought.
    #[serde(default)]
    #[schema(example = "often and lately ordered, and selling at present")]
    pub buy_again_rule: String,
    /// Only the latest products of a customer, this many, are counted as bought together.
    #[schema(example = 100)]
    pub basket_cap: u64,
    /// How many similar products of a product take part.
    #[schema(example = 100)]
    pub neighbours: u64,
    /// The log-likelihood ratio from which on two products count as bought together more than chance explains.
    #[schema(example = 3.84)]
    pub min_significance: f64,
    /// How many customers two products must have in common to go together.
    #[schema(example = 2)]
    pub min_customers: u64,
    /// After how many days a purchase counts half.
    #[schema(example = 180)]
    pub half_life_days: u64,
    /// After how many days a sale counts half for what sells at present.
    #[schema(example = 15)]
    pub trend_half_life_days: u64,
    /// The measurement; absent where there is too little data for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<RecommendationsMeasured>,
}

/// What was measured by a split in time: learned from what was known at the split, asked what customers bought after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecommendationsMeasured {
    /// The split: nothing later was learned from.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-09-10T12:50:00Z")]
    pub split: DateTime<Utc>,
    /// How many days after the split were looked at.
    #[schema(example = 90)]
    pub horizon_days: f64,
    /// The measured share of all customers who count: 1, or less where a sample was taken, evenly by id.
    #[schema(example = 1.0)]
    pub sample: f64,
    /// The share of what these customers bought after the split (customer and product) that they had bought before.
    #[schema(example = 0.27)]
    pub repeat_share: f64,
    /// How many products a customer who came back bought again, on average.
    #[schema(example = 7.6)]
    pub repeats_per_customer: f64,
    /// `products`: customers with a history who bought a product that was new to them; only new products count.
    pub products: ListMeasured,
    /// `buy_again`: customers with a history who bought; everything they bought counts.
    pub buy_again: ListMeasured,
}

/// How candidates did on one list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListMeasured {
    /// Customers measured, the same for each candidate.
    #[schema(example = 1_844)]
    pub customers: u64,
    /// The candidates; the last one is what is served.
    pub candidates: Vec<CandidateMeasured>,
}

/// How a candidate's lists of ten met what was bought, as means over customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CandidateMeasured {
    /// The candidate.
    #[schema(example = "raw co-occurrence")]
    pub name: String,
    /// The share of customers who bought at least one of the ten.
    #[schema(example = 0.48)]
    pub hit_rate: f64,
    /// The share of what a customer bought that is among the ten.
    #[schema(example = 0.045)]
    pub recall: f64,
    /// Normalised discounted cumulative gain: as recall, but early places count more.
    #[schema(example = 0.11)]
    pub ndcg: f64,
}
