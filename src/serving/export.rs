//! Exports: every member of a list with the columns wanted, as a stream whose memory does not grow with the number of members.
//!
//! A task goes through the snapshot and hands pieces over one by one. It ends when nobody takes them any more: the receiver is gone,
//! or has taken nothing for so long. A stream that does not come to its end breaks with an error, so that half an export is never
//! taken for a whole one; what came is counted and compared with what was promised.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::{AudienceError, ReadError, Served, Serving, compare::apart};
use crate::snapshot::{SnapshotError, reader::FetchedRowRun};

mod columns;
mod list;
mod parquet;
mod personal;
mod ranks;
mod text;

pub use self::{
    columns::{Columns, RANK, UnknownColumn},
    list::List,
    personal::Treatment,
};
use self::{
    parquet::Table,
    ranks::Ranks,
    text::{Form, Lines},
};

/// Stretches of the snapshot that are read and written ahead.
const AHEAD: usize = 2;
/// Members that are put in order at a time.
const ORDERED: u32 = 65_536;
/// The size of a piece.
const PIECE: usize = 64 << 10;
/// Pieces that wait to be taken.
const WAITING: usize = 16;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values (RFC 4180), UTF-8, with a line of names.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// Parquet with the features' own types.
    Parquet,
}

/// The order of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By id: the snapshot is read once.
    Id,
    /// Best first: the snapshot is read once for every 65,536 members.
    Rank,
}

/// An export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Who.
    pub list: List,
    /// What of each.
    pub columns: Columns,
    /// In which form.
    pub format: Format,
    /// In which order.
    pub order: Order,
}

/// Why an export broke off.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExportError {
    /// The snapshot could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nobody took the next piece in time.
    #[error("nobody took the next piece of the export for {} s", .0.as_secs())]
    Idle(Duration),
    /// Whoever wanted it is gone.
    #[error("the receiver of the export is gone")]
    Left,
    /// There were fewer customers than the list has, or more.
    #[error("the export has {found} customers, the list {expected}")]
    Count {
        /// How many should have been there.
        expected: u64,
        /// How many were.
        found: u64,
    },
    /// The task is gone.
    #[error("the export broke off")]
    Broken,
}

impl From<Arc<SnapshotError>> for ExportError {
    fn from(error: Arc<SnapshotError>) -> Self {
        Self::Read(error.into())
    }
}

/// An export under way: its pieces, one by one. When it is dropped, the work ends.
#[derive(Debug)]
pub struct Exporting {
    /// How many customers it will have.
    pub rows: u64,
    /// What may have been meant otherwise in an audience's expression, by place.
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
                // The last piece is empty: without it something went wrong.
                Some(Ok(piece)) => (!piece.is_empty()).then_some(Ok(piece)),
                Some(Err(error)) => Some(Err(error)),
                None => Some(Err(ExportError::Broken)),
            }
        })
    }
}

