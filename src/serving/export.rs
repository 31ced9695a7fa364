//! Exports: all members of a list with selected columns, as a stream in bounded memory.
//!
//! A task reads the snapshot and sends the export in pieces. The task ends early when the receiver is
//! dropped, or takes no piece for longer than the idle limit. An incomplete export ends with an error, so
//! that it cannot be taken for a complete one. The number of exported customers is compared with the size of
//! the list.

use std::{
    fmt,
    ops::Range,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::{AudienceError, ReadError, Served, Serving};
use crate::snapshot::{SnapshotError, reader::FetchedRowRun, run_blocking};

mod cell;
mod columns;
mod contact;
mod list;
mod parquet;
mod parquet_writer;
mod personal;
mod piece_sender;
mod ranks;
mod text;

pub use self::{
    cell::{CsvForm, Formulas},
    columns::{ExportColumns, RANK, UnknownColumn},
    contact::Platform,
    list::ExportList,
    personal::{PersonalValues, Treatment},
};
use self::{
    parquet::ParquetFile,
    piece_sender::PieceSender,
    ranks::Ranks,
    text::{LineFormat, LineWriter},
};

/// Number of block runs of the snapshot that are read and formatted ahead.
const AHEAD: usize = 2;
/// Number of members that are sorted by rank at a time.
const SORTED_MEMBERS: u32 = 65_536;
/// Number of pieces that are buffered for the receiver.
const BUFFERED_PIECES: usize = 4;

/// File format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values (RFC 4180) in UTF-8, with a header line.
    Csv,
    /// One JSON object per line.
    Ndjson,
    /// Parquet with the Arrow types of the features.
    Parquet,
}

/// Order of the customers in an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportOrder {
    /// By id. The snapshot is read once.
    Id,
    /// By rank, best first. The snapshot is read once per 65,536 members.
    Rank,
}

impl FromStr for ExportFormat {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "csv" => Ok(Self::Csv),
            "ndjson" => Ok(Self::Ndjson),
            "parquet" => Ok(Self::Parquet),
            _ => Err("csv, ndjson or parquet"),
        }
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
        })
    }
}

impl FromStr for ExportOrder {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "id" => Ok(Self::Id),
            "rank" => Ok(Self::Rank),
            _ => Err("id or rank"),
        }
    }
}

/// Description of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// List of the customers.
    pub list: ExportList,
    /// Columns of each customer.
    pub columns: ExportColumns,
    /// File format.
    pub format: ExportFormat,
    /// Order of the customers.
    pub order: ExportOrder,
    /// Form of the file if it is CSV.
    pub csv: CsvForm,
}

/// Reason why an export is incomplete.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExportError {
    /// The snapshot could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The receiver took no piece within the idle limit.
    #[error("the receiver of the export was idle for {} s", .0.as_secs())]
    Idle(Duration),
    /// The receiver was dropped.
    #[error("the receiver of the export disconnected")]
    Left,
    /// The number of exported customers is not the size of the list.
    #[error("the export has {found} customers, the list {expected}")]
    Count {
        /// Size of the list.
        expected: u64,
        /// Number of exported customers.
        found: u64,
    },
    /// The task of the export ended without a result.
    #[error("the export was aborted")]
    Broken,
}

impl From<Arc<SnapshotError>> for ExportError {
    fn from(error: Arc<SnapshotError>) -> Self {
        Self::Read(error.into())
    }
}

/// Running export, as a stream of pieces. Dropping it cancels the export.
#[derive(Debug)]
pub struct Exporting {
    /// Number of customers that the complete export has.
    pub rows: u64,
    /// Number of members of the list: more than the rows if an audience is exported up to a limit.
    pub total: u64,
    /// Suggestions for texts of an audience's expression that no customer has, with their positions.
    pub hints: Vec<(usize, String)>,
    pieces: mpsc::Receiver<Result<Bytes, ExportError>>,
    ended: bool,
}

impl Stream for Exporting {
    type Item = Result<Bytes, ExportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| {
            self.ended = !matches!(&piece, Some(Ok(piece)) if !piece.is_empty());
            match piece {
                // An empty piece marks the end of a complete export.
                Some(Ok(piece)) if piece.is_empty() => None,
                Some(piece) => Some(piece),
                None => Some(Err(ExportError::Broken)),
            }
        })
    }
}

