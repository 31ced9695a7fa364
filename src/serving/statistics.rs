//! Statistics of the features of a view: those of the build, unless the snapshot holds erased customers.

use std::sync::Arc;

use super::{ReadError, Served};
use crate::{
    audience::{Bitmap, FeatureName, statistics::FeatureStatistics},
    snapshot::{SnapshotError, ViewStatistics},
};

impl Served {
    /// Returns the statistics of the features of `view`, and the number of customers that they are about.
    /// Returns `None` if an earlier version built the snapshot. If the snapshot holds erased customers, the
    /// statistics are computed without them, from the columns.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if they cannot be read.
    pub async fn statistics(&self, view: &str) -> Result<Option<(ViewStatistics, u64)>, ReadError> {
        let read = || async { self.reader.files().statistics().await.map(Arc::new).map_err(Arc::new) };
        let written = self.statistics.get_or_try_init(read).await?;
        let Some(of_view) = written.as_ref().as_ref().and_then(|all| all.get(view)) else { return Ok(None) };
        let erased = self.gaps().await?.customers();
        let customers = self.manifest.customers - erased;
        if erased == 0 {
            return Ok(Some((of_view.clone(), customers)));
        }
        Ok(Some((self.statistics_without_erased(view, of_view).await?, customers)))
    }

    async fn statistics_without_erased(
        &self,
        view: &str,
        written: &ViewStatistics,
    ) -> Result<ViewStatistics, Arc<SnapshotError>> {
        let _admitted = self.sets.cache.admit().await;
        let mut customers = Bitmap::full(self.sets.customers());
        if let Some(erased) = self.erased_customers().await? {
            customers.remove_all(&erased.customers);
        }
        let customers = Arc::new(customers);
        let mut found = ViewStatistics::new();
        for feature in written.keys() {
            let column = self.sets.column(&FeatureName::new(view, feature)).await?;
            let customers = Arc::clone(&customers);
            let compute = move |_: &_| Ok(FeatureStatistics::of(&column, &customers));
            found.insert(feature.clone(), self.sets.cache.compute(compute).await?);
        }
        Ok(found)
    }
}
