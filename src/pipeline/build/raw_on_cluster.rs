//! Reading of raw files on a cluster.

use super::Build;
use crate::pipeline::{error::BuildError, raw::files::RawFile, staging::kept::KeptStaging};

#[cfg(feature = "cluster")]
impl Build<'_> {
    /// Has the workers of a cluster read the files that `kept` does not know. The lines are in the kept
    /// staging then.
    pub(super) async fn read_on_cluster(
        &self,
        files: &mut [RawFile],
        kept: Option<&KeptStaging>,
    ) -> Result<(), BuildError> {
        use crate::pipeline::cluster::{Cluster, ClusterError, Identity};
        let kept = kept.ok_or(BuildError::NotKept)?;
        let id = getrandom::u64().map_err(|error| ClusterError::Scheduler(error.to_string()))?;
        let (id, identity) = (format!("{id:016x}"), Identity::new(&self.specs));
        let cluster = Box::pin(Cluster::start(self.config, self.lakes.raw, id, identity)).await?;
        let read = cluster.read_raw(files, &self.specs, kept, self.forgotten.version()).await;
        cluster.end().await;
        Ok(read?)
    }
}

#[cfg(not(feature = "cluster"))]
impl Build<'_> {
    /// Refuses the engine, which this binary does not have.
    #[expect(clippy::unused_async, reason = "the same signature as with the engine")]
    pub(super) async fn read_on_cluster(
        &self,
        _: &mut [RawFile],
        _: Option<&KeptStaging>,
    ) -> Result<(), BuildError> {
        Err(BuildError::NoCluster)
    }
}