impl Serving {
    /// Starts an export from a snapshot.
    ///
    /// # Errors
    /// [`ReadError::Busy`] if the limit of concurrent exports is reached, [`ReadError::Unavailable`] if the
    /// snapshot cannot be read, and for an audience the errors of [`Serving::audience`].
    pub async fn export(&self, served: &Arc<Served>, export: Export) -> Result<Exporting, AudienceError> {
        let permit = Arc::clone(&self.exports).try_acquire_owned().map_err(|_| ReadError::Busy("exports"))?;
        // With a limit of 0, only the size of the list is read.
        let (mut ranks, mut hints) = (None, Vec::new());
        let total = match &export.list {
            ExportList::Segment(name) => self.members(served, name, 0, 0).await?.total,
            ExportList::Churn(filter) => self.churn(served, filter, 0, 0).await?.total,
            ExportList::Audience(audience) => {
                let ranking = served.ranking(audience).await?;
                (ranks, hints) = (Some(Arc::new(Ranks::new(ranking.ranks))), ranking.hints);
                ranking.total
            }
        };
        let rows = ranks.as_ref().map_or(total, |ranks| ranks.count());
        let (sender, pieces) = mpsc::channel(BUFFERED_PIECES);
        let idle = self.export_idle;
        let out = PieceSender::new(sender, idle);
        let task = ExportTask { served: Arc::clone(served), export, rows, ranks };
        let metrics = Arc::clone(&self.metrics);
        metrics.exports_open.inc();
        tokio::spawn(async move {
            let sender = out.sender();
            let result = tokio::select! {
                result = task.run(out) => result,
                () = sender.closed() => Err(ExportError::Left),
            };
            drop(permit);
            metrics.exports_open.dec();
            let outcome = match &result {
                Ok(()) => "finished",
                Err(ExportError::Left) => "left",
                Err(ExportError::Idle(_)) => "idle",
                Err(_) => "failed",
            };
            metrics.exports.with_label_values(&[outcome]).inc();
            match result {
                // Sent after the permit is released, so that the receiver can start another export at once.
                Ok(()) => drop(tokio::time::timeout(idle, sender.send(Ok(Bytes::new()))).await),
                Err(error) => {
                    tracing::warn!(outcome, %error, "export aborted");
                    // Fails if the buffer is full. The receiver then sees a stream without an end piece.
                    let _ = sender.try_send(Err(error));
                }
            }
        });
        Ok(Exporting { rows, total, hints, pieces, ended: false })
    }
}

/// Task that produces an export.
struct ExportTask {
    served: Arc<Served>,
    export: Export,
    rows: u64,
    /// Ranks of the members, if they are already known.
    ranks: Option<Arc<Ranks>>,
}

impl ExportTask {
    async fn run(self, mut out: PieceSender) -> Result<(), ExportError> {
        let found = match self.export.format {
            ExportFormat::Csv => self.write_text(LineFormat::Csv, &mut out).await,
            ExportFormat::Ndjson => self.write_text(LineFormat::Ndjson, &mut out).await,
            ExportFormat::Parquet => self.write_parquet(&mut out).await,
        }?;
        if found != self.rows {
            return Err(ExportError::Count { expected: self.rows, found });
        }
        out.flush().await
    }

    /// Returns the ranks of the members, and reads them if necessary.
    async fn ranks(&self) -> Result<Arc<Ranks>, ExportError> {
        match &self.ranks {
            Some(ranks) => Ok(Arc::clone(ranks)),
            None => Ok(Arc::new(Ranks::of(&self.served, &self.export.list).await?)),
        }
    }

    /// Returns the range of ranks that each pass through the snapshot exports.
    fn passes(&self, ranks: &Ranks) -> Vec<Range<u32>> {
        let members_per_pass = match self.export.order {
            ExportOrder::Id => u32::MAX,
            ExportOrder::Rank => SORTED_MEMBERS,
        };
        let starts = (1..=ranks.last().max(1)).step_by(members_per_pass as usize);
        starts.map(|start| start..start.saturating_add(members_per_pass)).collect()
    }

    /// Writes the export as text lines. Returns the number of exported customers.
    async fn write_text(&self, format: LineFormat, out: &mut PieceSender) -> Result<u64, ExportError> {
        let writer = Arc::new(LineWriter::new(format, self.export.columns.clone(), self.export.csv));
        out.write(&writer.header()).await?;
        out.flush().await?;
        let ranks = self.ranks().await?;
        let mut found = 0;
        for pass in self.passes(&ranks) {
            let runs = self.served.reader.row_runs(|places| ranks.any(places, pass.clone())).await?;
            let formatting = runs.into_iter().map(|run| {
                let (served, writer, ranks) =
                    (Arc::clone(&self.served), Arc::clone(&writer), Arc::clone(&ranks));
                let pass = pass.clone();
                async move {
                    let read = served.reader.fetch(run).await?;
                    format_step(move || RankedLines::new(&read, &writer, &ranks, &pass)).await
                }
            });
            let mut formatted = stream::iter(formatting).buffered(AHEAD);
            let mut unsorted = Vec::new();
            while let Some(lines) = formatted.next().await {
                let lines = lines?;
                found += lines.ends.len() as u64;
                match self.export.order {
                    ExportOrder::Id => out.write(&lines.text).await?,
                    ExportOrder::Rank => unsorted.push(lines),
                }
            }
            let mut sorted: Vec<(u32, &[u8])> = unsorted.iter().flat_map(RankedLines::iter).collect();
            sorted.sort_unstable_by_key(|(rank, _)| *rank);
            for (_, line) in sorted {
                out.write(line).await?;
            }
        }
        Ok(found)
    }