impl Serving {
    /// Begins an export from a snapshot.
    ///
    /// # Errors
    /// [`ReadError::Busy`] where as many are under way as may be, [`ReadError::Unavailable`]; of an audience as [`Serving::audience`].
    pub async fn export(&self, served: &Arc<Served>, export: Export) -> Result<Exporting, AudienceError> {
        let turn = Arc::clone(&self.exports).try_acquire_owned().map_err(|_| ReadError::Busy("exports"))?;
        // Without a member to look for, only the number is brought.
        let (rows, ranks, hints) = match &export.list {
            List::Segment(name) => (self.members(served, name, 0, 0).await?.total, None, Vec::new()),
            List::Churn(filter) => (self.churn(served, filter, 0, 0).await?.total, None, Vec::new()),
            List::Audience(audience) => {
                let (ranks, hints) = served.ranks(audience).await?;
                let ranks = Ranks::new(ranks);
                (ranks.count(), Some(Arc::new(ranks)), hints)
            }
        };
        let (sender, pieces) = mpsc::channel(WAITING);
        let idle = self.export_idle;
        let out = Out { sender, idle, piece: Vec::new() };
        let work = Work { served: Arc::clone(served), export, rows, ranks };
        let metrics = Arc::clone(&self.metrics);
        metrics.exports_open.inc();
        tokio::spawn(async move {
            let watched = out.sender.clone();
            let end = tokio::select! {
                end = work.run(out) => end,
                () = watched.closed() => Err(ExportError::Left),
            };
            drop(turn);
            metrics.exports_open.dec();
            let outcome = match &end {
                Ok(()) => "finished",
                Err(ExportError::Left) => "left",
                Err(ExportError::Idle(_)) => "idle",
                Err(_) => "failed",
            };
            metrics.exports.with_label_values(&[outcome]).inc();
            match end {
                // Whoever has the last piece may begin the next export.
                Ok(()) => drop(tokio::time::timeout(idle, watched.send(Ok(Bytes::new()))).await),
                Err(error) => {
                    tracing::warn!(outcome, %error, "an export broke off");
                    // Where nobody takes anything, the missing end tells.
                    let _ = watched.try_send(Err(error));
                }
            }
        });
        Ok(Exporting { rows, hints, pieces, ended: false })
    }
}

/// Where the pieces go.
struct Out {
    sender: mpsc::Sender<Result<Bytes, ExportError>>,
    idle: Duration,
    piece: Vec<u8>,
}

impl Out {
    /// Adds to the piece under way, and hands over what is large enough.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        for part in bytes.chunks(PIECE) {
            self.piece.extend_from_slice(part);
            if self.piece.len() >= PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ExportError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(2 * PIECE));
        self.send(piece.into()).await
    }

    async fn send(&self, piece: Bytes) -> Result<(), ExportError> {
        let sent = tokio::time::timeout(self.idle, self.sender.send(Ok(piece))).await;
        sent.map_err(|_| ExportError::Idle(self.idle))?.map_err(|_| ExportError::Left)
    }
}

/// What there is to do.
struct Work {
    served: Arc<Served>,
    export: Export,
    rows: u64,
    /// Those that are known already.
    ranks: Option<Arc<Ranks>>,
}

impl Work {
    async fn run(self, mut out: Out) -> Result<(), ExportError> {
        let found = match self.export.format {
            Format::Csv => self.text(Form::Csv, &mut out).await,
            Format::Ndjson => self.text(Form::Ndjson, &mut out).await,
            Format::Parquet => self.typed(&mut out).await,
        }?;
        if found != self.rows {
            return Err(ExportError::Count { expected: self.rows, found });
        }
        out.flush().await
    }

    async fn ranks(&self) -> Result<Arc<Ranks>, ExportError> {
        match &self.ranks {
            Some(ranks) => Ok(Arc::clone(ranks)),
            None => Ok(Arc::new(Ranks::of(&self.served, &self.export.list).await?)),
        }
    }

    /// The ranks that are written one after the other, in each of the passes through the snapshot.
    fn passes(&self, ranks: &Ranks) -> Vec<Range<u32>> {
        let at_a_time = match self.export.order {
            Order::Id => u32::MAX,
            Order::Rank => ORDERED,
        };
        let starts = (1..=ranks.last().max(1)).step_by(at_a_time as usize);
        starts.map(|start| start..start.saturating_add(at_a_time)).collect()
    }

    async fn text(&self, form: Form, out: &mut Out) -> Result<u64, ExportError> {
        let lines = Arc::new(Lines::new(form, self.export.columns.clone()));
        out.write(&lines.head()).await?;
        out.flush().await?;
        let ranks = self.ranks().await?;
        let mut found = 0;
        for pass in self.passes(&ranks) {
            let stretches = self.served.reader.row_runs(|places| ranks.any(places, pass.clone())).await?;
            let written = stretches.into_iter().map(|stretch| {
                let (served, lines, ranks) =
                    (Arc::clone(&self.served), Arc::clone(&lines), Arc::clone(&ranks));
                let pass = pass.clone();
                async move {
                    let read = served.reader.fetch(stretch).await?;
                    apart(move |_| Written::new(&read, &lines, &ranks, &pass)).await
                }
            });
            let mut written = stream::iter(written).buffered(AHEAD);
            let mut kept = Vec::new();
            while let Some(written) = written.next().await {
                let written = written?;
                found += written.lines.len() as u64;
                match self.export.order {
                    Order::Id => out.write(&written.text).await?,
                    Order::Rank => kept.push(written),
                }
            }
            let mut order: Vec<(u32, &[u8])> = kept.iter().flat_map(Written::lines).collect();
            order.sort_unstable_by_key(|(rank, _)| *rank);
            for (_, line) in order {
                out.write(line).await?;
            }
        }
        Ok(found)
    }

