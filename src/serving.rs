//! Tiered reads: process memory first, then Tair, then the snapshot in the lake.
//!
//! Knows customers, rows, segments and snapshots. Knows nothing of HTTP or of how snapshots are built.
//! `CURRENT` decides which snapshot is served: it is polled every few seconds, and a new snapshot is
//! activated without a failed read.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use crate::{
    cache::Cache,
    config::{ColumnRef, ServingConfig, TairConfig},
    feature::{CustomerId, Row, Tier},
    lake::Lake,
    snapshot::{
        self, BuildRecord, Forgotten, LakeReads, Manifest, SnapshotError, SnapshotFiles, SnapshotId,
        reader::BlockCache,
    },
    tair::Tair,
    telemetry::{CacheName, LogThrottle, Metrics},
};

mod audience;
mod audience_cache;
mod audience_comparison;
mod breaker;
mod builds;
mod change_list;
mod changes;
mod compare;
mod customer_counts;
mod customer_history;
mod declared;
pub mod export;
mod membership_place;
mod memberships;
mod online;
mod overlap;
mod poll;
mod purchases;
mod read_metrics;
mod reads;
mod recommendations;
mod segment_figures;
mod served;
mod statistics;
mod tier_span;
mod timeline;

pub use crate::snapshot::reader::{MemberPage, ProductNames};
pub use audience::{Audience, AudienceError, AudienceRequest, Breakdown, Parts, Ranked};
use audience_cache::AudienceCache;
pub use audience_comparison::{AudienceComparison, ComparedFeature, ComparisonRequest};
pub use change_list::{ChangeList, Direction};
pub use changes::{Changed, ChangedRange, SnapshotPair};
use compare::Comparisons;
pub use compare::{Cell, MigrationMatrices, Moved, Placement};
use customer_counts::{ErasedCounts, erased_counts};
pub use customer_history::PastRead;
pub use declared::unmaskable;
use online::Online;
pub use online::OnlineState;
pub use overlap::Overlap;
pub use poll::RefreshOutcome;
use read_metrics::ReadMetrics;
use reads::NotCached;
pub use recommendations::{Because, NextProduct, Recommended, RepeatProduct};
pub use segment_figures::SegmentFigures;
pub use served::Served;
pub use timeline::Timeline;

/// Time to live of the list of snapshots with their manifests.
const CATALOG_TTL: Duration = Duration::from_secs(10);
/// Most older snapshots that are open at a time, for cursors and histories. The blocks of all snapshots share
/// one budget.
const OPEN_SNAPSHOTS: u64 = 128;
/// Memory for older snapshots that are open, in bytes, besides their blocks.
const OPEN_BYTES: u64 = 64 << 20;
/// Number of manifests of older snapshots that are read at a time.
const MANIFEST_READS: usize = 4;
/// Number of ids without a snapshot that are remembered.
const UNKNOWN_SNAPSHOTS: u64 = 4_096;
/// Time for which an id without a snapshot is remembered, so that not every request for it reads the lake.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// Time for which an older snapshot stays open after it was opened.
const OPEN_FOR: Duration = Duration::from_mins(10);
/// Approximate size of a row in the memory tier.
const ROW_BYTES: u64 = 768;
/// Memory of a row in the memory tier besides its id and its texts, in bytes.
const ROW_OVERHEAD: usize = 160;

/// Rows by publish number and customer id; `None` for a customer that the snapshot does not have.
type RowCache = Cache<(u64, CustomerId), Option<Arc<Row>>, NotCached>;

/// Key of an open snapshot that is not the current one. An open snapshot depends on more than its id: it
/// takes over the personal columns of the current snapshot, and the erasure list is applied to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OlderKey {
    snapshot: SnapshotId,
    /// Number of the publish that was current when the snapshot was opened.
    current_publish: u64,
    /// Version of the erasure list.
    erasures: Arc<str>,
}

