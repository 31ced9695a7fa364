//! The gate: finds the caller of a request by its API key, and checks the scope and the rate limit.

use std::{collections::HashMap, time::Instant};

use axum::http::{HeaderMap, HeaderName, header};
use subtle::ConstantTimeEq;

use crate::{
    config::{Config, Scope, digest},
    http::{Problem, access::Access, route_table::Need},
    telemetry::Metrics,
};

/// The header for a key besides `Authorization: Bearer …`.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// SHA-256 of a key.
type KeyDigest = [u8; 32];

/// All callers.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Keys by the first bytes of their digests. The digests are compared in constant time.
    keys: HashMap<[u8; 8], Vec<(KeyDigest, Access)>>,
    /// Callers without a key, where the configuration allows them.
    anonymous: Option<Access>,
}

impl Gate {
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        let scopes = if config.http.anonymous {
            Some(&[Scope::Features, Scope::Metrics][..])
        } else if config.keys.is_empty() && config.http.listen.ip().is_loopback() {
            Some(&Scope::ALL[..])
        } else {
            None
        };
        let anonymous = scopes.map(|scopes| Access::new(None, scopes, None, metrics));
        let mut gate = Self { keys: HashMap::new(), anonymous };
        for key in &config.keys {
            // The configuration refuses a key whose digest is none.
            if let Some(digest) = key.digest() {
                let access = Access::new(Some(&key.name), &key.scopes, key.rate, metrics);
                gate.keys.entry(prefix(&digest)).or_default().push((digest, access));
            }
        }
        gate
    }

    /// Whether answers may depend on the caller's key.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Decides whether a request that arrived at `now` may pass.
    pub(super) fn admit(&self, need: Need, headers: &HeaderMap, now: Instant) -> Admission<'_> {
        let Need::Scope(scope) = need else { return Admission { access: None, refusal: None } };
        match self.caller(scope, headers) {
            Ok(access) => Admission { refusal: access.check(scope, now).err(), access: Some(access) },
            Err(problem) => Admission { access: None, refusal: Some(problem) },
        }
    }

    fn caller(&self, scope: Scope, headers: &HeaderMap) -> Result<&Access, Problem> {
        if self.has_keys()
            && let Some(key) = api_key(headers)
        {
            let digest = digest(key);
            let known = self.keys.get(&prefix(&digest)).into_iter().flatten();
            let found = known.into_iter().find(|(known, _)| known.ct_eq(&digest).into());
            return found.map(|(_, access)| access).ok_or_else(|| Problem::unauthorized("unknown API key"));
        }
        match &self.anonymous {
            // If keys exist, a caller without one gets 401 (send a key) rather than 403.
            Some(access) if access.has(scope) || !self.has_keys() => Ok(access),
            _ => {
                let how = "send it as `Authorization: Bearer …` or as `X-API-Key`";
                Err(Problem::unauthorized(format!("an API key with the scope `{scope}` is required; {how}")))
            }
        }
    }
}

/// The gate's decision on a request.
#[derive(Debug)]
pub(super) struct Admission<'a> {
    /// The caller; `None` on public routes and for unknown callers.
    pub(super) access: Option<&'a Access>,
    /// The reason why the request must not pass.
    pub(super) refusal: Option<Problem>,
}

fn prefix(digest: &KeyDigest) -> [u8; 8] {
    std::array::from_fn(|at| digest[at])
}

/// Returns the key in `Authorization: Bearer …`, or else in `X-API-Key`.
fn api_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get(API_KEY).map(|value| value.as_bytes().trim_ascii()))
}
