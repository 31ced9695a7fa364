//! Which snapshots there are, and which may go.

use std::collections::BTreeSet;

use chrono::{TimeDelta, Utc};
use futures::{StreamExt, stream};
use object_store::path::Path;

use super::{FOLDER, GRACE, Manifest, SnapshotError, SnapshotId, read_current};
use crate::lake::Lake;

/// How old a folder without a manifest must be before it is taken for the rest of a build that died.
const ABANDONED: TimeDelta = TimeDelta::days(1);

/// Manifests that are read at a time.
const MANIFEST_READS: usize = 16;

/// What [`prune`] removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Whole snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// Folders of builds that never ended.
    pub abandoned: Vec<String>,
}

/// The manifests of all snapshots, newest build first. What cannot be read is left out and logged.
///
/// # Errors
/// Of a lake that cannot be listed.
pub async fn list(lake: &Lake) -> Result<Vec<Manifest>, SnapshotError> {
    let mut manifests = Vec::new();
    let ids = lake
        .folders(&Path::from(FOLDER))
        .await?
        .into_iter()
        .filter_map(|name| name.parse::<SnapshotId>().ok());
    let reads = stream::iter(ids).map(|id| async { (Manifest::read(lake, &id).await, id) });
    let mut reads = reads.buffer_unordered(MANIFEST_READS);
    while let Some((read, id)) = reads.next().await {
        match read {
            Ok(manifest) => manifests.push(manifest),
            Err(SnapshotError::Unknown { .. }) => {}
            Err(error) => {
                tracing::warn!(snapshot = %id, %error, "left a snapshot out whose manifest cannot be read");
            }
        }
    }
    manifests.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    Ok(manifests)
}

/// Removes all but the `keep` newest snapshots (nothing where `keep` is none), and folders without a manifest that are
/// older than a day. The current snapshot, the previous one, those that were current within the last hour, and those of
/// `protected`, as one being published, stay.
///
/// # Errors
/// Of the lake; what was removed until then is gone.
pub async fn prune(
    lake: &Lake,
    keep: Option<usize>,
    protected: &[SnapshotId],
) -> Result<Pruned, SnapshotError> {
    let _lock = lake.publish_lock().await?;
    let mut pruned = Pruned::default();
    let now = Utc::now();
    let mut protected: BTreeSet<SnapshotId> = protected.iter().cloned().collect();
    if let Some(current) = read_current(lake).await? {
        protected.insert(current.snapshot);
        protected.extend(current.previous);
        protected.extend(current.recent.into_iter().filter(|r| now - r.until < GRACE).map(|r| r.snapshot));
    }
    if let Some(keep) = keep {
        for manifest in list(lake).await?.into_iter().skip(keep) {
            if protected.contains(&manifest.id) {
                continue;
            }
            remove(lake, &manifest.id).await?;
            pruned.snapshots.push(manifest.id);
        }
    }
    for name in lake.folders(&Path::from(FOLDER)).await? {
        let folder = Path::from(format!("{FOLDER}/{name}"));
        let files = lake.list(&folder).await?;
        let complete = files.iter().any(|file| file.location.filename() == Some("manifest.json"));
        let newest = files.iter().map(|file| file.last_modified).max();
        if !complete && newest.is_some_and(|newest| now - newest > ABANDONED) {
            remove_folder(lake, &name).await?;
            pruned.abandoned.push(name);
        }
    }
    Ok(pruned)
}

/// Removes the snapshot `id`, whoever may still read it.
///
/// # Errors
/// Of the lake; what is left of it is no snapshot.
pub async fn remove(lake: &Lake, id: &SnapshotId) -> Result<(), SnapshotError> {
    // The manifest goes first: from then on no reader takes the folder for a snapshot.
    lake.delete(&id.path("manifest.json")).await?;
    remove_folder(lake, id.as_str()).await
}

pub(super) async fn remove_folder(lake: &Lake, name: &str) -> Result<(), SnapshotError> {
    for file in lake.list(&Path::from(format!("{FOLDER}/{name}"))).await? {
        lake.delete(&file.location).await?;
    }
    Ok(())
}
