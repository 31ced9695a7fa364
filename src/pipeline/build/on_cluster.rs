//! The stages of a build that run on the workers of a cluster. Each module beside this one has a step: the
//! part of the driver, and that of a worker.
//!
//! A worker runs the code of a build on one machine, for one partition. All that it needs to know of other
//! partitions, such as numbers of rows, comes from the driver. The rows are files that driver and workers
//! share in the lake.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::{setup, workers::Workers};
use crate::{
    config::Config,
    lake::Lake,
    pipeline::{
        cluster::{
            self, Cluster, ClusterError, Failure, Identity, ItemResult, Worker, WorkerError, WorkerOptions,
        },
        error::BuildError,
        past::{Derivation, StagedRuns},
        query::PlannedView,
        raw::{Table, TableSpec, files::RawFile},
        recommend::LearnedRecommendations,
        staging::{Scratch, derive::DerivedTables, kept::KeptStaging},
        value::ValueRows,
        view_files::ViewFiles,
    },
};

mod model_step;
mod raw_step;
mod shared_files;
mod tables_step;
mod view_step;
mod worker_build;
mod worker_steps;

use shared_files::SharedFiles;
use worker_build::WorkerState;
use worker_steps::WorkerSteps;

/// Number of shared files that the driver writes or fetches at a time.
const TRANSFERS: usize = 16;

/// The workers of a build, as its driver knows them.
#[derive(Debug)]
pub(super) struct ClusterWorkers {
    cluster: Cluster,
    shared: SharedFiles,
    /// Views whose rows workers can fetch.
    views: Mutex<BTreeSet<String>>,
    /// Number of bytes that the driver has fetched.
    fetched: AtomicU64,
}

impl ClusterWorkers {
    /// Waits for as many workers as the settings want.
    pub(super) async fn start(config: &Config, lake: &Lake) -> Result<Self, BuildError> {
        let id = getrandom::u64().map_err(|error| ClusterError::Scheduler(error.to_string()))?;
        let (id, identity) = (format!("{id:016x}"), identity(config)?);
        let shared = SharedFiles::new(lake.clone(), &id);
        let cluster = Cluster::start(config, lake, id, identity).await?;
        Ok(Self { cluster, shared, views: Mutex::default(), fetched: AtomicU64::new(0) })
    }

    /// Fetches shared files into the folder `to`.
    async fn fetch(&self, names: &[String], to: &Path) -> Result<(), BuildError> {
        let fetches: Vec<_> = names.iter().map(|name| self.shared.fetch(name, to)).collect();
        let sizes = stream::iter(fetches).buffer_unordered(TRANSFERS);
        let bytes = sizes.try_fold(0, |sum, bytes| std::future::ready(Ok(sum + bytes))).await;
        self.fetched.fetch_add(bytes.map_err(failed)?, Ordering::Relaxed);
        Ok(())
    }

    /// Notes that workers can fetch the rows of `view`, and returns whether that is new.
    fn is_new(&self, view: &str) -> bool {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.insert(view.to_owned())
    }
}

#[async_trait]
impl Workers for ClusterWorkers {
    async fn read_raw(
        &self,
        files: &mut [RawFile],
        specs: &BTreeMap<Table, TableSpec>,
        kept: &KeptStaging,
        erasure: &str,
    ) -> Result<(), BuildError> {
        Ok(self.raw_step(files, specs, kept, erasure).await?)
    }

    async fn derive(
        &self,
        staged: &Arc<StagedRuns>,
        files: &[RawFile],
        erasure: &str,
        derivation: &Derivation,
        done: &AtomicU64,
    ) -> Result<Option<Vec<DerivedTables>>, BuildError> {
        self.tables_step(staged, files, erasure, derivation, done).await
    }

    async fn run_view(
        &self,
        planned: &PlannedView,
        read: &[(&str, &ViewFiles)],
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError> {
        self.view_step(planned, read, to).await
    }

    async fn value(
        &self,
        rows: &ValueRows,
        partitions: usize,
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError> {
        self.value_step(rows, partitions, to).await
    }

    async fn recommendations(
        &self,
        learned: &LearnedRecommendations,
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError> {
        self.recommendations_step(learned, to).await
    }

    async fn end(&self) {
        let bytes = self.fetched.load(Ordering::Relaxed);
        tracing::debug!(bytes, "rows of workers fetched");
        self.cluster.end().await;
    }
}

/// Returns the error for shared files that cannot be written or read.
fn failed(error: Failure) -> BuildError {
    ClusterError::Files(error).into()
}

/// Returns the texts of the results of `step`, or `None` if a worker has left an item to the driver.
fn texts(step: &str, results: Vec<ItemResult>) -> Option<Vec<String>> {
    let text = |result| match result {
        ItemResult::Done(text) => Some(text),
        ItemResult::Left(why) => {
            tracing::warn!(step, why, "the driver does the work of a step itself");
            None
        }
    };
    results.into_iter().map(text).collect()
}

/// Returns the identity of a process with the settings `config`.
fn identity(config: &Config) -> Result<Identity, BuildError> {
    let specs = TableSpec::all(&config.raw)?;
    let views = setup::definitions(config)?;
    Ok(Identity::new(&specs, &views, &config.recommendations.exclude))
}

/// Works for the build that `options` names until the build ends.
///
/// # Errors
/// Fails if there is no such build, if it refuses the worker, and if the worker has no right to write to the
/// lake or needs more memory than it may use.
pub async fn work(config: &Config, lake: Lake, options: WorkerOptions) -> Result<(), WorkerError> {
    let identity = identity(config).map_err(Box::new)?;
    let scratch = Scratch::configured(config).map_err(|error| Box::new(BuildError::from(error)))?;
    let folder = scratch.path().to_path_buf();
    let (slots, memory) = (options.slots, options.memory);
    let state = WorkerState { config: config.clone(), lake: lake.clone(), slots, memory, scratch };
    let steps = Arc::new(WorkerSteps::new(state));
    let worker = Worker { options, identity, steps, lake, scratch: folder };
    Box::pin(cluster::serve(config, worker)).await
}
