//! Comparison of two snapshots: how many customers moved from which segment to which.
//!
//! Snapshots never change, so a comparison is cached by their ids, within a byte budget, and is computed once
//! even for concurrent requests. A comparison is a merge of both snapshots, which are sorted by customer id,
//! so its memory does not grow with the number of customers. Few comparisons run at a time, on blocking
//! threads. A comparison that began runs to its end even if no request waits for it.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, Decimal128Array, StringArray},
    compute::cast,
    datatypes::{DataType, Decimal128Type},
};
use futures::StreamExt;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{ReadError, Served, Serving, reads::churn_list};
use crate::{
    cache::Cache,
    feature::{SegmentKind, money},
    snapshot::{
        Manifest, SnapshotError, SnapshotFiles, SnapshotId,
        column_scan::{self, ColumnBatches},
        run_blocking,
    },
};

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
        (self.rfm.len() + self.churn.len()) * (size_of::<Cell>() + 32)
    }
}

/// Cache of comparisons, and the limit of concurrent comparisons.
#[derive(Debug)]
pub(super) struct Comparisons {
    cache: Arc<Cache<ComparisonKey, Comparison, Arc<SnapshotError>>>,
    permits: Arc<Semaphore>,
}

/// Snapshots of a comparison, earlier snapshot first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ComparisonKey {
    Migration(SnapshotId, SnapshotId),
    /// Membership of one segment, for segments that are not computed from a column.
    Moved(SnapshotId, SnapshotId, String),
}

/// Result of a comparison.
#[derive(Debug, Clone)]
enum Comparison {
    Migration(Arc<MigrationMatrices>),
    Moved(Moved),
}

impl Comparison {
    fn weight(&self) -> usize {
        let own = match self {
            Self::Migration(changes) => changes.weight(),
            Self::Moved(_) => 0,
        };
        own + 256
    }
}

impl Comparisons {
    pub(super) fn new(budget: u64) -> Self {
        // At most half of the cores, so that point reads have the others.
        let permits = std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1);
        let cache = Arc::new(Cache::new(budget, 1, |_, comparison: &Comparison| comparison.weight()));
        Self { cache, permits: Arc::new(Semaphore::new(permits)) }
    }

    /// Returns the comparison `key` from the cache, or computes it with `compute`. Concurrent calls with the
    /// same key share one computation, which runs to its end even if all callers are dropped.
    async fn get_or_compute(
        &self,
        key: ComparisonKey,
        compute: impl Future<Output = Result<Comparison, Arc<SnapshotError>>> + Send + 'static,
    ) -> Result<Comparison, Arc<SnapshotError>> {
        if let Some(comparison) = self.cache.get(&key) {
            return Ok(comparison);
        }
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return compute.await };
        let cache = Arc::clone(&self.cache);
        let finding = tokio::spawn(async move {
            let comparison = cache.get_or_make(&key, compute).await;
            drop(permit);
            comparison
        });
        let found =
            finding.await.map_err(|source| SnapshotError::Task { task: "compare snapshots", source })?;
        found.map_err(|error| Arc::clone(error.as_ref()))
    }
}

/// Runs `work` on a blocking thread. `work` can await futures with the runtime handle that it gets.
pub(super) async fn compute_blocking<T: Send + 'static>(
    work: impl FnOnce(&Handle) -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Arc<SnapshotError>> {
    let worked = run_blocking("compute from snapshots", move || work(&Handle::current())).await;
    worked?.map_err(Arc::new)
}

/// Number of [`Placement::Absent`].
const ABSENT: usize = 0;
/// Number of [`Placement::Unplaced`].
const UNPLACED: usize = 1;
/// Number of the first segment.
const FIRST_SEGMENT: usize = 2;

/// Segments of one kind, numbered from [`FIRST_SEGMENT`] on.
#[derive(Debug, Default)]
struct SegmentNumbers(Vec<String>);

impl SegmentNumbers {
    /// Returns the number of the segment `name`, and assigns one if the segment is new.
    fn number(&mut self, name: &str) -> usize {
        // A linear search is fast enough for the few segments of a kind.
        let position = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        FIRST_SEGMENT + position
    }
}

/// Row of a customer in a snapshot: the numbers of the placements, and `rfm.monetary` in ten-thousandths.
#[derive(Debug, Clone, Copy, Default)]
struct PlacedCustomer {
    rfm: usize,
    churn: usize,
    monetary: i128,
}

/// Scan of the customers of a snapshot, sorted by id.
struct CustomerScan {
    batches: ColumnBatches,
    ids: StringArray,
    rfm: Option<StringArray>,
    risk: Option<StringArray>,
    monetary: Option<Decimal128Array>,
    /// Index of the next customer in the current batch.
    at: usize,
}

impl CustomerScan {
    fn new(files: &SnapshotFiles) -> Self {
        let batches = files.columns_with_id(&["rfm.segment", "rfm.monetary", "churn.risk"]);
        Self { batches, ids: StringArray::new_null(0), rfm: None, risk: None, monetary: None, at: 0 }
    }

