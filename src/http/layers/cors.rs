//! Cross-origin requests: which pages in a browser may read answers, by `cors_origins` in `[http]`.
//!
//! Cookies play no part: a page sends its API key by itself. A browser sends no key with a preflight request.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Request, header, request::Parts};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::Origin;

/// Time for which a browser may keep the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_mins(10);
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Returns the layer that answers preflight requests and marks answers; `None` where no origin is configured.
pub(super) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = origins.to_vec();
    let allows = move |origin: &HeaderValue, _: &Parts| {
        origins.iter().any(|allowed| allowed.allows(origin.as_bytes()))
    };
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(allows))
            .allow_methods([Method::GET, Method::HEAD, Method::POST])
            .allow_headers([
                header::AUTHORIZATION,
                API_KEY,
                header::CONTENT_TYPE,
                header::IF_NONE_MATCH,
                REQUEST_ID,
            ])
            .expose_headers([header::ETAG, header::RETRY_AFTER, REQUEST_ID])
            .max_age(MAX_AGE),
    )
}

/// Whether a request is a preflight request, which carries no key.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
