//! The tiered read: the memory of the process, then Tair, then the snapshot in the lake.
//!
//! Knows customers, rows, segments and snapshots; nothing of HTTP, and nothing of how snapshots are built. `CURRENT` is the
//! authority: it is looked at every few seconds, and a new snapshot takes the old one's place without a failed read.

use std::{
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
        self, Current, Forgotten, LakeReads, Manifest, SnapshotError, SnapshotFiles, SnapshotId,
        read_current, reader::BlockCache,
    },
    tair::Tair,
    telemetry::{Metrics, Seldom},
};

mod audience;
mod breaker;
mod compare;
mod counted;
pub mod export;
mod history;
mod online;
mod overlap;
mod reads;
mod served;
mod sets;
mod timeline;

pub use crate::snapshot::reader::MemberPage;
pub use audience::{Audience, AudienceError, AudienceRequest, Breakdown, Parts, Ranked};
use compare::Comparisons;
pub use compare::{Cell, Changes, Moved, Place};
use counted::Counted;
pub use history::Past;
use online::Online;
pub use online::OnlineState;
pub use overlap::Overlap;
use reads::NotKept;
pub use served::Served;
use sets::SetCache;
pub use timeline::Timeline;

/// How long the list of snapshots and old manifests are kept.
const CATALOG_TTL: Duration = Duration::from_secs(10);
/// How many snapshots that are not the current one are kept open, for cursors and histories. What they hold are manifests; their
/// blocks share the one budget.
const OPEN_SNAPSHOTS: u64 = 128;
/// How long they are.
const OPEN_FOR: Duration = Duration::from_mins(10);
/// What a row in memory takes, about.
const ROW_BYTES: u64 = 768;

/// Rows, absent ones too, by publish number and id.
type RowCache = Cache<(u64, CustomerId), Option<Arc<Row>>, NotKept>;

/// Answers reads.
#[derive(Debug)]
pub struct Serving {
    lake: Lake,
    reads: LakeReads,
    blocks: BlockCache,
    /// What audiences are counted with.
    sets: SetCache,
    online: Option<Online>,
    /// Rows read lately, absent ones too, by publish number.
    memory: Option<RowCache>,
    served: ArcSwapOption<Served>,
    /// Who is forgotten; nothing before the list was read once.
    forgotten: ArcSwapOption<Forgotten>,
    /// Snapshots that cursors still point at, or that histories go through, by what they depend on beside themselves: the publish that
    /// was current when they were opened, and the list of the forgotten that they leave out.
    older: Cache<(SnapshotId, u64, Arc<str>), Arc<Served>, SnapshotError>,
    catalog: Cache<(), Arc<Vec<Arc<Manifest>>>, SnapshotError>,
    /// What was found by comparing snapshots.
    comparisons: Comparisons,
    /// The right to export, which few have at a time.
    exports: Arc<Semaphore>,
    /// How long nobody may take a piece of an export.
    export_idle: Duration,
    /// Whether the last look at `CURRENT` succeeded.
    lake_answers: AtomicBool,
    /// What the configuration declares personal.
    personal: Vec<ColumnRef>,
    /// The lines logged of late.
    told: Seldom,
    metrics: Arc<Metrics>,
    counted: Counted,
}

/// One customer as a tier gave it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The features, or nothing where the customer is not known.
    pub row: Option<Arc<Row>>,
    /// The tier that answered.
    pub tier: Tier,
    /// The snapshot that the row is of, where it is not the served one but that of the publish under way.
    pub label: Option<Label>,
}

/// A snapshot's name and instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The snapshot.
    pub snapshot: Arc<str>,
    /// Its `as_of` in RFC 3339.
    pub as_of: Arc<str>,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// No snapshot is open yet.
    #[error("no snapshot is served yet")]
    NoSnapshot,
    /// No such snapshot, or no more.
    #[error("there is no snapshot {0}")]
    UnknownSnapshot(SnapshotId),
    /// No tier could answer.
    #[error("the snapshot cannot be read")]
    Unavailable(#[source] Arc<SnapshotError>),
    /// As many are under way as may be.
    #[error("too many {0} are under way")]
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

/// What a look at `CURRENT` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing new.
    Unchanged,
    /// A snapshot took another's place.
    Swapped,
    /// The same snapshot is served, but without other customers.
    Forgot,
}

impl Serving {
    /// Reads from `lake` within the limits of `config`. Nothing is served before the first [`Serving::refresh`].
    #[must_use]
    pub fn new(lake: Lake, config: &ServingConfig, metrics: Arc<Metrics>) -> Self {
        Self::with_tair(lake, None, config, metrics)
    }

