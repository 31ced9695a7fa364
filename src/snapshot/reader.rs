//! Reading a snapshot by point: footers and decoded blocks in memory under one byte budget, one read per block at a time.
//!
//! A warm lookup is a binary search for the block, a look into the block's hash table, and a copy of the customer's texts; a cold one
//! adds one range read. What is read is checked against the checksums that the writer left. Knows nothing of HTTP or Tair.

use std::{
    ops::Range,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use arrow::array::{Array, RecordBatch, StringArray};
use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::path::Path;
use tokio::sync::Semaphore;

mod churn;
mod forgotten;
mod row_block;
mod sweep;

pub use churn::ChurnFilter;
pub use forgotten::Gaps;
use row_block::RowBlock;
pub(crate) use row_block::fuzz as fuzz_row_block;
pub use sweep::{ReadStretch, Stretch};

use super::{
    FileEntry, FileKind, Manifest, SnapshotError,
    blocks::{Footer, footer_range},
};
use crate::{
    cache::Cache,
    feature::{CustomerId, Row, Tier, ViewRows},
    lake::{Lake, LakeError},
    telemetry::Metrics,
};

/// A decoded block, about.
const BLOCK_BYTES: u64 = 192 << 10;

/// What readers of snapshots may use, shared by all snapshots that a process has open.
#[derive(Debug, Clone)]
pub struct ReadLimits {
    /// Bytes of footers and decoded blocks in memory.
    pub cache: u64,
    /// Reads on the lake at a time.
    pub lake_reads: usize,
    /// The deadline of one read on the lake, waiting included.
    pub lake_timeout: Duration,
}

/// Footers and blocks of all open snapshots, and the right to read from the lake.
#[derive(Debug, Clone)]
pub struct BlockCache {
    entries: Arc<Cache<Key, Entry, SnapshotError>>,
    reads: Arc<Semaphore>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    next_snapshot: Arc<AtomicU64>,
}

/// A block of a file of an open snapshot, or its footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    snapshot: u64,
    file: usize,
    block: Option<usize>,
}

#[derive(Debug, Clone)]
enum Entry {
    Footer(Arc<Footer>),
    /// A block that is read by point.
    Rows(Arc<RowBlock>),
    /// A block that is read through.
    Columns(Arc<RecordBatch>),
}

impl BlockCache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: &ReadLimits, metrics: Arc<Metrics>) -> Self {
        let entries =
            Arc::new(Cache::new(limits.cache, limits.cache / BLOCK_BYTES, |_, entry: &Entry| entry.weight()));
        let reads = Arc::new(Semaphore::new(limits.lake_reads.max(1)));
        Self { entries, reads, timeout: limits.lake_timeout, metrics, next_snapshot: Arc::default() }
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Exactly `range` of the object at `path`, within the deadline and the number of reads at a time.
    async fn read(&self, lake: &Lake, path: &Path, range: Range<u64>) -> Result<Bytes, SnapshotError> {
        self.metrics.lake_reads.inc();
        let read = async {
            let _permit = self.reads.acquire().await;
            lake.get_range(path, range).await
        };
        match tokio::time::timeout(self.timeout, read).await {
            Ok(Ok(bytes)) => {
                self.metrics.lake_read_bytes.inc_by(bytes.len() as u64);
                Ok(bytes)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                Err(SnapshotError::Timeout { object: path.to_string(), millis: self.timeout.as_millis() })
            }
        }
    }

    fn count_error(&self, error: &SnapshotError) {
        let reason = match error {
            SnapshotError::Lake(LakeError::NotFound { .. }) => "missing",
            SnapshotError::Damaged { .. } | SnapshotError::Lake(LakeError::Length { .. }) => "damaged",
            SnapshotError::Timeout { .. } => "timeout",
            _ => "store",
        };
        self.metrics.lake_errors.with_label_values(&[reason]).inc();
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(reason, %error, source, "a read on the lake failed");
    }
}

impl Entry {
    fn weight(&self) -> usize {
        match self {
            Self::Footer(footer) => footer.weight(),
            Self::Rows(rows) => rows.weight(),
            Self::Columns(batch) => batch.get_array_memory_size(),
        }
    }
}

/// An open snapshot.
#[derive(Debug)]
pub struct SnapshotReader {
    manifest: Arc<Manifest>,
    lake: Lake,
    cache: BlockCache,
    /// This snapshot's number in the cache.
    number: u64,
    /// The places in the manifest's files of the parts of `rows`, by id.
    parts: Vec<usize>,
    /// Those of `products`, likewise.
    products: Vec<usize>,
    /// The footers of the manifest's files while the cache holds them: every read needs one, and this way is shorter.
    footers: Box<[ArcSwap<Weak<Footer>>]>,
}

