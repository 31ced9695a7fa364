//! Access to the files of a snapshot. Every reader takes its bytes from [`SnapshotFiles`], so that limits,
//! deadlines, metrics and checksums hold for all of them.
//!
//! | module | reads |
//! |---|---|
//! | `reader` | single rows and pages of lists, with a cache; runs of rows past the cache |
//! | `block_scan` | all blocks of some files in order, decoded ahead |
//! | `row_scan` | the rows of all customers in order |
//! | `ranking_pages` | a ranking, best first, in pages of ids |
//! | `aligned_scan` | the rows of several snapshots side by side, by ranges of ids |
//! | `column_scan` | some typed columns of all customers |

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use tokio::sync::{Semaphore, TryAcquireError};

use super::{
    FileEntry, Manifest, SnapshotError,
    block::EncodedBlock,
    footer::{self, Footer},
};
use crate::{
    lake::{Lake, LakeError},
    telemetry::{KnownLabel, LakeFault, Metrics},
};

/// Concurrent reads of a command that no request waits for.
const OFFLINE_READS: usize = 16;
/// Deadline of a read of such a command.
const OFFLINE_DEADLINE: Duration = Duration::from_mins(1);
/// Length of the range reads that fetch a whole file.
const READ_BYTES: u64 = 8 << 20;

/// Limits and metrics of range reads on the lake, shared by all snapshots that a process has open.
#[derive(Debug, Clone)]
pub struct LakeReads {
    permits: Arc<Semaphore>,
    /// Deadline of a read in milliseconds.
    deadline: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl LakeReads {
    /// Allows `concurrent` range reads at a time, each with `deadline`, which includes waiting for a permit.
    /// Permits are granted in the order of requests and for one range read, so a scan of a whole snapshot
    /// does not starve lookups.
    #[must_use]
    pub fn new(concurrent: usize, deadline: Duration, metrics: Arc<Metrics>) -> Self {
        let reads =
            Self { permits: Arc::new(Semaphore::new(concurrent.max(1))), deadline: Arc::default(), metrics };
        reads.set_deadline(deadline);
        reads
    }

    /// Changes the deadline of all reads that begin from now on.
    pub fn set_deadline(&self, deadline: Duration) {
        self.deadline.store(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the limits of builds, publishes and other commands that no request waits for.
    #[must_use]
    pub fn offline() -> Self {
        Self::new(OFFLINE_READS, OFFLINE_DEADLINE, Arc::new(Metrics::unobserved()))
    }
}

/// Counts a read that waits for a permit until dropped.
struct WaitingRead<'a>(&'a Metrics);

impl<'a> WaitingRead<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.lake_waiting.inc();
        Self(metrics)
    }
}

impl Drop for WaitingRead<'_> {
    fn drop(&mut self) {
        self.0.lake_waiting.dec();
    }
}

/// The files of one snapshot. A file is named by its position in the manifest.
#[derive(Debug, Clone)]
pub struct SnapshotFiles {
    pub(super) manifest: Arc<Manifest>,
    lake: Lake,
    reads: LakeReads,
}

impl SnapshotFiles {
    /// Opens the files of the snapshot of `manifest`. Reads nothing yet.
    #[must_use]
    pub fn new(lake: &Lake, manifest: &Arc<Manifest>, reads: &LakeReads) -> Self {
        Self { manifest: Arc::clone(manifest), lake: lake.clone(), reads: reads.clone() }
    }

    /// Opens the files with [`LakeReads::offline`] limits of their own.
    #[must_use]
    pub fn offline(lake: &Lake, manifest: &Arc<Manifest>) -> Self {
        Self::new(lake, manifest, &LakeReads::offline())
    }

