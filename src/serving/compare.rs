//! Comparison of two snapshots: how many customers moved from which segment to which.
//!
//! Snapshots never change, so a comparison is cached by their ids and the version of the erasure list, within
//! a byte budget, and is computed once even for concurrent requests. A comparison is a merge of both
//! snapshots, which are sorted by customer id, so its memory does not grow with the number of customers. Few
//! comparisons run at a time. A comparison that began runs to its end even if no request waits for it, since
//! one of large snapshots may take longer than the deadline of a request.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{ReadError, Served, Serving, change_list::ChangeList};
use crate::{
    audience::FeatureName,
    cache::Cache,
    feature::{CustomerId, SegmentKind, money},
    snapshot::{Forgotten, Manifest, SnapshotError, SnapshotId},
    telemetry::in_current_span,
};

mod merge;

use merge::compare;

/// Memory of a cached comparison besides its key and its cells, in bytes.
const ENTRY_BYTES: usize = 256;
/// Memory of a text besides its characters, in bytes.
const TEXT_BYTES: usize = 16;

/// Placement of a customer in a snapshot among the segments of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placement {
    /// Member of a segment.
    Segment(String),
    /// In the snapshot, but in no segment of the kind.
    Unplaced,
    /// Not in the snapshot.
    Absent,
}

/// Cell of a migration matrix: the customers with one placement in the earlier and one in the later snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Placement in the earlier snapshot.
    pub from: Placement,
    /// Placement in the later snapshot.
    pub to: Placement,
    /// Number of customers.
    pub customers: u64,
    /// Sum of `rfm.monetary` in the earlier snapshot, in ten-thousandths.
    before: i128,
    /// Sum of `rfm.monetary` in the later snapshot, in ten-thousandths.
    after: i128,
}

impl Cell {
    /// Returns the sum of `rfm.monetary` in the later snapshot, as decimal text.
    #[must_use]
    pub fn revenue(&self) -> String {
        money(self.after)
    }

    /// Returns the change of the sum of `rfm.monetary` from the earlier to the later snapshot, as decimal
    /// text.
    #[must_use]
    pub fn revenue_change(&self) -> String {
        money(self.after - self.before)
    }
}

/// Migration matrices between two snapshots. Every customer of either snapshot is counted once in each
/// matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationMatrices {
    /// Matrix over the segments of kind `rfm`.
    pub rfm: Vec<Cell>,
    /// Matrix over the segments of kind `churn`.
    pub churn: Vec<Cell>,
}

/// Changes of the membership of a segment between two snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Number of members of the later snapshot that were not members in the earlier one.
    pub added: u64,
    /// Number of members of the earlier snapshot that are not members in the later one.
    pub dropped: u64,
}

impl MigrationMatrices {
    fn moved(&self, kind: SegmentKind, segment: &str) -> Moved {
        let cells = if kind == SegmentKind::Churn { &self.churn } else { &self.rfm };
        let is_member = |placement: &Placement| match placement {
            Placement::Segment(name) => name == segment,
            Placement::Unplaced | Placement::Absent => false,
        };
        let mut moved = Moved::default();
        for cell in cells {
            match (is_member(&cell.from), is_member(&cell.to)) {
                (false, true) => moved.added += cell.customers,
                (true, false) => moved.dropped += cell.customers,
                _ => {}
            }
        }
        moved
    }

    fn weight(&self) -> usize {
        let text = |placement: &Placement| match placement {
            Placement::Segment(name) => name.capacity() + TEXT_BYTES,
            Placement::Unplaced | Placement::Absent => 0,
        };
        let cells = self.rfm.iter().chain(&self.churn);
        cells.map(|cell| size_of::<Cell>() + text(&cell.from) + text(&cell.to)).sum()
    }
}

/// Cache of comparisons, and the limit of concurrent comparisons.
#[derive(Debug)]
pub(super) struct Comparisons {
    cache: Arc<Cache<ComparisonKey, Comparison, Arc<SnapshotError>>>,
    permits: Arc<Semaphore>,
}

/// Key of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ComparisonKey {
    pub(super) from: SnapshotId,
    pub(super) to: SnapshotId,
    /// Version of the erasure list: erased customers are not compared.
    pub(super) erasures: String,
    pub(super) subject: Subject,
}

/// Subject of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// Migration matrices.
    Matrices,
    /// Number of changed members of a segment that is not computed from a column.
    Moved(String),
    /// Changed members of a segment.
    Members(String),
    /// Customers with another value of a feature.
    Values(FeatureName),
}

impl ComparisonKey {
    fn new(from: &Manifest, to: &Manifest, forgotten: &Forgotten, subject: Subject) -> Self {
        let (from, to) = (from.id.clone(), to.id.clone());
        Self { from, to, erasures: forgotten.version().to_owned(), subject }
    }