/// Serves reads of customers, lists, audiences and exports from the current snapshot.
#[derive(Debug)]
pub struct Serving {
    lake: Lake,
    /// Permits and deadline of reads from the lake.
    reads: LakeReads,
    blocks: BlockCache,
    /// Columns and sets of audiences.
    sets: AudienceCache,
    online: Option<Online>,
    /// Memory tier; `None` if it is disabled.
    memory: Option<RowCache>,
    served: ArcSwapOption<Served>,
    /// Erasure list; `None` until it was read once.
    forgotten: ArcSwapOption<Forgotten>,
    /// Open snapshots that are not the current one, for cursors and histories.
    older: Cache<OlderKey, Arc<Served>, SnapshotError>,
    /// Ids that no snapshot has.
    unknown: Cache<SnapshotId, (), Infallible>,
    /// Permits of reads of manifests for requests.
    manifest_reads: Semaphore,
    /// List of the snapshots in the lake.
    catalog: Cache<(), Arc<Vec<Arc<Manifest>>>, SnapshotError>,
    /// The last builds.
    builds: Cache<(), Arc<Vec<BuildRecord>>, SnapshotError>,
    /// Results of comparing snapshots.
    comparisons: Comparisons,
    /// Numbers of erased customers in the snapshots.
    erased_counts: ErasedCounts,
    /// Permits of concurrent exports.
    exports: Arc<Semaphore>,
    /// Time after which an export without a reader ends.
    pub(crate) export_idle: Duration,
    /// Whether the last poll could read `CURRENT`.
    lake_answers: AtomicBool,
    /// Columns that the configuration declares personal.
    personal: Vec<ColumnRef>,
    throttle: LogThrottle,
    metrics: Arc<Metrics>,
    read_metrics: ReadMetrics,
}

/// Result of reading one customer.
#[derive(Debug, Clone)]
pub struct CustomerRead {
    /// Features of the customer; `None` if the customer is unknown.
    pub row: Option<Arc<Row>>,
    /// Tier that answered.
    pub tier: Tier,
    /// Snapshot of the row, if the row belongs to a publish under way instead of the current snapshot.
    pub label: Option<Label>,
}

/// Id and as-of time of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Id of the snapshot.
    pub snapshot: Arc<str>,
    /// As-of time of the snapshot in RFC 3339.
    pub as_of: Arc<str>,
}

