//! `Cache-Control` and `Vary` of answers.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use crate::{config::HttpConfig, http::reply::audit::NO_STORE};

/// The headers by which answers differ if there are keys.
const VARY: HeaderValue = HeaderValue::from_static("authorization, x-api-key");

/// The headers that the configuration asks for.
#[derive(Debug)]
pub(super) struct CacheControl {
    default: HeaderValue,
}

impl CacheControl {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let default = match config.max_age.as_secs() {
            0 => HeaderValue::from_static("private, no-cache"),
            seconds => HeaderValue::try_from(format!("private, max-age={seconds}")).unwrap_or(NO_STORE),
        };
        Self { default }
    }

    /// Sets `Cache-Control` unless the handler did; answers that show `personal` data, and errors, get
    /// `no-store`. Sets `Vary` where there are keys.
    pub(super) fn mark(&self, response: &mut Response, personal: bool, has_keys: bool) {
        if has_keys {
            response.headers_mut().append(header::VARY, VARY);
        }
        let is_good = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
        if personal || !is_good {
            response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
        } else {
            response.headers_mut().entry(header::CACHE_CONTROL).or_insert_with(|| self.default.clone());
        }
    }
}
