//! Two snapshots side by side: who moved from which segment to which, and what is kept of such findings.
//!
//! Snapshots never change, so neither does what was found between two of them: it is kept by their ids within a byte budget, and
//! made once however many ask. The customers of both pass by once, sorted by id, so memory does not grow with their number; few
//! comparisons run at a time, away from those who answer requests, and one that began ends also when nobody waits for it any more.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, Decimal128Array, StringArray},
    compute::cast,
    datatypes::{DataType, Decimal128Type},
};
use futures::StreamExt;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{ReadError, Served, Serving, overlap::Set};
use crate::{
    cache::Cache,
    feature::{SegmentKind, money},
    snapshot::{
        CHURN_LIST, Manifest, SnapshotError, SnapshotFiles, SnapshotId,
        column_scan::{self, ColumnBatches},
        run_blocking,
    },
};

/// Where a customer stands in a snapshot, by the segments of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a segment.
    Segment(String),
    /// In the snapshot, but in no segment of the kind.
    Unplaced,
    /// Not in the snapshot.
    Absent,
}

/// The customers that went from one place to another, or stayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Where they were.
    pub from: Place,
    /// Where they are.
    pub to: Place,
    /// How many they are.
    pub customers: u64,
    /// Their `rfm.monetary` in the earlier snapshot, in ten-thousandths.
    before: i128,
    /// The same in the later one.
    after: i128,
}

impl Cell {
    /// Their `rfm.monetary` in the later snapshot; decimal text.
    #[must_use]
    pub fn revenue(&self) -> String {
        money(self.after)
    }

    /// By how much that is more than in the earlier one.
    #[must_use]
    pub fn revenue_change(&self) -> String {
        money(self.after - self.before)
    }
}

/// All that moved between two snapshots, and all that stayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// By segments of kind `rfm`.
    pub rfm: Vec<Cell>,
    /// By segments of kind `churn`.
    pub churn: Vec<Cell>,
}

/// How a segment's members differ from those in the snapshot before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Members that were none before.
    pub added: u64,
    /// Members before that are none any more.
    pub dropped: u64,
}

impl Changes {
    fn moved(&self, kind: SegmentKind, segment: &str) -> Moved {
        let cells = if kind == SegmentKind::Churn { &self.churn } else { &self.rfm };
        let here = |place: &Place| matches!(place, Place::Segment(name) if name == segment);
        cells.iter().fold(Moved::default(), |moved, cell| match (here(&cell.from), here(&cell.to)) {
            (false, true) => Moved { added: moved.added + cell.customers, ..moved },
            (true, false) => Moved { dropped: moved.dropped + cell.customers, ..moved },
            _ => moved,
        })
    }

    fn weight(&self) -> usize {
        (self.rfm.len() + self.churn.len()) * (size_of::<Cell>() + 32)
    }
}

/// What was found by comparing snapshots.
#[derive(Debug)]
pub(super) struct Comparisons {
    found: Arc<Cache<Key, Found, Arc<SnapshotError>>>,
    turns: Arc<Semaphore>,
}

/// What a finding is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Changes(SnapshotId, SnapshotId),
    /// Of a segment that is no column.
    Moved(SnapshotId, SnapshotId, String),
    /// The sets of all segments that are columns.
    Sets(SnapshotId),
    /// The set of a segment that is none.
    Set(SnapshotId, String),
}

#[derive(Debug, Clone)]
pub(super) enum Found {
    Changes(Arc<Changes>),
    Moved(Moved),
    Sets(Arc<HashMap<String, Arc<Set>>>),
    Set(Arc<Set>),
}

impl Found {
    fn weight(&self) -> usize {
        let own = match self {
            Self::Changes(changes) => changes.weight(),
            Self::Moved(_) => 0,
            Self::Sets(sets) => sets.values().map(|set| set.weight()).sum(),
            Self::Set(set) => set.weight(),
        };
        own + 256
    }
}

impl Comparisons {
    pub(super) fn new(budget: u64) -> Self {
        // Half of the processors at most, so that reads always find one.
        let turns = std::thread::available_parallelism().map_or(1, |processors| processors.get() / 2).max(1);
        let found = Arc::new(Cache::new(budget, 1, |_, found: &Found| found.weight()));
        Self { found, turns: Arc::new(Semaphore::new(turns)) }
    }

