//! Writer of the built-in segments: rankings of their members, best first, their figures, and the quintile
//! edges of the RFM scores.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray},
    compute::{SortOptions, cast},
    datatypes::{DataType, Decimal128Type, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    common::runtime::SpawnedTask, error::DataFusionError, execution::SendableRecordBatchStream,
};
use futures::StreamExt;

use super::{
    encode,
    error::{BuildError, ViewError},
    parts::SnapshotTarget,
    query::{Session, SortColumn},
    staging::MONEY,
};
use crate::{
    config::{ChurnConfig, LevelRule},
    feature::{SegmentKind, is_name},
    lake::Lake,
    snapshot::{
        CHURN_LIST, Edges, FileEntry, FileKind, SegmentStats, SegmentTally, SnapshotError, SnapshotId,
        writer::{PartWriter, RANKING_BLOCK_ROWS, ranking_properties},
    },
};

/// Segments of the R×F grid, and the two segments of customers without a purchase, with their definitions.
const GRID: [(&str, &str); 12] = [
    ("champions", "R 5 and F 4 to 5"),
    ("loyal", "R 3 and F 4 to 5, or R 4 and F 4 to 5"),
    ("potential_loyalist", "R 4 to 5 and F 2 to 3"),
    ("new", "R 5 and F 1"),
    ("promising", "R 4 and F 1"),
    ("need_attention", "R 3 and F 3"),
    ("about_to_sleep", "R 3 and F 1 to 2"),
    ("at_risk", "R 1 to 2 and F 3 to 4"),
    ("cant_lose", "R 1 to 2 and F 5"),
    ("hibernating", "R 1 to 2 and F 1 to 2"),
    ("returns_only", "no purchase, but a return"),
    ("prospect", "known, without purchase or return"),
];

/// Segments and the files of their rankings.
#[derive(Debug, Default)]
pub(super) struct Rankings {
    pub(super) segments: Vec<SegmentStats>,
    pub(super) files: Vec<FileEntry>,
}

impl Rankings {
    pub(super) fn extend(&mut self, other: Self) {
        self.segments.extend(other.segments);
        self.files.extend(other.files);
    }
}

/// Writes the ranking of every RFM segment, sorted by `monetary` and then id. `customers` is the number of
/// all customers. If the view `rfm` is the built-in one, empty segments are listed too.
pub(super) async fn write_rfm(
    target: SnapshotTarget<'_>,
    session: &Session,
    customers: u64,
    is_built_in: bool,
) -> Result<Rankings, BuildError> {
    let sql = "SELECT segment, customer_id, monetary, monetary AS revenue, r_score, f_score, m_score \
               FROM rfm WHERE segment IS NOT NULL";
    let (mut tallies, files) = write_members(target, session, "rfm", sql).await?;
    if let Some(name) = tallies.keys().find(|name| *name == CHURN_LIST || levels().contains(name)) {
        return Err(ViewError::SegmentName { name: name.clone() }.into());
    }
    let kind = SegmentKind::Rfm;
    let mut segments = Vec::new();
    for (name, definition) in &GRID {
        let tally = match tallies.remove(*name) {
            None if !is_built_in => continue,
            tally => tally.unwrap_or_default(),
        };
        let definition =
            if is_built_in { (*definition).to_owned() } else { format!("rfm.segment is {name}") };
        segments.push(tally.stats((*name).to_owned(), kind, definition, customers));
    }
    for (name, tally) in tallies {
        let definition = format!("rfm.segment is {name}");
        segments.push(tally.stats(name, kind, definition, customers));
    }
    Ok(Rankings { segments, files })
}

/// Returns whether `name` is reserved for a built-in segment or list.
pub(super) fn is_built_in(name: &str) -> bool {
    name == CHURN_LIST
        || GRID.iter().any(|(known, _)| *known == name)
        || levels().iter().any(|known| known == name)
}

/// Returns the names of the churn segments.
fn levels() -> [String; 3] {
    ["high", "medium", "low"].map(|level| format!("churn_{level}"))
}