    /// Writes the export as a Parquet file. Returns the number of exported customers.
    async fn write_parquet(&self, out: &mut PieceSender) -> Result<u64, ExportError> {
        let Self { served, export, .. } = self;
        let metadata =
            [("larder.snapshot", served.manifest.id.as_str()), ("larder.as_of", served.as_of.as_str())];
        let mut file = ParquetFile::new(export.columns.clone(), metadata);
        let feature_names = export.columns.feature_names();
        let feature_names: Vec<&str> = feature_names.iter().map(String::as_str).collect();
        let ranks = self.ranks().await?;
        let mut found = 0;
        for pass in self.passes(&ranks) {
            let mut batches = served.reader.files().text_views_with_id(&feature_names);
            let mut all_ranks = ranks.from(0, pass);
            let mut unsorted = Vec::new();
            let mut next = batches.next().await;
            while let Some(batch) = next {
                let batch = batch.map_err(Arc::new)?;
                let batch_ranks: Vec<u32> = all_ranks.by_ref().take(batch.num_rows()).collect();
                let selected = batch_ranks.iter().filter(|rank| **rank > 0).count() as u64;
                // The first batch is used even if no row is selected, since it determines the column types.
                if selected == 0 && file.has_begun() {
                    next = batches.next().await;
                    continue;
                }
                found += selected;
                let sorts = export.order == ExportOrder::Rank;
                // The next batch is decoded while this one is written.
                let step = async {
                    let (mut file, rows) =
                        format_step(move || select(file, &batch, &batch_ranks, sorts)).await?;
                    let finished =
                        if sorts { Vec::new() } else { file.write(&rows).await.map_err(Arc::new)? };
                    Ok::<_, Arc<SnapshotError>>((file, rows, finished))
                };
                let (step, decoded) = futures::join!(step, batches.next());
                next = decoded;
                let (rows, finished);
                (file, rows, finished) = step?;
                if sorts {
                    unsorted.push(rows);
                }
                out.write(&finished).await?;
            }
            let sorted;
            (file, sorted) = format_step(move || {
                let sorted = file.sort_by_rank(&unsorted)?;
                Ok((file, sorted))
            })
            .await?;
            if let Some(rows) = sorted {
                out.write(&file.write(&rows).await.map_err(Arc::new)?).await?;
            }
        }
        out.write(&file.end().await.map_err(Arc::new)?).await?;
        Ok(found)
    }
}

/// Runs a step of an export on a thread for computations.
async fn format_step<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Arc<SnapshotError>> {
    run_blocking("format an export", step).await?.map_err(Arc::new)
}

/// Selects the rows of `batch` that have a rank. Rows that are kept to be sorted do not refer to `batch`.
fn select(
    file: ParquetFile,
    batch: &RecordBatch,
    ranks: &[u32],
    sorts: bool,
) -> Result<(ParquetFile, RecordBatch), SnapshotError> {
    let rows = file.select(batch, ranks)?;
    let rows = if sorts { file.without_references(&rows)? } else { rows };
    Ok((file, rows))
}

/// Text lines of some customers, in the order of the snapshot.
struct RankedLines {
    text: Vec<u8>,
    /// Rank of each customer, and end of its line in `text`.
    ends: Vec<(u32, usize)>,
}

impl RankedLines {
    /// Formats the customers of `read` whose ranks are in `pass`.
    fn new(
        read: &FetchedRowRun,
        writer: &LineWriter,
        ranks: &Ranks,
        pass: &Range<u32>,
    ) -> Result<Self, SnapshotError> {
        let mut lines = Self { text: Vec::new(), ends: Vec::new() };
        read.decode(|start, batch| {
            for (row, rank) in ranks.from(start, pass.clone()).take(batch.num_rows()).enumerate() {
                if rank > 0 {
                    writer.write(batch, row, rank, &mut lines.text);
                    lines.ends.push((rank, lines.text.len()));
                }
            }
            Ok(())
        })?;
        Ok(lines)
    }

    /// Iterates over the lines with their ranks.
    fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        self.ends.iter().zip(starts).map(|((rank, end), start)| (*rank, &self.text[start..*end]))
    }
}