    /// Returns the manifest.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    pub(super) fn entry(&self, file: usize) -> &FileEntry {
        &self.manifest.files[file]
    }

    pub(super) fn path(&self, file: usize) -> Path {
        self.manifest.id.path(&self.entry(file).path)
    }

    pub(super) fn damaged(&self, file: usize, why: impl Into<String>) -> SnapshotError {
        SnapshotError::damaged(&self.path(file), why)
    }

    /// Reads `range` of a file.
    pub(super) async fn read(&self, file: usize, range: Range<u64>) -> Result<Bytes, SnapshotError> {
        self.read_object(&self.path(file), range).await
    }

    /// Reads `range` of the object `path`.
    pub(super) async fn read_object(&self, path: &Path, range: Range<u64>) -> Result<Bytes, SnapshotError> {
        let LakeReads { permits, deadline, metrics } = &self.reads;
        let deadline = Duration::from_millis(deadline.load(Ordering::Relaxed));
        metrics.lake_reads.inc();
        let read = async {
            let _permit = match permits.try_acquire() {
                Err(TryAcquireError::NoPermits) => {
                    let _waiting = WaitingRead::new(metrics);
                    permits.acquire().await.ok()
                }
                permit => permit.ok(),
            };
            self.lake.get_range(path, range).await
        };
        let error = match tokio::time::timeout(deadline, read).await {
            Ok(Ok(bytes)) => {
                metrics.lake_read_bytes.inc_by(bytes.len() as u64);
                return Ok(bytes);
            }
            Ok(Err(error)) => error.into(),
            Err(_) => SnapshotError::Timeout { object: path.to_string(), millis: deadline.as_millis() },
        };
        Err(self.count_error(error))
    }

    /// Reads a whole file.
    pub(super) async fn read_whole(&self, file: usize) -> Result<Bytes, SnapshotError> {
        let length = self.entry(file).bytes;
        let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        while (whole.len() as u64) < length {
            let start = whole.len() as u64;
            whole.extend_from_slice(&self.read(file, start..length.min(start + READ_BYTES)).await?);
        }
        Ok(whole.freeze())
    }

    /// Reads, checks and decodes the footer of a file with a block list.
    pub(super) async fn footer(&self, file: usize) -> Result<Footer, SnapshotError> {
        let bytes = self.footer_bytes(file).await?;
        let footer = Footer::parse(self.path(file), self.entry(file), &bytes);
        footer.map_err(|error| self.count_error(error))
    }

    /// Reads, checks and decodes the footer of any file.
    pub(super) async fn metadata(&self, file: usize) -> Result<ArrowReaderMetadata, SnapshotError> {
        let bytes = self.footer_bytes(file).await?;
        let metadata = footer::metadata(self.entry(file), &bytes);
        metadata.map_err(|why| self.count_error(self.damaged(file, why)))
    }

    async fn footer_bytes(&self, file: usize) -> Result<Bytes, SnapshotError> {
        let FileEntry { bytes, footer_bytes, .. } = *self.entry(file);
        let start = bytes.checked_sub(footer_bytes);
        let start =
            start.ok_or_else(|| self.damaged(file, "the manifest has a footer larger than the file"))?;
        self.read(file, start..bytes).await
    }

    /// Reads one block of a file. The bytes are not checked yet.
    pub(super) async fn read_block(
        &self,
        file: usize,
        footer: &Arc<Footer>,
        at: usize,
    ) -> Result<EncodedBlock, SnapshotError> {
        let bytes = self.read(file, footer.range(at..at + 1)).await?;
        Ok(EncodedBlock { footer: Arc::clone(footer), at, bytes })
    }

    /// Reads adjacent blocks of a file with one range read. The bytes are not checked yet.
    pub(super) async fn read_run(
        &self,
        file: usize,
        footer: &Arc<Footer>,
        blocks: Range<usize>,
    ) -> Result<Vec<EncodedBlock>, SnapshotError> {
        let run = footer.range(blocks.clone());
        let bytes = self.read(file, run.clone()).await?;
        // All bytes of the run are in memory, so offsets in the run fit.
        let offset = |place: u64| usize::try_from(place - run.start).unwrap_or(usize::MAX);
        let block = |at: usize| {
            let range = footer.range(at..at + 1);
            let bytes = bytes.slice(offset(range.start)..offset(range.end));
            EncodedBlock { footer: Arc::clone(footer), at, bytes }
        };
        Ok(blocks.map(block).collect())
    }

    /// Counts and logs `error` if a read failed or found damage, and returns the error.
    pub(super) fn count_error(&self, error: SnapshotError) -> SnapshotError {
        let reason = match &error {
            SnapshotError::Lake(LakeError::NotFound { .. }) => LakeFault::Missing,
            SnapshotError::Damaged { .. } | SnapshotError::Lake(LakeError::Length { .. }) => {
                LakeFault::Damaged
            }
            SnapshotError::Timeout { .. } => LakeFault::Timeout,
            SnapshotError::Lake(_) => LakeFault::Store,
            _ => return error,
        };
        self.reads.metrics.lake_errors.of(reason).inc();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(reason = reason.as_str(), %error, source, "lake read failed");
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LakeConfig;

    #[tokio::test]
    async fn deadline_includes_the_wait_for_a_permit() {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&LakeConfig::default(), folder.path()).expect("a lake");
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "format": 1, "id": "20111209T125000Z-5f0c2a9e", "larder": "", "as_of": "2011-12-09T12:50:00Z",
            "created_at": "2011-12-09T12:50:00Z", "fingerprint": "", "customers": 0, "views": [],
            "segments": [], "counts": {}, "sources": [], "stages": [], "files": [{
                "path": "rows/part-00000.parquet", "kind": "rows", "rows": 0, "bytes": 6, "sha256": "",
                "footer_bytes": 0, "footer_crc32": 0,
            }],
        }))
        .expect("a manifest");
        let metrics = Arc::new(Metrics::unobserved());
        let reads = LakeReads::new(1, Duration::from_millis(50), Arc::clone(&metrics));
        let files = SnapshotFiles::new(&lake, &Arc::new(manifest), &reads);
        lake.put(&files.path(0), Bytes::from_static(b"larder")).await.expect("a file");
        let permit = reads.permits.acquire().await.expect("a permit");
        let (error, waiting) = tokio::join!(files.read(0, 1..3), async { metrics.lake_waiting.get() });
        let error = error.expect_err("no permit is free");
        assert_eq!((waiting, metrics.lake_waiting.get()), (1, 0));
        assert!(matches!(error, SnapshotError::Timeout { millis: 50, .. }), "{error}");
        reads.set_deadline(Duration::from_millis(10));
        let error = files.read(0, 1..3).await.expect_err("no permit is free");
        assert!(matches!(error, SnapshotError::Timeout { millis: 10, .. }), "{error}");
        reads.set_deadline(Duration::from_mins(1));
        drop(permit);
        assert_eq!(files.read(0, 1..3).await.expect("a free permit"), "ar");
        assert_eq!(files.read_whole(0).await.expect("a free permit"), "larder");
        let timeouts = metrics.lake_errors.of(LakeFault::Timeout).get();
        assert_eq!((timeouts, metrics.lake_reads.get(), metrics.lake_read_bytes.get()), (2, 4, 8));
    }
}
