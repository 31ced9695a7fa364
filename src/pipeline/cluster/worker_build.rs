//! The work of a worker on the items of a build.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use async_trait::async_trait;
use tokio::{runtime::Handle, sync::Mutex};

use super::{
    raw_step::{self, RawItem},
    results::{ItemResult, Results},
    step_exec::ItemHandler,
};
use crate::{
    config::{Config, RawConfig},
    lake::Lake,
    pipeline::{
        raw::{
            TableSpec,
            files::{self, RawFile},
        },
        staging::{
            Scratch,
            kept::KeptStaging,
            line_buffer::RunLimits,
            lines::{self, ReadInput, ReadPurpose},
        },
    },
    snapshot::{Forgotten, rfc3339},
};

/// State of a worker that items share.
#[derive(Debug)]
pub(super) struct WorkerState {
    pub(super) config: Config,
    pub(super) lake: Lake,
    /// Id of the worker.
    pub(super) id: String,
    /// Number of items at a time.
    pub(super) slots: usize,
    /// Memory in bytes.
    pub(super) memory: u64,
    pub(super) scratch: Scratch,
    /// Runtime of the work. The threads of the engine have a lower priority and no object store.
    pub(super) runtime: Handle,
    /// The build of the newest item.
    pub(super) build: Mutex<Option<Arc<BuildFiles>>>,
}

/// Raw files as a worker finds them at the first item of a build.
#[derive(Debug)]
pub(super) struct BuildFiles {
    /// Id of the build.
    build: String,
    /// Files by name of the table and path.
    files: BTreeMap<(String, String), RawFile>,
    forgotten: Arc<Forgotten>,
}

/// Error text of a failed item. The driver gets it in a result, or in the error of the step.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub(super) struct Handler(pub(super) Arc<WorkerState>);

#[async_trait]
impl ItemHandler for Handler {
    async fn handle(&self, item: &str) -> Result<(), String> {
        let (state, item) = (Arc::clone(&self.0), item.to_owned());
        let id = state.id.clone();
        let failed = |why: String| format!("worker {id}: {why}");
        let work = self.0.runtime.spawn(async move { state.handle(&item).await });
        let done = work.await.map_err(|error| failed(error.to_string()))?;
        done.map_err(|error| failed(super::with_causes(error.as_ref())))
    }
}

impl WorkerState {
    /// Works on an item, and writes its result to the lake.
    async fn handle(&self, item: &str) -> Result<(), Failure> {
        let item: RawItem = serde_json::from_str(item)?;
        let results = Results::new(self.lake.clone(), item.build.clone());
        // Another worker may have had the item, and may have been lost after its result.
        if results.get(raw_step::STEP, item.number).await?.is_some() {
            return Ok(());
        }
        let started = std::time::Instant::now();
        let result = self.read(&item).await?;
        results.put(raw_step::STEP, item.number, &result).await?;
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(file = item.path, bytes = item.bytes, seconds, "raw file read");
        Ok(())
    }

    /// Reads a raw file, and puts its lines into the kept staging.
    async fn read(&self, item: &RawItem) -> Result<ItemResult, Failure> {
        let build = self.files_of(item).await?;
        if build.forgotten.version() != item.erasure {
            let why = "the erasure list changed while the build ran".to_owned();
            return Ok(ItemResult::Failed { worker: self.id.clone(), why });
        }
        let found = build.files.get(&(item.table.clone(), item.path.clone()));
        let is_same =
            |file: &&RawFile| file.bytes == item.bytes && file.version.as_ref() == Some(&item.version);
        let Some(file) = found.filter(is_same) else {
            return Ok(ItemResult::BadInput("a worker does not see the file as the driver does".to_owned()));
        };
        let newest = chrono::DateTime::from_timestamp_micros(item.newest).ok_or("a time is out of range")?;
        let raw = RawConfig { newest: Some(rfc3339::format(newest)), ..self.config.raw.clone() };
        let spec = TableSpec::new(file.table, &raw)?;
        let folder = tempfile::tempdir_in(self.scratch.path())?;
        let kept = KeptStaging::without_index(&self.lake, Arc::clone(&build.forgotten), folder.path());
        let input = ReadInput {
            files: vec![file.clone()],
            specs: BTreeMap::from([(file.table, spec)]),
            threads: 1,
            max_bad_share: self.config.raw.max_bad_share,
            limits: RunLimits::new(self.memory, self.slots),
            scratch: folder.path().to_path_buf(),
            progress: Arc::new(AtomicU64::new(0)),
            forgotten: Arc::clone(&build.forgotten),
            purpose: ReadPurpose::Build { partitions: 1, kept: None },
        };
        match lines::keep(input, &kept).await? {
            Ok(sha256) => Ok(ItemResult::Done(sha256)),
            Err(error) => Ok(ItemResult::BadInput(super::with_causes(&error))),
        }
    }

    /// Returns the raw files of the item's build, which are listed once.
    async fn files_of(&self, item: &RawItem) -> Result<Arc<BuildFiles>, Failure> {
        let mut current = self.build.lock().await;
        if let Some(build) = current.as_ref().filter(|build| build.build == item.build) {
            return Ok(Arc::clone(build));
        }
        let found = files::find_all(&self.lake, &self.config.raw).await?;
        let named =
            found.files.into_iter().map(|file| ((file.table.name().to_owned(), file.shown.clone()), file));
        let build = Arc::new(BuildFiles {
            build: item.build.clone(),
            files: named.collect(),
            forgotten: Arc::new(Forgotten::read(&self.lake).await?),
        });
        *current = Some(Arc::clone(&build));
        Ok(build)
    }
}
