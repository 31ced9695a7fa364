//! Reader of Delta tables.
//!
//! The `delta_kernel` crate replays the log and applies deletion vectors, column mapping, partition values
//! and type widening. A table whose protocol needs an unknown feature is refused by name.

use std::{
    fmt,
    future::Future,
    num::NonZero,
    path::Path as FsPath,
    sync::{Arc, mpsc},
};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
};
use delta_kernel::{
    Engine, FileMeta, KernelError, KernelResult, Snapshot,
    engine::arrow_data::ArrowEngineData,
    scan::{
        Scan,
        state::{ScanFile, transform_to_logical},
    },
};
use delta_kernel_default_engine::{
    DefaultEngineBuilder,
    executor::{TaskExecutor, tokio::TokioBackgroundExecutor},
};
use futures::future::{BoxFuture, FutureExt};
use object_store::{local::LocalFileSystem, path::Path};
use tokio::runtime::{EnterGuard, Handle};
use url::Url;

use crate::lake::Lake;

/// Number of rows of a batch.
const BATCH_ROWS: NonZero<usize> = NonZero::new(8192).expect("not 0");

/// A table at one version.
struct DeltaTable {
    scan: Scan,
    engine: Box<dyn Engine>,
}

/// A data file of the current version of a table.
pub(crate) struct DeltaFile {
    table: Arc<DeltaTable>,
    /// Path in the lake.
    pub(crate) path: Path,
    /// Size in bytes.
    pub(crate) bytes: u64,
    file: ScanFile,
}

impl fmt::Debug for DeltaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaFile")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Returns the data files of the current version of the table in `folder`, sorted by path.
///
/// # Errors
/// Fails with the reason if the log cannot be read, or if the table needs a feature that is not supported.
pub(crate) async fn current_files(lake: &Lake, folder: &Path) -> Result<Vec<DeltaFile>, String> {
    let (lake, folder, runtime) = (lake.clone(), folder.clone(), Handle::current());
    let listed = tokio::task::spawn_blocking(move || list(&lake, &folder, runtime)).await;
    listed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

fn list(lake: &Lake, folder: &Path, runtime: Handle) -> KernelResult<Vec<DeltaFile>> {
    // The engine takes paths from URLs. It sorts the lists of buckets whose names end so; those of a folder
    // are not sorted.
    let mut root = Url::parse("s3://lake--x-s3/")?;
    root.set_path(&format!("/{folder}/"));
    let engine = DefaultEngineBuilder::new(Arc::clone(lake.store()))
        .with_task_executor(Arc::new(LakeRuntime(runtime)))
        .build();
    let snapshot = Snapshot::builder_for(&root).build(&engine)?;
    tracing::info!(%folder, version = snapshot.version(), "reading a Delta table");
    let table = Arc::new(DeltaTable { scan: snapshot.scan_builder().build()?, engine: Box::new(engine) });
    let mut scanned = Vec::new();
    for batch in table.scan.scan_metadata(table.engine.as_ref())? {
        scanned = batch?.visit_scan_files(scanned, Vec::push)?;
    }
    let file = |file: ScanFile| {
        let location = root.join(&file.path)?;
        if !location.as_str().starts_with(root.as_str()) {
            return Err(KernelError::generic(format!(
                "the data file {location} is not in the table's folder"
            )));
        }
        let bytes = u64::try_from(file.size).unwrap_or(0);
        Ok(DeltaFile { table: Arc::clone(&table), path: Path::from_url_path(location.path())?, bytes, file })
    };
    let mut files = scanned.into_iter().map(file).collect::<KernelResult<Vec<DeltaFile>>>()?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

impl DeltaFile {
    /// Reads the rows from `copy`, a local copy of the file.
    ///
    /// # Errors
    /// Fails with the reason if the copy or the deletion vector cannot be read.
    pub(crate) fn rows(
        &self,
        copy: &FsPath,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, String>> + use<>, String> {
        let shown = |error: KernelError| error.to_string();
        let table = Arc::clone(&self.table);
        let root = table.scan.table_root();
        let deleted = self.file.dv_info.get_selection_vector(table.engine.as_ref(), root).map_err(shown)?;
        let location = Url::from_file_path(copy).map_err(|()| format!("{} is no path", copy.display()))?;
        let engine = DefaultEngineBuilder::new(Arc::new(LocalFileSystem::new()))
            .with_task_executor(Arc::new(TokioBackgroundExecutor::new()))
            .with_batch_size(BATCH_ROWS)
            .build();
        let file = FileMeta { location, last_modified: self.file.modification_time, size: self.bytes };
        let physical = table.scan.physical_schema().clone();
        let batches = engine.parquet_handler().read_parquet_files(&[file], physical.clone(), None);
        let (batches, transform) = (batches.map_err(shown)?, self.file.transform.clone());
        // Rows that the vector does not reach are kept.
        let mut kept = deleted.unwrap_or_default().into_iter().chain(std::iter::repeat(true));
        let batch = move |batch: KernelResult<_>| {
            let logical = table.scan.logical_schema();
            let batch = transform_to_logical(&engine, batch?, &physical, logical, transform.clone())?;
            let batch: RecordBatch = (*ArrowEngineData::try_from_engine_data(batch)?).into();
            let kept: BooleanArray = kept.by_ref().take(batch.num_rows()).map(Some).collect();
            filter_record_batch(&batch, &kept).map_err(KernelError::from)
        };
        Ok(batches.map(batch).map(move |batch| batch.map_err(shown)))
    }
}

/// Executor of the engine's requests on the runtime of the lake, whose connections belong to that runtime.
struct LakeRuntime(Handle);

impl TaskExecutor for LakeRuntime {
    type Guard<'a> = EnterGuard<'a>;

    /// Waits for the future. Must be called on a blocking thread.
    fn block_on<T>(&self, task: T) -> T::Output
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let (send, receive) = mpsc::channel();
        self.0.spawn(async move { send.send(task.await) });
        receive.recv().expect("the runtime outlives the blocking threads")
    }

    fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.spawn(task);
    }

    fn spawn_blocking<T, R>(&self, task: T) -> BoxFuture<'_, KernelResult<R>>
    where
        T: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let task = self.0.spawn_blocking(task);
        async { task.await.map_err(KernelError::join_failure) }.boxed()
    }

    fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }
}
