//! Reading a snapshot by point: footers and decoded blocks in memory under one byte budget, one read per block at a time.
//!
//! A warm lookup is a binary search for the block, one in the block, and a copy of the customer's texts; a cold one adds
//! one range read. What is read is checked against the checksums that the writer left. Knows nothing of HTTP or Tair.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::array::{Array, RecordBatch, StringArray};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use moka::future::Cache;
use object_store::path::Path;
use tokio::sync::Semaphore;

mod churn;
mod forgotten;
mod sweep;

pub use churn::ChurnFilter;
pub use forgotten::Gaps;
pub use sweep::{ReadStretch, Stretch};

use super::{
    FileEntry, FileKind, Manifest, SnapshotError,
    blocks::{Footer, footer_range},
};
use crate::{
    feature::{CustomerId, Row, ViewRow},
    lake::{Lake, LakeError},
    telemetry::Metrics,
};

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
    entries: Cache<Key, Entry>,
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
    /// One count of references for all of its columns, which lie far apart in memory.
    Block(Arc<RecordBatch>),
}

impl BlockCache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: &ReadLimits, metrics: Arc<Metrics>) -> Self {
        let entries = Cache::builder()
            .max_capacity(limits.cache)
            .weigher(|_, entry: &Entry| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .support_invalidation_closures()
            .build();
        let reads = Arc::new(Semaphore::new(limits.lake_reads.max(1)));
        Self { entries, reads, timeout: limits.lake_timeout, metrics, next_snapshot: Arc::default() }
    }

    /// Carries out what the cache has put off, so that its size is right.
    pub async fn settle(&self) {
        self.entries.run_pending_tasks().await;
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.weighted_size()
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
            Err(_) => Err(SnapshotError::Timeout { object: path.to_string(), millis: self.timeout.as_millis() }),
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
            Self::Block(batch) => batch.get_array_memory_size(),
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Customers with their ranks, counted from 0. Forgotten ones are left out, and nobody takes their ranks.
    pub customers: Vec<(u64, CustomerId)>,
    /// How many there are in the whole list.
    pub total: u64,
    /// The rank to go on from; nothing where nobody is left.
    pub next: Option<u64>,
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
        Self { manifest, lake, cache, number, parts, products }
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
        let Some(file) = self.part_of(&self.parts, id.as_str()) else { return Ok(None) };
        let footer = self.footer(file).await?;
        let Some(at) = footer.block_of_id(id.as_str()) else { return Ok(None) };
        let block = self.block(file, &footer, at).await?;
        self.row_in(file, &block, id)
    }

    /// A product, or nothing where the snapshot does not know it.
    ///
    /// # Errors
    /// As [`SnapshotReader::row`].
    pub async fn product(&self, id: &str) -> Result<Option<ProductRow>, Arc<SnapshotError>> {
        let Some(file) = self.part_of(&self.products, id) else { return Ok(None) };
        let footer = self.footer(file).await?;
        let Some(at) = footer.block_of_id(id) else { return Ok(None) };
        let block = self.block(file, &footer, at).await?;
        let Some(row) = position(self.texts(file, &block, 0)?, id) else { return Ok(None) };
        let text = |column: usize| -> Result<Option<String>, Arc<SnapshotError>> {
            let texts = self.texts(file, &block, column)?;
            Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
        };
        Ok(Some(ProductRow { name: text(1)?, category: text(2)?, similar: text(3)?.unwrap_or_default() }))
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
        let of_segment = |file: &FileEntry| file.segment.as_deref() == Some(segment) && file.kind == FileKind::Ranking;
        let Some(file) = self.manifest.files.iter().position(of_segment) else { return Ok(members) };
        let footer = self.footer(file).await?;
        while members.len() < limit {
            let next = offset + members.len() as u64;
            let Some((at, first)) = footer.block_of_row(next) else { break };
            let block = self.block(file, &footer, at).await?;
            let ids = self.texts(file, &block, 0)?;
            let skip = usize::try_from(next - first).unwrap_or(usize::MAX);
            for id in ids.iter().skip(skip).take(limit - members.len()).flatten() {
                members.push(self.id(file, id)?);
            }
        }
        Ok(members)
    }

