//! The gate: finds the caller of a request by its API key, and checks the scope, the expiry and the rate
//! limit.

use std::{borrow::Cow, collections::HashMap, num::NonZeroU32, sync::Arc, time::Instant};

use arc_swap::{ArcSwap, Guard};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use subtle::ConstantTimeEq;

use crate::{
    config::{Config, KeyConfig, Scope, digest},
    http::{Problem, access::Access, route_table::Need},
    telemetry::Metrics,
};

/// The header for a key besides `Authorization: Bearer …`.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// SHA-256 of a key.
type KeyDigest = [u8; 32];

/// The callers, who change with the configured keys.
#[derive(Debug)]
pub(crate) struct Gate {
    callers: ArcSwap<Callers>,
    /// Scopes of callers without a key; `None` if there are no such callers.
    anonymous: Option<&'static [Scope]>,
}

/// All callers.
#[derive(Debug)]
pub(crate) struct Callers {
    /// Keys by the first bytes of their digests. The digests are compared in constant time.
    keys: HashMap<[u8; 8], Vec<KeyHolder>>,
    /// Callers without a key, where the configuration allows them.
    anonymous: Option<Access>,
    /// Rate limit of callers without a key.
    anonymous_rate: Option<NonZeroU32>,
}

/// A configured key and the access that it gives.
#[derive(Debug, Clone)]
struct KeyHolder {
    digest: KeyDigest,
    config: KeyConfig,
    access: Access,
}

impl Gate {
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        let anonymous = if config.http.anonymous {
            Some(&[Scope::Features, Scope::Metrics][..])
        } else if config.keys.is_empty() && config.http.listen.ip().is_loopback() {
            Some(&Scope::ALL[..])
        } else {
            None
        };
        let none = Callers { keys: HashMap::new(), anonymous: None, anonymous_rate: None };
        let callers = ArcSwap::from_pointee(none.with_keys(&config.keys, metrics));
        let gate = Self { callers, anonymous };
        gate.replace_anonymous(config.http.anonymous_rate, metrics);
        gate
    }

    fn replace_anonymous(&self, rate: Option<NonZeroU32>, metrics: &Metrics) {
        let anonymous = self.anonymous.map(|scopes| Access::anonymous(scopes, rate, metrics));
        self.callers.rcu(|callers| Callers {
            keys: callers.keys.clone(),
            anonymous: anonymous.clone(),
            anonymous_rate: rate,
        });
    }

    /// Changes the rate limit of callers without a key, unless it is the same.
    pub(super) fn set_anonymous_rate(&self, rate: Option<NonZeroU32>, metrics: &Metrics) {
        if self.callers.load().anonymous_rate != rate {
            self.replace_anonymous(rate, metrics);
        }
    }

    /// Returns the callers of this moment.
    pub(super) fn callers(&self) -> Guard<Arc<Callers>> {
        self.callers.load()
    }

    /// Replaces the keys with `keys`. Keys that did not change keep their rate limits.
    ///
    /// Returns `false` and changes nothing if keys become none or none become keys: either decides what
    /// callers without a key may do, which only a restart changes.
    pub(crate) fn replace_keys(&self, keys: &[KeyConfig], metrics: &Metrics) -> bool {
        if self.callers.load().has_keys() == keys.is_empty() {
            return false;
        }
        self.callers.rcu(|callers| callers.with_keys(keys, metrics));
        true
    }
}

impl Callers {
    /// Returns the callers with the keys `keys`, and the same callers without a key.
    fn with_keys(&self, keys: &[KeyConfig], metrics: &Metrics) -> Self {
        let mut holders: HashMap<[u8; 8], Vec<KeyHolder>> = HashMap::new();
        for config in keys {
            // The configuration refuses a key whose digest is none.
            let Some(digest) = config.digest() else { continue };
            let known = self.keys.get(&prefix(&digest)).into_iter().flatten();
            let known = known.into_iter().find(|known| known.config == *config).cloned();
            holders.entry(prefix(&digest)).or_default().push(known.unwrap_or_else(|| KeyHolder {
                digest,
                config: config.clone(),
                access: Access::of_key(config, metrics),
            }));
        }
        let Self { anonymous, anonymous_rate, .. } = self;
        Self { keys: holders, anonymous: anonymous.clone(), anonymous_rate: *anonymous_rate }
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
            let digest = digest(&key);
            let known = self.keys.get(&prefix(&digest)).into_iter().flatten();
            let found = known.into_iter().find(|known| known.digest.ct_eq(&digest).into());
            return found.map(|found| &found.access).ok_or_else(|| Problem::unauthorized("unknown API key"));
        }
        match &self.anonymous {
            // If keys exist, a caller without one gets 401 (send a key) rather than 403.
            Some(access) if access.has(scope) || !self.has_keys() => Ok(access),
            _ => {
                let how = "send it as `Authorization: Bearer …`, as `X-API-Key`, or as the password of Basic";
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

/// Returns the key in `Authorization: Bearer …`, else in `X-API-Key`, else the password in `Authorization:
/// Basic …`. Basic comes last, since a proxy may ask for it for itself and pass it on.
fn api_key(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    if let Some(key) = authorization.and_then(|value| credentials(value, b"bearer ")) {
        return Some(Cow::Borrowed(key));
    }
    if let Some(key) = headers.get(API_KEY) {
        return Some(Cow::Borrowed(key.as_bytes().trim_ascii()));
    }
    authorization.and_then(|value| credentials(value, b"basic ")).map(|encoded| Cow::Owned(password(encoded)))
}

/// Returns what follows `scheme` in the value of `Authorization`.
fn credentials<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (found, credentials) = value.split_at_checked(scheme.len())?;
    found.eq_ignore_ascii_case(scheme).then(|| credentials.trim_ascii())
}

/// Returns the password in credentials of the scheme Basic. Malformed credentials have an empty one, which is
/// no key.
fn password(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = BASE64.decode(encoded).unwrap_or_default();
    let colon = decoded.iter().position(|byte| *byte == b':').unwrap_or(decoded.len());
    decoded.drain(..decoded.len().min(colon + 1));
    decoded
}

/// Base64 of Basic, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_what_follows_the_first_colon() {
        let text = |encoded: &str| String::from_utf8(password(encoded.as_bytes())).expect("text");
        assert_eq!(text("ZXhjZWw6bHJkX2E6Yg=="), "lrd_a:b");
        assert_eq!(text("ZXhjZWw6bHJkX2E6Yg"), "lrd_a:b");
        assert_eq!(text("OmxyZF9h"), "lrd_a");
        for malformed in ["", "%%%", "ZXhjZWw=", "ZXhjZWw6"] {
            assert_eq!(text(malformed), "", "{malformed}");
        }
    }
}
