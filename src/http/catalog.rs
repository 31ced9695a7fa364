//! `GET /v1/views` and `/v1/snapshots…`: what is served, and what it was made from.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, Problem, access::Access, conditional};
use crate::{
    config::Scope,
    feature::FeatureView,
    snapshot::{Manifest, SnapshotId, rfc3339},
};

/// The views of the current snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ViewList {
    /// The snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// Its views with their features.
    views: Vec<FeatureView>,
}

/// A snapshot in short.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotSummary {
    /// Its id.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    id: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// When it was built.
    #[schema(format = DateTime, example = "2011-12-10T02:00:12Z")]
    created_at: String,
    /// How many customers it holds.
    #[schema(example = 4372)]
    customers: u64,
    /// Equal fingerprints, equal data.
    #[schema(example = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab")]
    fingerprint: String,
    /// Whether it is the one that is served.
    #[schema(example = true)]
    current: bool,
}

/// The snapshots in the lake.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotList {
    /// The newest build first.
    snapshots: Vec<SnapshotSummary>,
}

/// The views and their features
#[utoipa::path(
    get, path = "/v1/views", tag = "catalog", operation_id = "list_views",
    responses(
        (status = 200, description = "The views of the current snapshot", body = ViewList),
        (status = 503, description = "Nothing is served yet", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn views(
    State(app): State<Arc<App>>,
    access: Access,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let served = app.serving.current()?;
    if let Some(response) = conditional::not_modified(&headers, &served, &access) {
        return Ok(response);
    }
    let views = ViewList {
        snapshot: served.manifest.id.to_string(),
        as_of: served.as_of.clone(),
        views: served.manifest.views.clone(),
    };
    Ok(([(header::ETAG, conditional::tag(&served, &access))], Json(views)).into_response())
}

/// The snapshots in the lake
#[utoipa::path(
    get, path = "/v1/snapshots", tag = "catalog", operation_id = "list_snapshots",
    responses(
        (status = 200, description = "The newest build first; at most a few seconds old", body = SnapshotList),
        (status = 503, description = "The lake cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn snapshots(State(app): State<Arc<App>>) -> Result<Json<SnapshotList>, Problem> {
    let current = app.serving.current().ok().map(|served| served.manifest.id.clone());
    let manifests = app.serving.snapshots().await?;
    let summary = |manifest: &Arc<Manifest>| SnapshotSummary {
        id: manifest.id.to_string(),
        as_of: rfc3339::format(manifest.as_of),
        created_at: rfc3339::format(manifest.created_at),
        customers: manifest.customers,
        fingerprint: manifest.fingerprint.clone(),
        current: current.as_ref() == Some(&manifest.id),
    };
    Ok(Json(SnapshotList { snapshots: manifests.iter().map(summary).collect() }))
}

/// A snapshot's manifest
#[utoipa::path(
    get, path = "/v1/snapshots/{id}", tag = "catalog", operation_id = "get_snapshot",
    params(("id" = String, Path, description = "The snapshot's id", example = "20111209T125000Z-5f0c2a9e")),
    responses(
        (status = 200, description = "What it holds, what it was made from, and how", body = Manifest),
        (status = 404, description = "No such snapshot", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The lake cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn snapshot(
    State(app): State<Arc<App>>,
    access: Access,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Manifest>, Problem> {
    let Path(id) = id.map_err(|_| Problem::snapshot_not_found("there is no such snapshot"))?;
    let id: SnapshotId = id
        .parse()
        .map_err(|error: crate::snapshot::SnapshotError| Problem::snapshot_not_found(error.to_string()))?;
    let served = app.serving.snapshot(&id).await?;
    let mut manifest = served.manifest.as_ref().clone();
    manifest.warnings.retain(|warning| warning.customer_id.as_ref().is_none_or(|id| !served.forgets(id)));
    if !access.may(Scope::Pii) {
        // Hints on an audience may name a value that it asks for.
        manifest.warnings.retain(|warning| warning.kind != "audience");
        for segment in &mut manifest.segments {
            segment.definition = served.manifest.definition_masked(segment).to_owned();
        }
    }
    // Parts are named by their first and last customers.
    for id in manifest.files.iter_mut().flat_map(|file| [&mut file.first, &mut file.last]) {
        *id = id.take().filter(|id| !served.forgets(id));
    }
    Ok(Json(manifest))
}
