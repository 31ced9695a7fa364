//! The audit log: which key was shown which personal features of whom.
//!
//! One line for each answer with personal values, under the target `larder::audit`. A handler puts beside its answer what it shows;
//! `observe`, which knows the request, writes the line; an export, whose customers the snapshot tells, has a line of its own. The values themselves are never in it.

use axum::{
    http::{HeaderValue, header},
    response::Response,
};

use super::access::Access;
use crate::{
    config::Scope,
    feature::CustomerId,
    serving::{CustomerRead, ReadError},
};

/// The target of audit lines.
pub(super) const TARGET: &str = crate::telemetry::AUDIT;

/// How an answer with personal data is kept.
pub(super) const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-store");

/// The personal data that an answer shows.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// As `view.feature`.
    features: Vec<String>,
    whose: Vec<CustomerId>,
}

/// Notes beside `response` that it shows the personal `features` of `whose`; nothing where there are none, or they are masked.
pub(super) fn note<T: AsRef<str>, I: IntoIterator<Item = T>>(
    response: &mut Response,
    access: &Access,
    features: impl FnOnce() -> I,
    whose: impl FnOnce() -> Vec<CustomerId>,
) {
    if !access.may(Scope::Pii) {
        return;
    }
    let mut features = features().into_iter().peekable();
    if features.peek().is_none() {
        return;
    }
    // Those without a key have no name to be held to; their answers are only not to be kept.
    if access.key().is_none() {
        response.headers_mut().insert(header::CACHE_CONTROL, NOT_KEPT);
        return;
    }
    let whose = whose();
    if !whose.is_empty() {
        let features = features.map(|feature| feature.as_ref().to_owned()).collect();
        response.extensions_mut().insert(Shown { features, whose });
    }
}

/// The customers that `answers` found.
pub(super) fn found(answers: &[Result<CustomerRead, ReadError>]) -> Vec<CustomerId> {
    let rows = answers.iter().flatten().filter_map(|answer| answer.row.as_ref());
    rows.map(|row| row.customer_id.clone()).collect()
}

impl Shown {
    /// Writes the line, if it was a key's holder who asked.
    pub(super) fn log(&self, request_id: &HeaderValue, access: Option<&Access>, route: &str) {
        let Some(key) = access.and_then(Access::key) else { return };
        tracing::info!(
            target: TARGET,
            request_id = request_id.to_str().unwrap_or_default(),
            key,
            route,
            features = self.features.join(","),
            customers = self.whose.len(),
            ids = serde_json::to_string(&self.whose).ok(),
            "personal data read"
        );
    }
}
