//! End of a build: the manifest is written, without customers who were erased while the build ran.
//!
//! A call of `larder forget` writes the erasure list first and searches the snapshots afterwards. A build
//! writes the manifest first and reads the list afterwards. So one of the two sees the other, and a customer
//! cannot come back.

use std::sync::Arc;

use super::Build;
use crate::{
    pipeline::error::BuildError,
    snapshot::{self, Forgotten, Manifest, SnapshotError, Warning, reader::SnapshotReader, staged},
};

impl Build<'_> {
    /// Writes the manifest after all data files, and reads the erasure list before and afterwards. Customers
    /// on the list are removed from the snapshot, which then gets another id. If that fails, the snapshot is
    /// removed.
    pub(super) async fn finish(&self, manifest: Manifest) -> Result<Manifest, BuildError> {
        let (mut manifest, mut forgotten) = (Arc::new(manifest), Arc::clone(&self.forgotten));
        let mut is_written = false;
        loop {
            match forgotten.refreshed(self.lakes.raw).await {
                Ok(Some(newer)) => {
                    let unstaged = staged::remove_holding(self.lakes.raw, newer.ids()).await;
                    if let Err(error) = unstaged {
                        return self.give_up(&manifest, error).await;
                    }
                    let clean = match self.without(&manifest, &newer).await {
                        Ok(clean) => clean,
                        Err(error) => return self.give_up(&manifest, error).await,
                    };
                    if let Some(clean) = clean {
                        snapshot::remove(self.lakes.snapshots, &manifest.id).await?;
                        (manifest, is_written) = (Arc::new(clean), false);
                    }
                    forgotten = Arc::new(newer);
                }
                Ok(None) if is_written => return Ok(Arc::unwrap_or_clone(manifest)),
                Ok(None) => {
                    manifest.write(self.lakes.snapshots).await?;
                    is_written = true;
                }
                Err(error) => return self.give_up(&manifest, error).await,
            }
        }
    }

    /// Returns the manifest of a snapshot without the customers of `forgotten`, which is not written yet.
    /// Returns `None` if the snapshot of `manifest` holds none of them.
    async fn without(
        &self,
        manifest: &Arc<Manifest>,
        forgotten: &Forgotten,
    ) -> Result<Option<Manifest>, SnapshotError> {
        let lake = self.lakes.snapshots;
        let reader = SnapshotReader::offline(lake, manifest);
        let held = reader.held(forgotten.ids()).await.map_err(SnapshotError::shared)?.len();
        let is_named =
            |warning: &Warning| warning.customer_id.as_deref().is_some_and(|id| forgotten.contains(id));
        if held == 0 && !manifest.warnings.iter().any(is_named) {
            return Ok(None);
        }
        let mut clean = snapshot::without_erased(lake, manifest, forgotten, self.progress).await?;
        let message = format!(
            "{held} customers were erased during the build and removed from the snapshot; models and \
             quintile edges were computed with their data, until the next build"
        );
        clean.warnings.push(Warning::new("forgotten_meanwhile", message));
        Ok(Some(clean))
    }

    /// Removes the snapshot, which may hold erased customers, and returns `error`.
    async fn give_up(&self, manifest: &Manifest, error: SnapshotError) -> Result<Manifest, BuildError> {
        snapshot::remove(self.lakes.snapshots, &manifest.id).await?;
        Err(error.into())
    }
}