    fn weight(&self) -> usize {
        let texts = [self.from.as_str(), self.to.as_str(), &self.erasures];
        let subject = match &self.subject {
            Subject::Matrices => 0,
            Subject::Moved(segment) | Subject::Members(segment) => segment.len(),
            Subject::Values(feature) => feature.view.len() + feature.feature.len(),
        };
        size_of::<Self>() + subject + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

/// Result of a comparison.
#[derive(Debug, Clone)]
pub(super) enum Comparison {
    Migration(Arc<MigrationMatrices>),
    Moved(Moved),
    Changes(Arc<ChangeList>),
}

impl Comparison {
    fn weight(&self) -> usize {
        let own = match self {
            Self::Migration(changes) => changes.weight(),
            Self::Moved(_) => 0,
            Self::Changes(list) => list.bytes(),
        };
        own + size_of::<Self>() + ENTRY_BYTES
    }
}

impl Comparisons {
    pub(super) fn new(budget: u64) -> Self {
        // At most half of the cores, so that point reads have the others.
        let permits = std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1);
        let weight = |key: &ComparisonKey, comparison: &Comparison| key.weight() + comparison.weight();
        let cache = Arc::new(Cache::new(budget, 1, weight));
        Self { cache, permits: Arc::new(Semaphore::new(permits)) }
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Returns the comparison `key` from the cache, or computes it with `compute`. Concurrent calls with the
    /// same key share one computation, which runs to its end even if all callers are dropped.
    pub(super) async fn get_or_compute(
        &self,
        key: ComparisonKey,
        compute: impl Future<Output = Result<Comparison, Arc<SnapshotError>>> + Send + 'static,
    ) -> Result<Comparison, Arc<SnapshotError>> {
        if let Some(comparison) = self.cache.get(&key) {
            return Ok(comparison);
        }
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return compute.await };
        let cache = Arc::clone(&self.cache);
        let finding = tokio::spawn(in_current_span(async move {
            let comparison = cache.get_or_make(&key, compute).await;
            drop(permit);
            comparison
        }));
        let found =
            finding.await.map_err(|source| SnapshotError::Task { task: "compare snapshots", source })?;
        found.map_err(|error| Arc::clone(error.as_ref()))
    }
}

impl Serving {
    /// Compares the segments of all customers in the snapshots `from` and `to`.
    ///
    /// # Errors
    /// [`ReadError::UnknownSnapshot`] if a snapshot was removed, [`ReadError::Unavailable`] if it cannot be
    /// read.
    pub async fn changes(
        &self,
        from: &Arc<Manifest>,
        to: &Arc<Manifest>,
    ) -> Result<Arc<MigrationMatrices>, ReadError> {
        let (before, after, forgotten) = (self.files(from), self.files(to), self.erasures());
        let key = ComparisonKey::new(from, to, &forgotten, Subject::Matrices);
        let compute = async move {
            let changes = compare(&before, &after, &forgotten).await?;
            Ok(Comparison::Migration(Arc::new(changes)))
        };
        match self.comparisons.get_or_compute(key, compute).await {
            Ok(Comparison::Migration(changes)) => Ok(changes),
            Ok(_) => Err(ReadError::NoSnapshot),
            Err(error) => Err(self.gone([&from.id, &to.id], error).await),
        }
    }

    /// Compares the members of `segment` in two snapshots. Returns `None` if a snapshot does not have the
    /// segment.
    ///
    /// # Errors
    /// The errors of [`Serving::changes`].
    pub async fn moved(
        &self,
        from: &Arc<Manifest>,
        to: &Arc<Manifest>,
        segment: &str,
    ) -> Result<Option<Moved>, ReadError> {
        let kinds = [from, to].map(|manifest| manifest.segment(segment).map(|segment| segment.kind));
        let [Some(was), Some(is)] = kinds else { return Ok(None) };
        if was == is && is != SegmentKind::Audience {
            return Ok(Some(self.changes(from, to).await?.moved(is, segment)));
        }
        let (before, after) = (self.opened(from).await?, self.opened(to).await?);
        let name = segment.to_owned();
        let compute = async move {
            let (was, is) = (sorted_members(&before, &name).await?, sorted_members(&after, &name).await?);
            Ok(Comparison::Moved(Moved { added: count_not_in(&is, &was), dropped: count_not_in(&was, &is) }))
        };
        let key = ComparisonKey::new(from, to, &self.erasures(), Subject::Moved(segment.to_owned()));
        match self.comparisons.get_or_compute(key, compute).await {
            Ok(Comparison::Moved(moved)) => Ok(Some(moved)),
            Ok(_) => Ok(None),
            Err(error) => Err(self.gone([&from.id, &to.id], error).await),
        }
    }

    /// Returns [`ReadError::UnknownSnapshot`] instead of `error` if the cause is that `served`, which is
    /// still open, was removed from the lake.
    pub async fn removed(&self, served: &Served, error: ReadError) -> ReadError {
        match error {
            ReadError::Unavailable(cause) => self.gone([&served.manifest.id], cause).await,
            other => other,
        }
    }

    /// Converts `error`, and checks whether its cause is that one of the snapshots `ids` was removed.
    pub(super) async fn gone<const N: usize>(
        &self,
        ids: [&SnapshotId; N],
        error: Arc<SnapshotError>,
    ) -> ReadError {
        if matches!(error.as_ref(), SnapshotError::Lake(error) if error.is_not_found()) {
            for id in ids {
                if let Err(SnapshotError::Unknown { id }) = Manifest::read(&self.lake, id).await {
                    return ReadError::UnknownSnapshot(id);
                }
            }
        }
        error.into()
    }
}

/// Returns the ids of the members of `segment` who are not erased, sorted.
async fn sorted_members(served: &Served, segment: &str) -> Result<Vec<Box<str>>, Arc<SnapshotError>> {
    let members = served.reader.members(segment, 0, usize::MAX).await?;
    let members = members.iter().map(CustomerId::as_str).filter(|id| !served.forgets(id));
    let mut members: Vec<Box<str>> = members.map(Into::into).collect();
    members.sort_unstable();
    Ok(members)
}

/// Counts the `ids` that are not in `others`. Both are sorted.
fn count_not_in(ids: &[Box<str>], others: &[Box<str>]) -> u64 {
    let mut rest = others.iter().peekable();
    let missing = ids.iter().filter(|id| {
        while rest.next_if(|known| known < id).is_some() {}
        rest.peek() != Some(id)
    });
    missing.count() as u64
}
