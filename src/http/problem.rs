//! Errors as `application/problem+json` (RFC 9457), each kind with a `type` that stays.

use std::{any::Any, time::Duration};

use axum::{
    Json,
    extract::Request,
    http::{HeaderName, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{feature::near, serving::ReadError, snapshot::SegmentStats};

/// An error for the caller. Details for operators are in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The kind of problem: stable, for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:larder:problem:customer-not-found")]
    kind: String,
    /// The kind in words.
    #[schema(example = "Customer not found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// The cause in this case.
    #[schema(example = "there is no customer `17851` in the snapshot")]
    detail: String,
    /// The place in a bad expression, in characters (Unicode scalar values) from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    position: Option<usize>,
    /// Seconds after which a repeated request can succeed.
    #[serde(skip)]
    retry_after: Option<u64>,
}

macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:ident: $status:ident $kind:literal $title:literal;)+) => {
        impl Problem {
            $($(#[doc = $doc])+
            pub(crate) fn $name(detail: impl Into<String>) -> Self {
                Self {
                    kind: concat!("urn:larder:problem:", $kind).to_owned(),
                    title: $title,
                    status: StatusCode::$status.as_u16(),
                    detail: detail.into(),
                    position: None,
                    retry_after: None,
                }
            })+
        }
    };
}

problems! {
    /// A text that cannot be a customer's id.
    bad_id: BAD_REQUEST "bad-customer-id" "Bad customer id";
    /// A query parameter that is unknown or out of range.
    bad_parameter: BAD_REQUEST "bad-parameter" "Bad query parameter";
    /// A body that is not JSON or has the wrong shape.
    bad_body: BAD_REQUEST "bad-body" "Bad request body";
    /// More ids than one batch may have.
    too_many_ids: BAD_REQUEST "too-many-ids" "Too many ids";
    /// A view that the snapshot does not have.
    unknown_view: BAD_REQUEST "unknown-view" "Unknown view";
    /// A feature that the view does not have.
    unknown_feature: BAD_REQUEST "unknown-feature" "Unknown feature";
    /// An audience expression with a syntax error or an unknown name.
    bad_expression: BAD_REQUEST "bad-expression" "Bad audience expression";
    /// A cursor of another list, or of no list.
    bad_cursor: BAD_REQUEST "bad-cursor" "Bad cursor";
    /// A cursor of a snapshot that was removed.
    cursor_gone: GONE "cursor-gone" "Cursor expired";
    /// No API key where one is required, or an unknown one.
    unauthorized: UNAUTHORIZED "unauthorized" "Unauthorized";
    /// The caller lacks a scope; the detail names it.
    forbidden: FORBIDDEN "forbidden" "Forbidden";
    /// A request to a service without keys, for a host that is not on loopback.
    misdirected: MISDIRECTED_REQUEST "misdirected" "Misdirected request";
    /// A rate limit is exceeded.
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
    /// A body of another media type than JSON.
    bad_media_type: UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "Unsupported media type";
    /// A compressed body.
    bad_content_encoding: UNSUPPORTED_MEDIA_TYPE "unsupported-content-encoding"
        "Unsupported content encoding";
    /// No snapshot is active yet.
    no_snapshot: SERVICE_UNAVAILABLE "no-snapshot" "No active snapshot";
    /// Too many requests of this kind run already.
    busy: SERVICE_UNAVAILABLE "busy" "Too many concurrent requests";
    /// No tier could answer.
    unavailable: SERVICE_UNAVAILABLE "unavailable" "Temporarily unavailable";
    /// The request took too long.
    timeout: GATEWAY_TIMEOUT "timeout" "Request timeout";
    /// A bug or a failure inside Larder.
    internal: INTERNAL_SERVER_ERROR "internal" "Internal error";
}

impl Problem {
    /// Puts `context` before the detail.
    pub(crate) fn about(mut self, context: &str) -> Self {
        self.detail = format!("{context}; {}", self.detail);
        self
    }

    /// Turns the problem of a body into that of a query which has the same fields.
    pub(crate) fn of_query(self) -> Self {
        let body = Self::bad_body("");
        if self.kind == body.kind { Self::bad_parameter(self.detail) } else { self }
    }

    /// Adds the place in an expression.
    pub(crate) fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    /// Asks the caller to wait before a repeated request.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        self
    }
}

/// The ways to send a key, in the order in which clients should prefer them.
const CHALLENGES: [(HeaderName, &str); 2] = [
    (header::WWW_AUTHENTICATE, "Bearer"),
    (header::WWW_AUTHENTICATE, "Basic realm=\"larder\", charset=\"UTF-8\""),
];

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retries = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let seconds = self.retry_after.unwrap_or(1).max(1);
        let retry = retries.then(|| [(header::RETRY_AFTER, seconds.to_string())]);
        let challenge = (status == StatusCode::UNAUTHORIZED).then_some(AppendHeaders(CHALLENGES));
        (status, retry, challenge, [(header::CONTENT_TYPE, "application/problem+json")], Json(self))
            .into_response()
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::NoSnapshot => Self::no_snapshot("no snapshot has been published yet; try again later"),
            ReadError::UnknownSnapshot(id) => Self::snapshot_not_found(format!("there is no snapshot {id}")),
            ReadError::Busy(_) => Self::busy(format!("{error}; try again later")),
            // The object's name helps an operator and tells a caller nothing secret.
            ReadError::Unavailable(cause) => Self::unavailable(cause.to_string()),
        }
    }
}

/// Returns the problem of a path without an endpoint. `docs` says whether the documentation is served.
pub(crate) fn not_found(path: &str, docs: bool) -> Problem {
    let hint = if docs { "; /docs lists all endpoints" } else { "" };
    Problem::path_not_found(format!("there is no endpoint at {path}{hint}"))
}

/// Answers a request whose path does not support its method.
pub(crate) async fn method_not_allowed(request: Request) -> Problem {
    Problem::bad_method(format!("{} does not support {}", request.uri().path(), request.method()))
}

/// Logs the panic of a handler, and returns the answer.
pub(crate) fn panicked(cause: &(dyn Any + Send)) -> Response {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let cause = text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(cause, "a handler panicked");
    Problem::internal("the request failed; the log has the cause").into_response()
}

/// Returns a caller's word, cut to a length that fits a message, without control characters.
pub(crate) fn excerpt(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Returns the problem of an unknown segment, with the `known` segment of the most similar name.
pub(crate) fn unknown_segment<'a>(name: &str, known: impl IntoIterator<Item = &'a SegmentStats>) -> Problem {
    let hint = segment_hint(name, known);
    Problem::segment_not_found(format!("there is no segment `{}`{hint}", excerpt(name)))
}

/// Returns the end of a message about an unknown segment: a suggestion, or where to look.
pub(crate) fn segment_hint<'a>(name: &str, known: impl IntoIterator<Item = &'a SegmentStats>) -> String {
    let hint = near::hint(name, known.into_iter().map(|segment| segment.name.as_str()));
    if hint.is_empty() { "; GET /v1/segments lists all segments".to_owned() } else { hint }
}

/// Returns the problem of an unknown model.
pub(crate) fn unknown_model() -> Problem {
    Problem::model_not_found("the snapshot has no such model; GET /v1/snapshots/{id} shows its models")
}