    /// Reads the next batch if the current one is used up. Returns `false` at the end of the snapshot.
    fn fill(&mut self, handle: &Handle) -> Result<bool, SnapshotError> {
        while self.at >= self.ids.len() {
            let Some(batch) = handle.block_on(self.batches.next()).transpose()? else { return Ok(false) };
            self.at = 0;
            self.ids =
                column_scan::text_column(&batch, "customer_id").unwrap_or_else(|| StringArray::new_null(0));
            self.rfm = column_scan::text_column(&batch, "rfm.segment");
            self.risk = column_scan::text_column(&batch, "churn.risk");
            self.monetary = column_scan::column(&batch, "rfm.monetary")
                .and_then(|column| cast(&column, &DataType::Decimal128(38, 4)).ok())
                .map(|column| column.as_primitive::<Decimal128Type>().clone());
        }
        Ok(true)
    }

    /// Returns the next customer of the current batch.
    fn next_customer(&mut self, segments: &mut SegmentNumbers, risks: &mut SegmentNumbers) -> PlacedCustomer {
        let row = self.at;
        self.at += 1;
        let placement = |texts: &Option<StringArray>, numbers: &mut SegmentNumbers| match texts {
            Some(texts) if texts.is_valid(row) => numbers.number(texts.value(row)),
            _ => UNPLACED,
        };
        let monetary = match &self.monetary {
            Some(column) if column.is_valid(row) => column.value(row),
            _ => 0,
        };
        PlacedCustomer { rfm: placement(&self.rfm, segments), churn: placement(&self.risk, risks), monetary }
    }
}

/// Totals of a cell: number of customers, and sums of `rfm.monetary` in both snapshots.
#[derive(Debug, Clone, Copy, Default)]
struct CellTotals {
    customers: u64,
    before: i128,
    after: i128,
}

/// Totals by the numbers of the placements in the earlier and the later snapshot.
type MatrixTotals = HashMap<(usize, usize), CellTotals>;

/// Compares all customers of two snapshots.
fn compare(
    mut before: CustomerScan,
    mut after: CustomerScan,
    handle: &Handle,
) -> Result<MigrationMatrices, SnapshotError> {
    let (mut segments, mut risks) = (SegmentNumbers::default(), SegmentNumbers::default());
    let (mut rfm, mut churn) = (MatrixTotals::new(), MatrixTotals::new());
    loop {
        let order = match (before.fill(handle)?, after.fill(handle)?) {
            (false, false) => break,
            (true, false) => std::cmp::Ordering::Less,
            (false, true) => std::cmp::Ordering::Greater,
            (true, true) => before.ids.value(before.at).cmp(after.ids.value(after.at)),
        };
        let absent = PlacedCustomer::default();
        let was = if order.is_le() { before.next_customer(&mut segments, &mut risks) } else { absent };
        let is = if order.is_ge() { after.next_customer(&mut segments, &mut risks) } else { absent };
        for (matrix, placements) in [(&mut rfm, (was.rfm, is.rfm)), (&mut churn, (was.churn, is.churn))] {
            let totals = matrix.entry(placements).or_default();
            totals.customers += 1;
            totals.before += was.monetary;
            totals.after += is.monetary;
        }
    }
    let churn_segments: Vec<String> = risks.0.iter().map(|risk| churn_list(Some(risk))).collect();
    Ok(MigrationMatrices { rfm: cells(rfm, &segments.0), churn: cells(churn, &churn_segments) })
}

/// Converts totals to cells, sorted by placement. `segments` are the names of the segments by number.
fn cells(matrix: MatrixTotals, segments: &[String]) -> Vec<Cell> {
    let placement = |number: usize| match number {
        ABSENT => Placement::Absent,
        UNPLACED => Placement::Unplaced,
        segment => Placement::Segment(segments[segment - FIRST_SEGMENT].clone()),
    };
    let cells = matrix.into_iter().map(|((from, to), totals)| {
        let CellTotals { customers, before, after } = totals;
        Cell { from: placement(from), to: placement(to), customers, before, after }
    });
    let mut cells: Vec<Cell> = cells.collect();
    cells.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    cells
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
        let (before, after) = (self.files(from), self.files(to));
        let compute = async move {
            let (before, after) = (CustomerScan::new(&before), CustomerScan::new(&after));
            let changes = compute_blocking(move |handle| compare(before, after, handle)).await?;
            Ok(Comparison::Migration(Arc::new(changes)))
        };
        let key = ComparisonKey::Migration(from.id.clone(), to.id.clone());
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
        let key = ComparisonKey::Moved(from.id.clone(), to.id.clone(), segment.to_owned());
        match self.comparisons.get_or_compute(key, compute).await {
            Ok(Comparison::Moved(moved)) => Ok(Some(moved)),
            Ok(_) => Ok(None),
            Err(error) => Err(self.gone([&from.id, &to.id], error).await),
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

/// Returns the ids of the members of `segment`, sorted.
async fn sorted_members(served: &Served, segment: &str) -> Result<Vec<Box<str>>, Arc<SnapshotError>> {
    let members = served.reader.members(segment, 0, usize::MAX).await?;
    let mut members: Vec<Box<str>> = members.iter().map(|id| id.as_str().into()).collect();
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
