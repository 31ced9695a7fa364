//! Model cards: the data, choice, measurement and limits of each model of a snapshot.
//!
//! Data types only; the pipeline trains the models. `GET /v1/models/{name}` and the manifest show the cards
//! in this form.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod churn;
pub mod recommendations;

pub use churn::{
    CandidateFigures, ChurnBin, ChurnCut, ChurnModel, ExpectedValueModel, GammaGammaFit, ModelFeature,
    ObservedLevel, PurchaseFit, PurchaseModels, RiskLevelFigures, RiskThresholds, SeenPredictions,
    ValueFigures, ValueLevels,
};
pub use recommendations::RecommendationsModel;

/// Model cards of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    /// Card of the model behind the view `churn`; absent if the snapshot has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<ChurnModel>,
    /// Card of the model behind the view `recommendations`; absent if the snapshot has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendations: Option<RecommendationsModel>,
}