    async fn typed(&self, out: &mut Out) -> Result<u64, ExportError> {
        let Self { served, export, .. } = self;
        let notes =
            [("larder.snapshot", served.manifest.id.as_str()), ("larder.as_of", served.as_of.as_str())];
        let mut table = Table::new(export.columns.clone(), notes);
        let sources = Table::sources(&export.columns);
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let ranks = self.ranks().await?;
        let mut found = 0;
        for pass in self.passes(&ranks) {
            let mut batches = served.reader.files().columns_with_id(&sources);
            let (mut start, mut kept) = (0, Vec::new());
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(Arc::new)?;
                let of_batch: Vec<u32> = ranks.from(start, pass.clone()).take(batch.num_rows()).collect();
                start += batch.num_rows() as u64;
                let wanted = of_batch.iter().filter(|rank| **rank > 0).count() as u64;
                // The first batch brings the types, also where nobody of it is wanted.
                if wanted == 0 && table.has_begun() {
                    continue;
                }
                found += wanted;
                let in_order = export.order == Order::Rank;
                let (rows, finished);
                (table, rows, finished) = apart(move |_| select(table, &batch, &of_batch, in_order)).await?;
                kept.extend(rows);
                out.write(&finished).await?;
            }
            let finished;
            (table, finished) = apart(move |_| put_in_order(table, &kept)).await?;
            out.write(&finished).await?;
        }
        let rest = apart(move |_| table.end()).await?;
        out.write(&rest).await?;
        Ok(found)
    }
}

/// The rows of `batch` that have ranks: kept where they are to be put in order, else written.
fn select(
    mut table: Table,
    batch: &RecordBatch,
    ranks: &[u32],
    in_order: bool,
) -> Result<(Table, Option<RecordBatch>, Vec<u8>), SnapshotError> {
    let rows = table.select(batch, ranks)?;
    if in_order {
        return Ok((table, Some(rows), Vec::new()));
    }
    let finished = table.write(&rows)?;
    Ok((table, None, finished))
}

fn put_in_order(mut table: Table, kept: &[RecordBatch]) -> Result<(Table, Vec<u8>), SnapshotError> {
    let finished = match table.in_order(kept)? {
        Some(rows) => table.write(&rows)?,
        None => Vec::new(),
    };
    Ok((table, finished))
}

/// Lines of some customers, by id.
struct Written {
    text: Vec<u8>,
    /// The rank of each, and where its line ends.
    lines: Vec<(u32, usize)>,
}

impl Written {
    fn new(
        read: &FetchedRowRun,
        lines: &Lines,
        ranks: &Ranks,
        pass: &Range<u32>,
    ) -> Result<Self, SnapshotError> {
        let mut written = Self { text: Vec::new(), lines: Vec::new() };
        read.decode(|start, batch| {
            for (row, rank) in ranks.from(start, pass.clone()).take(batch.num_rows()).enumerate() {
                if rank > 0 {
                    lines.write(batch, row, rank, &mut written.text);
                    written.lines.push((rank, written.text.len()));
                }
            }
            Ok(())
        })?;
        Ok(written)
    }

    fn lines(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let starts = std::iter::once(0).chain(self.lines.iter().map(|(_, end)| *end));
        self.lines.iter().zip(starts).map(|((rank, end), start)| (*rank, &self.text[start..*end]))
    }
}
