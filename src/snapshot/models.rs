//! The model cards: what each model of a snapshot was made from, how it was chosen and measured, and when not to trust it.
//!
//! Data only; how models are made is the pipeline's. `GET /v1/models/{name}` and the manifest show them as they are here.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod churn;
pub mod recommendations;

pub use churn::{
    CandidateFigures, ChurnBin, ChurnCut, ChurnModel, ExpectedValueModel, GammaGammaFit, ModelFeature,
    PurchaseFit, PurchaseModels, RiskThresholds, ValueFigures, ValueLevels,
};
pub use recommendations::RecommendationsModel;

/// The models of a snapshot, each with its card.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    /// The model behind the view `churn`; absent where the snapshot has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<ChurnModel>,
    /// The model behind the view `recommendations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendations: Option<RecommendationsModel>,
}
