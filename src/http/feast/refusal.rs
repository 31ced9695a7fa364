//! Errors as Feast's clients know them: a JSON text that contains JSON for Feast's own kinds of error, FastAPI's list of details for
//! a bad body. What is Larder's alone (a body too large, an outage) is a [`Problem`] as everywhere.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Problem;
use crate::serving::ReadError;

/// Why there are no features.
#[derive(Debug)]
pub(in crate::http) enum Refusal {
    /// One of Feast's own kinds of error.
    Feast(FeastError),
    /// The body is not of the form asked for.
    Body(Detail),
    /// Anything else.
    Problem(Problem),
}

/// An error that Feast's SDK raises again as the class that it names.
#[derive(Debug, Serialize)]
pub(in crate::http) struct FeastError {
    #[serde(skip)]
    status: StatusCode,
    module: &'static str,
    class: &'static str,
    message: String,
}

/// What is wrong with a body, and where.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct Detail {
    /// The kind of mistake.
    #[serde(rename = "type")]
    #[schema(example = "missing")]
    kind: &'static str,
    /// The way to its place.
    #[schema(example = json!(["body", "entities", "customer_id", 3]))]
    loc: Vec<Place>,
    /// What was expected.
    #[schema(example = "Field required")]
    msg: String,
}

/// A step on the way to a place in a body.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(example = "entities")]
pub(in crate::http) enum Place {
    /// A field by name.
    Field(String),
    /// An item by number.
    Item(usize),
}

/// What is wrong with a body.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Details {
    /// One for each mistake that was found.
    detail: Vec<Detail>,
}

/// Why a request of the right form was refused: a bad body's details, or an error of Feast's as JSON in a text.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"detail": [{"type": "missing", "loc": ["body", "entities"], "msg": "Field required"}]}))]
#[serde(untagged)]
#[expect(dead_code, reason = "for the contract")]
pub(in crate::http) enum Unprocessable {
    /// The body is not of the form asked for.
    Body(Details),
    /// `{"module": …, "class": …, "message": …}`.
    Feast(String),
}

impl Refusal {
    fn feast(status: StatusCode, class: &'static str, message: String) -> Self {
        Self::Feast(FeastError { status, module: "feast.errors", class, message })
    }

    /// No such entity.
    pub(super) fn entity(name: &str) -> Self {
        let message = format!("Entity {name} does not exist; the join key is {}", super::JOIN_KEY);
        Self::feast(StatusCode::NOT_FOUND, "EntityNotFoundException", message)
    }

    /// No such view.
    pub(super) fn view(name: &str) -> Self {
        let message = format!("Feature view {name} does not exist");
        Self::feast(StatusCode::NOT_FOUND, "FeatureViewNotFoundException", message)
    }

    /// No such feature in that view.
    pub(super) fn feature(view: &str, name: &str) -> Self {
        let message = format!("Feature {name} does not exist in feature view {view}");
        Self::feast(StatusCode::NOT_FOUND, "FeastObjectNotFoundException", message)
    }

    /// No such feature service.
    pub(super) fn service(name: &str) -> Self {
        let message = format!("Feature service {name} does not exist");
        Self::feast(StatusCode::NOT_FOUND, "FeatureServiceNotFoundException", message)
    }

    /// A feature service of the configuration names what the snapshot does not have.
    pub(super) fn unfit_service(message: String) -> Self {
        Self::feast(StatusCode::NOT_FOUND, "FeastObjectNotFoundException", message)
    }

    /// Two columns of the answer would have one name.
    pub(super) fn collision(name: &str, full_names: bool) -> Self {
        let way_out = if full_names { "name each feature once" } else { "set full_feature_names to true" };
        let message = format!("Duplicate features named {name} found. To resolve this collision, {way_out}.");
        Self::feast(StatusCode::UNPROCESSABLE_ENTITY, "FeatureNameCollisionError", message)
    }
}

impl Detail {
    /// What is wrong at `fields` of the body.
    pub(super) fn new(kind: &'static str, fields: &[&str], msg: impl Into<String>) -> Self {
        let loc =
            std::iter::once(&"body").chain(fields).map(|field| Place::Field((*field).to_owned())).collect();
        Self { kind, loc, msg: msg.into() }
    }

    /// The same at item `at` of that field.
    pub(super) fn at(mut self, at: usize) -> Self {
        self.loc.push(Place::Item(at));
        self
    }
}

impl From<Detail> for Refusal {
    fn from(detail: Detail) -> Self {
        Self::Body(detail)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::Problem(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Feast(error) => {
                let text = serde_json::to_string(&error).unwrap_or_default();
                (error.status, Json(text)).into_response()
            }
            Self::Body(detail) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(Details { detail: vec![detail] })).into_response()
            }
            Self::Problem(problem) => problem.into_response(),
        }
    }
}
