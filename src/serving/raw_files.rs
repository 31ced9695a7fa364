//! Raw files that the served snapshot was not built from.

use std::{collections::HashMap, time::Duration};

use futures::StreamExt;
use object_store::path::Path;

use super::{Serving, number};
use crate::snapshot::RawSource;

/// Shortest time between two counts.
const INTERVAL: Duration = Duration::from_mins(1);

impl Serving {
    /// Counts the raw files that the served snapshot was not built from, at most once a minute. Looks every
    /// `period` for a first snapshot. Never returns.
    pub(super) async fn count_raw_files(&self, period: Duration) {
        loop {
            let Some(served) = self.served.load_full() else {
                tokio::time::sleep(period).await;
                continue;
            };
            let pending = self.pending_raw_files(&served.manifest.sources).await;
            self.metrics.raw_pending.set(pending.map(number));
            tokio::time::sleep(period.max(INTERVAL)).await;
        }
    }

    /// Counts the files under `raw/` that are not among `sources`, or that have another size. Returns `None`
    /// if the lake cannot be listed.
    async fn pending_raw_files(&self, sources: &[RawSource]) -> Option<u64> {
        let read: HashMap<&str, u64> =
            sources.iter().map(|source| (source.path.as_str(), source.bytes)).collect();
        let mut listed = self.lake.store().list(Some(&Path::from("raw")));
        let mut pending = 0;
        while let Some(object) = listed.next().await {
            match object {
                // Hidden files are no data.
                Ok(object) if object.location.parts().any(|part| part.as_ref().starts_with(['.', '_'])) => {}
                Ok(object) if read.get(object.location.as_ref()) == Some(&object.size) => {}
                Ok(_) => pending += 1,
                Err(object_store::Error::InvalidPath { .. }) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot list the raw files");
                    return None;
                }
            }
        }
        Some(pending)
    }
}
