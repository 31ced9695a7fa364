//! Ids, columns, orders and sets of the open snapshots, in memory under one byte budget: what is used least makes room.
//!
//! Each is made when it is first asked for, once however many ask. What does not fit is made, used and let go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    audience::{Bitmap, Dictionary, FeatureColumn, FeatureName, Leaf, SortedCustomers, plan::Predicate},
    cache::Cache,
    lake::Lake,
    snapshot::{Manifest, SnapshotError, sets::Sets},
};

/// What all open snapshots have in memory for audiences, and the right to compute.
#[derive(Debug, Clone)]
pub(super) struct SetCache {
    entries: Arc<Cache<(u64, Key), Entry, Loading>>,
    computing: Arc<Semaphore>,
    deadline: Duration,
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
    Ids(Arc<Dictionary>),
    Column(Arc<FeatureColumn>),
    Order(Arc<SortedCustomers>),
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
    pub(super) fn new(budget: u64, deadline: Duration) -> Self {
        // One of them may take all of it.
        let entries = Arc::new(Cache::new(budget, 1, |_, entry: &Entry| entry.bytes()));
        // Half of the cores, so that reads by point have the others.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let computing = Arc::new(Semaphore::new((cores / 2).max(1)));
        Self { entries, computing, deadline, next_snapshot: Arc::default() }
    }

    /// Those of the snapshot of `manifest`.
    pub(super) fn open(&self, lake: &Lake, manifest: &Arc<Manifest>) -> SnapshotSets {
        SnapshotSets {
            number: self.next_snapshot.fetch_add(1, Ordering::Relaxed),
            cache: self.clone(),
            files: Sets::new(lake.clone(), Arc::clone(manifest), self.deadline),
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
        tokio::task::spawn_blocking(work).await.map_err(|error| broken(&error.to_string()))
    }
}

/// What one snapshot has in memory; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct SnapshotSets {
    number: u64,
    pub(super) cache: SetCache,
    files: Sets,
}

impl SnapshotSets {
    pub(super) fn customers(&self) -> usize {
        self.files.customers()
    }

    pub(super) async fn ids(&self) -> Result<Arc<Dictionary>, Arc<SnapshotError>> {
        let load = async { Ok(Entry::Ids(Arc::new(self.files.ids().await?))) };
        match self.entry(Key::Ids, load).await? {
            Entry::Ids(ids) => Ok(ids),
            _ => Err(broken("ids")),
        }
    }

    pub(super) async fn column(&self, name: &FeatureName) -> Result<Arc<FeatureColumn>, Arc<SnapshotError>> {
        let load = async { Ok(Entry::Column(Arc::new(self.files.feature(name).await?))) };
        match self.entry(Key::Column(name.clone()), load).await? {
            Entry::Column(column) => Ok(column),
            _ => Err(broken("column")),
        }
    }

    pub(super) async fn order(
        &self,
        name: &FeatureName,
        descending: bool,
    ) -> Result<Arc<SortedCustomers>, Arc<SnapshotError>> {
        let load = async {
            let column = self.column(name).await?;
            Ok(Entry::Order(Arc::new(
                self.cache.compute(move || SortedCustomers::by(&column, descending)).await?,
            )))
        };
        match self.entry(Key::Order(name.clone(), descending), load).await? {
            Entry::Order(order) => Ok(order),
            _ => Err(broken("order")),
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
                Leaf::Predicate(name, test) => {
                    let (column, test) = (self.column(name).await?, test.clone());
                    let pass = move || {
                        let absent = if let Predicate::OneOf(values) = &test {
                            column.absent(values)
                        } else {
                            Vec::new()
                        };
                        Set { customers: column.passing(&test), absent }
                    };
                    self.cache.compute(pass).await?
                }
            };
            Ok(Entry::Set(Arc::new(set)))
        };
        match self.entry(Key::Leaf(leaf.clone()), load).await? {
            Entry::Set(set) => Ok(set),
            _ => Err(broken("set")),
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

fn broken(why: &str) -> Arc<SnapshotError> {
    Arc::new(SnapshotError::Damaged { object: "memory for audiences".to_owned(), why: why.to_owned() })
}

impl Drop for SnapshotSets {
    fn drop(&mut self) {
        self.cache.entries.remove_where(|(number, _)| *number == self.number);
    }
}
