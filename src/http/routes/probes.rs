//! `/healthz`, `/readyz`, `/metrics`: probes and metrics for operators.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;

/// The liveness of the process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `alive`.
    #[schema(example = "alive")]
    status: &'static str,
}

/// The readiness of the service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Whether a snapshot is active, a tier can answer, and the process is not shutting down.
    #[schema(example = true)]
    ready: bool,
    /// Whether the process is shutting down.
    #[schema(example = false)]
    draining: bool,
    /// The tiers.
    tiers: Tiers,
}

/// The state of each tier.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tiers {
    /// Tair; null where none is configured.
    tair: Option<TairTier>,
    /// The snapshot in the lake.
    snapshot: SnapshotTier,
}

/// The state of the Tair tier.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TairTier {
    /// Number of open connections.
    #[schema(example = 2)]
    connected: usize,
    /// Number of configured connections.
    #[schema(example = 2)]
    connections: usize,
    /// Whether reads go to Tair. If not, the snapshot answers.
    #[schema(example = true)]
    used: bool,
    /// Whether the circuit breaker is open after too many failed reads.
    #[schema(example = false)]
    breaker_open: bool,
    /// Number of the publish that Tair holds.
    #[schema(example = 3)]
    publish: Option<u64>,
}

/// The state of the snapshot tier.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SnapshotTier {
    /// Whether the lake answered the last request for CURRENT.
    #[schema(example = true)]
    lake_answers: bool,
    /// Id of the active snapshot; null if none is active, and always null on a service with API keys.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: Option<String>,
    /// Number of its publish; null if `snapshot` is null.
    #[schema(example = 3)]
    publish: Option<u64>,
}

/// Liveness probe
#[utoipa::path(
    get, path = "/healthz", tag = "service", operation_id = "health",
    responses((status = 200, description = "The process is alive", body = Health))
)]
pub(crate) async fn health() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Readiness probe
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "ready",
    responses(
        (status = 200, description = "Ready", body = Readiness),
        (status = 503, description = "No active snapshot, no tier answers, or the process is shutting down",
            body = Readiness),
    )
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let draining = app.draining.load(Ordering::Relaxed);
    let served = app.serving.current().ok();
    let lake_answers = app.serving.lake_answers();
    // A service with keys tells nothing of its data to callers without one.
    let shown = if app.layers.has_keys() { None } else { served.as_ref() };
    let snapshot = SnapshotTier {
        lake_answers,
        snapshot: shown.map(|served| served.manifest.id.to_string()),
        publish: shown.map(|served| served.publish),
    };
    let tair = app.serving.online().map(|state| TairTier {
        connected: state.connections.connected,
        connections: state.connections.all,
        used: state.used,
        breaker_open: state.breaker_open,
        publish: state.marker.map(|marker| marker.publish),
    });
    let ready = app.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, draining, tiers: Tiers { tair, snapshot } }))
}

/// Get metrics in the Prometheus text format
#[utoipa::path(
    get, path = "/metrics", tag = "service", operation_id = "metrics",
    responses((status = 200, description = "All metrics", body = String,
        content_type = "text/plain; version=0.0.4"))
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.serving.observe();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render()).into_response()
}
