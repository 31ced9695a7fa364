//! `GET /v1/snapshots…`: the snapshots in the lake, and their manifests.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    config::Scope,
    http::{
        App, Problem,
        access::Access,
        extract::PathParam,
        reply::{
            MinCount,
            audit::{self, PersonalData},
        },
    },
    serving::ReadError,
    snapshot::{Manifest, SnapshotId, rfc3339},
};

/// A snapshot in short.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SnapshotSummary {
    /// Id of the snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    id: String,
    /// The instant that the snapshot describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// Time of the build.
    #[schema(format = DateTime, example = "2011-12-10T02:00:12Z")]
    created_at: String,
    /// Number of customers; null where the snapshot cannot be searched for erased customers.
    #[schema(example = 4372)]
    customers: Option<u64>,
    /// Fingerprint of the data: snapshots with equal fingerprints hold equal data.
    #[schema(example = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab")]
    fingerprint: String,
    /// Whether this snapshot is served.
    #[schema(example = true)]
    current: bool,
}

/// The snapshots in the lake.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SnapshotList {
    /// The newest build first.
    snapshots: Vec<SnapshotSummary>,
}

/// List snapshots
#[utoipa::path(
    get, path = "/v1/snapshots", tag = "catalog", operation_id = "list_snapshots",
    responses(
        (status = 200, description = "The newest build first; the list is at most a few seconds old",
            body = SnapshotList),
    )
)]
pub(crate) async fn list_snapshots(State(app): State<Arc<App>>) -> Result<Json<SnapshotList>, Problem> {
    let current = app.serving.current().ok().map(|served| served.manifest.id.clone());
    let manifests = app.serving.snapshots().await?;
    let counts = app.serving.customer_counts(&manifests).await;
    let mut snapshots = Vec::with_capacity(manifests.len());
    for (manifest, customers) in manifests.iter().zip(counts) {
        // The snapshot was removed after the list was read.
        if matches!(customers, Err(ReadError::UnknownSnapshot(_))) {
            continue;
        }
        snapshots.push(SnapshotSummary {
            id: manifest.id.to_string(),
            as_of: rfc3339::format(manifest.as_of),
            created_at: rfc3339::format(manifest.created_at),
            customers: customers.ok(),
            fingerprint: manifest.fingerprint.clone(),
            current: current.as_ref() == Some(&manifest.id),
        });
    }
    Ok(Json(SnapshotList { snapshots }))
}

/// Get the manifest of a snapshot
#[utoipa::path(
    get, path = "/v1/snapshots/{id}", tag = "catalog", operation_id = "get_snapshot",
    params(("id" = String, Path, description = "Id of the snapshot", example = "20111209T125000Z-5f0c2a9e")),
    responses(
        (status = 200, description = "Content, sources, stages and warnings of the build", body = Manifest),
        (status = 404, description = "No such snapshot"),
    )
)]
pub(crate) async fn get_snapshot(
    State(app): State<Arc<App>>,
    access: Access,
    PathParam(id): PathParam<SnapshotId>,
) -> Result<Response, Problem> {
    let served = app.serving.snapshot(&id).await?;
    let pii = access.has(Scope::Pii);
    let (mut manifest, least) = (served.manifest_for(pii), MinCount::of(&app, &access));
    let few: BTreeSet<String> = manifest
        .segments
        .iter()
        .filter(|segment| least.withholds(segment.size))
        .map(|segment| segment.name.clone())
        .collect();
    manifest.segments.retain(|segment| !few.contains(&segment.name));
    manifest.files.retain(|file| file.segment.as_ref().is_none_or(|name| !few.contains(name)));
    let behind = manifest.segments.iter().flat_map(|segment| served.manifest.personal_behind(segment));
    let asked_by: BTreeSet<String> = if pii { behind.collect() } else { BTreeSet::new() };
    let mut response = Json(manifest).into_response();
    audit::note_asked(&mut response, &access, PersonalData::asked(asked_by));
    Ok(response)
}
