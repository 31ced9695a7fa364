//! Reads of single rows and pages of lists, with footers and decoded blocks cached in memory under one byte
//! budget; concurrent reads of a block share one range read.
//!
//! A cache hit is a binary search for the block, a lookup in the block's hash table, and a copy of the
//! customer's texts. A cache miss adds one range read.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use arrow::array::{Array, RecordBatch, StringArray};
use futures::{StreamExt, stream};
use prometheus::IntCounter;

mod churn_list;
mod erased;
mod gaps;
mod product_names;
mod purchases;
mod row_block;
mod row_runs;

pub use churn_list::ChurnFilter;
pub use erased::{ErasedFigures, ErasedTotals};
pub use gaps::Gaps;
pub use product_names::ProductNames;
pub use purchases::{PurchaseLine, PurchasePage};
use row_block::RowBlock;
pub(crate) use row_block::fuzz as fuzz_row_block;
pub use row_runs::{FetchedRowRun, RowRun};

use super::{FileKind, Manifest, SnapshotError, files::SnapshotFiles, footer::Footer};
use crate::{
    cache::Cache,
    feature::{CustomerId, DayCounts, Row, Tier, ViewRows},
    lake::Lake,
    telemetry::{CacheName, KnownLabel, Metrics},
};

/// Approximate memory of a decoded block, in bytes.
const BLOCK_BYTES: u64 = 192 << 10;
/// Number of footers that [`SnapshotReader::warm_up`] reads at a time.
const WARM_UP_READS: usize = 8;
/// Cache budget of a reader with a cache of its own, in bytes.
const OFFLINE_CACHE: u64 = 64 << 20;

/// Damage of a row whose stored instants cannot be read.
const NO_INSTANT: &str = "an instant to count days from is not a number";

/// Cache of footers and decoded blocks of all snapshots that a process has open.
#[derive(Debug, Clone)]
pub struct BlockCache {
    entries: Arc<Cache<BlockKey, CacheEntry, SnapshotError>>,
    hits: IntCounter,
    misses: IntCounter,
    next_snapshot: Arc<AtomicU64>,
}

/// Key of a block, or of a footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct BlockKey {
    snapshot: u64,
    file: usize,
    /// `None` for the footer.
    block: Option<usize>,
}

#[derive(Debug, Clone)]
enum CacheEntry {
    Footer(Arc<Footer>),
    /// A block for lookups by id.
    Rows(Arc<RowBlock>),
    /// A block for scans.
    Columns(Arc<RecordBatch>),
    /// The names of all products of a snapshot.
    ProductNames(Arc<ProductNames>),
}

impl BlockCache {
    /// Creates an empty cache that holds at most `budget` bytes.
    #[must_use]
    pub fn new(budget: u64, metrics: &Metrics) -> Self {
        let entries = Cache::new(budget, budget / BLOCK_BYTES, |_, entry: &CacheEntry| entry.weight());
        let name = &[CacheName::Blocks.as_str()];
        let (hits, misses) =
            (metrics.cache_hits.with_label_values(name), metrics.cache_misses.with_label_values(name));
        Self { entries: Arc::new(entries), hits, misses, next_snapshot: Arc::default() }
    }

    /// Returns the memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

impl CacheEntry {
    fn weight(&self) -> usize {
        match self {
            Self::Footer(footer) => footer.weight(),
            Self::Rows(rows) => rows.weight(),
            Self::Columns(batch) => batch.get_array_memory_size(),
            Self::ProductNames(names) => names.bytes(),
        }
    }
}

/// An open snapshot.
#[derive(Debug)]
pub struct SnapshotReader {
    files: SnapshotFiles,
    cache: BlockCache,
    /// Number of this snapshot in the cache.
    number: u64,
    /// Features whose values are derived from stored instants.
    day_counts: Arc<DayCounts>,
    /// Parts of `rows`, sorted by id.
    parts: Vec<usize>,
    /// Parts of `products`, sorted by id.
    products: Vec<usize>,
    /// Parts of `purchases`, sorted by customer id.
    purchases: Vec<usize>,
    /// Footers by file, as long as the cache holds them. Every read needs a footer, and this is faster than
    /// the cache.
    footers: Box<[ArcSwap<Weak<Footer>>]>,
}

/// A product as a snapshot stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductRow {
    /// Name, if the raw data has one.
    pub name: Option<String>,
    /// Category, if the raw data has one.
    pub category: Option<String>,
    /// Similar products, best first, as a JSON array.
    pub similar: String,
}