/// Writes the rankings of the churn segments, sorted by value at risk and then id, and the churn list of all
/// customers with the columns that requests filter by. `customers` is the number of all customers.
pub(super) async fn write_churn(
    target: SnapshotTarget<'_>,
    session: &Session,
    customers: u64,
    config: &ChurnConfig,
) -> Result<Rankings, BuildError> {
    let sql = "SELECT 'churn_' || c.risk AS segment, c.customer_id, c.value_at_risk, r.monetary AS revenue, \
               r.r_score, r.f_score, r.m_score FROM churn c LEFT JOIN rfm r ON r.customer_id = c.customer_id";
    let members = write_members(target, session, CHURN_LIST, sql);
    let ((mut tallies, mut files), list) = tokio::try_join!(members, write_churn_list(target, session))?;
    let (high, medium, days) = (config.high, config.medium, config.horizon_days());
    let measure = format!("probability of no purchase within {days} days");
    let definitions = match config.levels {
        LevelRule::Thresholds => [
            format!("{measure} from {high}"),
            format!("{measure} from {medium} to {high}"),
            format!("{measure} below {medium}"),
        ],
        LevelRule::Top => {
            let (high, medium) = (config.top.high, config.top.medium);
            [
                format!("the {high} with the greatest value at risk"),
                format!("the {medium} that follow by value at risk"),
                "all other customers with an order".to_owned(),
            ]
        }
    };
    let segments = levels()
        .into_iter()
        .zip(definitions)
        .map(|(name, definition)| {
            tallies.remove(&name).unwrap_or_default().stats(name, SegmentKind::Churn, definition, customers)
        })
        .collect();
    files.extend(list);
    Ok(Rankings { segments, files })
}

/// Writes the churn list. Without customers there is no file.
async fn write_churn_list(
    target: SnapshotTarget<'_>,
    session: &Session,
) -> Result<Option<FileEntry>, BuildError> {
    let sql = "SELECT c.customer_id, c.value_at_risk, c.probability, c.risk, c.expected_value, r.segment \
               FROM churn c LEFT JOIN rfm r ON r.customer_id = c.customer_id \
               ORDER BY c.value_at_risk DESC, c.customer_id";
    let mut all = session.query(CHURN_LIST, sql).await?;
    let (lake, id) = (target.lake.clone(), target.id.clone());
    // In a task of its own, so that other rankings are written at the same time.
    SpawnedTask::spawn(async move {
        let target = SnapshotTarget { lake: &lake, id: &id };
        let mut list: Option<PartWriter> = None;
        while let Some(batch) = all.next().await {
            let batch = batch.map_err(|source| failed(CHURN_LIST, source))?;
            let writer = match &mut list {
                Some(writer) => writer,
                none => none.insert(ranking_writer(target, CHURN_LIST, batch.schema())?),
            };
            write_blocks(writer, &batch).await?;
        }
        match list {
            Some(writer) => Ok(Some(writer.finish().await?)),
            None => Ok(None),
        }
    })
    .await?
}

fn failed(view: &str, source: impl Into<DataFusionError>) -> ViewError {
    ViewError::Sql { view: view.to_owned(), source: Box::new(source.into()) }
}

/// Order of the rows of [`write_members`]: by segment, value and id.
const MEMBER_ORDER: [SortColumn; 3] = [
    SortColumn { column: 0, options: SortOptions { descending: false, nulls_first: false } },
    SortColumn { column: 2, options: SortOptions { descending: true, nulls_first: false } },
    SortColumn { column: 1, options: SortOptions { descending: false, nulls_first: false } },
];

/// Runs `sql`, writes a ranking for each segment of its rows, segments at the same time, and returns the sums
/// of each segment and the files by segment. The columns are the segment, the id, the value that members are
/// sorted by, the revenue and the three scores. `view` names the query in errors.
async fn write_members(
    target: SnapshotTarget<'_>,
    session: &Session,
    view: &str,
    sql: &str,
) -> Result<(BTreeMap<String, SegmentTally>, Vec<FileEntry>), BuildError> {
    let streams = session.query_by(view, sql, 0, &MEMBER_ORDER).await?;
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|members| {
            let members = SegmentRows { view: view.to_owned(), members };
            SpawnedTask::spawn(members.write(target.lake.clone(), target.id.clone()))
        })
        .collect();
    let (mut tallies, mut files) = (BTreeMap::new(), Vec::new());
    for task in tasks {
        for ranking in task.await?? {
            files.extend(ranking.file);
            tallies.insert(ranking.segment, ranking.tally);
        }
    }
    files.sort_by(|a: &FileEntry, b| a.segment.cmp(&b.segment));
    Ok((tallies, files))
}

/// Members of some segments, sorted by [`MEMBER_ORDER`].
struct SegmentRows {
    view: String,
    members: SendableRecordBatchStream,
}

/// The ranking of a segment.
struct SegmentRanking {
    segment: String,
    tally: SegmentTally,
    file: Option<FileEntry>,
}

