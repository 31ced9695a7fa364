//! Errors as `application/problem+json` (RFC 9457), each kind with a `type` that stays.

use std::any::Any;

use axum::{
    Json,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::serving::ReadError;

/// What went wrong, for the caller. Internals are in the log, not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The kind of problem; stable, made for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:larder:problem:customer-not-found")]
    kind: String,
    /// The kind in words.
    #[schema(example = "Customer not found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What it was in this case.
    #[schema(example = "there is no customer `17851` in the snapshot")]
    detail: String,
    /// The place in the expression, in characters (Unicode scalar values) from 0; of bad expressions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    position: Option<usize>,
}

macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:ident: $status:ident $kind:literal $title:literal;)+) => {
        impl Problem {
            $($(#[doc = $doc])+
            pub(super) fn $name(detail: impl Into<String>) -> Self {
                Self {
                    kind: concat!("urn:larder:problem:", $kind).to_owned(),
                    title: $title,
                    status: StatusCode::$status.as_u16(),
                    detail: detail.into(),
                    position: None,
                }
            })+
        }
    };
}

problems! {
    /// A text that cannot be a customer's id.
    bad_id: BAD_REQUEST "bad-customer-id" "Bad customer id";
    /// A query parameter that is unknown or has no sense.
    bad_parameter: BAD_REQUEST "bad-parameter" "Bad query parameter";
    /// A body that is no JSON, or not of the form asked for.
    bad_body: BAD_REQUEST "bad-body" "Bad request body";
    /// More ids than one batch may have.
    too_many_ids: BAD_REQUEST "too-many-ids" "Too many ids";
    /// A view that the snapshot does not have.
    unknown_view: BAD_REQUEST "unknown-view" "Unknown view";
    /// A feature that the view does not have.
    unknown_feature: BAD_REQUEST "unknown-feature" "Unknown feature";
    /// An audience's expression that cannot be read, or names what does not exist.
    bad_expression: BAD_REQUEST "bad-expression" "Bad audience expression";
    /// A cursor that Larder did not make for this list.
    bad_cursor: BAD_REQUEST "bad-cursor" "Bad cursor";
    /// A cursor of a snapshot that was pruned.
    cursor_gone: GONE "cursor-gone" "The cursor's snapshot is gone";
    /// No key where one is needed, or one that nobody knows.
    unauthorized: UNAUTHORIZED "unauthorized" "A key is needed";
    /// The caller lacks a scope; the detail names it.
    forbidden: FORBIDDEN "forbidden" "Not for this caller";
    /// More requests with a key than its rate allows.
    too_many_requests: TOO_MANY_REQUESTS "too-many-requests" "Too many requests";
    /// No such customer.
    customer_not_found: NOT_FOUND "customer-not-found" "Customer not found";
    /// A product that the snapshot does not know.
    product_not_found: NOT_FOUND "product-not-found" "Product not found";
    /// No such segment.
    segment_not_found: NOT_FOUND "segment-not-found" "Segment not found";
    /// No such model.
    model_not_found: NOT_FOUND "model-not-found" "Model not found";
    /// No such snapshot.
    snapshot_not_found: NOT_FOUND "snapshot-not-found" "Snapshot not found";
    /// No such path.
    path_not_found: NOT_FOUND "path-not-found" "Path not found";
    /// A path that does not take this method.
    bad_method: METHOD_NOT_ALLOWED "method-not-allowed" "Method not allowed";
    /// A body over the limit.
    body_too_large: PAYLOAD_TOO_LARGE "body-too-large" "Request body too large";
    /// A body that says it is no JSON.
    bad_media_type: UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "Unsupported media type";
    /// A body that is compressed, or encoded in another way.
    bad_content_encoding: UNSUPPORTED_MEDIA_TYPE "unsupported-content-encoding" "Unsupported content encoding";
    /// No snapshot is open yet.
    no_snapshot: SERVICE_UNAVAILABLE "no-snapshot" "No snapshot is served yet";
    /// More of the same than may be under way.
    busy: SERVICE_UNAVAILABLE "busy" "Too many are under way";
    /// No tier could answer.
    unavailable: SERVICE_UNAVAILABLE "unavailable" "Not known at the moment";
    /// The request took too long.
    timeout: GATEWAY_TIMEOUT "timeout" "The request took too long";
    /// A fault of Larder's own.
    internal: INTERNAL_SERVER_ERROR "internal" "Internal error";
}

impl Problem {
    /// The same, with what it is about before its detail.
    pub(super) fn about(mut self, what: &str) -> Self {
        self.detail = format!("{what}; {}", self.detail);
        self
    }

    /// The same, at a place in an expression.
    pub(super) fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A key's rate is at least one request a second, so that a second is enough for both.
        let later = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let retry = later.then_some([(header::RETRY_AFTER, "1")]);
        let challenge =
            (status == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        (status, retry, challenge, [(header::CONTENT_TYPE, "application/problem+json")], Json(self))
            .into_response()
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::NoSnapshot => Self::no_snapshot("nothing has been published yet; try again later"),
            ReadError::UnknownSnapshot(id) => Self::snapshot_not_found(format!("there is no snapshot {id}")),
            ReadError::Busy(_) => Self::busy(format!("{error}; try again later")),
            // The object's name helps an operator and tells a caller nothing secret.
            ReadError::Unavailable(cause) => Self::unavailable(cause.to_string()),
        }
    }
}

pub(super) fn not_found(path: &str) -> Problem {
    Problem::path_not_found(format!("there is nothing at {path}; /docs lists what there is"))
}

pub(super) async fn method_not_allowed(request: Request) -> Problem {
    Problem::bad_method(format!("{} does not take {}", request.uri().path(), request.method()))
}

pub(super) fn panicked(cause: &(dyn Any + Send)) -> Response {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let cause = text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(cause, "a handler panicked");
    Problem::internal("the request failed; the log tells why").into_response()
}