    /// What was found before, else what `find` finds, one time however many ask.
    pub(super) async fn find(
        &self,
        key: Key,
        find: impl Future<Output = Result<Found, Arc<SnapshotError>>> + Send + 'static,
    ) -> Result<Found, Arc<SnapshotError>> {
        if let Some(found) = self.found.get(&key) {
            return Ok(found);
        }
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else { return find.await };
        let kept = Arc::clone(&self.found);
        let finding = tokio::spawn(async move {
            let found = kept.get_or_make(&key, find).await;
            drop(turn);
            found
        });
        let found =
            finding.await.map_err(|source| SnapshotError::Task { task: "compare snapshots", source })?;
        found.map_err(|error| Arc::clone(error.as_ref()))
    }
}

/// Runs `work` where it may wait and compute; it gets what it may wait with.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce(&Handle) -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Arc<SnapshotError>> {
    let worked = run_blocking("compute from snapshots", move || work(&Handle::current())).await;
    worked?.map_err(Arc::new)
}

/// A column's texts by number. There are few, so looking through them is quick.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// The number of `name`.
    pub(super) fn number(&mut self, name: &str) -> usize {
        let known = self.0.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        })
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.0
    }
}

/// The name of the segment of a level of risk.
pub(super) fn churn_segment(risk: &str) -> String {
    format!("{CHURN_LIST}_{risk}")
}

/// One customer of a snapshot: the numbers of the segments, and `monetary`.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    rfm: usize,
    churn: usize,
    monetary: i128,
}

/// Numbers of places that are no segment's; those of segments come after them.
const ABSENT: usize = 0;
const UNPLACED: usize = 1;

/// The customers of a snapshot as they pass by.
struct Side {
    batches: ColumnBatches,
    ids: StringArray,
    rfm: Option<StringArray>,
    risk: Option<StringArray>,
    monetary: Option<Decimal128Array>,
    at: usize,
}

impl Side {
    fn new(files: &SnapshotFiles) -> Self {
        let batches = files.columns_with_id(&["rfm.segment", "rfm.monetary", "churn.risk"]);
        Self { batches, ids: StringArray::new_null(0), rfm: None, risk: None, monetary: None, at: 0 }
    }

    /// Makes sure that the next customer is there, if there is one.
    fn fill(&mut self, handle: &Handle) -> Result<bool, SnapshotError> {
        while self.at >= self.ids.len() {
            let Some(batch) = handle.block_on(self.batches.next()).transpose()? else { return Ok(false) };
            self.at = 0;
            self.ids =
                column_scan::text_column(&batch, "customer_id").unwrap_or_else(|| StringArray::new_null(0));
            self.rfm = column_scan::text_column(&batch, "rfm.segment");
            self.risk = column_scan::text_column(&batch, "churn.risk");
            let monetary = column_scan::column(&batch, "rfm.monetary");
            let monetary = monetary.and_then(|column| cast(&column, &DataType::Decimal128(38, 4)).ok());
            self.monetary = monetary.map(|column| column.as_primitive::<Decimal128Type>().clone());
        }
        Ok(true)
    }

    fn take(&mut self, names: &mut [Names; 2]) -> Standing {
        let row = self.at;
        self.at += 1;
        let number = |texts: &Option<StringArray>, names: &mut Names| {
            let text = texts.as_ref().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
            text.map_or(UNPLACED, |text| names.number(text) + UNPLACED + 1)
        };
        let [segments, risks] = names;
        let (rfm, churn) = (number(&self.rfm, segments), number(&self.risk, risks));
        let monetary = self
            .monetary
            .as_ref()
            .filter(|column| column.is_valid(row))
            .map_or(0, |column| column.value(row));
        Standing { rfm, churn, monetary }
    }
}

/// Customers, and what they spent before and after, by where they were and are.
type Tally = HashMap<(usize, usize), (u64, i128, i128)>;

