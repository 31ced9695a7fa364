//! Errors in the form that Feast's clients know: a JSON string that contains JSON for Feast's own kinds of
//! error, and FastAPI's list of details for a bad body. Errors that only Larder has, such as an outage, are a
//! [`Problem`].

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{feast::JOIN_KEY, http::Problem, serving::ReadError};

/// The reason why a request gets no features.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// An error of Feast's own kinds.
    Feast(FeastError),
    /// The body has the wrong shape.
    Body(Detail),
    /// Any other error.
    Problem(Problem),
}

/// An error that Feast's SDK raises as the named class.
#[derive(Debug, Serialize)]
pub(crate) struct FeastError {
    #[serde(skip)]
    status: StatusCode,
    module: &'static str,
    class: &'static str,
    message: String,
}

/// A mistake in a body, and its place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Detail {
    /// Kind of the mistake.
    #[serde(rename = "type")]
    #[schema(example = "missing")]
    kind: &'static str,
    /// Path to the place.
    #[schema(example = json!(["body", "entities", "customer_id", 3]))]
    loc: Vec<PathStep>,
    /// The expected value.
    #[schema(example = "Field required")]
    msg: String,
}

/// A step on the path to a place in a body.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(example = "entities")]
pub(crate) enum PathStep {
    /// A field by name.
    Field(String),
    /// An item by number.
    Item(usize),
}

/// All mistakes in a body.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Details {
    /// One detail for each mistake.
    detail: Vec<Detail>,
}

/// The details of a bad body, or an error of Feast's as JSON in a string.
#[derive(Debug, ToSchema)]
#[schema(example = json!({
    "detail": [{"type": "missing", "loc": ["body", "entities"], "msg": "Field required"}]
}))]
#[serde(untagged)]
#[expect(dead_code, reason = "the shape for the OpenAPI document")]
pub(crate) enum Unprocessable {
    /// The body has the wrong shape.
    Body(Details),
    /// `{"module": …, "class": …, "message": …}`.
    Feast(String),
}

impl Refusal {
    fn feast(status: StatusCode, class: &'static str, message: String) -> Self {
        Self::Feast(FeastError { status, module: "feast.errors", class, message })
    }

    /// Returns the error of an unknown entity.
    pub(super) fn entity(name: &str) -> Self {
        let message = format!("Entity {name} does not exist; the join key is {JOIN_KEY}");
        Self::feast(StatusCode::NOT_FOUND, "EntityNotFoundException", message)
    }

    /// Returns the error of an unknown view.
    pub(super) fn view(name: &str) -> Self {
        let message = format!("Feature view {name} does not exist");
        Self::feast(StatusCode::NOT_FOUND, "FeatureViewNotFoundException", message)
    }

    /// Returns the error of an unknown feature.
    pub(super) fn feature(view: &str, name: &str) -> Self {
        let message = format!("Feature {name} does not exist in feature view {view}");
        Self::feast(StatusCode::NOT_FOUND, "FeastObjectNotFoundException", message)
    }

    /// Returns the error of an unknown feature service.
    pub(super) fn service(name: &str) -> Self {
        let message = format!("Feature service {name} does not exist");
        Self::feast(StatusCode::NOT_FOUND, "FeatureServiceNotFoundException", message)
    }

    /// Returns the error of a configured feature service that the snapshot does not fit.
    pub(super) fn unfit_service(message: String) -> Self {
        Self::feast(StatusCode::NOT_FOUND, "FeastObjectNotFoundException", message)
    }

    /// Returns the error of two columns with one name.
    pub(super) fn collision(name: &str, full_names: bool) -> Self {
        let way_out = if full_names { "name each feature once" } else { "set full_feature_names to true" };
        let message = format!("Duplicate features named {name} found. To resolve this collision, {way_out}.");
        Self::feast(StatusCode::UNPROCESSABLE_ENTITY, "FeatureNameCollisionError", message)
    }
}

impl Detail {
    /// Makes the detail of a mistake at `fields` of the body.
    pub(super) fn new(kind: &'static str, fields: &[&str], msg: impl Into<String>) -> Self {
        let loc = std::iter::once(&"body")
            .chain(fields)
            .map(|field| PathStep::Field((*field).to_owned()))
            .collect();
        Self { kind, loc, msg: msg.into() }
    }

    /// Adds the item `at` of the field to the path.
    pub(super) fn at(mut self, at: usize) -> Self {
        self.loc.push(PathStep::Item(at));
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
