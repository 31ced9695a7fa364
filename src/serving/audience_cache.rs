//! Cache of what audiences are evaluated with: ids, columns, orders and sets of the open snapshots, under one
//! byte budget.
//!
//! An entry is loaded on first use, once even for concurrent requests. Entries that are used least are
//! evicted first; an entry larger than the budget is loaded for each use. An entry weighs what it and its key
//! hold, and a fixed share for the cache itself, which bounds the number of entries.
//!
//! The memory of requests beyond the cache is bounded too: few queries are evaluated at a time, and few
//! columns are loaded at a time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    audience::{
        Bitmap, ErasedTexts, EventKey, EventList, FeatureColumn, FeatureName, Leaf, Literal, SortedCustomers,
        plan::Predicate,
    },
    cache::Cache,
    feature::PackedTexts,
    snapshot::{SnapshotError, SnapshotFiles, audience_loader::AudienceLoader, run_cancelable},
    workers::{Canceled, Cancellation},
};

/// Memory of an entry besides its key and its content, in bytes: it is far more than the cache needs, so that
/// sets of few customers do not fill the budget with millions of entries.
const ENTRY_BYTES: usize = 1_024;
/// Greatest number of values of a list whose set is cached. A longer list is rarely asked for twice.
const MAX_CACHED_VALUES: usize = 64;
/// Number of queries that are evaluated at a time, for each core.
const QUERIES_PER_CORE: usize = 4;
/// Unit in which the bytes of loads are counted.
const LOAD_UNIT: u64 = 64 << 10;
/// Memory for each customer while a column is loaded, in bytes: a value, its place in the column and its
/// share of the texts.
const LOAD_BYTES: u64 = 32;
/// Part of the budget that loads may take in addition to the cache.
const LOAD_SHARE: u64 = 4;
/// Number of loads at a time.
const LOADS: usize = 4;

/// Cache shared by all open snapshots, and the limit of concurrent computations.
#[derive(Debug, Clone)]
pub(super) struct AudienceCache {
    entries: Arc<Cache<(u64, SetKey), CachedSet, LoadError>>,
    /// Permits of computations.
    permits: Arc<Semaphore>,
    /// Permits of queries, so that what they hold is bounded.
    queries: Arc<Semaphore>,
    loads: Arc<Loads>,
    next_snapshot: Arc<AtomicU64>,
}

/// Limits of the loads of all snapshots together.
#[derive(Debug)]
struct Loads {
    number: Semaphore,
    /// Permits for [`LOAD_UNIT`] bytes each.
    bytes: Semaphore,
    units: u32,
}

impl Loads {
    fn new(budget: u64) -> Self {
        let units =
            u32::try_from(budget / LOAD_SHARE / LOAD_UNIT).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
        Self { number: Semaphore::new(LOADS), bytes: Semaphore::new(units as usize), units }
    }

    /// Runs `load`, which takes about `bytes` of memory, when the loads under way leave room for it. A load
    /// larger than the limit runs alone.
    async fn run<T>(&self, bytes: u64, load: impl Future<Output = T>) -> T {
        let units = u32::try_from(bytes.div_ceil(LOAD_UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        let _number = self.number.acquire().await;
        let _bytes = self.bytes.acquire_many(units).await;
        load.await
    }
}

/// Key of an entry within a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SetKey {
    Ids,
    Column(FeatureName),
    Order(FeatureName, bool),
    Events(EventKey),
    /// A leaf, and the version of the erasure list, if the set depends on it.
    Leaf(Leaf, Option<Arc<str>>),
}

impl SetKey {
    fn bytes(&self) -> usize {
        let name = |name: &FeatureName| name.view.len() + name.feature.len();
        match self {
            Self::Ids => 0,
            Self::Column(feature) | Self::Order(feature, _) => name(feature),
            Self::Events(key) => key.bytes(),
            Self::Leaf(leaf, _) => leaf.bytes(),
        }
    }
}

/// Erasure list as the sets of a snapshot depend on it.
#[derive(Debug, Clone)]
pub(super) struct ErasedCustomers {
    /// Version of the list.
    pub(super) version: Arc<str>,
    /// Erased customers of the snapshot.
    pub(super) customers: Arc<Bitmap>,
}

#[derive(Debug, Clone)]
enum CachedSet {
    Ids(Arc<PackedTexts>),
    Column(Arc<FeatureColumn>),
    Order(Arc<SortedCustomers>),
    Events(Arc<EventList>),
    Leaf(Arc<LeafSet>),
}

/// Customers that match a leaf of an expression.
#[derive(Debug)]
pub(super) struct LeafSet {
    pub(super) customers: Bitmap,
    /// Indexes of the operands of the leaf that are texts which no customer has, erased customers aside. Of
    /// an event that no customer has, 0.
    pub(super) absent: Vec<usize>,
}

impl CachedSet {
    fn bytes(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.bytes(),
            Self::Column(column) => column.bytes(),
            Self::Order(order) => order.bytes(),
            Self::Events(events) => events.bytes(),
            Self::Leaf(set) => set.customers.len() / 8 + set.absent.len() * size_of::<usize>(),
        }
    }
}

