//! The work of a worker on the steps of builds.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{
    model_step::{self, ModelWork},
    raw_step,
    tables_step::{self, TablesWork},
    view_step::{self, ViewWork},
    worker_build::{WorkerBuild, WorkerState},
};
use crate::pipeline::cluster::{Failure, Item, ItemResult, Steps};

/// The steps, and the build of the newest item.
pub(super) struct WorkerSteps {
    worker: Arc<WorkerState>,
    current: Mutex<Option<Arc<CurrentBuild>>>,
}

impl std::fmt::Debug for WorkerSteps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerSteps").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// A build, and the state of its steps.
struct CurrentBuild {
    build: WorkerBuild,
    tables: TablesWork,
    views: ViewWork,
    models: ModelWork,
}

impl WorkerSteps {
    pub(super) fn new(worker: WorkerState) -> Self {
        Self { worker: Arc::new(worker), current: Mutex::default() }
    }

    /// Returns the build of the id `id`. That of an earlier build is dropped with its files.
    async fn build(&self, id: &str) -> Result<Arc<CurrentBuild>, Failure> {
        let mut current = self.current.lock().await;
        if let Some(current) = current.as_ref().filter(|current| current.build.id == id) {
            return Ok(Arc::clone(current));
        }
        let build = WorkerBuild::new(Arc::clone(&self.worker), id)?;
        let current = current.insert(Arc::new(CurrentBuild {
            build,
            tables: TablesWork::default(),
            views: ViewWork::default(),
            models: ModelWork::default(),
        }));
        Ok(Arc::clone(current))
    }
}

#[async_trait]
impl Steps for WorkerSteps {
    async fn run(&self, item: &Item) -> Result<ItemResult, Failure> {
        let current = self.build(&item.build).await?;
        let CurrentBuild { build, tables, views, models } = current.as_ref();
        match item.step.as_str() {
            raw_step::STEP => raw_step::read(build, &item.input).await,
            tables_step::STEP => tables.derive(build, &item.input).await,
            step if step.starts_with(view_step::STEP) => {
                views.run(build, tables.tables(build).await?, step, &item.input).await
            }
            model_step::VALUE => models.value(build, tables.tables(build).await?, &item.input).await,
            model_step::RECOMMENDATIONS => models.recommendations(build, &item.input).await,
            step => Err(format!("the step {step} is unknown").into()),
        }
    }

    async fn end(&self) {
        *self.current.lock().await = None;
    }
}
