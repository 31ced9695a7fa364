//! One customer over time: what several snapshots say, read by point, a few at a time.

use std::sync::Arc;

use futures::{StreamExt, stream};

use super::{ReadError, Served, Serving};
use crate::{
    feature::{CustomerId, Row},
    snapshot::Manifest,
};

/// Snapshots that are read at a time for one customer.
const READS: usize = 8;

/// A customer in one of the snapshots; nothing where it does not know the customer.
pub type Past = Result<(Arc<Served>, Option<Arc<Row>>), ReadError>;

impl Serving {
    /// The open snapshot of `manifest`.
    pub(super) async fn opened(&self, manifest: &Arc<Manifest>) -> Result<Arc<Served>, ReadError> {
        self.open(&manifest.id, async { Ok(Arc::clone(manifest)) }).await
    }

    /// One customer in each of `snapshots`.
    pub async fn past(&self, snapshots: &[Arc<Manifest>], id: &CustomerId) -> Vec<Past> {
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
        stream::iter(reads).buffered(READS).collect().await
    }
}
