//! Scan of `rows` that skips the blocks without a wanted customer.
//!
//! Adjacent blocks are read with one range read. They bypass the cache, since a scan of all customers would
//! evict the blocks that lookups come back to.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder},
    error::ArrowError,
};

use super::{NO_INSTANT, SnapshotReader};
use crate::{
    feature::DayCounts,
    snapshot::{SnapshotError, block::EncodedBlock, footer::Footer},
};

/// Maximum length of a range read, unless a block is longer.
const READ_BYTES: u64 = 1 << 20;

/// Adjacent blocks that each hold a wanted customer.
#[derive(Debug, Clone)]
pub struct RowRun {
    file: usize,
    footer: Arc<Footer>,
    blocks: Range<usize>,
    /// Number of the first customer of the blocks among all customers of the snapshot, counted from 0.
    first: u64,
}

/// The bytes of a [`RowRun`].
#[derive(Debug)]
pub struct FetchedRowRun {
    blocks: Vec<EncodedBlock>,
    first: u64,
    day_counts: Arc<DayCounts>,
    /// As-of time of the snapshot in microseconds since 1970.
    as_of: i64,
}

impl SnapshotReader {
    /// Returns the runs of blocks for which `wanted` accepts the customer numbers of each block.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn row_runs(
        &self,
        wanted: impl Fn(Range<u64>) -> bool + Send,
    ) -> Result<Vec<RowRun>, Arc<SnapshotError>> {
        let mut runs = Vec::new();
        let mut start = 0;
        for &file in &self.parts {
            let footer = self.footer(file).await?;
            let is_wanted = |at: &usize| {
                let first = start + footer.first_row(*at);
                wanted(first..first + footer.rows_of(*at))
            };
            let blocks = footer.runs((0..footer.blocks()).filter(is_wanted), READ_BYTES);
            runs.extend(blocks.into_iter().map(|blocks| {
                let first = start + footer.first_row(blocks.start);
                RowRun { file, footer: Arc::clone(&footer), blocks, first }
            }));
            start += footer.rows();
        }
        Ok(runs)
    }

    /// Reads the blocks of a run.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn fetch(&self, run: RowRun) -> Result<FetchedRowRun, Arc<SnapshotError>> {
        let RowRun { file, footer, blocks, first } = run;
        let blocks = self.files.read_run(file, &footer, blocks).await?;
        let as_of = self.manifest().as_of.timestamp_micros();
        Ok(FetchedRowRun { blocks, first, day_counts: Arc::clone(&self.day_counts), as_of })
    }
}

impl FetchedRowRun {
    /// Decodes block by block and calls `each` with the number of the block's first customer and with the
    /// block: the id, and a text column per view, as readers get it.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] for a damaged block, or the error of `each`.
    pub fn decode(
        &self,
        mut each: impl FnMut(u64, &RecordBatch) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let mut first = self.first;
        for block in &self.blocks {
            block.check()?;
            let batch = self.derive(&block.decode()?).map_err(|error| block.damaged(error.to_string()))?;
            each(first, &batch)?;
            first += block.rows();
        }
        Ok(())
    }

    /// Derives the days in each column of `stored` that holds instants.
    fn derive(&self, stored: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let derived = |(at, column): (usize, &ArrayRef)| match at.checked_sub(1) {
            Some(view) if self.day_counts.are_in(view) => self.derive_column(view, column),
            _ => Ok(Arc::clone(column)),
        };
        let columns = stored.columns().iter().enumerate().map(derived).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(stored.schema(), columns)
    }

    fn derive_column(&self, view: usize, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let invalid = || ArrowError::ParseError(NO_INSTANT.to_owned());
        let stored = column.as_string_opt::<i32>().ok_or_else(invalid)?;
        let mut derived = StringBuilder::with_capacity(stored.len(), stored.value_data().len());
        let mut row = Vec::new();
        for text in stored {
            let Some(text) = text else {
                derived.append_null();
                continue;
            };
            row.clear();
            row.extend_from_slice(text.as_bytes());
            self.day_counts.derive_in(view, &mut row, self.as_of).ok_or_else(invalid)?;
            derived.append_value(std::str::from_utf8(&row).map_err(|_| invalid())?);
        }
        Ok(Arc::new(derived.finish()))
    }
}
