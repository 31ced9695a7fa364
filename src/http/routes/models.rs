//! `GET /v1/models/{name}`: model cards.

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        Problem,
        extract::{ModelName, PathParam, SnapshotRead},
        problem::unknown_model,
        reply::{self, Freshness},
    },
    snapshot::models::{ChurnModel, RecommendationsModel, ValueModel},
};

/// A model card.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Card {
    /// The card of the view `churn`.
    Churn(Box<ChurnModel>),
    /// The card of the view `recommendations`.
    Recommendations(Box<RecommendationsModel>),
    /// The card of the view `value`.
    Value(Box<ValueModel>),
}

/// A model and its card.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Model {
    /// Name of the model, which is the name of its view.
    #[schema(example = "churn")]
    name: String,
    #[serde(flatten)]
    freshness: Freshness,
    /// Training, selection and accuracy of the model.
    card: Card,
}

/// Get a model card
#[utoipa::path(
    get, path = "/v1/models/{name}", tag = "catalog", operation_id = "get_model",
    params(("name" = String, Path, description = "Name of the model", example = "churn")),
    responses(
        (status = 200, description = "How the model was trained, selected and measured, and its limits",
            body = Model),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 404, description = "The snapshot has no such model"),
    )
)]
pub(crate) async fn get_model(
    read: SnapshotRead,
    PathParam(ModelName(name)): PathParam<ModelName>,
) -> Result<Response, Problem> {
    let models = &read.served.manifest.models;
    let card = match name.as_str() {
        "churn" => models.churn.clone().map(|card| Card::Churn(Box::new(card))),
        "value" => models.value.clone().map(|card| Card::Value(Box::new(card))),
        "recommendations" => models.recommendations.clone().map(|card| Card::Recommendations(Box::new(card))),
        _ => None,
    };
    let card = card.ok_or_else(unknown_model)?;
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    reply::json(&read, &Model { name, freshness: Freshness::from(&*read.served), card })
}
