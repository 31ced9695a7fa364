//! Change of the current snapshot: `CURRENT` is written, under the lock if the lake has one.

use super::{
    Current, GRACE, Manifest, Retired, SnapshotError, SnapshotId, check_newer, current::write, list,
    read_current, rfc3339, token,
};
use crate::lake::Lake;

/// Makes `manifest` the current snapshot. `online` is the publish number and the lake name in Tair; without
/// Tair, the number is the next one. Publishing the current snapshot again without Tair changes nothing.
///
/// # Errors
/// [`SnapshotError::Unknown`], [`SnapshotError::Older`] unless `force`, [`SnapshotError::Overtaken`],
/// [`SnapshotError::Lake`], [`SnapshotError::Damaged`], [`SnapshotError::Write`], or
/// [`SnapshotError::Random`].
pub async fn publish_to_lake(
    lake: &Lake,
    manifest: &Manifest,
    online: Option<(u64, String)>,
    force: bool,
) -> Result<Current, SnapshotError> {
    let _lock = lake.publish_lock().await?;
    // An erasure may have replaced the snapshot since its manifest was read.
    if lake.head(&manifest.id.path("manifest.json")).await?.is_none() {
        return Err(SnapshotError::Unknown { id: manifest.id.clone() });
    }
    let before = read_current(lake).await?;
    if let (Some(before), None) = (&before, &online)
        && before.snapshot == manifest.id
    {
        return Ok(before.clone());
    }
    if !force {
        check_newer(lake, before.as_ref(), manifest).await?;
    }
    let next = before.as_ref().map_or(1, |before| before.publish + 1);
    let (number, named) = online.unzip();
    let number = number.unwrap_or(next);
    if number < next {
        return Err(SnapshotError::Overtaken { number, found: next - 1 });
    }
    let lake_name = match named.or_else(|| before.as_ref()?.lake.clone()) {
        Some(name) => name,
        None => token()?,
    };
    let now = rfc3339::now();
    let (mut previous, mut recent) = (None, Vec::new());
    if let Some(before) = before {
        recent = before.recent;
        recent.retain(|retired| now - retired.until < GRACE && retired.snapshot != manifest.id);
        if before.snapshot != manifest.id {
            recent.push(Retired { snapshot: before.snapshot.clone(), until: now });
        }
        // A rewritten snapshot takes the place of its original.
        let stays_in_place =
            before.snapshot == manifest.id || manifest.rewritten_from.as_ref() == Some(&before.snapshot);
        previous = if stays_in_place { before.previous } else { Some(before.snapshot) };
    }
    let snapshot = manifest.id.clone();
    let lake_name = Some(lake_name);
    let current = Current { publish: number, snapshot, previous, published_at: now, lake: lake_name, recent };
    write(lake, &current).await?;
    settle(lake, current).await
}

/// Checks that the lake still has the snapshots that `current`, which was just written, names.
///
/// A bucket has no lock, so an erasure may have removed them in the meantime: then `CURRENT` names the
/// snapshots that replaced them. An erasure looks at `CURRENT` once more after it removed snapshots, so one
/// of the two sees the other.
///
/// # Errors
/// [`SnapshotError::Unknown`] if the published snapshot was removed; other errors of the lake.
async fn settle(lake: &Lake, current: Current) -> Result<Current, SnapshotError> {
    let is_gone =
        async |id: &SnapshotId| Ok::<_, SnapshotError>(lake.head(&id.path("manifest.json")).await?.is_none());
    let snapshot_is_gone = is_gone(&current.snapshot).await?;
    let previous_is_gone = match &current.previous {
        Some(previous) => is_gone(previous).await?,
        None => false,
    };
    if !snapshot_is_gone && !previous_is_gone {
        return Ok(current);
    }
    let all = list(lake).await?;
    let replacement = |id: &SnapshotId| {
        let mut rewritten = all.iter().filter(|manifest| manifest.rewritten_from.as_ref() == Some(id));
        rewritten.next().map(|manifest| manifest.id.clone())
    };
    let mut repaired = current.clone();
    if previous_is_gone {
        repaired.previous = current.previous.as_ref().and_then(replacement);
    }
    if snapshot_is_gone {
        let removed = || SnapshotError::Unknown { id: current.snapshot.clone() };
        let replaced = replacement(&current.snapshot).or_else(|| repaired.previous.take());
        repaired.snapshot = replaced.ok_or_else(removed)?;
        repaired.publish += 1;
        let (gone, new) = (&current.snapshot, &repaired.snapshot);
        tracing::warn!(removed = %gone, current = %new, "snapshot was removed while it was published");
        write(lake, &repaired).await?;
        return Err(removed());
    }
    write(lake, &repaired).await?;
    Ok(repaired)
}