/// What a snapshot says of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductRow {
    /// Its name, where the raw data has one.
    pub name: Option<String>,
    /// Its category, where the raw data has one.
    pub category: Option<String>,
    /// The similar products, best first, as a JSON array.
    pub similar: String,
}

/// A stretch of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Customers with their ranks, counted from 0. Forgotten ones are left out, and nobody takes their ranks.
    pub customers: Vec<(u64, CustomerId)>,
    /// How many there are in the whole list.
    pub total: u64,
    /// The rank to go on from; nothing where nobody is left.
    pub next: Option<u64>,
    /// The tier that told who they are.
    pub tier: Tier,
}

impl SnapshotReader {
    /// Opens the snapshot of `manifest`. Nothing is read until it is asked for.
    #[must_use]
    pub fn new(lake: Lake, manifest: Arc<Manifest>, cache: BlockCache) -> Self {
        let number = cache.next_snapshot.fetch_add(1, Ordering::Relaxed);
        let parts = |kind: FileKind| {
            let mut parts: Vec<usize> =
                (0..manifest.files.len()).filter(|at| manifest.files[*at].kind == kind).collect();
            parts.sort_by(|a, b| manifest.files[*a].first.cmp(&manifest.files[*b].first));
            parts
        };
        let (parts, products) = (parts(FileKind::Rows), parts(FileKind::Products));
        let footers = manifest.files.iter().map(|_| ArcSwap::default()).collect();
        Self { manifest, lake, cache, number, parts, products, footers }
    }

    /// The snapshot's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Reads all footers ahead, so that a cold lookup is one read. What fails is logged and counted, and tried again when it is asked for.
    pub async fn warm_up(&self) {
        let files = self.parts.iter().chain(&self.products);
        stream::iter(files).for_each_concurrent(8, |file| async { drop(self.footer(*file).await) }).await;
    }

    /// The features of one customer, or nothing where the snapshot does not know the customer.
    ///
    /// # Errors
    /// Of the lake, or of a damaged file, which it names.
    pub async fn row(&self, id: &CustomerId) -> Result<Option<Row>, Arc<SnapshotError>> {
        let texts = self.texts_of(&self.parts, id.as_str()).await?;
        Ok(texts.map(|(_, texts)| Row::new(id.clone(), texts)))
    }

    /// A product, or nothing where the snapshot does not know it.
    ///
    /// # Errors
    /// As [`SnapshotReader::row`].
    pub async fn product(&self, id: &str) -> Result<Option<ProductRow>, Arc<SnapshotError>> {
        let Some((file, texts)) = self.texts_of(&self.products, id).await? else { return Ok(None) };
        if texts.len() < 3 {
            return Err(self.damaged(file, "a column is missing"));
        }
        let text = |column| texts.get(column).map(|text| String::from_utf8_lossy(text).into_owned());
        Ok(Some(ProductRow { name: text(0), category: text(1), similar: text(2).unwrap_or_default() }))
    }

