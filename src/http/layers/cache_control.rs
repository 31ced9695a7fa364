//! `Cache-Control` and `Vary` of answers.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use crate::{config::HttpConfig, http::reply::audit::NO_STORE};

/// The headers that the configuration asks for.
#[derive(Debug)]
pub(super) struct CacheControl {
    vary: Option<HeaderValue>,
    default: HeaderValue,
}

impl CacheControl {
    pub(super) fn new(config: &HttpConfig, has_keys: bool) -> Self {
        let vary = has_keys.then_some(HeaderValue::from_static("authorization, x-api-key"));
        let default = match config.max_age.as_secs() {
            0 => HeaderValue::from_static("private, no-cache"),
            seconds => HeaderValue::try_from(format!("private, max-age={seconds}")).unwrap_or(NO_STORE),
        };
        Self { vary, default }
    }

    /// Sets `Cache-Control` unless the handler did; answers that show `personal` data, and errors, get
    /// `no-store`.
    pub(super) fn mark(&self, response: &mut Response, personal: bool) {
        if let Some(vary) = &self.vary {
            response.headers_mut().append(header::VARY, vary.clone());
        }
        let is_good = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
        if personal || !is_good {
            response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
        } else {
            response.headers_mut().entry(header::CACHE_CONTROL).or_insert_with(|| self.default.clone());
        }
    }
}