    /// The one of `parts` that may hold `id`.
    fn part_of(&self, parts: &[usize], id: &str) -> Option<usize> {
        let file = |at: usize| &self.manifest.files[at];
        let at = parts.partition_point(|at| file(*at).last.as_deref().is_some_and(|last| last < id));
        parts.get(at).copied().filter(|at| file(*at).first.as_deref().is_some_and(|first| first <= id))
    }

    async fn footer(&self, file: usize) -> Result<Arc<Footer>, Arc<SnapshotError>> {
        let key = Key { snapshot: self.number, file, block: None };
        let load = async {
            let entry = &self.manifest.files[file];
            let path = self.manifest.id.path(&entry.path);
            let bytes = self.cache.read(&self.lake, &path, footer_range(&path, entry)?).await?;
            let footer = Footer::check(&path, entry, &bytes)?;
            Ok(Entry::Footer(Arc::new(footer)))
        };
        match self.entry(key, load).await? {
            Entry::Footer(footer) => Ok(footer),
            Entry::Block(_) => Err(self.damaged(file, "its footer was taken for a block")),
        }
    }

    async fn block(
        &self,
        file: usize,
        footer: &Arc<Footer>,
        at: usize,
    ) -> Result<Arc<RecordBatch>, Arc<SnapshotError>> {
        let key = Key { snapshot: self.number, file, block: Some(at) };
        let load = async {
            let path = self.manifest.id.path(&self.manifest.files[file].path);
            let block = footer.block(at);
            let bytes = self.cache.read(&self.lake, &path, block.offset..block.offset + block.length).await?;
            let batch = footer.decode_block(at, bytes);
            batch
                .map(|batch| Entry::Block(Arc::new(batch)))
                .map_err(|why| SnapshotError::Damaged { object: path.to_string(), why })
        };
        match self.entry(key, load).await? {
            Entry::Block(batch) => Ok(batch),
            Entry::Footer(_) => Err(self.damaged(file, "a block was taken for its footer")),
        }
    }

    /// From the cache, or loaded once however many ask.
    async fn entry(
        &self,
        key: Key,
        load: impl Future<Output = Result<Entry, SnapshotError>>,
    ) -> Result<Entry, Arc<SnapshotError>> {
        if let Some(entry) = self.cache.entries.get(&key).await {
            self.cache.metrics.cache_hits.inc();
            return Ok(entry);
        }
        self.cache.metrics.cache_misses.inc();
        let load = async { load.await.inspect_err(|error| self.cache.count_error(error)) };
        // On the heap, so that the way of a hit stays small.
        Box::pin(self.cache.entries.try_get_with(key, load)).await
    }

    fn row_in(&self, file: usize, block: &RecordBatch, id: &CustomerId) -> Result<Option<Row>, Arc<SnapshotError>> {
        let ids = self.texts(file, block, 0)?;
        let Some(at) = position(ids, id.as_str()) else { return Ok(None) };
        let columns: Vec<&StringArray> =
            (1..block.num_columns()).map(|column| self.texts(file, block, column)).collect::<Result<_, _>>()?;
        // All texts in one allocation, so that a row kept in memory does not keep the block.
        let length = columns.iter().map(|texts| texts.value(at).len()).sum();
        let mut all = BytesMut::with_capacity(length);
        for texts in &columns {
            all.extend_from_slice(texts.value(at).as_bytes());
        }
        let mut all = all.freeze();
        let views = columns.iter().map(|texts| -> ViewRow {
            let text = all.split_to(texts.value(at).len());
            texts.is_valid(at).then_some(text)
        });
        Ok(Some(Row::new(id.clone(), views.collect())))
    }

    fn texts<'a>(
        &self,
        file: usize,
        block: &'a RecordBatch,
        column: usize,
    ) -> Result<&'a StringArray, Arc<SnapshotError>> {
        let texts = block.columns().get(column).and_then(|column| column.as_any().downcast_ref::<StringArray>());
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
        let number = self.number;
        // Fails only without support for closures, which the cache is built with.
        let _ = self.cache.entries.invalidate_entries_if(move |key, _| key.snapshot == number);
    }
}

/// The place of `id` in the sorted `ids`.
fn position(ids: &StringArray, id: &str) -> Option<usize> {
    let (mut low, mut high) = (0, ids.len());
    while low < high {
        let middle = low.midpoint(high);
        if ids.value(middle) < id { low = middle + 1 } else { high = middle }
    }
    (low < ids.len() && ids.value(low) == id).then_some(low)
}
