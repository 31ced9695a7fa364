//! Raw files that the served snapshot was not built from, and the last builds.

use std::{sync::Arc, time::Duration};

use super::{ReadError, Serving, number, timestamp};
use crate::snapshot::{BuildOutcome, BuildRecord, SnapshotError, pending, raw_files};

/// Shortest time between two looks.
const INTERVAL: Duration = Duration::from_mins(1);
/// Number of builds that are listed.
const BUILDS: usize = 30;

impl Serving {
    /// Counts the raw files that the served snapshot was not built from, and looks up the last builds, at
    /// most once a minute. Looks every `period` for a first snapshot. Never returns.
    pub(super) async fn watch_builds(&self, period: Duration) {
        loop {
            self.observe_builds().await;
            let Some(served) = self.served.load_full() else {
                tokio::time::sleep(period).await;
                continue;
            };
            let listed = raw_files(&self.lake).await;
            let listed = listed.inspect_err(|error| tracing::debug!(%error, "cannot list the raw files"));
            let pending = listed.ok().map(|files| pending(&files, &served.manifest.sources));
            self.metrics.raw_pending.set(pending.map(number));
            tokio::time::sleep(period.max(INTERVAL)).await;
        }
    }

    /// Returns the last builds, newest first. The list may be a few seconds old.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the lake cannot be read.
    pub async fn builds(&self) -> Result<Arc<Vec<BuildRecord>>, ReadError> {
        let list = async { Ok::<_, SnapshotError>(Arc::new(BuildRecord::list(&self.lake, BUILDS).await?)) };
        Ok(self.builds.get_or_make(&(), list).await?)
    }

    async fn observe_builds(&self) {
        let Ok(builds) = self.builds().await else { return };
        let is_good = |build: &&BuildRecord| build.outcome != BuildOutcome::Failed;
        let (last, good) = (builds.first(), builds.iter().find(is_good));
        self.metrics.last_build.set(last.map(|build| timestamp(build.ended_at)));
        self.metrics.last_good_build.set(good.map(|build| timestamp(build.ended_at)));
        let failed = last.map(|build| if build.outcome == BuildOutcome::Failed { 1.0 } else { 0.0 });
        self.metrics.last_build_failed.set(failed);
    }
}
