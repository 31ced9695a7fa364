//! Numbers of customers in the snapshots, without erased customers.
//!
//! The manifest has the number of the build. Counting the erased customers among them costs a lookup for
//! each, so the result is kept for every snapshot and version of the erasure list.

use std::sync::Arc;

use futures::{StreamExt, stream};

use super::{ReadError, Serving};
use crate::{
    cache::Cache,
    snapshot::{Manifest, SnapshotId},
};

/// Number of counts that are kept.
const KEPT_COUNTS: u64 = 4_096;
/// Number of snapshots whose customers are counted at a time.
const CONCURRENT_COUNTS: usize = 8;

/// Numbers of erased customers by snapshot and version of the erasure list.
pub(super) type ErasedCounts = Cache<(SnapshotId, Arc<str>), u64, ReadError>;

pub(super) fn erased_counts() -> ErasedCounts {
    Cache::new(KEPT_COUNTS, KEPT_COUNTS, |_, _| 1)
}

impl Serving {
    /// Returns the number of customers in the snapshot of `manifest` who are not erased.
    ///
    /// # Errors
    /// [`ReadError::UnknownSnapshot`] if the snapshot was removed, [`ReadError::Unavailable`] if it cannot be
    /// read.
    pub async fn customers_then(&self, manifest: &Arc<Manifest>) -> Result<u64, ReadError> {
        let forgotten = self.erasures();
        if forgotten.is_empty() {
            return Ok(manifest.customers);
        }
        let count = async {
            let served = self.opened(manifest).await?;
            match served.erased_totals().await {
                Ok(erased) => Ok(erased.customers()),
                Err(error) => Err(self.gone([&manifest.id], error).await),
            }
        };
        let key = (manifest.id.clone(), Arc::from(forgotten.version()));
        let erased = self.erased_counts.get_or_make(&key, count).await;
        let erased = erased.map_err(|error| error.as_ref().clone())?;
        Ok(manifest.customers.saturating_sub(erased))
    }

    /// Returns the numbers of customers of [`Serving::customers_then`], in the order of `manifests`.
    pub async fn customer_counts(&self, manifests: &[Arc<Manifest>]) -> Vec<Result<u64, ReadError>> {
        let counts: Vec<_> = manifests.iter().map(|manifest| self.customers_then(manifest)).collect();
        stream::iter(counts).buffered(CONCURRENT_COUNTS).collect().await
    }
}
