//! Model cards: what each model of a snapshot was made from, and how well it did on data that it had not seen.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub mod recommendations;

pub use recommendations::RecommendationsModel;

/// The models of a snapshot, each with its measurements.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    /// Recommendations of products.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendations: Option<RecommendationsModel>,
}
