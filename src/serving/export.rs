//! Exports: all members of a list with selected columns, as a stream in bounded memory.
//!
//! A task reads the snapshot and sends the export in pieces. The task ends early when the receiver is
//! dropped, or takes no piece for longer than the idle limit. An incomplete export ends with an error, so
//! that it cannot be taken for a complete one. The number of exported customers is compared with the size of
//! the list.

use std::{
    fmt,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;

use super::{AudienceError, ReadError, Served, Serving, SnapshotPair};
use crate::{
    snapshot::SnapshotError,
    telemetry::{ExportOutcome, KnownLabel, in_current_span},
};

mod cell;
mod change_labels;
mod columns;
mod contact;
mod list;
mod parquet;
mod parquet_writer;
mod personal;
mod piece_sender;
mod ranks;
mod task;
mod text;

pub use self::{
    cell::{CsvForm, Formulas},
    columns::{ExportColumns, ExportRows, RANK, UnknownColumn},
    contact::Platform,
    list::{ChangedMembers, ExportList},
    personal::{PersonalValues, Treatment},
};
use self::{change_labels::ChangeLabels, piece_sender::PieceSender, ranks::Ranks, task::ExportTask};

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
        let (mut ranks, mut labels, mut hints) = (None, None, Vec::new());
        let total = match &export.list {
            ExportList::Segment(name) => self.members(served, name, 0, 0).await?.total,
            ExportList::Churn(filter) => self.churn(served, filter, 0, 0).await?.total,
            ExportList::Audience(audience) => {
                let ranking = served.ranking(audience).await?;
                (ranks, hints) = (Some(Arc::new(Ranks::new(ranking.ranks))), ranking.hints);
                ranking.total
            }
            ExportList::Changes(ChangedMembers { segment, from, direction }) => {
                let pair = SnapshotPair { before: self.snapshot(from).await?, after: Arc::clone(served) };
                let changes = self.segment_changes(&pair, segment).await?;
                let (ranked, labeled) = ChangeLabels::of(&pair, &changes, *direction).await?;
                (ranks, labels) = (Some(Arc::new(Ranks::new(ranked))), Some(Arc::new(labeled)));
                changes.total(*direction)
            }
        };
        let gone = labels.as_ref().map_or(0, |labels| labels.count_gone());
        let rows = ranks.as_ref().map_or(total, |ranks| ranks.count() + gone);
        let (sender, pieces) = mpsc::channel(BUFFERED_PIECES);
        let idle = self.export_idle;
        let out = PieceSender::new(sender, idle);
        let task = ExportTask { served: Arc::clone(served), export, rows, ranks, labels };
        let metrics = Arc::clone(&self.metrics);
        metrics.exports_open.inc();
        tokio::spawn(in_current_span(async move {
            let sender = out.sender();
            let result = tokio::select! {
                result = task.run(out) => result,
                () = sender.closed() => Err(ExportError::Left),
            };
            drop(permit);
            metrics.exports_open.dec();
            let outcome = match &result {
                Ok(()) => ExportOutcome::Finished,
                Err(ExportError::Left) => ExportOutcome::Left,
                Err(ExportError::Idle(_)) => ExportOutcome::Idle,
                Err(_) => ExportOutcome::Failed,
            };
            metrics.exports.of(outcome).inc();
            match result {
                // Sent after the permit is released, so that the receiver can start another export at once.
                Ok(()) => drop(tokio::time::timeout(idle, sender.send(Ok(Bytes::new()))).await),
                Err(error) => {
                    tracing::warn!(outcome = outcome.as_str(), %error, "export aborted");
                    // Fails if the buffer is full. The receiver then sees a stream without an end piece.
                    let _ = sender.try_send(Err(error));
                }
            }
        }));
        Ok(Exporting { rows, total, hints, pieces, ended: false })
    }
}
