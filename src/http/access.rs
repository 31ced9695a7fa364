//! Callers: the scopes of an API key, its rate limit, and the checks that handlers make.

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc, time::Instant};

use axum::{extract::FromRequestParts, http::request::Parts};
use chrono::{DateTime, Utc};
use prometheus::IntCounter;

use super::Problem;
use crate::{
    config::{ANONYMOUS, KeyConfig, Scope},
    snapshot::{Manifest, SegmentStats, rfc3339},
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
    /// The time from which the key is refused.
    not_after: Option<DateTime<Utc>>,
    passed: IntCounter,
    forbidden: IntCounter,
    limited: IntCounter,
    expired: IntCounter,
}

impl Access {
    /// Returns the access that the key `config` gives.
    pub(crate) fn of_key(config: &KeyConfig, metrics: &Metrics) -> Self {
        let KeyConfig { name, scopes, rate, not_after, .. } = config;
        Self::new(Some(name), scopes, *rate, *not_after, metrics)
    }

    /// Returns the access of callers without a key.
    pub(crate) fn anonymous(scopes: &[Scope], rate: Option<NonZeroU32>, metrics: &Metrics) -> Self {
        Self::new(None, scopes, rate, None, metrics)
    }

    fn new(
        key: Option<&str>,
        scopes: &[Scope],
        rate: Option<NonZeroU32>,
        not_after: Option<DateTime<Utc>>,
        metrics: &Metrics,
    ) -> Self {
        let counter = |outcome| metrics.key_requests.with_label_values(&[key.unwrap_or(ANONYMOUS), outcome]);
        Self(Arc::new(Caller {
            key: key.map(str::to_owned),
            scopes: scopes.iter().fold(0, |all, scope| all | bit(*scope)),
            rate_limit: rate.map(TokenBucket::new),
            not_after,
            passed: counter("passed"),
            forbidden: counter("forbidden"),
            limited: counter("limited"),
            expired: counter("expired"),
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

    /// Checks expiry, rate limit and scope of a request that arrived at `now`, and counts the outcome.
    pub(crate) fn check(&self, scope: Scope, now: Instant) -> Result<(), Problem> {
        let caller = &*self.0;
        if let Some(not_after) = caller.not_after
            && Utc::now() >= not_after
        {
            caller.expired.inc();
            let (key, time) = (self.key().unwrap_or(ANONYMOUS), rfc3339::format(not_after));
            return Err(Problem::unauthorized(format!("the API key `{key}` expired at {time}")));
        }
        if let Some(bucket) = &caller.rate_limit
            && !bucket.take(now)
        {
            caller.limited.inc();
            return Err(self.exceeded(bucket));
        }
        if !self.has(scope) {
            caller.forbidden.inc();
            return Err(self.lacks(scope));
        }
        caller.passed.inc();
        Ok(())
    }

    /// Charges a request that reads `customers` with all customers after the first, for which
    /// [`check`](Self::check) charged already.
    pub(crate) fn charge(&self, customers: u64) -> Result<(), Problem> {
        let Some(bucket) = &self.0.rate_limit else { return Ok(()) };
        let more = customers.saturating_sub(1);
        if more == 0 || bucket.charge(more, Instant::now()) {
            return Ok(());
        }
        self.0.limited.inc();
        Err(self.exceeded(bucket))
    }

    /// Checks that the caller may filter, sort or group by `feature` of `view`: the answer would reveal
    /// values that the caller must not see. Returns the name of the feature if it is personal.
    pub(crate) fn check_query_by(
        &self,
        manifest: &Manifest,
        view: &str,
        feature: &str,
    ) -> Result<Option<String>, Problem> {
        if !manifest.is_personal(view, feature) {
            return Ok(None);
        }
        let name = format!("{view}.{feature}");
        if self.has(Scope::Pii) {
            return Ok(Some(name));
        }
        let about = format!("`{name}` is personal and cannot be queried by");
        Err(self.lacks(Scope::Pii).about(&about))
    }

    /// Checks that the caller may see the size and the members of `segment`. Returns the personal features
    /// that decide about the members.
    pub(crate) fn check_segment(
        &self,
        manifest: &Manifest,
        segment: &SegmentStats,
    ) -> Result<BTreeSet<String>, Problem> {
        let personal = manifest.personal_behind(segment);
        if personal.is_empty() || self.has(Scope::Pii) {
            return Ok(personal);
        }
        let about = format!("the audience `{}` depends on personal features", segment.name);
        Err(self.lacks(Scope::Pii).about(&about))
    }

    /// Checks that the caller has `scope`, which a part of the request needs. `about` names the part.
    pub(crate) fn check_part(&self, scope: Scope, about: &str) -> Result<(), Problem> {
        if self.has(scope) { Ok(()) } else { Err(self.lacks(scope).about(about)) }
    }

    fn exceeded(&self, bucket: &TokenBucket) -> Problem {
        let key = self.key().unwrap_or(ANONYMOUS);
        let wait = bucket.wait(Instant::now());
        Problem::too_many_requests(format!("rate limit of key `{key}` exceeded")).retry_after(wait)
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