    /// As [`Serving::new`], and reads from `tair` first.
    #[must_use]
    pub fn with_tair(
        lake: Lake,
        tair: Option<(Arc<Tair>, &TairConfig)>,
        config: &ServingConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        let memory = (config.memory > 0).then(|| {
            let weight = |key: &(u64, CustomerId), row: &Option<Arc<Row>>| {
                64 + key.1.as_str().len() + row.as_ref().map_or(0, |row| row.weight())
            };
            RowCache::new(config.memory, config.memory / ROW_BYTES, weight).keeping_for(config.memory_ttl)
        });
        Self {
            reads: LakeReads::new(config.lake_reads, config.lake_timeout, Arc::clone(&metrics)),
            blocks: BlockCache::new(config.cache, Arc::clone(&metrics)),
            sets: SetCache::new(config.audience_memory),
            lake,
            memory,
            served: ArcSwapOption::empty(),
            forgotten: ArcSwapOption::empty(),
            older: Cache::new(OPEN_SNAPSHOTS, OPEN_SNAPSHOTS, |_, _| 1).keeping_for(OPEN_FOR),
            catalog: Cache::new(1, 1, |(), _| 1).keeping_for(CATALOG_TTL),
            lake_answers: AtomicBool::new(false),
            online: tair.map(|(tair, config)| Online::new(tair, config, Arc::clone(&metrics))),
            comparisons: Comparisons::new(config.comparisons),
            exports: Arc::new(Semaphore::new(config.exports)),
            export_idle: config.export_idle,
            counted: Counted::new(&metrics),
            personal: Vec::new(),
            told: Seldom::default(),
            metrics,
        }
    }

    fn files(&self, manifest: &Arc<Manifest>) -> SnapshotFiles {
        SnapshotFiles::new(&self.lake, manifest, &self.reads)
    }

    /// The same, taking `personal` columns for such in every snapshot, whatever was declared when it was built.
    #[must_use]
    pub fn declaring(self, personal: Vec<ColumnRef>) -> Self {
        Self { personal, ..self }
    }

    /// Looks at `CURRENT` and opens the snapshot that it names, if that is a new one; and at the list of the forgotten. What was
    /// known before serves meanwhile, and after a failure. Nothing is served before the list was read once.
    ///
    /// # Errors
    /// Of the lake or of the manifest.
    pub async fn refresh(&self) -> Result<Refreshed, SnapshotError> {
        let refreshed = self.look().await;
        let outcome = match refreshed {
            Ok(Refreshed::Unchanged) => "unchanged",
            Ok(Refreshed::Swapped) => "swapped",
            Ok(Refreshed::Forgot) => "forgot",
            Err(_) => "error",
        };
        self.metrics.polls.with_label_values(&[outcome]).inc();
        refreshed
    }

    async fn look(&self) -> Result<Refreshed, SnapshotError> {
        let listed = self.leave_out().await;
        let current = read_current(&self.lake).await;
        self.lake_answers.store(current.is_ok(), Ordering::Relaxed);
        let (current, known) = (current?, self.forgotten.load_full());
        let (Some(current), Some(forgotten)) = (current, known) else { return listed };
        match self.follow(&current, forgotten).await? {
            Refreshed::Unchanged => listed,
            swapped => listed.map(|_| swapped),
        }
    }

    /// Looks at the list of the forgotten, and leaves out of what is served who is on it.
    async fn leave_out(&self) -> Result<Refreshed, SnapshotError> {
        let known = self.forgotten.load_full();
        let found = match &known {
            Some(known) => known.refreshed(&self.lake).await?,
            None => Some(Forgotten::read(&self.lake).await?),
        };
        let Some(forgotten) = found.map(Arc::new).or(known) else { return Ok(Refreshed::Unchanged) };
        self.metrics.forgotten.set(gauge(forgotten.len() as u64));
        self.forgotten.store(Some(Arc::clone(&forgotten)));
        let Some(served) = self.served.load_full().filter(|served| !served.is_without(&forgotten)) else {
            return Ok(Refreshed::Unchanged);
        };
        if let Some(memory) = &self.memory {
            for id in forgotten.ids().filter(|id| !served.forgets(id.as_str())) {
                memory.remove(&(served.publish, id.clone()));
            }
        }
        let served = Arc::new(served.without(Arc::clone(&forgotten)));
        self.served.store(Some(Arc::clone(&served)));
        tracing::info!(customers = forgotten.len(), "leaves out who is forgotten");
        served.count().await;
        Ok(Refreshed::Forgot)
    }

    /// Opens the snapshot of `current`, if that is a new one, without those of `forgotten`.
    async fn follow(&self, current: &Current, forgotten: Arc<Forgotten>) -> Result<Refreshed, SnapshotError> {
        if let Some(served) = self.served.load().as_deref() {
            if served.publish == current.publish && served.manifest.id == current.snapshot {
                return Ok(Refreshed::Unchanged);
            }
            if current.publish < served.publish {
                let (served, found) = (served.publish, current.publish);
                self.told.tell("went back", |suppressed| {
                    tracing::warn!(served, found, suppressed, "CURRENT went back; it is not followed");
                });
                return Ok(Refreshed::Unchanged);
            }
        }
        let mut manifest = Manifest::read(&self.lake, &current.snapshot).await?;
        manifest.declare_personal(&self.personal);
        let manifest = Arc::new(manifest);
        let served = Served::open(self.files(&manifest), Some(current), self.blocks.clone(), &self.sets);
        served.reader.warm_up().await;
        let served = served.without(forgotten);
        served.count().await;
        tracing::info!(publish = current.publish, snapshot = %current.snapshot, "serves a snapshot");
        self.metrics.build_seconds.reset();
        for stage in &served.manifest.stages {
            self.metrics.build_seconds.with_label_values(&[&stage.name]).set(stage.seconds);
        }
        if let Some(online) = &self.online {
            online.serves(current.lake.as_ref());
        }
        self.served.store(Some(Arc::new(served)));
        if let Some(memory) = &self.memory {
            memory.remove_where(|(publish, _)| *publish < current.publish);
        }
        Ok(Refreshed::Swapped)
    }

