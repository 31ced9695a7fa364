//! The audit log: one line for each answer that shows personal features to the holder of a key.
//!
//! A handler notes beside its answer which personal features of which customers the answer shows. The
//! lifecycle, which knows the request, writes the line under the target `larder::audit`. Values are never
//! written.

use axum::{
    http::{HeaderValue, header},
    response::Response,
};

use crate::{
    config::Scope,
    feature::CustomerId,
    http::access::Access,
    serving::{CustomerRead, ReadError},
    telemetry,
};

/// The `Cache-Control` of answers with personal data, and of errors.
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The personal data that an answer shows.
#[derive(Debug, Clone)]
pub(crate) struct PersonalData {
    /// Names such as `profile.email`.
    features: Vec<String>,
    customers: Vec<CustomerId>,
}

/// Notes beside `response` the personal `features` and the `customers` that it shows to a caller with the
/// scope `pii`.
pub(crate) fn note<T: AsRef<str>, I: IntoIterator<Item = T>>(
    response: &mut Response,
    access: &Access,
    features: impl FnOnce() -> I,
    customers: impl FnOnce() -> Vec<CustomerId>,
) {
    if !access.has(Scope::Pii) {
        return;
    }
    let mut features = features().into_iter().peekable();
    if features.peek().is_none() {
        return;
    }
    // Callers without a key cannot be named in the audit log; their answers are only marked `no-store`.
    if access.key().is_none() {
        response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
        return;
    }
    let customers = customers();
    if !customers.is_empty() {
        let features = features.map(|feature| feature.as_ref().to_owned()).collect();
        response.extensions_mut().insert(PersonalData { features, customers });
    }
}

/// Returns the customers that `answers` found.
pub(crate) fn found(answers: &[Result<CustomerRead, ReadError>]) -> Vec<CustomerId> {
    let rows = answers.iter().flatten().filter_map(|answer| answer.row.as_ref());
    rows.map(|row| row.customer_id.clone()).collect()
}

impl PersonalData {
    /// Writes the audit line of a caller with a key.
    pub(crate) fn log(&self, request_id: &HeaderValue, access: Option<&Access>, route: &str) {
        let Some(key) = access.and_then(Access::key) else { return };
        tracing::info!(
            target: telemetry::AUDIT,
            request_id = request_id.to_str().unwrap_or_default(),
            key,
            route,
            features = self.features.join(","),
            customers = self.customers.len(),
            ids = serde_json::to_string(&self.customers).ok(),
            "personal data read"
        );
    }
}
