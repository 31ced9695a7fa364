//! Items of the steps of a build, and the work of a worker on them.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, task::AbortHandle};

use super::{
    results::{ItemResult, Results},
    step_exec::ItemHandler,
};
use crate::{causes::with_causes, lake::Lake};

/// An item of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::pipeline) struct Item {
    /// Id of the build.
    pub(in crate::pipeline) build: String,
    /// Name of the step.
    pub(in crate::pipeline) step: String,
    /// Number of the item in the step.
    pub(in crate::pipeline) number: usize,
    /// Input of the item as JSON.
    pub(in crate::pipeline) input: String,
}

/// Reason why a worker has no result for an item.
pub(in crate::pipeline) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The steps of a build, as workers run them.
#[async_trait]
pub(in crate::pipeline) trait Steps: fmt::Debug + Send + Sync {
    /// Works on `item`, and returns the result after the output of the item is in the lake.
    async fn run(&self, item: &Item) -> Result<ItemResult, Failure>;

    /// Removes all that is left of the build, which has ended.
    async fn end(&self);
}

/// Works on items with `steps`, and writes the results to the lake.
#[derive(Debug)]
pub(super) struct WorkerItems {
    pub(super) steps: Arc<dyn Steps>,
    pub(super) lake: Lake,
    /// Id of the worker.
    pub(super) worker: String,
    /// Runtime of the work. The threads of the engine have a lower priority and no object store.
    pub(super) runtime: Handle,
    /// The work that was begun.
    pub(super) begun: Mutex<Vec<AbortHandle>>,
}

impl WorkerItems {
    /// Notes that `work` was begun.
    fn note(&self, work: AbortHandle) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|work| !work.is_finished());
        begun.push(work);
    }

    /// Stops the work on all items. Files that a stopped item has shared stay in the lake until the folder of
    /// the build is removed.
    pub(super) async fn end(&self) {
        let begun = std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner));
        for work in begun {
            work.abort();
        }
        self.steps.end().await;
    }
}

#[async_trait]
impl ItemHandler for WorkerItems {
    async fn handle(&self, item: &str) -> Result<(), String> {
        let failed = |why: String| format!("worker {}: {why}", self.worker);
        let item: Item = serde_json::from_str(item).map_err(|error| failed(error.to_string()))?;
        let (steps, lake) = (Arc::clone(&self.steps), self.lake.clone());
        let work = self.runtime.spawn(async move { work(steps.as_ref(), lake, &item).await });
        self.note(work.abort_handle());
        let done = work.await.map_err(|error| failed(error.to_string()))?;
        done.map_err(|error| failed(with_causes(error.as_ref())))
    }
}

async fn work(steps: &dyn Steps, lake: Lake, item: &Item) -> Result<(), Failure> {
    let results = Results::new(lake, item.build.clone());
    // Another worker may have had the item, and may have been lost after its result.
    if results.get(&item.step, item.number).await?.is_some() {
        return Ok(());
    }
    let started = Instant::now();
    let result = steps.run(item).await?;
    results.put(&item.step, item.number, &result).await?;
    let seconds = started.elapsed().as_secs_f64();
    tracing::info!(step = item.step, item = item.number, seconds, "item done");
    Ok(())
}
