//! Cross-origin requests: which pages in a browser may read answers, by `cors_origins` in `[http]`.
//!
//! No cookies are in play: a page sends its key by itself. A preflight needs none, since a browser sends none with it.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use crate::config::Origin;

/// How a page may ask.
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, x-api-key, content-type, if-none-match, x-request-id",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];
/// What a page may read of an answer beside its body.
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, retry-after, x-request-id");

/// The origin of a request, if pages from there may read the answer.
pub(super) fn origin(allowed: &[Origin], headers: &HeaderMap) -> Option<HeaderValue> {
    if allowed.is_empty() {
        return None;
    }
    let origin = headers.get(header::ORIGIN)?;
    allowed.iter().any(|allowed| allowed.allows(origin.as_bytes())).then(|| origin.clone())
}

/// The answer to a preflight.
pub(super) fn preflight(request: &Parts) -> Option<Response> {
    let asks = request.method == Method::OPTIONS
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    asks.then(|| (StatusCode::NO_CONTENT, PREFLIGHT, Body::empty()).into_response())
}

/// Lets pages from `origin` read the answer.
pub(super) fn mark(allowed: &[Origin], origin: Option<HeaderValue>, response: &mut Response) {
    if !allowed.is_empty() {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = origin {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}
