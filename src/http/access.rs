//! Who may read what: the scope that each route needs, and what a handler knows of its caller.
//!
//! The one place that decides: `observe` asks here before any handler runs. A route that the table does not name is closed.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};

use super::{Problem, observe::UNMATCHED};
use crate::{config::Scope, snapshot::Manifest};

pub(super) mod contract;
mod gate;

use gate::Caller;
pub(super) use gate::{Admission, Gate};

/// The header for a key beside `Authorization: Bearer …`.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Public,
    /// A caller with this scope.
    Scope(Scope),
    /// It is not in the table.
    Unknown,
}

/// What each route needs, for all its methods.
#[rustfmt::skip]
const ROUTES: &[(&str, Need)] = &[
    (UNMATCHED, Need::Public),
    ("/healthz", Need::Public),
    ("/readyz", Need::Public),
    ("/health", Need::Public),
    ("/openapi.json", Need::Public),
    ("/docs", Need::Public),
    ("/docs/", Need::Public),
    ("/docs/{*file}", Need::Public),
    ("/metrics", Need::Scope(Scope::Metrics)),
    ("/v1/customers/{id}", Need::Scope(Scope::Features)),
    ("/v1/customers/batch", Need::Scope(Scope::Features)),
    ("/v1/customers/{id}/recommendations", Need::Scope(Scope::Features)),
    ("/v1/products/{id}/similar", Need::Scope(Scope::Features)),
    ("/v1/segments", Need::Scope(Scope::Features)),
    ("/v1/segments/{name}", Need::Scope(Scope::Features)),
    ("/v1/segments/{name}/customers", Need::Scope(Scope::Features)),
    ("/v1/churn", Need::Scope(Scope::Features)),
    ("/v1/audiences", Need::Scope(Scope::Features)),
    ("/v1/segments/{name}/export", Need::Scope(Scope::Export)),
    ("/v1/churn/export", Need::Scope(Scope::Export)),
    ("/v1/audiences/export", Need::Scope(Scope::Export)),
    ("/v1/segments/{name}/history", Need::Scope(Scope::Features)),
    ("/v1/customers/{id}/history", Need::Scope(Scope::Features)),
    ("/v1/migration", Need::Scope(Scope::Features)),
    ("/v1/overlap", Need::Scope(Scope::Features)),
    ("/v1/views", Need::Scope(Scope::Features)),
    ("/v1/models/{name}", Need::Scope(Scope::Features)),
    ("/v1/snapshots", Need::Scope(Scope::Features)),
    // Its manifest names files and shows bad lines.
    ("/v1/snapshots/{id}", Need::Scope(Scope::Admin)),
    ("/get-online-features", Need::Scope(Scope::Features)),
];

/// What the route `template` needs.
pub(super) fn need(template: &str) -> Need {
    ROUTES.iter().find(|(route, _)| *route == template).map_or(Need::Unknown, |(_, need)| *need)
}

/// Who asks, and what they may: an argument of every handler that writes features.
#[derive(Debug, Clone)]
pub(super) struct Access(Arc<Caller>);

impl Access {
    /// Whether the caller has `scope`.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.0.has(scope)
    }

    /// Whether the caller may ask by `feature` of `view`, as a filter, an order or a breakdown does: one may not ask by what one may not see.
    pub(super) fn may_ask_by(&self, manifest: &Manifest, view: &str, feature: &str) -> Result<(), Problem> {
        if self.may(Scope::Pii) || !manifest.is_personal(view, feature) {
            return Ok(());
        }
        let why = self.0.lacks(Scope::Pii);
        Err(why.about(&format!("`{view}.{feature}` is personal: one may not ask by what one may not see")))
    }

    /// The name of the caller's key; nothing of those who have none.
    pub(super) fn key(&self) -> Option<&str> {
        self.0.key()
    }
}

impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Self>().cloned();
        access.ok_or_else(|| Problem::internal("the request came to a handler without passing the gate"))
    }
}

/// The key that a request brings: that of `Authorization: Bearer …`, else that of `X-API-Key`.
fn brought(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get(API_KEY).map(|value| value.as_bytes().trim_ascii()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn what_the_table_does_not_name_is_closed() {
        assert_eq!(need("/v1/secrets"), Need::Unknown);
        assert_eq!(need("/metrics"), Need::Scope(Scope::Metrics));
        let mut names: Vec<&str> = ROUTES.iter().map(|(route, _)| *route).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
    }

    #[test]
    fn keys_come_in_either_header() {
        let of = |headers: &[(HeaderName, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            brought(&headers.collect()).map(|key| String::from_utf8_lossy(key).into_owned())
        };
        let (authorization, api_key) = (|value| (header::AUTHORIZATION, value), |value| (API_KEY, value));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[authorization("Bearer lrd_a")]), Some("lrd_a".to_owned()));
        assert_eq!(of(&[authorization("bearer  lrd_a ")]), Some("lrd_a".to_owned()));
        assert_eq!(of(&[authorization("Bearer ")]), Some(String::new()));
        assert_eq!(of(&[authorization("Basic lrd_a")]), None);
        assert_eq!(of(&[authorization("Basic x"), api_key("lrd_b")]), Some("lrd_b".to_owned()));
        assert_eq!(of(&[authorization("Bearer lrd_a"), api_key("lrd_b")]), Some("lrd_a".to_owned()));
    }
}