/// Error of a read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// No snapshot was activated yet.
    #[error("no snapshot is active yet")]
    NoSnapshot,
    /// The snapshot does not exist, or was removed.
    #[error("there is no snapshot {0}")]
    UnknownSnapshot(SnapshotId),
    /// No tier could answer.
    #[error("cannot read the snapshot")]
    Unavailable(#[source] Arc<SnapshotError>),
    /// The limit of concurrent operations of a kind is reached.
    #[error("too many concurrent {0}")]
    Busy(&'static str),
}

impl From<Arc<SnapshotError>> for ReadError {
    fn from(error: Arc<SnapshotError>) -> Self {
        match error.as_ref() {
            SnapshotError::Unknown { id } => Self::UnknownSnapshot(id.clone()),
            _ => Self::Unavailable(error),
        }
    }
}

impl Serving {
    /// Creates a `Serving` that reads from `lake` alone. No snapshot is served before the first
    /// [`Serving::refresh`].
    #[must_use]
    pub fn new(lake: Lake, config: &ServingConfig, metrics: Arc<Metrics>) -> Self {
        Self::with_tair(lake, None, config, metrics)
    }

    /// Creates a `Serving` that reads from `tair`, if given, before `lake`. No snapshot is served before the
    /// first [`Serving::refresh`].
    #[must_use]
    pub fn with_tair(
        lake: Lake,
        tair: Option<(Arc<Tair>, &TairConfig)>,
        config: &ServingConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        let memory = if config.memory > 0 {
            let weight = |key: &(u64, CustomerId), row: &Option<Arc<Row>>| {
                ROW_OVERHEAD + key.1.as_str().len() + row.as_ref().map_or(0, |row| row.weight())
            };
            Some(RowCache::new(config.memory, config.memory / ROW_BYTES, weight).with_ttl(config.memory_ttl))
        } else {
            None
        };
        for (cache, limit) in [
            (CacheName::Blocks, config.cache),
            (CacheName::Audiences, config.audience_memory),
            (CacheName::Memory, config.memory),
            (CacheName::Comparisons, config.comparisons),
        ] {
            metrics.cache_limit_bytes.of(cache).set(gauge(limit));
        }
        Self {
            reads: LakeReads::new(config.lake_reads, config.lake_timeout, Arc::clone(&metrics)),
            blocks: BlockCache::new(config.cache, &metrics),
            sets: AudienceCache::new(config.audience_memory),
            lake,
            memory,
            served: ArcSwapOption::empty(),
            forgotten: ArcSwapOption::empty(),
            older: Cache::new(OPEN_BYTES, OPEN_SNAPSHOTS, older_weight).with_ttl(OPEN_FOR),
            unknown: Cache::new(UNKNOWN_SNAPSHOTS, UNKNOWN_SNAPSHOTS, |_, ()| 1).with_ttl(UNKNOWN_FOR),
            manifest_reads: Semaphore::new(MANIFEST_READS),
            catalog: Cache::new(1, 1, |(), _| 1).with_ttl(CATALOG_TTL),
            builds: Cache::new(1, 1, |(), _| 1).with_ttl(CATALOG_TTL),
            lake_answers: AtomicBool::new(false),
            online: tair.map(|(tair, config)| Online::new(tair, config, Arc::clone(&metrics))),
            comparisons: Comparisons::new(config.comparisons),
            erased_counts: erased_counts(),
            exports: Arc::new(Semaphore::new(config.exports)),
            export_idle: config.export_idle,
            read_metrics: ReadMetrics::new(&metrics),
            personal: Vec::new(),
            throttle: LogThrottle::default(),
            metrics,
        }
    }

    /// Changes the deadline of reads from the lake.
    pub fn set_lake_timeout(&self, timeout: Duration) {
        self.reads.set_deadline(timeout);
    }

    /// Returns access to the files of a snapshot.
    fn files(&self, manifest: &Arc<Manifest>) -> SnapshotFiles {
        SnapshotFiles::new(&self.lake, manifest, &self.reads)
    }

    /// Marks the columns `personal` as personal in every snapshot, in addition to the columns that the build
    /// marked.
    #[must_use]
    pub fn declaring(self, personal: Vec<ColumnRef>) -> Self {
        Self { personal, ..self }
    }

    /// Returns the current snapshot.
    ///
    /// # Errors
    /// [`ReadError::NoSnapshot`] if no snapshot was activated yet.
    pub fn current(&self) -> Result<Arc<Served>, ReadError> {
        self.served.load_full().ok_or(ReadError::NoSnapshot)
    }

    /// Checks whether the last poll could read `CURRENT` from the lake.
    #[must_use]
    pub fn lake_answers(&self) -> bool {
        self.lake_answers.load(Ordering::Relaxed)
    }

    /// Returns the snapshot `id`: the current one, or an older one that is still in the lake.
    ///
    /// # Errors
    /// [`ReadError::UnknownSnapshot`] if the lake does not have the snapshot, [`ReadError::Unavailable`] if
    /// it cannot be read.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Arc<Served>, ReadError> {
        if let Some(served) = self.served.load_full()
            && served.manifest.id == *id
        {
            return Ok(served);
        }
        if self.unknown.get(id).is_some() {
            return Err(ReadError::UnknownSnapshot(id.clone()));
        }
        let read = async {
            let _permit = self.manifest_reads.acquire().await;
            Ok(Arc::new(Manifest::read(&self.lake, id).await?))
        };
        let opened = self.open(id, read).await;
        if let Err(ReadError::UnknownSnapshot(id)) = &opened {
            self.unknown.insert(id.clone(), ());
        }
        opened
    }

    /// Returns the open snapshot `id`. If the snapshot is not open yet, it is opened with the manifest that
    /// `manifest` loads.
    async fn open(
        &self,
        id: &SnapshotId,
        manifest: impl Future<Output = Result<Arc<Manifest>, SnapshotError>>,
    ) -> Result<Arc<Served>, ReadError> {
        let current = self.served.load_full();
        if let Some(served) = &current
            && served.manifest.id == *id
        {
            return Ok(Arc::clone(served));
        }
        let forgotten = match self.forgotten.load_full() {
            Some(forgotten) => forgotten,
            None => Arc::new(Forgotten::read(&self.lake).await.map_err(Arc::new)?),
        };
        let key = OlderKey {
            snapshot: id.clone(),
            current_publish: current.as_ref().map_or(0, |current| current.publish),
            erasures: Arc::from(forgotten.version()),
        };
        let open = async {
            let mut manifest = manifest.await?;
            if let Some(current) = current {
                Arc::make_mut(&mut manifest).mark_personal(&current.manifest);
            }
            Arc::make_mut(&mut manifest).declare_personal(&self.personal);
            let served = Served::open(self.files(&manifest), None, self.blocks.clone(), &self.sets);
            Ok::<_, SnapshotError>(Arc::new(served.without(forgotten)))
        };
        Ok(self.older.get_or_make(&key, open).await?)
    }

    /// Returns the erasure list, which is empty before it was read once.
    fn erasures(&self) -> Arc<Forgotten> {
        self.forgotten.load_full().unwrap_or_default()
    }

    /// Returns the state of Tair; `None` if Tair is not configured.
    #[must_use]
    pub fn online(&self) -> Option<OnlineState> {
        let publish = self.served.load().as_deref().map_or(0, |served| served.publish);
        self.online.as_ref().map(|online| online.state(publish))
    }

    /// Returns the manifests of all snapshots in the lake, newest build first. The list may be a few seconds
    /// old.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the lake cannot be listed.
    pub async fn snapshots(&self) -> Result<Arc<Vec<Arc<Manifest>>>, ReadError> {
        let list = async {
            let manifests = snapshot::list(&self.lake).await?;
            Ok::<_, SnapshotError>(Arc::new(manifests.into_iter().map(Arc::new).collect()))
        };
        Ok(self.catalog.get_or_make(&(), list).await?)
    }

    /// Updates the gauges, before the metrics are rendered.
    pub fn observe(&self) {
        // Removes expired entries.
        self.older.remove_where(|_| false);
        let bytes = |cache: CacheName| self.metrics.cache_bytes.of(cache);
        bytes(CacheName::Blocks).set(gauge(self.blocks.bytes()));
        bytes(CacheName::Audiences).set(gauge(self.sets.bytes()));
        bytes(CacheName::Memory).set(gauge(self.memory.as_ref().map_or(0, Cache::weight)));
        bytes(CacheName::Comparisons).set(gauge(self.comparisons.bytes()));
        if let Some(online) = &self.online {
            let publish = self.served.load().as_deref().map_or(0, |served| served.publish);
            online.observe(publish);
        }
        if let Some(served) = self.served.load().as_deref() {
            let (manifest, metrics) = (&served.manifest, &self.metrics);
            metrics.snapshot_age.set(served.published_at.map(seconds_since));
            metrics.snapshot_published.set(served.published_at.map(timestamp));
            metrics.snapshot_as_of.set(Some(timestamp(manifest.as_of)));
            metrics.snapshot_customers.set(Some(number(manifest.customers - served.erased_if_known())));
            metrics.forgotten.set(self.forgotten.load().as_ref().map(|list| number(list.len() as u64)));
            metrics.publish.set(Some(number(served.publish)));
        }
    }
}

/// Returns the memory of an open snapshot, and at least the share of one of [`OPEN_SNAPSHOTS`].
fn older_weight(_: &OlderKey, served: &Arc<Served>) -> usize {
    let share = usize::try_from(OPEN_BYTES / OPEN_SNAPSHOTS).unwrap_or(usize::MAX);
    served.bytes().max(share)
}

/// Converts a count to the value of a gauge.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Converts a number to the value of a gauge that may be absent.
#[expect(clippy::cast_precision_loss, reason = "a number for display")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Returns a time as seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this century fit")]
fn timestamp(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "seconds for display")]
fn seconds_since(time: DateTime<Utc>) -> f64 {
    (Utc::now() - time).num_milliseconds() as f64 / 1_000.0
}
