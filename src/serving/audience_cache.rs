//! Cache of what audiences are evaluated with: ids, columns, orders and sets of the open snapshots, under one
//! byte budget.
//!
//! An entry is loaded on first use, once even for concurrent requests. Entries that are used least are
//! evicted first; an entry larger than the budget is loaded for each use.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Semaphore;

use crate::{
    audience::{Bitmap, FeatureColumn, FeatureName, Leaf, SortedCustomers, plan::Predicate},
    cache::Cache,
    feature::PackedTexts,
    snapshot::{SnapshotError, SnapshotFiles, audience_loader::AudienceLoader, run_blocking},
};

/// Cache shared by all open snapshots, and the limit of concurrent computations.
#[derive(Debug, Clone)]
pub(super) struct AudienceCache {
    entries: Arc<Cache<(u64, SetKey), CachedSet, LoadError>>,
    permits: Arc<Semaphore>,
    next_snapshot: Arc<AtomicU64>,
}

/// Key of an entry within a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SetKey {
    Ids,
    Column(FeatureName),
    Order(FeatureName, bool),
    Leaf(Leaf),
}

#[derive(Debug, Clone)]
enum CachedSet {
    Ids(Arc<PackedTexts>),
    Column(Arc<FeatureColumn>),
    Order(Arc<SortedCustomers>),
    Leaf(Arc<LeafSet>),
}

/// Customers that match a leaf of an expression.
#[derive(Debug)]
pub(super) struct LeafSet {
    pub(super) customers: Bitmap,
    /// Texts of the leaf that no customer has, by index, each with similar texts that customers have.
    pub(super) absent: Vec<(usize, Vec<String>)>,
}

impl CachedSet {
    fn bytes(&self) -> usize {
        64 + match self {
            Self::Ids(ids) => ids.bytes(),
            Self::Column(column) => column.bytes(),
            Self::Order(order) => order.bytes(),
            Self::Leaf(set) => set.customers.len() / 8,
        }
    }
}

impl AudienceCache {
    /// Creates an empty cache of at most `budget` bytes.
    pub(super) fn new(budget: u64) -> Self {
        // Sized for few entries, so that one entry may take the whole budget.
        let entries = Arc::new(Cache::new(budget, 1, |_, entry: &CachedSet| entry.bytes()));
        // At most half of the cores, so that point reads have the others.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let permits = Arc::new(Semaphore::new((cores / 2).max(1)));
        Self { entries, permits, next_snapshot: Arc::default() }
    }

    /// Returns the view of the cache for the snapshot of `files`.
    pub(super) fn open(&self, files: SnapshotFiles) -> SnapshotSets {
        SnapshotSets {
            number: self.next_snapshot.fetch_add(1, Ordering::Relaxed),
            cache: self.clone(),
            files: AudienceLoader::new(files),
        }
    }

    /// Returns the size of all entries in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Runs `work` on a blocking thread, after waiting for a permit.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Arc<SnapshotError>> {
        let _permit = self.permits.acquire().await;
        run_blocking("count an audience", work).await.map_err(Arc::new)
    }
}

/// View of the cache for one snapshot. Dropping it removes the snapshot's entries.
#[derive(Debug)]
pub(super) struct SnapshotSets {
    number: u64,
    pub(super) cache: AudienceCache,
    files: AudienceLoader,
}

impl SnapshotSets {
    /// Returns the number of customers in the snapshot.
    pub(super) fn customers(&self) -> usize {
        self.files.customers()
    }

    /// Returns the ids of all customers, sorted.
    pub(super) async fn ids(&self) -> Result<Arc<PackedTexts>, Arc<SnapshotError>> {
        let load = async { Ok(CachedSet::Ids(Arc::new(self.files.ids().await?))) };
        match self.entry(SetKey::Ids, load).await? {
            CachedSet::Ids(ids) => Ok(ids),
            _ => Err(wrong_entry()),
        }
    }

    /// Returns a feature of all customers.
    pub(super) async fn column(&self, name: &FeatureName) -> Result<Arc<FeatureColumn>, Arc<SnapshotError>> {
        let load = async { Ok(CachedSet::Column(Arc::new(self.files.feature(name).await?))) };
        match self.entry(SetKey::Column(name.clone()), load).await? {
            CachedSet::Column(column) => Ok(column),
            _ => Err(wrong_entry()),
        }
    }

    /// Returns all customers in the order of a feature.
    pub(super) async fn order(
        &self,
        name: &FeatureName,
        descending: bool,
    ) -> Result<Arc<SortedCustomers>, Arc<SnapshotError>> {
        let load = async {
            let column = self.column(name).await?;
            let order = self.cache.compute(move || SortedCustomers::by(&column, descending)).await?;
            Ok(CachedSet::Order(Arc::new(order)))
        };
        match self.entry(SetKey::Order(name.clone(), descending), load).await? {
            CachedSet::Order(order) => Ok(order),
            _ => Err(wrong_entry()),
        }
    }

    /// Returns the customers that match a leaf of an expression.
    pub(super) async fn leaf(&self, leaf: &Leaf) -> Result<Arc<LeafSet>, Arc<SnapshotError>> {
        let load = async {
            let set = match leaf {
                Leaf::Segment(name) => {
                    let ids = self.ids().await?;
                    LeafSet { customers: self.files.segment(name, &ids).await?, absent: Vec::new() }
                }
                Leaf::Null(name) => {
                    LeafSet { customers: self.column(name).await?.nulls.clone(), absent: Vec::new() }
                }
                Leaf::Predicate(name, test) => {
                    let (column, test) = (self.column(name).await?, test.clone());
                    let pass = move || {
                        let absent = if let Predicate::OneOf(values) = &test {
                            column.absent(values)
                        } else {
                            Vec::new()
                        };
                        LeafSet { customers: column.passing(&test), absent }
                    };
                    self.cache.compute(pass).await?
                }
            };
            Ok(CachedSet::Leaf(Arc::new(set)))
        };
        match self.entry(SetKey::Leaf(leaf.clone()), load).await? {
            CachedSet::Leaf(set) => Ok(set),
            _ => Err(wrong_entry()),
        }
    }

    /// Returns the entry `key` from the cache, or loads it with `load`.
    async fn entry(
        &self,
        key: SetKey,
        load: impl Future<Output = Result<CachedSet, LoadError>>,
    ) -> Result<CachedSet, Arc<SnapshotError>> {
        let loaded = Box::pin(self.cache.entries.get_or_make(&(self.number, key), load)).await;
        loaded.map_err(|error| Arc::clone(&error.0))
    }
}

/// Error of a load, logged where it occurs.
#[derive(Debug)]
struct LoadError(Arc<SnapshotError>);

impl From<SnapshotError> for LoadError {
    fn from(error: SnapshotError) -> Self {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, source, "cannot load audience data from the snapshot");
        Self(Arc::new(error))
    }
}

/// For an error of another load, which is already logged.
impl From<Arc<SnapshotError>> for LoadError {
    fn from(error: Arc<SnapshotError>) -> Self {
        Self(error)
    }
}

fn wrong_entry() -> Arc<SnapshotError> {
    Arc::new(SnapshotError::Internal { why: "the cache of audiences returned an entry of another kind" })
}

impl Drop for SnapshotSets {
    fn drop(&mut self) {
        self.cache.entries.remove_where(|(number, _)| *number == self.number);
    }
}
