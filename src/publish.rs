//! Making a snapshot the one that readers get.
//!
//! Knows snapshots and `CURRENT`; nothing of how a snapshot is built or read.

use crate::{
    lake::Lake,
    snapshot::{Current, Manifest, SnapshotError, SnapshotId, list, publish_to_lake, read_current},
};

/// Publishes the snapshot `id`, or the newest build where none is named.
///
/// # Errors
/// Of a snapshot that does not exist, that is older than the current one (unless `force`), or of the lake.
pub async fn publish(lake: &Lake, id: Option<&SnapshotId>, force: bool) -> Result<Current, SnapshotError> {
    let manifest = match id {
        Some(id) => Manifest::read(lake, id).await?,
        None => list(lake).await?.into_iter().next().ok_or(SnapshotError::NoCurrent)?,
    };
    publish_to_lake(lake, &manifest, force).await
}

/// Publishes the snapshot that was the current one before.
///
/// # Errors
/// [`SnapshotError::NoPrevious`], or as [`publish`].
pub async fn rollback(lake: &Lake) -> Result<Current, SnapshotError> {
    let current = read_current(lake).await?.ok_or(SnapshotError::NoCurrent)?;
    let previous = current.previous.ok_or(SnapshotError::NoPrevious)?;
    publish(lake, Some(&previous), true).await
}
