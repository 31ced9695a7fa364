//! `CURRENT`: the object in the lake that holds the number of the last publish and the current snapshot.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::{Manifest, SnapshotError, SnapshotId, rfc3339};
use crate::lake::Lake;

/// Path of the object.
pub(super) const OBJECT: &str = "CURRENT";

/// Content of `CURRENT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Number of the publish. It only grows.
    pub publish: u64,
    /// The current snapshot, which readers get.
    pub snapshot: SnapshotId,
    /// The snapshot that was current before.
    pub previous: Option<SnapshotId>,
    /// Time of the publish.
    #[serde(with = "rfc3339")]
    pub published_at: DateTime<Utc>,
    /// Random name of the lake, shared only by copies of the lake. Publishers and services recognize by the
    /// name which data in Tair came from this lake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lake: Option<String>,
    /// Snapshots that were current within the hour before the publish. Readers may still use them.
    #[serde(default)]
    pub recent: Vec<Retired>,
}

/// A snapshot that is no longer current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Id of the snapshot.
    pub snapshot: SnapshotId,
    /// Time at which another snapshot became current.
    #[serde(with = "rfc3339")]
    pub until: DateTime<Utc>,
}

/// Time for which a snapshot is kept after it was current.
pub const GRACE: TimeDelta = TimeDelta::hours(1);

/// Reads `CURRENT`. Returns `None` before the first publish.
///
/// # Errors
/// [`SnapshotError::Lake`] or [`SnapshotError::Damaged`].
pub async fn read_current(lake: &Lake) -> Result<Option<Current>, SnapshotError> {
    let path = Path::from(OBJECT);
    match lake.get(&path).await {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| SnapshotError::damaged(&path, error.to_string())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Rejects a snapshot that is older than the current snapshot of `before`.
///
/// # Errors
/// [`SnapshotError::Older`] or [`SnapshotError::Lake`].
pub async fn check_newer(
    lake: &Lake,
    before: Option<&Current>,
    manifest: &Manifest,
) -> Result<(), SnapshotError> {
    let Some(before) = before else { return Ok(()) };
    match Manifest::read(lake, &before.snapshot).await {
        // A snapshot from the future, due to a wrong date in its raw data, must not block the repaired
        // snapshot.
        Ok(current) if manifest.as_of < current.as_of && current.as_of <= Utc::now() => {
            let (id, as_of) = (manifest.id.clone(), manifest.as_of);
            Err(SnapshotError::Older { id, as_of, current: current.as_of })
        }
        Ok(_) => Ok(()),
        // A current snapshot that is missing or unreadable must not block a good snapshot.
        Err(SnapshotError::Unknown { .. } | SnapshotError::Damaged { .. } | SnapshotError::Format { .. }) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Replaces the previous snapshot in `CURRENT` if it is a key of `replaced`, which maps old to new snapshots.
///
/// # Errors
/// [`SnapshotError::Lake`], [`SnapshotError::Damaged`], or [`SnapshotError::Write`].
pub async fn replace_previous(
    lake: &Lake,
    replaced: &BTreeMap<SnapshotId, SnapshotId>,
) -> Result<(), SnapshotError> {
    let _lock = lake.publish_lock().await?;
    let Some(current) = read_current(lake).await? else { return Ok(()) };
    match current.previous.as_ref().and_then(|previous| replaced.get(previous)) {
        Some(new) => write(lake, &Current { previous: Some(new.clone()), ..current }).await,
        None => Ok(()),
    }
}

/// Writes `CURRENT`.
pub(super) async fn write(lake: &Lake, current: &Current) -> Result<(), SnapshotError> {
    let text = serde_json::to_vec(current)
        .map_err(|error| SnapshotError::Write { object: OBJECT.to_owned(), source: error.into() })?;
    Ok(lake.put(&Path::from(OBJECT), Bytes::from(text)).await?)
}
