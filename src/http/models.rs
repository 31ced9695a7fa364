//! `GET /v1/models/{name}`: how good what a model says is.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, Problem, access::Access, conditional};
use crate::snapshot::models::{ChurnModel, RecommendationsModel};

/// A model's card.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Card {
    /// That of the view `churn`.
    Churn(Box<ChurnModel>),
    /// That of the view `recommendations`.
    Recommendations(Box<RecommendationsModel>),
}

/// A model and its card.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Model {
    /// The model's name, which is its view's.
    #[schema(example = "churn")]
    name: &'static str,
    /// The snapshot that the model is of.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// How it was made, chosen and measured.
    card: Card,
}

/// A model's card
#[utoipa::path(
    get, path = "/v1/models/{name}", tag = "catalog", operation_id = "get_model",
    params(("name" = String, Path, description = "The model's name", example = "churn")),
    responses(
        (status = 200, description = "How it was made, chosen and measured, and when it is not to be trusted", body = Model),
        (status = 404, description = "The snapshot has no such model", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Nothing is served yet", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn model(
    State(app): State<Arc<App>>,
    access: Access,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let served = app.serving.current()?;
    let unknown = || {
        Problem::model_not_found("the snapshot has no such model; GET /v1/snapshots/{id} shows those it has")
    };
    let Path(name) = name.map_err(|_| unknown())?;
    let models = &served.manifest.models;
    let found = match name.as_str() {
        "churn" => models.churn.clone().map(|card| ("churn", Card::Churn(Box::new(card)))),
        "recommendations" => models
            .recommendations
            .clone()
            .map(|card| ("recommendations", Card::Recommendations(Box::new(card)))),
        _ => None,
    };
    let (name, card) = found.ok_or_else(unknown)?;
    if let Some(response) = conditional::not_modified(&headers, &served, &access) {
        return Ok(response);
    }
    let model = Model { name, snapshot: served.manifest.id.to_string(), as_of: served.as_of.clone(), card };
    Ok(([(header::ETAG, conditional::tag(&served, &access))], Json(model)).into_response())
}
