//! The step that makes the rows of the customer value: the driver learns the model, and workers forecast the
//! customers of the partitions.

use std::{path::Path, sync::Arc};

use tokio::sync::OnceCell;

use super::{ClusterWorkers, tables_step::WorkerTables, worker_build::WorkerBuild};
use crate::pipeline::{
    cluster::{self, Failure, ItemResult},
    error::BuildError,
    value::{self, ValueRows},
    view_files::{ViewFileEntry, ViewFiles},
};

/// Name of the step.
pub(super) const STEP: &str = "value";
/// Name of the shared file with the [`ValueRows`].
const INPUT: &str = "value.json";

impl ClusterWorkers {
    /// Has workers make `rows` of all partitions, and puts the files into the folder `to`.
    pub(super) async fn value_step(
        &self,
        rows: &ValueRows,
        partitions: usize,
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError> {
        self.shared.put(INPUT, rows).await.map_err(super::failed)?;
        let items = (0..partitions).map(|number| number.to_string()).collect();
        let Some(texts) = super::texts(STEP, self.cluster.run(STEP, items).await?) else { return Ok(None) };
        self.fetch_view(value::VIEW, &value::schema(), texts, to).await.map(Some)
    }
}

/// State of the step on a worker.
#[derive(Debug, Default)]
pub(super) struct ValueWork {
    rows: OnceCell<Arc<ValueRows>>,
}

impl ValueWork {
    /// Makes the rows of the partition `input`.
    pub(super) async fn run(
        &self,
        build: &WorkerBuild,
        tables: WorkerTables<'_>,
        input: &str,
    ) -> Result<ItemResult, Failure> {
        let number: usize = input.parse()?;
        let read = || async { Ok::<_, Failure>(Arc::new(build.shared.get(INPUT).await?)) };
        let rows = match self.rows.get_or_try_init(read).await {
            Ok(rows) => Arc::clone(rows),
            // A number that is not finite cannot be read.
            Err(error) if error.is::<serde_json::Error>() => return Ok(ItemResult::Left(error.to_string())),
            Err(error) => return Err(error),
        };
        let orders = tables.fetch(build, value::ORDERS, number).await?.ok_or("there is no table of orders")?;
        let returns = tables.fetch(build, value::RETURNS, number).await?;
        let folder = tempfile::tempdir_in(build.folder.path())?;
        let to = folder.path().to_path_buf();
        let staged = tokio::task::spawn_blocking(move || rows.stage(number, &orders, returns.as_ref(), &to));
        let file = match staged.await? {
            Ok(file) => file,
            Err(error) => return Ok(ItemResult::Left(cluster::with_causes(&error))),
        };
        build.shared.share(file.path()).await?;
        Ok(ItemResult::Done(serde_json::to_string(&ViewFileEntry::of(&file))?))
    }
}
