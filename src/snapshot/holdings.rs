//! Snapshots that still hold erased customers.

use std::sync::Arc;

use super::{Forgotten, Manifest, SnapshotError, list, reader::SnapshotReader};
use crate::{feature::CustomerId, lake::Lake};

/// A snapshot and its erased customers.
#[derive(Debug)]
pub struct Holding {
    /// Manifest of the snapshot.
    pub manifest: Arc<Manifest>,
    /// Erased customers that the snapshot holds, or the reason why the snapshot cannot be searched.
    pub customers: Result<Vec<CustomerId>, SnapshotError>,
}

/// Searches all snapshots for the customers of `forgotten`, newest build first. Costs a lookup per customer
/// and snapshot.
///
/// # Errors
/// [`SnapshotError::Lake`] if the snapshots cannot be listed.
pub async fn holdings(lake: &Lake, forgotten: &Forgotten) -> Result<Vec<Holding>, SnapshotError> {
    let mut holdings = Vec::new();
    for manifest in list(lake).await? {
        let manifest = Arc::new(manifest);
        let held = SnapshotReader::offline(lake, &manifest).held(forgotten.ids()).await;
        let customers = held.map(|held| held.into_iter().cloned().collect()).map_err(SnapshotError::shared);
        holdings.push(Holding { manifest, customers });
    }
    Ok(holdings)
}
