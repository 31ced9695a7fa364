//! Sequential reading of a snapshot's rows, one customer at a time.

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};

use crate::{
    lake::Lake,
    snapshot::{Manifest, SnapshotError, SnapshotFiles, row_scan::RowBatch},
};

/// Position in the rows of a snapshot, in the order of customer ids.
pub(super) struct RowCursor {
    stream: BoxStream<'static, Result<RowBatch, SnapshotError>>,
    rows: Option<RowBatch>,
    at: usize,
}

impl RowCursor {
    /// Opens the cursor at the first row.
    pub(super) async fn open(lake: &Lake, manifest: &Arc<Manifest>) -> Result<Self, SnapshotError> {
        let mut cursor = Self { stream: SnapshotFiles::offline(lake, manifest).rows(), rows: None, at: 0 };
        cursor.load().await?;
        Ok(cursor)
    }

    /// Loads the next block that is not empty.
    async fn load(&mut self) -> Result<(), SnapshotError> {
        self.at = 0;
        self.rows = loop {
            match self.stream.next().await.transpose()? {
                Some(rows) if rows.is_empty() => {}
                rows => break rows,
            }
        };
        Ok(())
    }

    /// Returns the current block and the row in it, or `None` at the end.
    pub(super) fn row(&self) -> Option<(&RowBatch, usize)> {
        self.rows.as_ref().map(|rows| (rows, self.at))
    }

    /// Moves to the next row.
    pub(super) async fn advance(&mut self) -> Result<(), SnapshotError> {
        self.at += 1;
        if self.rows.as_ref().is_some_and(|rows| self.at < rows.len()) { Ok(()) } else { self.load().await }
    }
}
