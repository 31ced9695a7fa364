//! Which snapshots still hold forgotten customers.

use std::{sync::Arc, time::Duration};

use super::{
    Forgotten, Manifest, SnapshotError, list,
    reader::{BlockCache, ReadLimits, SnapshotReader},
};
use crate::{feature::CustomerId, lake::Lake, telemetry::Metrics};

/// What a look at a snapshot may use.
const LIMITS: ReadLimits =
    ReadLimits { cache: 64 << 20, lake_reads: 16, lake_timeout: Duration::from_secs(30) };

/// A snapshot, and who of the forgotten is in it.
#[derive(Debug)]
pub struct Holding {
    /// The snapshot.
    pub manifest: Arc<Manifest>,
    /// The customers, or why it cannot be told.
    pub customers: Result<Vec<CustomerId>, SnapshotError>,
}

/// What all snapshots hold of `forgotten`, newest build first. Costs a lookup per customer and snapshot.
///
/// # Errors
/// Of a lake that cannot be listed.
pub async fn holdings(lake: &Lake, forgotten: &Forgotten) -> Result<Vec<Holding>, SnapshotError> {
    let mut holdings = Vec::new();
    for manifest in list(lake).await? {
        let manifest = Arc::new(manifest);
        let held = reader(lake, &manifest).held(forgotten.ids()).await;
        let customers = held.map(|held| held.into_iter().cloned().collect()).map_err(SnapshotError::shared);
        holdings.push(Holding { manifest, customers });
    }
    Ok(holdings)
}

/// A reader with a cache of its own.
pub(super) fn reader(lake: &Lake, manifest: &Arc<Manifest>) -> SnapshotReader {
    let blocks = BlockCache::new(&LIMITS, Arc::new(Metrics::unobserved()));
    SnapshotReader::new(lake.clone(), Arc::clone(manifest), blocks)
}
