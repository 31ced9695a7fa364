//! Lists and removes snapshots.

use std::collections::BTreeSet;

use chrono::{TimeDelta, Utc};
use futures::{StreamExt, stream};
use object_store::path::Path;

use super::{FOLDER, GRACE, Manifest, SnapshotError, SnapshotId, read_current, staged};
use crate::lake::Lake;

/// Minimum age at which a folder without a manifest counts as the remains of an interrupted build.
const ABANDONED: TimeDelta = TimeDelta::days(1);

/// Number of manifests that are read at a time.
const MANIFEST_READS: usize = 16;

/// Removals of [`prune`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Complete snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// Folders of interrupted builds.
    pub abandoned: Vec<String>,
    /// Folders of the kept staging that the newest build did not use.
    pub staged: Vec<String>,
}

/// Returns the ids of all snapshot folders, also of folders without a manifest.
///
/// # Errors
/// [`SnapshotError::Lake`].
pub async fn ids(lake: &Lake) -> Result<Vec<SnapshotId>, SnapshotError> {
    let folders = lake.folders(&Path::from(FOLDER)).await?;
    Ok(folders.into_iter().filter_map(|name| name.parse().ok()).collect())
}

/// Reads the manifests of all snapshots, newest build first. Unreadable manifests are logged and left out.
///
/// # Errors
/// [`SnapshotError::Lake`] if the lake cannot be listed.
pub async fn list(lake: &Lake) -> Result<Vec<Manifest>, SnapshotError> {
    let mut manifests = Vec::new();
    let ids = ids(lake).await?;
    let reads = stream::iter(ids).map(|id| async { (Manifest::read(lake, &id).await, id) });
    let mut reads = reads.buffer_unordered(MANIFEST_READS);
    while let Some((read, id)) = reads.next().await {
        match read {
            Ok(manifest) => manifests.push(manifest),
            Err(SnapshotError::Unknown { .. }) => {}
            Err(error) => {
                tracing::warn!(snapshot = %id, %error, "cannot read the manifest of a snapshot");
            }
        }
    }
    manifests.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    Ok(manifests)
}

/// Removes all snapshots but the `keep` newest (none, if `keep` is `None`), folders without a manifest that
/// are older than a day, and the kept staging that the newest build did not use. Keeps the current snapshot,
/// the previous one, those that were current within the last hour, and those of `protected`, such as one that
/// is being published.
///
/// # Errors
/// [`SnapshotError::Lake`] or [`SnapshotError::Damaged`]; earlier removals stand.
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
    pruned.staged = staged::prune(lake, now).await?;
    Ok(pruned)
}

/// Removes the snapshot `id`, even if readers still use it.
///
/// # Errors
/// [`SnapshotError::Lake`]; the remaining files are no snapshot, since the manifest is removed first.
pub async fn remove(lake: &Lake, id: &SnapshotId) -> Result<(), SnapshotError> {
    // Without the manifest, readers no longer see a snapshot.
    lake.delete(&id.path("manifest.json")).await?;
    remove_folder(lake, id.as_str()).await
}

/// Removes the snapshot `id` unless `CURRENT` names it, for example because a publish ran meanwhile. Returns
/// whether the snapshot was removed.
///
/// # Errors
/// Same errors as [`remove`], or [`SnapshotError::Damaged`] for `CURRENT`.
pub async fn remove_unused(lake: &Lake, id: &SnapshotId) -> Result<bool, SnapshotError> {
    let _lock = lake.publish_lock().await?;
    let current = read_current(lake).await?;
    if current.is_some_and(|current| current.snapshot == *id || current.previous.as_ref() == Some(id)) {
        return Ok(false);
    }
    remove(lake, id).await?;
    Ok(true)
}

pub(super) async fn remove_folder(lake: &Lake, name: &str) -> Result<(), SnapshotError> {
    for file in lake.list(&Path::from(format!("{FOLDER}/{name}"))).await? {
        lake.delete(&file.location).await?;
    }
    Ok(())
}
