//! Model cards: the data, choice, measurement and limits of each model of a snapshot.
//!
//! Data types only; the pipeline trains the models. `GET /v1/models/{name}` and the manifest show the cards
//! in this form.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rfc3339;

mod churn;
mod churn_outcomes;
mod model_file;
pub mod recommendations;
mod value;

pub use churn::{
    CandidateFigures, ChurnBin, ChurnCut, ChurnModel, ExpectedValueModel, GammaGammaFit, ModelFeature,
    PurchaseFit, PurchaseModels, RiskThresholds, ValueFigures, ValueLevels,
};
pub use churn_outcomes::{ObservedLevel, RiskLevelFigures, SeenPredictions};
pub use model_file::ModelFile;
pub use recommendations::RecommendationsModel;
pub use value::{ForecastFigures, NextOrderFigures, ValueCut, ValueModel};

/// Model cards of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    /// Card of the model behind the view `churn`; absent if the snapshot has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<ChurnModel>,
    /// Card of the model behind the view `recommendations`; absent if the snapshot has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendations: Option<RecommendationsModel>,
    /// Card of the model behind the view `value`; absent if the snapshot has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<ValueModel>,
}

/// When and with what a model was trained. A build uses a model of an earlier build if the setting `retrain`
/// says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Training {
    /// As-of time of the build that trained the model.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-12-09T12:50:00Z")]
    pub at: DateTime<Utc>,
    /// Days from then to the as-of time of this snapshot; 0 if its build trained the model.
    #[schema(example = 0.0)]
    pub age_days: f64,
    /// Hash of the settings and the code that the model depends on. A build with another hash trains anew.
    #[schema(example = "5f0c2a9e81d3b746")]
    pub settings: String,
}
