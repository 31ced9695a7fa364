//! Timeline of the retained snapshots, by as-of time.

use std::{ops::Range, sync::Arc};

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};

use super::{Moved, ReadError, Served, Serving};
use crate::snapshot::Manifest;

/// Number of comparisons of two snapshots that one request waits for at a time.
const CONCURRENT_COMPARISONS: usize = 2;

/// Retained snapshots, oldest as-of time first.
///
/// If several builds have the same as-of time, the timeline holds the latest build, or the current snapshot
/// if it is one of the builds. Snapshots with a later as-of time than the current snapshot are left out,
/// since they are not published.
#[derive(Debug, Clone)]
pub struct Timeline(Vec<Arc<Manifest>>);

impl Timeline {
    fn new(manifests: &[Arc<Manifest>], current: &Arc<Manifest>) -> Self {
        let mut snapshots: Vec<Arc<Manifest>> =
            manifests.iter().filter(|manifest| manifest.as_of < current.as_of).cloned().collect();
        snapshots.sort_by(|a, b| (a.as_of, b.created_at, &b.id).cmp(&(b.as_of, a.created_at, &a.id)));
        snapshots.dedup_by_key(|manifest| manifest.as_of);
        snapshots.push(Arc::clone(current));
        Self(snapshots)
    }

    /// Returns all snapshots.
    #[must_use]
    pub fn all(&self) -> &[Arc<Manifest>] {
        &self.0
    }

    /// Returns the index range of the snapshots from `from` to `to`, both inclusive.
    #[must_use]
    pub fn between(&self, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Range<usize> {
        let start = from.map_or(0, |from| self.0.partition_point(|manifest| manifest.as_of < from));
        let end = to.map_or(self.0.len(), |to| self.0.partition_point(|manifest| manifest.as_of <= to));
        start..end.max(start)
    }

    /// Returns the last snapshot with an as-of time up to `time`.
    #[must_use]
    pub fn at(&self, time: DateTime<Utc>) -> Option<&Arc<Manifest>> {
        self.0[self.between(None, Some(time))].last()
    }

    /// Returns the last snapshot with an earlier as-of time than `manifest`.
    #[must_use]
    pub fn before(&self, manifest: &Manifest) -> Option<&Arc<Manifest>> {
        self.0[..self.0.partition_point(|known| known.as_of < manifest.as_of)].last()
    }
}

impl Serving {
    /// Returns the timeline up to the snapshot `current`. The list of snapshots may be a few seconds old.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the lake cannot be listed.
    pub async fn timeline(&self, current: &Served) -> Result<Timeline, ReadError> {
        Ok(Timeline::new(&self.snapshots().await?, &current.manifest))
    }

    /// Compares the members of `segment` in the snapshots at `places` with the members in the snapshot before
    /// each. `None` stands for a snapshot without the segment or without a snapshot before it.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the snapshots cannot be read.
    pub async fn moves(
        &self,
        timeline: &Timeline,
        places: Range<usize>,
        segment: &str,
    ) -> Result<Vec<Option<Moved>>, ReadError> {
        let moved = |place: usize| async move {
            let Some(before) = place.checked_sub(1) else { return Ok(None) };
            match self.moved(&timeline.0[before], &timeline.0[place], segment).await {
                // The snapshot before was removed in the meantime.
                Err(ReadError::UnknownSnapshot(_)) => Ok(None),
                moved => moved,
            }
        };
        let comparisons: Vec<_> = places.map(moved).collect();
        stream::iter(comparisons).buffered(CONCURRENT_COMPARISONS).try_collect().await
    }
}
