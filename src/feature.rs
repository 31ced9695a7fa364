//! Core data types: customer ids, feature views and their columns, rows, tiers.
//!
//! No I/O and no clock; this module does not know Parquet, Redis, SQL or HTTP. The values of a row are kept
//! as JSON text, for example `[371,34,5288.63,1,5,5,"155","cant_lose"]` for the view `rfm`. Every tier stores
//! this text, with an instant in place of a number of days that only depends on `as_of` ([`DayCounts`]).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod day_counts;
mod elements;
mod id;
mod memberships;
mod money;
mod name;
pub mod near;
mod packed_texts;
mod product_ids;
mod row;
mod view_rows;

pub use day_counts::{DayCounts, days_since};
pub use elements::elements;
pub use id::{CustomerId, InvalidId, MAX_ID_BYTES, check_id, is_null_word, normal_id, trim};
pub use memberships::{PERSONAL_SEGMENT_NAMES, SEGMENT_NAMES, SEGMENTS_VIEW};
pub use money::{money, ten_thousandths};
pub use name::{feature_name, is_feature_name, is_name, is_name_char};
pub use packed_texts::PackedTexts;
pub use product_ids::product_names_key;
pub use row::{Row, ViewKeys};
pub use view_rows::{ViewRow, ViewRows};

/// A feature view: a named group of features of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeatureView {
    /// Name of the view, `[a-z0-9_]{1,64}`.
    #[schema(example = "rfm")]
    pub name: String,
    /// Description of the view, from the head of its definition.
    #[schema(example = "Recency, frequency and monetary value, with scores and the segment.")]
    pub description: String,
    /// Origin of the view: `built-in`, `sql`, `parquet` or `model`.
    #[schema(example = "built-in")]
    pub source: String,
    /// Features of the view, in the order in which every tier stores their values.
    pub features: Vec<Feature>,
}

/// A feature: one column of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Feature {
    /// Name of the feature.
    #[schema(example = "recency_days")]
    pub name: String,
    /// Arrow type of the feature.
    #[serde(rename = "type")]
    #[schema(example = "Int64")]
    pub data_type: String,
    /// Meaning and unit of the feature; empty if the view's definition has none.
    #[serde(default)]
    #[schema(example = "Whole days from the last purchase to as_of.")]
    pub description: String,
    /// Whether the feature holds personal data.
    #[serde(default)]
    #[schema(example = false)]
    pub personal: bool,
    /// Whether the feature counts whole days from an instant to `as_of`, so that it changes with every day
    /// that passes. Rows hold the instant, in microseconds since 1970. Absent if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(example = true)]
    pub days_since: bool,
}

/// A storage tier that answers reads. Tiers are tried in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Row cache in the memory of the process.
    Memory,
    /// Online store.
    Tair,
    /// Parquet snapshot in the lake.
    Snapshot,
}

impl Tier {
    /// Returns the name of the tier in answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tair => "tair",
            Self::Snapshot => "snapshot",
        }
    }
}

/// A kind of segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SegmentKind {
    /// Group of cells of the R×F grid, or the customers without a purchase.
    Rfm,
    /// Level of churn risk.
    Churn,
    /// Named expression over segments and features.
    Audience,
}
