//! Outcomes of churn predictions: by risk level on a held-out cutoff, and of earlier snapshots in hindsight.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::snapshot::{SnapshotId, rfc3339};

/// Customers of a risk level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RiskLevelFigures {
    /// `high`, `medium` or `low`.
    #[schema(example = "high")]
    pub level: String,
    /// Number of customers with the level.
    #[schema(example = 812)]
    pub customers: u64,
    /// Mean probability of these customers.
    #[schema(example = 0.71)]
    pub predicted: f64,
    /// Customers who had the level on the latest cutoff of the measurement; absent if nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedLevel>,
}

/// Customers of a risk level on a cutoff, with the outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObservedLevel {
    /// Number of customers with the level.
    #[schema(example = 790)]
    pub customers: u64,
    /// Mean probability of these customers.
    #[schema(example = 0.70)]
    pub predicted: f64,
    /// Share of these customers that churned.
    #[schema(example = 0.68)]
    pub churned: f64,
}

/// Predictions of an earlier snapshot, compared with what happened since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeenPredictions {
    /// The earlier snapshot.
    pub snapshot: SnapshotId,
    /// As-of time of the earlier snapshot.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-09-09T00:00:00Z")]
    pub as_of: DateTime<Utc>,
    /// Days that have passed since, at most the horizon.
    #[schema(example = 90)]
    pub observed_days: u32,
    /// Whether the horizon has ended.
    #[schema(example = true)]
    pub finished: bool,
    /// Number of compared customers: all, or a sample of about 200,000.
    #[schema(example = 3_362)]
    pub customers: u64,
    /// Mean predicted probability, for the whole horizon.
    #[schema(example = 0.44)]
    pub predicted: f64,
    /// Share of customers without a purchase since.
    #[schema(example = 0.43)]
    pub churned: f64,
    /// Area under the ROC curve of the probabilities for no purchase since.
    #[schema(example = 0.745)]
    pub auc: f64,
    /// Calibration error; absent until the horizon has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.039)]
    pub calibration_error: Option<f64>,
}
