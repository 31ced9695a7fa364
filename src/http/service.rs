//! `/healthz`, `/readyz`, `/metrics`: for those who run the service.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;

/// That the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `alive`.
    #[schema(example = "alive")]
    status: &'static str,
}

/// Whether requests should be sent here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// Whether a snapshot is served, a tier can answer, and the process is not stopping.
    #[schema(example = true)]
    ready: bool,
    /// Whether the process is stopping.
    #[schema(example = false)]
    draining: bool,
    /// The tiers.
    tiers: Tiers,
}

/// The state of each tier.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tiers {
    /// Tair; null where none is configured.
    tair: Option<TairTier>,
    /// The snapshot in the lake.
    snapshot: SnapshotTier,
}

/// The state of the tier of Tair.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TairTier {
    /// Connections that stand.
    #[schema(example = 2)]
    connected: usize,
    /// Connections that there should be.
    #[schema(example = 2)]
    connections: usize,
    /// Whether reads go there. If not, the snapshot answers.
    #[schema(example = true)]
    used: bool,
    /// Whether reads are kept back after too many that failed.
    #[schema(example = false)]
    breaker_open: bool,
    /// The number of the publish that it holds.
    #[schema(example = 3)]
    publish: Option<u64>,
}

/// The state of the snapshot tier.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotTier {
    /// Whether the lake answered when it was last asked for CURRENT.
    #[schema(example = true)]
    lake_answers: bool,
    /// The snapshot that is served.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: Option<String>,
    /// The number of its publish.
    #[schema(example = 3)]
    publish: Option<u64>,
}

/// Whether the process lives
#[utoipa::path(
    get, path = "/healthz", tag = "service", operation_id = "health",
    responses((status = 200, description = "It does", body = Health))
)]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Whether requests should be sent here
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "ready",
    responses(
        (status = 200, description = "Ready", body = Readiness),
        (status = 503, description = "Nothing is served yet, no tier answers, or the process is stopping", body = Readiness),
    )
)]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let draining = app.draining.load(Ordering::Relaxed);
    let served = app.serving.current().ok();
    let lake_answers = app.serving.lake_answers();
    let snapshot = SnapshotTier {
        lake_answers,
        snapshot: served.as_ref().map(|served| served.manifest.id.to_string()),
        publish: served.as_ref().map(|served| served.publish),
    };
    let tair = app.serving.online().map(|state| TairTier {
        connected: state.connections.connected,
        connections: state.connections.all,
        used: state.used,
        breaker_open: state.breaker_open,
        publish: state.marker.map(|marker| marker.publish),
    });
    let ready = ready(&app);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, draining, tiers: Tiers { tair, snapshot } }))
}

/// Whether a snapshot is served, a tier can answer, and the process is not stopping.
pub(super) fn ready(app: &App) -> bool {
    let answers = app.serving.lake_answers() || app.serving.online().is_some_and(|tair| tair.used);
    app.serving.current().is_ok() && answers && !app.draining.load(Ordering::Relaxed)
}

/// Metrics in the Prometheus text format
#[utoipa::path(
    get, path = "/metrics", tag = "service", operation_id = "metrics",
    responses((status = 200, description = "All metrics", body = String, content_type = "text/plain; version=0.0.4"))
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.serving.observe();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render()).into_response()
}
