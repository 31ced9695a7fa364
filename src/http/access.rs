//! Callers: the scopes of an API key, its rate limit, and the checks that handlers make.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use axum::{extract::FromRequestParts, http::request::Parts};
use prometheus::IntCounter;

use super::Problem;
use crate::{
    config::{ANONYMOUS, Scope},
    snapshot::Manifest,
    telemetry::Metrics,
};

mod rate_limit;

use rate_limit::TokenBucket;

/// The caller of a request: an argument of every handler that writes features.
#[derive(Debug, Clone)]
pub(crate) struct Access(Arc<Caller>);

/// The holder of an API key, or all callers without a key.
#[derive(Debug)]
struct Caller {
    /// Name of the key.
    key: Option<String>,
    /// One bit for each scope.
    scopes: u8,
    rate_limit: Option<TokenBucket>,
    passed: IntCounter,
    forbidden: IntCounter,
    limited: IntCounter,
}

impl Access {
    /// Returns the access of the key named `key`, or of callers without a key.
    pub(crate) fn new(
        key: Option<&str>,
        scopes: &[Scope],
        rate: Option<NonZeroU32>,
        metrics: &Metrics,
    ) -> Self {
        let counter = |outcome| metrics.key_requests.with_label_values(&[key.unwrap_or(ANONYMOUS), outcome]);
        Self(Arc::new(Caller {
            key: key.map(str::to_owned),
            scopes: scopes.iter().fold(0, |all, scope| all | bit(*scope)),
            rate_limit: rate.map(TokenBucket::new),
            passed: counter("passed"),
            forbidden: counter("forbidden"),
            limited: counter("limited"),
        }))
    }

    /// Whether the caller has `scope`.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.0.scopes & bit(scope) != 0
    }

    /// Returns the name of the caller's key.
    pub(crate) fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// Checks rate limit and scope of a request that arrived at `now`, and counts the outcome.
    pub(crate) fn check(&self, scope: Scope, now: Instant) -> Result<(), Problem> {
        let caller = &*self.0;
        if caller.rate_limit.as_ref().is_some_and(|bucket| !bucket.take(now)) {
            caller.limited.inc();
            let key = self.key().unwrap_or(ANONYMOUS);
            return Err(Problem::too_many_requests(format!("rate limit of key `{key}` exceeded")));
        }
        if !self.has(scope) {
            caller.forbidden.inc();
            return Err(self.lacks(scope));
        }
        caller.passed.inc();
        Ok(())
    }

    /// Checks that the caller may filter, sort or group by `feature` of `view`: the answer would reveal
    /// values that the caller must not see.
    pub(crate) fn check_query_by(
        &self,
        manifest: &Manifest,
        view: &str,
        feature: &str,
    ) -> Result<(), Problem> {
        if self.has(Scope::Pii) || !manifest.is_personal(view, feature) {
            return Ok(());
        }
        let about = format!("`{view}.{feature}` is personal and cannot be queried by");
        Err(self.lacks(Scope::Pii).about(&about))
    }

    fn lacks(&self, scope: Scope) -> Problem {
        Problem::forbidden(match self.key() {
            Some(key) => format!("key `{key}` lacks the scope `{scope}`"),
            None => format!("the scope `{scope}` needs an API key, and none is configured"),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Self>().cloned();
        access.ok_or_else(|| Problem::internal("the request reached a handler without passing the gate"))
    }
}

fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}