impl AudienceCache {
    /// Creates an empty cache of at most `budget` bytes.
    pub(super) fn new(budget: u64) -> Self {
        // Sized for few entries, so that one entry may take the whole budget.
        let weight = |(_, key): &(u64, SetKey), entry: &CachedSet| ENTRY_BYTES + key.bytes() + entry.bytes();
        let entries = Arc::new(Cache::new(budget, 1, weight));
        // At most half of the cores, so that point reads have the others.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let permits = Arc::new(Semaphore::new((cores / 2).max(1)));
        let queries = Arc::new(Semaphore::new(cores * QUERIES_PER_CORE));
        Self { entries, permits, queries, loads: Arc::new(Loads::new(budget)), next_snapshot: Arc::default() }
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

    /// Waits until a query may be evaluated. Whoever waits holds no columns and no sets.
    pub(super) async fn admit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.queries).acquire_owned().await.ok()
    }

    /// Runs `work` on a thread for computations, after waiting for a permit. The permit is held until `work`
    /// ends, also if the returned future is dropped before; `work` checks between its steps whether it was.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cancellation) -> Result<T, Canceled> + Send + 'static,
    ) -> Result<T, Arc<SnapshotError>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let work = move |cancellation: &Cancellation| {
            let _permit = permit;
            work(cancellation)
        };
        run_cancelable("count an audience", work).await.map_err(Arc::new)
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
        let load = async { Ok(CachedSet::Ids(Arc::new(self.load(self.files.ids()).await?))) };
        match self.entry(SetKey::Ids, load).await? {
            CachedSet::Ids(ids) => Ok(ids),
            _ => Err(wrong_entry()),
        }
    }

    /// Returns a feature of all customers.
    pub(super) async fn column(&self, name: &FeatureName) -> Result<Arc<FeatureColumn>, Arc<SnapshotError>> {
        let load = async { Ok(CachedSet::Column(Arc::new(self.load(self.files.feature(name)).await?))) };
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
            let order = self.cache.compute(move |_| Ok(SortedCustomers::by(&column, descending))).await?;
            Ok(CachedSet::Order(Arc::new(order)))
        };
        match self.entry(SetKey::Order(name.clone(), descending), load).await? {
            CachedSet::Order(order) => Ok(order),
            _ => Err(wrong_entry()),
        }
    }

    /// Returns the events of `key`.
    async fn events(&self, key: &EventKey) -> Result<Arc<EventList>, Arc<SnapshotError>> {
        let load = async { Ok(CachedSet::Events(Arc::new(self.load(self.files.events(key)).await?))) };
        match self.entry(SetKey::Events(key.clone()), load).await? {
            CachedSet::Events(events) => Ok(events),
            _ => Err(wrong_entry()),
        }
    }

    /// Returns the customers that match a leaf of an expression, `erased` customers included.
    pub(super) async fn leaf(
        &self,
        leaf: &Leaf,
        erased: Option<&ErasedCustomers>,
    ) -> Result<Arc<LeafSet>, Arc<SnapshotError>> {
        let is_text = |literal: &Literal| matches!(literal, Literal::Text(_));
        let mut version = None;
        if let Leaf::Event(..) = leaf {
            version = erased.map(|erased| Arc::clone(&erased.version));
        }
        if let Leaf::Predicate(_, Predicate::OneOf(values)) = leaf {
            // Which texts no customer has depends on the erasure list.
            if values.iter().any(|value| is_text(&value.literal)) {
                version = erased.map(|erased| Arc::clone(&erased.version));
            }
            if values.len() > MAX_CACHED_VALUES {
                return self.load_leaf(leaf, erased).await.map(Arc::new).map_err(|error| error.0);
            }
        }
        let load = async { Ok(CachedSet::Leaf(Arc::new(self.load_leaf(leaf, erased).await?))) };
        match self.entry(SetKey::Leaf(leaf.clone(), version), load).await? {
            CachedSet::Leaf(set) => Ok(set),
            _ => Err(wrong_entry()),
        }
    }

    /// Computes the customers that match a leaf of an expression.
    async fn load_leaf(&self, leaf: &Leaf, erased: Option<&ErasedCustomers>) -> Result<LeafSet, LoadError> {
        Ok(match leaf {
            Leaf::Segment(name) => {
                let ids = self.ids().await?;
                let customers = self.load(self.files.segment(name, &ids)).await?;
                LeafSet { customers, absent: Vec::new() }
            }
            Leaf::Null(name) => {
                LeafSet { customers: self.column(name).await?.nulls.clone(), absent: Vec::new() }
            }
            Leaf::Event(condition, _) => {
                let (events, condition) = (self.events(&condition.key).await?, condition.clone());
                let (erased, customers) =
                    (erased.map(|erased| Arc::clone(&erased.customers)), self.customers());
                let count = move |_: &Cancellation| {
                    let is_erased = |customer: u32| {
                        erased.as_ref().is_some_and(|erased| erased.contains(customer as usize))
                    };
                    let is_absent = events.customers().iter().all(|customer| is_erased(*customer));
                    let absent = if is_absent { vec![0] } else { Vec::new() };
                    Ok(LeafSet { customers: events.matching(&condition, customers), absent })
                };
                self.cache.compute(count).await?
            }
            Leaf::Predicate(name, test) => {
                let (column, test) = (self.column(name).await?, test.clone());
                let erased = erased.map(|erased| Arc::clone(&erased.customers));
                let pass = move |cancellation: &Cancellation| {
                    let mut absent = Vec::new();
                    if let Predicate::OneOf(values) = &test {
                        absent = column.absent(values, &erased_texts(&column, erased.as_deref()));
                        cancellation.check()?;
                    }
                    Ok(LeafSet { customers: column.passing(&test), absent })
                };
                self.cache.compute(pass).await?
            }
        })
    }

    /// Runs a load from the snapshot within the limits of all loads.
    async fn load<T>(
        &self,
        load: impl Future<Output = Result<T, SnapshotError>>,
    ) -> Result<T, SnapshotError> {
        let bytes = (self.customers() as u64).saturating_mul(LOAD_BYTES);
        Box::pin(self.cache.loads.run(bytes, load)).await
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

/// Returns the texts of `column` that only erased customers have.
pub(super) fn erased_texts(column: &FeatureColumn, erased: Option<&Bitmap>) -> ErasedTexts {
    erased.map_or_else(ErasedTexts::default, |erased| column.erased_texts(erased))
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

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn permit_is_held_until_canceled_work_ends() {
        let cache = AudienceCache::new(1 << 20);
        let all = cache.permits.available_permits();
        let (begun, has_begun) = oneshot::channel();
        let (canceled, was_canceled) = oneshot::channel();
        let (end, may_end) = std::sync::mpsc::channel::<()>();
        {
            let mut running = pin!(cache.compute(move |cancellation| {
                let _ = begun.send(());
                while cancellation.check().is_ok() {
                    std::thread::yield_now();
                }
                let _ = canceled.send(());
                let _ = may_end.recv();
                Ok(())
            }));
            poll_fn(|context| {
                let is_pending = running.as_mut().poll(context).is_pending();
                assert!(is_pending, "the work ended by itself");
                Poll::Ready(())
            })
            .await;
            has_begun.await.expect("the work began");
        }
        was_canceled.await.expect("the work was told to stop");
        assert_eq!(cache.permits.available_permits(), all - 1, "the work still runs");
        drop(end);
        let permits = u32::try_from(all).expect("few permits");
        drop(cache.permits.acquire_many(permits).await.expect("the permit came back"));
    }

    #[tokio::test]
    async fn loads_are_bounded_in_number_and_bytes() {
        let loads = Loads::new(LOAD_SHARE * LOAD_UNIT * 10);
        let never = || std::future::pending::<()>();
        let is_running = |free: usize, units: usize| {
            (loads.number.available_permits(), loads.bytes.available_permits()) == (free, units)
        };
        let mut first = pin!(loads.run(6 * LOAD_UNIT, never()));
        let mut second = pin!(loads.run(6 * LOAD_UNIT, never()));
        let mut huge = pin!(loads.run(u64::MAX, never()));
        poll_fn(|context| {
            assert!(first.as_mut().poll(context).is_pending() && is_running(LOADS - 1, 4));
            // The second load waits for the bytes of the first.
            assert!(second.as_mut().poll(context).is_pending() && is_running(LOADS - 2, 0));
            assert!(huge.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}
