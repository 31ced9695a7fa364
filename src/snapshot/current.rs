//! `CURRENT`: the number of the last publish and the snapshot that it made the current one.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::{Manifest, SnapshotError, SnapshotId, rfc3339};
use crate::lake::Lake;

pub(super) const OBJECT: &str = "CURRENT";

/// What `CURRENT` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// The number of the publish; it only grows.
    pub publish: u64,
    /// The snapshot that readers get.
    pub snapshot: SnapshotId,
    /// The one before.
    pub previous: Option<SnapshotId>,
    /// When it was published.
    #[serde(with = "rfc3339")]
    pub published_at: DateTime<Utc>,
    /// A text that no other lake has but a copy of this one, by which a publisher and a service know what in
    /// Tair is of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lake: Option<String>,
    /// The snapshots that stopped being current within the hour before, which readers may still hold.
    #[serde(default)]
    pub recent: Vec<Retired>,
}

/// A snapshot that was the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Until when it was the current one.
    #[serde(with = "rfc3339")]
    pub until: DateTime<Utc>,
}

/// How long a snapshot is kept after it stopped being the current one.
pub const GRACE: TimeDelta = TimeDelta::hours(1);

/// `CURRENT`, or nothing where nothing was published yet.
///
/// # Errors
/// Of the lake, or of a content that is no `CURRENT`.
pub async fn read_current(lake: &Lake) -> Result<Option<Current>, SnapshotError> {
    match lake.get(&Path::from(OBJECT)).await {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| SnapshotError::Damaged { object: OBJECT.to_owned(), why: error.to_string() }),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a snapshot that is older than the current one, `before`.
///
/// # Errors
/// [`SnapshotError::Older`], or of the lake.
pub async fn check_newer(
    lake: &Lake,
    before: Option<&Current>,
    manifest: &Manifest,
) -> Result<(), SnapshotError> {
    let Some(before) = before else { return Ok(()) };
    match Manifest::read(lake, &before.snapshot).await {
        // One from the future, by a wrong date in its raw data, must not keep the repaired one out.
        Ok(current) if manifest.as_of < current.as_of && current.as_of <= Utc::now() => {
            let (id, as_of) = (manifest.id.clone(), manifest.as_of);
            Err(SnapshotError::Older { id, as_of, current: current.as_of })
        }
        // A current snapshot that is gone or unreadable must not keep a good one from taking its place.
        Ok(_)
        | Err(SnapshotError::Unknown { .. } | SnapshotError::Damaged { .. } | SnapshotError::Format { .. }) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Names another previous snapshot where `CURRENT` names one of `replaced`, old → new.
///
/// # Errors
/// Of the lake.
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

async fn write(lake: &Lake, current: &Current) -> Result<(), SnapshotError> {
    let text = serde_json::to_vec(current)
        .map_err(|error| SnapshotError::Write { object: OBJECT.to_owned(), source: error.into() })?;
    Ok(lake.put(&Path::from(OBJECT), Bytes::from(text)).await?)
}

/// A text that nobody else has.
#[must_use]
pub fn token() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// Makes `manifest` the current snapshot, under the number that Tair has it under, in the name of the lake
/// that is written there, or else under the next one. Publishing the current snapshot again without a number
/// changes nothing.
///
/// # Errors
/// [`SnapshotError::Older`] unless `force`, [`SnapshotError::Overtaken`], or of the lake.
pub async fn publish_to_lake(
    lake: &Lake,
    manifest: &Manifest,
    online: Option<(u64, String)>,
    force: bool,
) -> Result<Current, SnapshotError> {
    let _lock = lake.publish_lock().await?;
    let before = read_current(lake).await?;
    if let Some(before) = before.as_ref().filter(|before| before.snapshot == manifest.id && online.is_none())
    {
        return Ok(before.clone());
    }
    if !force {
        check_newer(lake, before.as_ref(), manifest).await?;
    }
    let next = before.as_ref().map_or(1, |before| before.publish + 1);
    let (number, named) = online.unzip();
    if let Some(number) = number.filter(|number| *number < next) {
        return Err(SnapshotError::Overtaken { number, found: next - 1 });
    }
    let now = rfc3339::now();
    let mut recent: Vec<Retired> = before.iter().flat_map(|before| before.recent.clone()).collect();
    recent.retain(|retired| now - retired.until < GRACE && retired.snapshot != manifest.id);
    let retired = before.iter().filter(|before| before.snapshot != manifest.id);
    recent.extend(retired.map(|before| Retired { snapshot: before.snapshot.clone(), until: now }));
    // What was written anew takes the place of what it was written from.
    let in_place =
        |before: &SnapshotId| *before == manifest.id || manifest.rewritten_from.as_ref() == Some(before);
    let lake_name = before.as_ref().and_then(|before| before.lake.clone());
    let previous = before
        .and_then(|before| if in_place(&before.snapshot) { before.previous } else { Some(before.snapshot) });
    let current = Current {
        publish: number.unwrap_or(next),
        snapshot: manifest.id.clone(),
        previous,
        published_at: now,
        lake: named.or(lake_name).or_else(|| Some(token())),
        recent,
    };
    write(lake, &current).await?;
    Ok(current)
}
