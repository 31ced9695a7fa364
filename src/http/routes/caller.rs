//! `GET /v1/access`: the caller's key and scopes.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{config::Scope, http::access::Access};

/// The caller's key and scopes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallerScopes {
    /// Name of the API key; null for callers without one.
    #[schema(example = "dashboard")]
    key: Option<String>,
    /// Scopes of the caller.
    #[schema(example = json!(["features", "pii"]))]
    scopes: Vec<&'static str>,
}

/// Get the scopes of the caller
#[utoipa::path(
    get, path = "/v1/access", tag = "service", operation_id = "get_access",
    responses((status = 200, description = "Name of the key, and its scopes", body = CallerScopes))
)]
pub(crate) async fn get_access(access: Access) -> Json<CallerScopes> {
    let scopes = Scope::ALL.into_iter().filter(|scope| access.has(*scope)).map(Scope::as_str).collect();
    Json(CallerScopes { key: access.key().map(str::to_owned), scopes })
}
