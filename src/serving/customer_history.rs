//! History of one customer: point reads from several snapshots.

use std::sync::Arc;

use futures::{StreamExt, stream};

use super::{ReadError, Served, Serving};
use crate::{
    feature::{CustomerId, Row},
    snapshot::Manifest,
};

/// Number of snapshots that are read concurrently for one customer.
const CONCURRENT_READS: usize = 8;

/// Row of a customer in one snapshot; `None` if the snapshot does not have the customer.
pub type PastRead = Result<(Arc<Served>, Option<Arc<Row>>), ReadError>;

impl Serving {
    /// Returns the open snapshot of `manifest`, and opens it if necessary.
    pub(super) async fn opened(&self, manifest: &Arc<Manifest>) -> Result<Arc<Served>, ReadError> {
        self.open(&manifest.id, async { Ok(Arc::clone(manifest)) }).await
    }

    /// Reads one customer from each of `snapshots`. Results are in the order of `snapshots`.
    pub async fn past(&self, snapshots: &[Arc<Manifest>], id: &CustomerId) -> Vec<PastRead> {
        let read = |manifest: Arc<Manifest>| async move {
            let served = self.opened(&manifest).await?;
            if served.forgets(id.as_str()) {
                return Ok((served, None));
            }
            match served.reader.row(id).await {
                Ok(row) => Ok((served, row.map(Arc::new))),
                Err(error) => Err(self.gone([&manifest.id], error).await),
            }
        };
        let reads: Vec<_> = snapshots.iter().cloned().map(read).collect();
        stream::iter(reads).buffered(CONCURRENT_READS).collect().await
    }
}
