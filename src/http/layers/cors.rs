//! Cross-origin requests: which pages in a browser may read answers, by `cors_origins` in `[http]`.
//!
//! Cookies play no part: a page sends its API key by itself. A browser sends no key with a preflight request.

use std::time::Duration;

use axum::http::{HeaderValue, Method, Request, header, request::Parts};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{
    gate::API_KEY,
    request_id::REQUEST_ID,
    request_span::{TRACEPARENT, TRACESTATE},
};
use crate::config::Origin;

/// Time for which a browser may keep the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_mins(10);

/// The layer that answers preflight requests and marks answers, and the origins that it serves.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<Origin>,
    layer: CorsLayer,
}

impl Cors {
    /// Returns `None` where no origin is configured, so that requests do not pass the layer at all.
    pub(super) fn new(origins: &[Origin]) -> Option<Self> {
        if origins.is_empty() {
            return None;
        }
        let allowed = origins.to_vec();
        let allow_origin =
            AllowOrigin::predicate(move |origin: &HeaderValue, _: &Parts| is_allowed(&allowed, origin));
        let layer = CorsLayer::new()
            .allow_origin(allow_origin)
            .allow_methods([Method::GET, Method::HEAD, Method::POST])
            .allow_headers([
                header::AUTHORIZATION,
                API_KEY,
                header::CONTENT_TYPE,
                header::IF_NONE_MATCH,
                REQUEST_ID,
                TRACEPARENT,
                TRACESTATE,
            ])
            .expose_headers([header::ETAG, header::RETRY_AFTER, REQUEST_ID])
            .max_age(MAX_AGE);
        Some(Self { origins: origins.to_vec(), layer })
    }

    /// Whether a request is the preflight request of an allowed origin, which carries no key.
    pub(super) fn is_preflight<B>(&self, request: &Request<B>) -> bool {
        request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
            && request.headers().get(header::ORIGIN).is_some_and(|origin| is_allowed(&self.origins, origin))
    }

    /// Returns the layer for a request. Without a key the layer would answer every OPTIONS request, so any
    /// but a preflight request of an allowed origin goes on to the gate.
    pub(super) fn layer<B>(&self, request: &Request<B>) -> Option<&CorsLayer> {
        if request.method() != Method::OPTIONS || self.is_preflight(request) {
            Some(&self.layer)
        } else {
            None
        }
    }
}

fn is_allowed(origins: &[Origin], origin: &HeaderValue) -> bool {
    origins.iter().any(|allowed| allowed.allows(origin.as_bytes()))
}
