//! Whose key a request brings, and whether it may pass: scope and rate.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::http::HeaderMap;
use prometheus::IntCounter;
use subtle::ConstantTimeEq;

use super::{super::Problem, Access, Need, brought};
use crate::{
    config::{ANONYMOUS, HttpConfig, KeyConfig, Scope, digest},
    telemetry::Metrics,
};

/// A key's SHA-256.
type KeyDigest = [u8; 32];

/// All callers.
#[derive(Debug)]
pub(in crate::http) struct Gate {
    /// Those with keys, by the first bytes of their keys' digests. The rest is compared in constant time.
    keys: HashMap<[u8; 8], Vec<(KeyDigest, Access)>>,
    /// Who brings no key.
    keyless: Option<Access>,
}

impl Gate {
    pub(in crate::http) fn new(keys: &[KeyConfig], config: &HttpConfig, metrics: &Metrics) -> Self {
        let access = |caller| Access(Arc::new(caller));
        let keyless = if config.anonymous {
            Some(&[Scope::Features, Scope::Metrics][..])
        } else {
            (keys.is_empty() && config.listen.ip().is_loopback()).then_some(&Scope::ALL[..])
        };
        let keyless = keyless.map(|scopes| access(Caller::new(None, scopes, None, metrics)));
        let mut gate = Self { keys: HashMap::new(), keyless };
        for key in keys {
            // The configuration has checked that it is one.
            if let Some(digest) = key.digest() {
                let caller = Caller::new(Some(&key.name), &key.scopes, key.rate, metrics);
                gate.keys.entry(start(&digest)).or_default().push((digest, access(caller)));
            }
        }
        gate
    }

    /// Whether answers may differ from caller to caller.
    pub(in crate::http) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether a request with `headers`, come at `now`, may have what has that `need`.
    pub(in crate::http) fn admit(&self, need: Need, headers: &HeaderMap, now: Instant) -> Admission<'_> {
        let scope = match need {
            Need::Public => return Admission { access: None, refused: None },
            Need::Unknown => {
                return Admission {
                    access: None,
                    refused: Some(Problem::forbidden("this is open to nobody")),
                };
            }
            Need::Scope(scope) => scope,
        };
        match self.caller(scope, headers) {
            Ok(access) => Admission { refused: access.0.check(scope, now).err(), access: Some(access) },
            Err(problem) => Admission { access: None, refused: Some(problem) },
        }
    }

    fn caller(&self, scope: Scope, headers: &HeaderMap) -> Result<&Access, Problem> {
        if let Some(key) = brought(headers).filter(|_| self.has_keys()) {
            let digest = digest(key);
            let found = self.keys.get(&start(&digest)).into_iter().flatten();
            let found =
                found.filter(|(known, _)| known.ct_eq(&digest).into()).map(|(_, access)| access).next();
            return found.ok_or_else(|| Problem::unauthorized("nobody has that key"));
        }
        // Who could come with a key is asked for one rather than refused.
        let keyless = self.keyless.as_ref().filter(|access| access.may(scope) || !self.has_keys());
        keyless.ok_or_else(|| {
            let how = "send it as `Authorization: Bearer …` or as `X-API-Key`";
            Problem::unauthorized(format!("this needs a key with the scope `{scope}`; {how}"))
        })
    }
}

/// What the gate says of a request.
#[derive(Debug)]
pub(in crate::http) struct Admission<'a> {
    /// Who asks; nobody where it makes no difference, or is not known.
    pub(in crate::http) access: Option<&'a Access>,
    /// Why the request may not pass.
    pub(in crate::http) refused: Option<Problem>,
}

fn start(digest: &KeyDigest) -> [u8; 8] {
    std::array::from_fn(|at| digest[at])
}

/// A caller: the holder of a key, or all that have none.
#[derive(Debug)]
pub(super) struct Caller {
    key: Option<String>,
    /// A bit for each scope.
    scopes: u8,
    bucket: Option<Bucket>,
    passed: IntCounter,
    forbidden: IntCounter,
    limited: IntCounter,
}

impl Caller {
    fn new(key: Option<&str>, scopes: &[Scope], rate: Option<NonZeroU32>, metrics: &Metrics) -> Self {
        let counter = |outcome| metrics.key_requests.with_label_values(&[key.unwrap_or(ANONYMOUS), outcome]);
        Self {
            key: key.map(str::to_owned),
            scopes: scopes.iter().fold(0, |all, scope| all | bit(*scope)),
            bucket: rate.map(Bucket::new),
            passed: counter("passed"),
            forbidden: counter("forbidden"),
            limited: counter("limited"),
        }
    }

    pub(super) fn has(&self, scope: Scope) -> bool {
        self.scopes & bit(scope) != 0
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether the caller may have what needs `scope` at `now`.
    pub(super) fn check(&self, scope: Scope, now: Instant) -> Result<(), Problem> {
        if self.bucket.as_ref().is_some_and(|bucket| !bucket.take(now)) {
            self.limited.inc();
            let key = self.key().unwrap_or(ANONYMOUS);
            return Err(Problem::too_many_requests(format!("the key `{key}` has a rate, and is past it")));
        }
        if !self.has(scope) {
            self.forbidden.inc();
            return Err(self.lacks(scope));
        }
        self.passed.inc();
        Ok(())
    }

    /// That the caller has not got `scope`.
    pub(super) fn lacks(&self, scope: Scope) -> Problem {
        Problem::forbidden(match self.key() {
            Some(key) => format!("the key `{key}` lacks the scope `{scope}`"),
            None => format!("the scope `{scope}` needs a key, and this service has none"),
        })
    }
}

fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

const SECOND: u64 = 1_000_000_000;

/// A token bucket that holds a second's worth, kept as the instant at which it will be full again.
#[derive(Debug)]
struct Bucket {
    start: Instant,
    /// Nanoseconds that a token takes to come.
    token: u64,
    /// Nanoseconds since the start.
    full_at: AtomicU64,
}

impl Bucket {
    fn new(rate: NonZeroU32) -> Self {
        let token = SECOND / u64::from(rate.get());
        Self { start: Instant::now(), token: token.max(1), full_at: AtomicU64::new(0) }
    }

    /// Takes a token, if there is one.
    fn take(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.start).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX / 2);
        let taken =
            |full_at: u64| Some(full_at.max(now) + self.token).filter(|full_at| *full_at <= now + SECOND);
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_holds_a_second_and_fills_again() {
        for rate in [1, 3, 100] {
            let bucket = Bucket::new(NonZeroU32::new(rate).expect("not zero"));
            let begin = bucket.start;
            let taken = |at: Duration| (0..1_000).filter(|_| bucket.take(begin + at)).count();
            assert_eq!(taken(Duration::ZERO), rate as usize, "{rate}");
            assert_eq!(taken(Duration::from_nanos(1)), 0, "{rate}");
            assert_eq!(taken(Duration::from_secs(1) / rate), 1, "{rate}");
            assert_eq!(taken(Duration::from_mins(1)), rate as usize, "{rate}");
        }
    }
}