    /// Asks Tair once what it holds; polling does so all the time.
    pub async fn ask_tair(&self) {
        if let Some(online) = &self.online {
            online.refresh().await;
        }
    }

    /// Looks at `CURRENT` every `period`, and at Tair more often, for ever.
    pub async fn poll(&self, period: Duration) {
        match &self.online {
            Some(online) => drop(tokio::join!(self.poll_lake(period), Box::pin(online.poll()))),
            None => self.poll_lake(period).await,
        }
    }

    async fn poll_lake(&self, period: Duration) {
        let mut failing = false;
        loop {
            tokio::time::sleep(period).await;
            match self.refresh().await {
                Ok(_) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    let source =
                        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%error, source, "cannot look at CURRENT and the list of the forgotten; what is served stays");
                }
                Err(_) => {}
            }
        }
    }

    /// The current snapshot.
    ///
    /// # Errors
    /// [`ReadError::NoSnapshot`] before the first one.
    pub fn current(&self) -> Result<Arc<Served>, ReadError> {
        self.served.load_full().ok_or(ReadError::NoSnapshot)
    }

    /// Whether the lake answered when it was last asked for `CURRENT`.
    #[must_use]
    pub fn lake_answers(&self) -> bool {
        self.lake_answers.load(Ordering::Relaxed)
    }

    /// The snapshot `id`: the current one, or an older one that is still in the lake.
    ///
    /// # Errors
    /// [`ReadError::UnknownSnapshot`] where it is gone.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Arc<Served>, ReadError> {
        self.open(id, async { Ok(Arc::new(Manifest::read(&self.lake, id).await?)) }).await
    }

    /// The open snapshot `id`, whose manifest is had from `manifest` where it has to be opened.
    async fn open(
        &self,
        id: &SnapshotId,
        manifest: impl Future<Output = Result<Arc<Manifest>, SnapshotError>>,
    ) -> Result<Arc<Served>, ReadError> {
        let current = self.served.load_full();
        if let Some(served) = current.as_ref().filter(|served| served.manifest.id == *id) {
            return Ok(Arc::clone(served));
        }
        let forgotten = match self.forgotten.load_full() {
            Some(forgotten) => forgotten,
            None => Arc::new(Forgotten::read(&self.lake).await.map_err(Arc::new)?),
        };
        let publish = current.as_ref().map_or(0, |current| current.publish);
        let key = (id.clone(), publish, Arc::from(forgotten.version()));
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

    /// How Tair is, where there is one.
    #[must_use]
    pub fn online(&self) -> Option<OnlineState> {
        let publish = self.served.load().as_deref().map_or(0, |served| served.publish);
        self.online.as_ref().map(|online| online.state(publish))
    }

    /// The manifests of all snapshots, newest build first.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn snapshots(&self) -> Result<Arc<Vec<Arc<Manifest>>>, ReadError> {
        let list = async {
            let manifests = snapshot::list(&self.lake).await?;
            Ok::<_, SnapshotError>(Arc::new(manifests.into_iter().map(Arc::new).collect()))
        };
        Ok(self.catalog.get_or_make(&(), list).await?)
    }

    /// Brings the metrics that are read off, not counted, up to date.
    pub fn observe(&self) {
        self.older.remove_where(|_| false);
        self.metrics.cache_bytes.set(gauge(self.blocks.bytes()));
        self.metrics.audience_bytes.set(gauge(self.sets.bytes()));
        self.metrics.memory_bytes.set(gauge(self.memory.as_ref().map_or(0, Cache::weight)));
        if let Some(online) = &self.online {
            let publish = self.served.load().as_deref().map_or(0, |served| served.publish);
            online.observe(publish);
        }
        if let Some(served) = self.served.load().as_deref() {
            self.metrics.snapshot_age.set(seconds_since(served.manifest.as_of));
            self.metrics.published_age.set(served.published_at.map_or(0.0, seconds_since));
            self.metrics.snapshot_customers.set(gauge(served.manifest.customers));
            self.metrics.publish.set(gauge(served.publish));
        }
    }
}

/// A count as a gauge has it.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
fn seconds_since(time: DateTime<Utc>) -> f64 {
    (Utc::now() - time).num_milliseconds() as f64 / 1_000.0
}
