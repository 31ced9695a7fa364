//! Ids, columns, orders and sets of the open snapshots, in memory under one byte budget: what is used least makes room.
//!
//! Each is made when it is first asked for, once however many ask. What does not fit is made, used and let go.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Semaphore;

use crate::{
    audience::{Bitmap, Column, FeatureName, Leaf, Order, plan::Test},
    cache::Cache,
    feature::PackedTexts,
    snapshot::{SnapshotError, SnapshotFiles, audience_loader::AudienceLoader, run_blocking},
};

/// What all open snapshots have in memory for audiences, and the right to compute.
#[derive(Debug, Clone)]
pub(super) struct SetCache {
    entries: Arc<Cache<(u64, Key), Entry, Loading>>,
    computing: Arc<Semaphore>,
    next_snapshot: Arc<AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Ids,
    Column(FeatureName),
    Order(FeatureName, bool),
    Leaf(Leaf),
}

#[derive(Debug, Clone)]
enum Entry {
    Ids(Arc<PackedTexts>),
    Column(Arc<Column>),
    Order(Arc<Order>),
    Set(Arc<Set>),
}

/// The customers of a leaf.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) customers: Bitmap,
    /// Texts of the test, by their places, that nobody has, and what is near to them.
    pub(super) absent: Vec<(usize, Vec<String>)>,
}

impl Entry {
    fn bytes(&self) -> usize {
        64 + match self {
            Self::Ids(ids) => ids.bytes(),
            Self::Column(column) => column.bytes(),
            Self::Order(order) => order.bytes(),
            Self::Set(set) => set.customers.len() / 8,
        }
    }
}

impl SetCache {
    /// Holds `budget` bytes at most.
    pub(super) fn new(budget: u64) -> Self {
        // One of them may take all of it.
        let entries = Arc::new(Cache::new(budget, 1, |_, entry: &Entry| entry.bytes()));
        // Half of the cores, so that reads by point have the others.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let computing = Arc::new(Semaphore::new((cores / 2).max(1)));
        Self { entries, computing, next_snapshot: Arc::default() }
    }

    /// Those of the snapshot of `files`.
    pub(super) fn open(&self, files: SnapshotFiles) -> SnapshotSets {
        SnapshotSets {
            number: self.next_snapshot.fetch_add(1, Ordering::Relaxed),
            cache: self.clone(),
            files: AudienceLoader::new(files),
        }
    }

    /// Bytes held now.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Runs `work` away from those who answer requests, when it is its turn.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Arc<SnapshotError>> {
        let _turn = self.computing.acquire().await;
        run_blocking("count an audience", work).await.map_err(Arc::new)
    }
}

/// What one snapshot has in memory; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct SnapshotSets {
    number: u64,
    pub(super) cache: SetCache,
    files: AudienceLoader,
}

impl SnapshotSets {
    pub(super) fn customers(&self) -> usize {
        self.files.customers()
    }

    pub(super) async fn ids(&self) -> Result<Arc<PackedTexts>, Arc<SnapshotError>> {
        let load = async { Ok(Entry::Ids(Arc::new(self.files.ids().await?))) };
        match self.entry(Key::Ids, load).await? {
            Entry::Ids(ids) => Ok(ids),
            _ => Err(wrong_entry()),
        }
    }

    pub(super) async fn column(&self, name: &FeatureName) -> Result<Arc<Column>, Arc<SnapshotError>> {
        let load = async { Ok(Entry::Column(Arc::new(self.files.feature(name).await?))) };
        match self.entry(Key::Column(name.clone()), load).await? {
            Entry::Column(column) => Ok(column),
            _ => Err(wrong_entry()),
        }
    }

    pub(super) async fn order(
        &self,
        name: &FeatureName,
        descending: bool,
    ) -> Result<Arc<Order>, Arc<SnapshotError>> {
        let load = async {
            let column = self.column(name).await?;
            Ok(Entry::Order(Arc::new(self.cache.compute(move || Order::by(&column, descending)).await?)))
        };
        match self.entry(Key::Order(name.clone(), descending), load).await? {
            Entry::Order(order) => Ok(order),
            _ => Err(wrong_entry()),
        }
    }

    pub(super) async fn leaf(&self, leaf: &Leaf) -> Result<Arc<Set>, Arc<SnapshotError>> {
        let load = async {
            let set = match leaf {
                Leaf::Segment(name) => {
                    let ids = self.ids().await?;
                    Set { customers: self.files.segment(name, &ids).await?, absent: Vec::new() }
                }
                Leaf::Null(name) => {
                    Set { customers: self.column(name).await?.nulls.clone(), absent: Vec::new() }
                }
                Leaf::Test(name, test) => {
                    let (column, test) = (self.column(name).await?, test.clone());
                    let pass = move || {
                        let absent =
                            if let Test::Any(values) = &test { column.absent(values) } else { Vec::new() };
                        Set { customers: column.passing(&test), absent }
                    };
                    self.cache.compute(pass).await?
                }
            };
            Ok(Entry::Set(Arc::new(set)))
        };
        match self.entry(Key::Leaf(leaf.clone()), load).await? {
            Entry::Set(set) => Ok(set),
            _ => Err(wrong_entry()),
        }
    }

    /// From the cache, or made once however many ask.
    async fn entry(
        &self,
        key: Key,
        load: impl Future<Output = Result<Entry, Loading>>,
    ) -> Result<Entry, Arc<SnapshotError>> {
        let loaded = Box::pin(self.cache.entries.get_or_make(&(self.number, key), load)).await;
        loaded.map_err(|error| Arc::clone(&error.0))
    }
}

/// Why something could not be made.
#[derive(Debug)]
struct Loading(Arc<SnapshotError>);

impl From<SnapshotError> for Loading {
    fn from(error: SnapshotError) -> Self {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, source, "cannot read what an audience needs");
        Self(Arc::new(error))
    }
}

impl From<Arc<SnapshotError>> for Loading {
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
