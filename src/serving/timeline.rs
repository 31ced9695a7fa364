//! The snapshots over time: which builds count, and which of them lie between two instants.

use std::{ops::Range, sync::Arc};

use chrono::{DateTime, Utc};

use super::{ReadError, Served, Serving};
use crate::snapshot::Manifest;

/// The retained snapshots, oldest `as_of` first. Of several builds of one `as_of` the latest counts, except that the current
/// snapshot stands for its own. What is later than the current one is not there, since nobody has published it.
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

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Manifest>] {
        &self.0
    }

    /// The places of those from `from` to `to`, both included.
    #[must_use]
    pub fn between(&self, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Range<usize> {
        let start = from.map_or(0, |from| self.0.partition_point(|manifest| manifest.as_of < from));
        let end = to.map_or(self.0.len(), |to| self.0.partition_point(|manifest| manifest.as_of <= to));
        start..end.max(start)
    }

    /// The last one up to `time`.
    #[must_use]
    pub fn at(&self, time: DateTime<Utc>) -> Option<&Arc<Manifest>> {
        self.0[self.between(None, Some(time))].last()
    }

    /// The last one before the instant of `manifest`.
    #[must_use]
    pub fn before(&self, manifest: &Manifest) -> Option<&Arc<Manifest>> {
        self.0[..self.0.partition_point(|known| known.as_of < manifest.as_of)].last()
    }
}

impl Serving {
    /// The snapshots up to `current`; at most a few seconds old.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn timeline(&self, current: &Served) -> Result<Timeline, ReadError> {
        Ok(Timeline::new(&self.snapshots().await?, &current.manifest))
    }
}