    /// The ids of the members of `segment` of the ranks from `offset` (counted from 0), at most `limit`.
    ///
    /// # Errors
    /// As [`SnapshotReader::row`]. A segment without a ranking is empty.
    pub async fn members(
        &self,
        segment: &str,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<CustomerId>, Arc<SnapshotError>> {
        let mut members = Vec::new();
        let of_segment =
            |file: &FileEntry| file.segment.as_deref() == Some(segment) && file.kind == FileKind::Ranking;
        let Some(file) = self.manifest.files.iter().position(of_segment) else { return Ok(members) };
        let footer = self.footer(file).await?;
        while members.len() < limit {
            let next = offset + members.len() as u64;
            let Some((at, first)) = footer.block_of_row(next) else { break };
            let block = self.columns(file, &footer, at).await?;
            let ids = self.texts(file, &block, 0)?;
            let skip = usize::try_from(next - first).unwrap_or(usize::MAX);
            for id in ids.iter().skip(skip).take(limit - members.len()).flatten() {
                members.push(self.id(file, id)?);
            }
        }
        Ok(members)
    }

    /// What stands beside `id` in one of `parts`, and which that is.
    async fn texts_of(
        &self,
        parts: &[usize],
        id: &str,
    ) -> Result<Option<(usize, ViewRows)>, Arc<SnapshotError>> {
        let Some(file) = self.part_of(parts, id) else { return Ok(None) };
        let footer = self.footer(file).await?;
        let Some(at) = footer.block_of_id(id) else { return Ok(None) };
        match self.block(file, &footer, at).await? {
            Entry::Rows(rows) => Ok(rows.get(id).map(|texts| (file, texts))),
            _ => Err(self.damaged(file, "a block was taken for one of another kind")),
        }
    }

    /// The one of `parts` that may hold `id`.
    fn part_of(&self, parts: &[usize], id: &str) -> Option<usize> {
        let file = |at: usize| &self.manifest.files[at];
        let at = parts.partition_point(|at| file(*at).last.as_deref().is_some_and(|last| last < id));
        parts.get(at).copied().filter(|at| file(*at).first.as_deref().is_some_and(|first| first <= id))
    }

    async fn footer(&self, file: usize) -> Result<Arc<Footer>, Arc<SnapshotError>> {
        if let Some(footer) = self.footers[file].load().upgrade() {
            self.cache.metrics.cache_hits.inc();
            return Ok(footer);
        }
        let load = async {
            let entry = &self.manifest.files[file];
            let path = self.manifest.id.path(&entry.path);
            let bytes = self.cache.read(&self.lake, &path, footer_range(&path, entry)?).await?;
            let footer = Footer::check(&path, entry, &bytes)?;
            Ok(Entry::Footer(Arc::new(footer)))
        };
        match self.entry(self.key(file, None), load).await? {
            Entry::Footer(footer) => {
                self.footers[file].store(Arc::new(Arc::downgrade(&footer)));
                Ok(footer)
            }
            _ => Err(self.damaged(file, "its footer was taken for a block")),
        }
    }

    /// Block `at`, as its file's kind of reads wants it.
    async fn block(&self, file: usize, footer: &Footer, at: usize) -> Result<Entry, Arc<SnapshotError>> {
        let load = async {
            // A new block drives out what was not asked for, and the cache knows only what it is asked for itself.
            let _ = self.cache.entries.get(&self.key(file, None));
            let entry = &self.manifest.files[file];
            let path = self.manifest.id.path(&entry.path);
            let block = footer.block(at);
            let bytes = self.cache.read(&self.lake, &path, block.offset..block.offset + block.length).await?;
            let decoded = footer.decode_block(at, bytes).and_then(|batch| match entry.kind {
                FileKind::Rows | FileKind::Products => Ok(Entry::Rows(Arc::new(RowBlock::new(&batch)?))),
                FileKind::Ranking | FileKind::Customers => Ok(Entry::Columns(Arc::new(batch))),
            });
            decoded.map_err(|why| SnapshotError::Damaged { object: path.to_string(), why })
        };
        self.entry(self.key(file, Some(at)), load).await
    }

    /// A block that is read through.
    async fn columns(
        &self,
        file: usize,
        footer: &Footer,
        at: usize,
    ) -> Result<Arc<RecordBatch>, Arc<SnapshotError>> {
        match self.block(file, footer, at).await? {
            Entry::Columns(batch) => Ok(batch),
            _ => Err(self.damaged(file, "a block was taken for one of another kind")),
        }
    }

    fn key(&self, file: usize, block: Option<usize>) -> Key {
        Key { snapshot: self.number, file, block }
    }

    /// From the cache, or loaded once however many ask.
    async fn entry(
        &self,
        key: Key,
        load: impl Future<Output = Result<Entry, SnapshotError>>,
    ) -> Result<Entry, Arc<SnapshotError>> {
        if let Some(entry) = self.cache.entries.get(&key) {
            self.cache.metrics.cache_hits.inc();
            return Ok(entry);
        }
        self.cache.metrics.cache_misses.inc();
        let load = async { load.await.inspect_err(|error| self.cache.count_error(error)) };
        // On the heap, so that the way of a hit stays small.
        Box::pin(self.cache.entries.get_or_make(&key, load)).await
    }

    fn texts<'a>(
        &self,
        file: usize,
        block: &'a RecordBatch,
        column: usize,
    ) -> Result<&'a StringArray, Arc<SnapshotError>> {
        let texts =
            block.columns().get(column).and_then(|column| column.as_any().downcast_ref::<StringArray>());
        texts.ok_or_else(|| self.damaged(file, "a column that should hold text does not"))
    }

    fn id(&self, file: usize, text: &str) -> Result<CustomerId, Arc<SnapshotError>> {
        CustomerId::parse(text).map_err(|error| self.damaged(file, &error.to_string()))
    }

    fn damaged(&self, file: usize, why: &str) -> Arc<SnapshotError> {
        let object = self.manifest.id.path(&self.manifest.files[file].path).to_string();
        Arc::new(SnapshotError::Damaged { object, why: why.to_owned() })
    }
}

impl Drop for SnapshotReader {
    fn drop(&mut self) {
        self.cache.entries.remove_where(|key| key.snapshot == self.number);
    }
}