/// A page of the members of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// Customers with their places, counted from 0. Erased customers have no place.
    pub customers: Vec<(u64, CustomerId)>,
    /// Number of members of the whole list.
    pub total: u64,
    /// Place at which the next page begins; `None` on the last page.
    pub next: Option<u64>,
    /// Tier that the page was read from.
    pub tier: Tier,
}

impl SnapshotReader {
    /// Opens a snapshot. Reads nothing yet.
    #[must_use]
    pub fn new(files: SnapshotFiles, cache: BlockCache) -> Self {
        let number = cache.next_snapshot.fetch_add(1, Ordering::Relaxed);
        let [parts, products, purchases] =
            [FileKind::Rows, FileKind::Products, FileKind::Purchases].map(|kind| files.manifest.parts(kind));
        let footers = files.manifest.files.iter().map(|_| ArcSwap::default()).collect();
        let day_counts = Arc::new(DayCounts::of(&files.manifest.views));
        Self { files, cache, number, day_counts, parts, products, purchases, footers }
    }

    /// Opens a snapshot for a command that no request waits for, with a cache of its own.
    #[must_use]
    pub fn offline(lake: &Lake, manifest: &Arc<Manifest>) -> Self {
        let cache = BlockCache::new(OFFLINE_CACHE, &Metrics::unobserved());
        Self::new(SnapshotFiles::offline(lake, manifest), cache)
    }

    /// Returns the files of the snapshot.
    #[must_use]
    pub fn files(&self) -> &SnapshotFiles {
        &self.files
    }