impl SegmentRows {
    /// Writes the ranking of each segment.
    async fn write(mut self, lake: Lake, id: SnapshotId) -> Result<Vec<SegmentRanking>, BuildError> {
        let target = SnapshotTarget { lake: &lake, id: &id };
        let mut done: Vec<SegmentRanking> = Vec::new();
        let mut open: Option<PartWriter> = None;
        while let Some(batch) = self.members.next().await {
            let batch = batch.map_err(|source| failed(&self.view, source))?;
            for (segment, rows) in runs(batch.column(0).as_string()) {
                if done.last().is_none_or(|last| last.segment != segment) {
                    if let (Some(writer), Some(last)) = (open.take(), done.last_mut()) {
                        last.file = Some(writer.finish().await?);
                    }
                    open = Some(members_writer(target, &segment, &batch)?);
                    done.push(SegmentRanking { segment, tally: SegmentTally::default(), file: None });
                }
                let members = batch.slice(rows.start, rows.len());
                if let (Some(writer), Some(last)) = (&mut open, done.last_mut()) {
                    add(&mut last.tally, &members).map_err(|error| failed(&self.view, error))?;
                    let listed = members.project(&[1, 2]).map_err(|error| failed(&self.view, error))?;
                    write_blocks(writer, &listed).await?;
                }
            }
        }
        if let (Some(writer), Some(last)) = (open, done.last_mut()) {
            last.file = Some(writer.finish().await?);
        }
        Ok(done)
    }
}

/// Returns the runs of equal texts with their rows.
fn runs(texts: &StringArray) -> Vec<(String, std::ops::Range<usize>)> {
    let mut runs: Vec<(String, std::ops::Range<usize>)> = Vec::new();
    for row in 0..texts.len() {
        match runs.last_mut() {
            Some((text, range)) if text == texts.value(row) => range.end = row + 1,
            _ => runs.push((texts.value(row).to_owned(), row..row + 1)),
        }
    }
    runs
}

/// Opens the ranking of `segment`. Its columns are the id and the sort value of `batch`.
fn members_writer(
    target: SnapshotTarget<'_>,
    segment: &str,
    batch: &RecordBatch,
) -> Result<PartWriter, BuildError> {
    if !is_name(segment) {
        return Err(ViewError::SegmentName { name: segment.to_owned() }.into());
    }
    let schema = batch.schema().project(&[1, 2]).unwrap_or_else(|_| Schema::empty());
    Ok(ranking_writer(target, segment, Arc::new(schema))?)
}

/// Opens the ranking of `list`.
pub(super) fn ranking_writer(
    target: SnapshotTarget<'_>,
    list: &str,
    schema: SchemaRef,
) -> Result<PartWriter, SnapshotError> {
    let path = format!("rankings/{list}.parquet");
    let writer =
        PartWriter::new(target.lake, target.id, path, FileKind::Ranking, schema, ranking_properties())?;
    Ok(writer.of_segment(list))
}

/// Writes `members` and ends a block after every [`RANKING_BLOCK_ROWS`] rows.
pub(super) async fn write_blocks(
    writer: &mut PartWriter,
    members: &RecordBatch,
) -> Result<(), SnapshotError> {
    let mut start = 0;
    while start < members.num_rows() {
        let filled = usize::try_from(writer.rows()).unwrap_or(0) % RANKING_BLOCK_ROWS;
        let length = (RANKING_BLOCK_ROWS - filled).min(members.num_rows() - start);
        writer.write(&members.slice(start, length))?;
        start += length;
        if filled + length == RANKING_BLOCK_ROWS {
            writer.end_block().await?;
        }
    }
    Ok(())
}

/// Adds the revenue and the scores of `members` to `tally`.
fn add(tally: &mut SegmentTally, members: &RecordBatch) -> Result<(), arrow::error::ArrowError> {
    let revenue = cast(members.column(3), &MONEY)?;
    tally.size += members.num_rows() as u64;
    tally.revenue += revenue.as_primitive::<Decimal128Type>().iter().flatten().sum::<i128>();
    for (at, (sum, count)) in tally.scores.iter_mut().enumerate() {
        let column = cast(members.column(4 + at), &DataType::Int64)?;
        let scores = column.as_primitive::<Int64Type>();
        *sum += scores.iter().flatten().sum::<i64>();
        *count += (scores.len() - scores.null_count()) as u64;
    }
    Ok(())
}

/// Returns the quintile edges as decimal text, by measure.
pub(super) async fn edges(session: &Session) -> Result<Edges, BuildError> {
    let failed = |source| failed("rfm_edges", source);
    let sql = "SELECT measure, edge FROM rfm_edges ORDER BY measure, k";
    let mut rows = session.query("rfm_edges", sql).await?;
    let mut edges = Edges::new();
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(failed)?;
        let values = cast(batch.column(1), &DataType::Decimal128(38, 5))
            .map_err(|error| failed(DataFusionError::from(error)))?;
        let (measures, values) =
            (batch.column(0).as_string::<i32>(), values.as_primitive::<Decimal128Type>());
        for row in 0..batch.num_rows() {
            let mut text = Vec::new();
            encode::decimal(values.value(row), 5, &mut text);
            let measure = edges.entry(measures.value(row).to_owned()).or_default();
            measure.push(String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(edges)
}
