//! The steps that make the rows of models: the driver learns, and workers make the rows of the partitions.

use std::{path::Path, sync::Arc};

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::OnceCell;

use super::{ClusterWorkers, TRANSFERS, tables_step::WorkerTables, worker_build::WorkerBuild};
use crate::{
    causes::with_causes,
    pipeline::{
        cluster::{Failure, ItemResult},
        error::BuildError,
        raw::RawError,
        recommend::{self, LearnedRecommendations, ListRows},
        value::{self, ValueRows},
        view_files::{ViewFile, ViewFileEntry, ViewFiles},
    },
};

/// Name of the step of the customer value.
pub(super) const VALUE: &str = "value";
/// Name of the step of the recommendations.
pub(super) const RECOMMENDATIONS: &str = "recommendations";

/// Returns the name of the shared file with the input of `step`.
fn input_name(step: &str) -> String {
    format!("{step}.json")
}

impl ClusterWorkers {
    /// Has workers make the rows of the customer value of all partitions, and puts the files into the folder
    /// `to`.
    pub(super) async fn value_step(
        &self,
        rows: &ValueRows,
        partitions: usize,
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError> {
        self.model_step(VALUE, rows, partitions, (value::VIEW, &value::schema()), to).await
    }

    /// Has workers make the recommendations of all partitions, and puts the files into the folder `to`.
    pub(super) async fn recommendations_step(
        &self,
        learned: &LearnedRecommendations,
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError> {
        let purchases = learned.purchases();
        let shares: Vec<_> = purchases.iter().map(|file| self.shared.share(file)).collect();
        let all = stream::iter(shares).buffer_unordered(TRANSFERS).try_collect::<()>();
        all.await.map_err(super::failed)?;
        let view = (recommend::VIEW, &recommend::schema());
        self.model_step(RECOMMENDATIONS, &learned.rows, purchases.len(), view, to).await
    }

    async fn model_step(
        &self,
        step: &str,
        rows: &impl Serialize,
        partitions: usize,
        (view, schema): (&str, &SchemaRef),
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError> {
        self.shared.put(&input_name(step), rows).await.map_err(super::failed)?;
        let items = (0..partitions).map(|number| number.to_string()).collect();
        let Some(texts) = super::texts(step, self.cluster.run(step, items).await?) else { return Ok(None) };
        self.fetch_view(view, schema, texts, to).await.map(Some)
    }
}

/// The input of a step, which the driver has learned. A worker reads the input once.
#[derive(Debug)]
struct Learned<T>(OnceCell<Arc<T>>);

impl<T> Default for Learned<T> {
    fn default() -> Self {
        Self(OnceCell::new())
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Learned<T> {
    /// Makes the rows of a partition with `make`, whose argument is a folder for the file, and shares them.
    async fn run(
        &self,
        build: &WorkerBuild,
        step: &str,
        make: impl FnOnce(&T, &Path) -> Result<ViewFile, RawError> + Send + 'static,
    ) -> Result<ItemResult, Failure> {
        let read = || async { Ok::<_, Failure>(Arc::new(build.shared.get(&input_name(step)).await?)) };
        let learned = match self.0.get_or_try_init(read).await {
            Ok(learned) => Arc::clone(learned),
            // A number that is not finite cannot be read.
            Err(error) if error.is::<serde_json::Error>() => return Ok(ItemResult::Left(error.to_string())),
            Err(error) => return Err(error),
        };
        let folder = tempfile::tempdir_in(build.folder.path())?;
        let to = folder.path().to_path_buf();
        let file = match tokio::task::spawn_blocking(move || make(&learned, &to)).await? {
            Ok(file) => file,
            Err(error) => return Ok(ItemResult::Left(with_causes(&error))),
        };
        build.shared.share(file.path()).await?;
        Ok(ItemResult::Done(serde_json::to_string(&ViewFileEntry::of(&file))?))
    }
}

/// State of the steps on a worker.
#[derive(Debug, Default)]
pub(super) struct ModelWork {
    value: Learned<ValueRows>,
    recommendations: Learned<ListRows>,
}

impl ModelWork {
    /// Makes the rows of the customer value of the partition `input`.
    pub(super) async fn value(
        &self,
        build: &WorkerBuild,
        tables: WorkerTables<'_>,
        input: &str,
    ) -> Result<ItemResult, Failure> {
        let number: usize = input.parse()?;
        let orders =
            tables.fetch(build, value::ORDERS, number).await?.ok_or("there is no table of orders")?;
        let returns = tables.fetch(build, value::RETURNS, number).await?;
        let make = move |rows: &ValueRows, to: &Path| rows.stage(number, &orders, returns.as_ref(), to);
        self.value.run(build, VALUE, make).await
    }

    /// Makes the recommendations of the partition `input`.
    pub(super) async fn recommendations(
        &self,
        build: &WorkerBuild,
        input: &str,
    ) -> Result<ItemResult, Failure> {
        let number: usize = input.parse()?;
        let (folder, name) = (build.folder.path(), ListRows::purchases_name(number));
        build.shared.fetch(&name, folder).await?;
        let purchases = folder.join(name);
        let make = move |rows: &ListRows, to: &Path| rows.stage_file(number, &purchases, to);
        self.recommendations.run(build, RECOMMENDATIONS, make).await
    }
}
