//! A build as a worker knows it.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::OnceCell;

use super::shared_files::SharedFiles;
use crate::{
    config::Config,
    lake::Lake,
    pipeline::{
        cluster::Failure,
        raw::{
            Table,
            files::{self, RawFile},
        },
        staging::Scratch,
    },
    snapshot::Forgotten,
};

/// A worker, whichever build it works for.
#[derive(Debug)]
pub(super) struct WorkerState {
    pub(super) config: Config,
    pub(super) lake: Lake,
    /// Number of items at a time.
    pub(super) slots: usize,
    /// Memory in bytes.
    pub(super) memory: u64,
    pub(super) scratch: Scratch,
}

/// A build as a worker knows it.
#[derive(Debug)]
pub(super) struct WorkerBuild {
    pub(super) id: String,
    pub(super) worker: Arc<WorkerState>,
    pub(super) shared: SharedFiles,
    /// Folder of temporary files.
    pub(super) folder: tempfile::TempDir,
    raw: OnceCell<WorkerRawFiles>,
}

/// Raw files as a worker finds them at the first item of a build.
#[derive(Debug)]
pub(super) struct WorkerRawFiles {
    /// Files by table and path.
    files: BTreeMap<(Table, String), RawFile>,
    pub(super) forgotten: Arc<Forgotten>,
}

impl WorkerRawFiles {
    /// Returns the file at `path`, or `None` if the file is not the one of this size and version.
    pub(super) fn find(&self, table: Table, path: &str, bytes: u64, version: &str) -> Option<&RawFile> {
        let file = self.files.get(&(table, path.to_owned()))?;
        (file.bytes == bytes && file.version.as_deref() == Some(version)).then_some(file)
    }
}

impl WorkerBuild {
    /// Begins the work of `worker` for the build of the id `id`.
    pub(super) fn new(worker: Arc<WorkerState>, id: &str) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(worker.scratch.path())?;
        let shared = SharedFiles::new(worker.lake.clone(), id);
        Ok(Self { id: id.to_owned(), worker, shared, folder, raw: OnceCell::new() })
    }

    /// Returns the raw files, which are listed once.
    pub(super) async fn raw_files(&self) -> Result<&WorkerRawFiles, Failure> {
        let find = || async {
            let found = files::find_all(&self.worker.lake, &self.worker.config.raw).await?;
            let named = found.files.into_iter().map(|file| ((file.table, file.shown.clone()), file));
            let forgotten = Arc::new(Forgotten::read(&self.worker.lake).await?);
            Ok(WorkerRawFiles { files: named.collect(), forgotten })
        };
        self.raw.get_or_try_init(find).await
    }
}