    /// Returns the manifest.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.files.manifest
    }

    /// Returns the features whose values are derived from stored instants.
    #[must_use]
    pub fn day_counts(&self) -> &DayCounts {
        &self.day_counts
    }

    /// Reads all footers ahead, so that a cold lookup takes one range read. Failures are logged and counted;
    /// the lookup retries.
    pub async fn warm_up(&self) {
        let files = stream::iter(self.parts.iter().chain(&self.products).chain(&self.purchases));
        files.for_each_concurrent(WARM_UP_READS, |file| async { drop(self.footer(*file).await) }).await;
    }

    /// Returns the features of a customer, or `None` if the snapshot does not have the customer.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`], [`SnapshotError::Timeout`], or [`SnapshotError::Damaged`].
    pub async fn row(&self, id: &CustomerId) -> Result<Option<Row>, Arc<SnapshotError>> {
        let Some((file, stored)) = self.lookup(&self.parts, id.as_str()).await? else { return Ok(None) };
        let views = self.day_counts.derive(stored, self.manifest().as_of.timestamp_micros());
        match views {
            Some(views) => Ok(Some(Row::new(id.clone(), views))),
            None => Err(self.damaged(file, NO_INSTANT)),
        }
    }

    /// Returns a product, or `None` if the snapshot does not have the product.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn product(&self, id: &str) -> Result<Option<ProductRow>, Arc<SnapshotError>> {
        let Some((file, texts)) = self.lookup(&self.products, id).await? else { return Ok(None) };
        if texts.len() < 3 {
            return Err(self.damaged(file, "a column is missing"));
        }
        let text = |column| texts.get(column).map(|text| String::from_utf8_lossy(text).into_owned());
        Ok(Some(ProductRow { name: text(0), category: text(1), similar: text(2).unwrap_or_default() }))
    }

    /// Returns at most `limit` members of `segment`, from rank `offset` (counted from 0) on, erased customers
    /// included. A segment without a ranking is empty.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn members(
        &self,
        segment: &str,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<CustomerId>, Arc<SnapshotError>> {
        let mut members = Vec::new();
        let Some(file) = self.files.manifest.ranking(segment) else { return Ok(members) };
        let footer = self.footer(file).await?;
        while members.len() < limit {
            let next = offset + members.len() as u64;
            let Some((at, first)) = footer.block_of_row(next) else { break };
            let block = self.columns(file, &footer, at).await?;
            let ids = self.ids(file, &block)?;
            let skip = usize::try_from(next - first).unwrap_or(usize::MAX);
            for id in ids.iter().skip(skip).take(limit - members.len()).flatten() {
                members.push(self.customer_id(file, id)?);
            }
        }
        Ok(members)
    }

    /// Returns the texts that one of `parts` has for `id`, and the part.
    async fn lookup(
        &self,
        parts: &[usize],
        id: &str,
    ) -> Result<Option<(usize, ViewRows)>, Arc<SnapshotError>> {
        let Some(file) = self.part_of(parts, id) else { return Ok(None) };
        let footer = self.footer(file).await?;
        let Some(at) = footer.block_of_id(id) else { return Ok(None) };
        match self.block(file, &footer, at).await? {
            CacheEntry::Rows(rows) => Ok(rows.get(id).map(|texts| (file, texts))),
            _ => Err(wrong_entry()),
        }
    }

    /// Returns the only one of `parts` that can hold `id`.
    fn part_of(&self, parts: &[usize], id: &str) -> Option<usize> {
        let file = |at: usize| self.files.entry(at);
        let at = parts.partition_point(|at| file(*at).last.as_deref().is_some_and(|last| last < id));
        parts.get(at).copied().filter(|at| file(*at).first.as_deref().is_some_and(|first| first <= id))
    }

    async fn footer(&self, file: usize) -> Result<Arc<Footer>, Arc<SnapshotError>> {
        if let Some(footer) = self.footers[file].load().upgrade() {
            self.cache.hits.inc();
            return Ok(footer);
        }
        let load = async { Ok(CacheEntry::Footer(Arc::new(self.files.footer(file).await?))) };
        match self.entry(self.key(file, None), load).await? {
            CacheEntry::Footer(footer) => {
                self.footers[file].store(Arc::new(Arc::downgrade(&footer)));
                Ok(footer)
            }
            _ => Err(wrong_entry()),
        }
    }

    /// Returns block `at`, decoded for lookups or for scans, depending on the kind of file.
    async fn block(
        &self,
        file: usize,
        footer: &Arc<Footer>,
        at: usize,
    ) -> Result<CacheEntry, Arc<SnapshotError>> {
        let load = async {
            // A new block evicts the entries that were used least. The cache does not see uses of the footer:
            // they bypass it.
            let _ = self.cache.entries.get(&self.key(file, None));
            let block = self.files.read_block(file, footer, at).await?;
            let decode = || {
                block.check()?;
                let batch = block.decode()?;
                Ok(match self.files.entry(file).kind {
                    FileKind::Rows | FileKind::Products => {
                        let rows = RowBlock::new(&batch).map_err(|why| block.damaged(why))?;
                        CacheEntry::Rows(Arc::new(rows))
                    }
                    FileKind::Ranking
                    | FileKind::Customers
                    | FileKind::Purchases
                    | FileKind::Events
                    | FileKind::Unknown => CacheEntry::Columns(Arc::new(batch)),
                })
            };
            decode().map_err(|error| self.files.count_error(error))
        };
        self.entry(self.key(file, Some(at)), load).await
    }

    /// Returns block `at` of a file that is scanned.
    async fn columns(
        &self,
        file: usize,
        footer: &Arc<Footer>,
        at: usize,
    ) -> Result<Arc<RecordBatch>, Arc<SnapshotError>> {
        match self.block(file, footer, at).await? {
            CacheEntry::Columns(batch) => Ok(batch),
            _ => Err(wrong_entry()),
        }
    }

    fn key(&self, file: usize, block: Option<usize>) -> BlockKey {
        BlockKey { snapshot: self.number, file, block }
    }

    /// Returns an entry of the cache. On a miss, concurrent callers share one `load`.
    async fn entry(
        &self,
        key: BlockKey,
        load: impl Future<Output = Result<CacheEntry, SnapshotError>>,
    ) -> Result<CacheEntry, Arc<SnapshotError>> {
        if let Some(entry) = self.cache.entries.get(&key) {
            self.cache.hits.inc();
            return Ok(entry);
        }
        self.cache.misses.inc();
        // Boxed so that the future of a cache hit stays small.
        Box::pin(self.cache.entries.get_or_make(&key, load)).await
    }

    fn ids<'a>(&self, file: usize, block: &'a RecordBatch) -> Result<&'a StringArray, Arc<SnapshotError>> {
        let ids = block.columns().first().and_then(|column| column.as_any().downcast_ref::<StringArray>());
        ids.ok_or_else(|| self.damaged(file, "the column of ids does not hold text"))
    }

    fn customer_id(&self, file: usize, text: &str) -> Result<CustomerId, Arc<SnapshotError>> {
        CustomerId::parse(text).map_err(|error| self.damaged(file, &error.to_string()))
    }

    fn damaged(&self, file: usize, why: &str) -> Arc<SnapshotError> {
        Arc::new(self.files.damaged(file, why))
    }
}

fn wrong_entry() -> Arc<SnapshotError> {
    Arc::new(SnapshotError::Internal { why: "the block cache returned an entry of another kind" })
}

impl Drop for SnapshotReader {
    fn drop(&mut self) {
        self.cache.entries.remove_where(|key| key.snapshot == self.number);
    }
}