/// Compares all customers of two snapshots.
fn compare(mut before: Side, mut after: Side, handle: &Handle) -> Result<Changes, SnapshotError> {
    let mut names = [Names::default(), Names::default()];
    let (mut rfm, mut churn) = (Tally::new(), Tally::new());
    loop {
        let order = match (before.fill(handle)?, after.fill(handle)?) {
            (false, false) => break,
            (true, false) => std::cmp::Ordering::Less,
            (false, true) => std::cmp::Ordering::Greater,
            (true, true) => before.ids.value(before.at).cmp(after.ids.value(after.at)),
        };
        let was = if order.is_le() { before.take(&mut names) } else { Standing::default() };
        let is = if order.is_ge() { after.take(&mut names) } else { Standing::default() };
        for (tally, places) in [(&mut rfm, (was.rfm, is.rfm)), (&mut churn, (was.churn, is.churn))] {
            let cell = tally.entry(places).or_default();
            cell.0 += 1;
            cell.1 += was.monetary;
            cell.2 += is.monetary;
        }
    }
    let [segments, risks] = names.map(Names::into_names);
    let risks: Vec<String> = risks.iter().map(|risk| churn_segment(risk)).collect();
    Ok(Changes { rfm: cells(rfm, &segments), churn: cells(churn, &risks) })
}

fn cells(tally: Tally, names: &[String]) -> Vec<Cell> {
    let place = |number: usize| match number {
        ABSENT => Place::Absent,
        UNPLACED => Place::Unplaced,
        segment => Place::Segment(names[segment - UNPLACED - 1].clone()),
    };
    let cells = tally.into_iter().map(|((from, to), (customers, before, after))| {
        let (from, to) = (place(from), place(to));
        Cell { from, to, customers, before, after }
    });
    let mut cells: Vec<Cell> = cells.collect();
    cells.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    cells
}

impl Serving {
    /// Who moved between the snapshots `from` and `to`, and who stayed.
    ///
    /// # Errors
    /// [`ReadError::UnknownSnapshot`] where one of them is gone, [`ReadError::Unavailable`].
    pub async fn changes(&self, from: &Arc<Manifest>, to: &Arc<Manifest>) -> Result<Arc<Changes>, ReadError> {
        let (before, after) = (self.files(from), self.files(to));
        let find = async move {
            let (before, after) = (Side::new(&before), Side::new(&after));
            apart(move |handle| compare(before, after, handle))
                .await
                .map(|changes| Found::Changes(Arc::new(changes)))
        };
        match self.comparisons.find(Key::Changes(from.id.clone(), to.id.clone()), find).await {
            Ok(Found::Changes(changes)) => Ok(changes),
            Ok(_) => Err(ReadError::NoSnapshot),
            Err(error) => Err(self.gone([&from.id, &to.id], error).await),
        }
    }

    /// How the members of `segment` differ between two snapshots; nothing where one of these does not have it.
    ///
    /// # Errors
    /// As [`Serving::changes`].
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
        let find = async move {
            let (before, after) =
                (sorted_members(&before, &name).await?, sorted_members(&after, &name).await?);
            Ok(Found::Moved(Moved { added: not_in(&after, &before), dropped: not_in(&before, &after) }))
        };
        let key = Key::Moved(from.id.clone(), to.id.clone(), segment.to_owned());
        match self.comparisons.find(key, find).await {
            Ok(Found::Moved(moved)) => Ok(Some(moved)),
            Ok(_) => Ok(None),
            Err(error) => Err(self.gone([&from.id, &to.id], error).await),
        }
    }

    /// `error`, or that a snapshot of `ids` was removed while it was read.
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

/// The ids of the members of `segment`, sorted.
pub(super) async fn sorted_members(
    served: &Served,
    segment: &str,
) -> Result<Vec<Box<str>>, Arc<SnapshotError>> {
    let members = served.reader.members(segment, 0, usize::MAX).await?;
    let mut members: Vec<Box<str>> = members.iter().map(|id| id.as_str().into()).collect();
    members.sort_unstable();
    Ok(members)
}

/// How many of `these` are not among `those`; both are sorted.
fn not_in(these: &[Box<str>], those: &[Box<str>]) -> u64 {
    let mut rest = those.iter().peekable();
    let missing = these.iter().filter(|id| {
        while rest.next_if(|known| known < id).is_some() {}
        rest.peek() != Some(id)
    });
    missing.count() as u64
}
