//! Row blocks as they are stored in the lake: checked, compared, or decoded, a whole block or a single
//! column.

use std::{ops::Range, sync::Arc};

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;

use super::{SnapshotError, footer::Footer, text_page::TextPage};

/// Adjacent blocks of one file, read with one range read.
#[derive(Debug)]
pub(super) struct BlockRun {
    pub(super) footer: Arc<Footer>,
    pub(super) blocks: Range<usize>,
    pub(super) bytes: Bytes,
}

impl BlockRun {
    /// Iterates over the blocks. Their bytes are not checked yet.
    pub(super) fn blocks(&self) -> impl Iterator<Item = EncodedBlock> {
        let base = self.footer.range(self.blocks.clone()).start;
        self.blocks.clone().map(move |at| {
            let range = self.footer.range(at..at + 1);
            // The run is in memory as a whole, so the offsets in the run fit.
            let offset = |place: u64| usize::try_from(place - base).unwrap_or(usize::MAX);
            let bytes = self.bytes.slice(offset(range.start)..offset(range.end));
            EncodedBlock { footer: Arc::clone(&self.footer), at, bytes }
        })
    }
}

/// The bytes of one block.
#[derive(Debug, Clone)]
pub struct EncodedBlock {
    pub(super) footer: Arc<Footer>,
    pub(super) at: usize,
    pub(super) bytes: Bytes,
}

impl EncodedBlock {
    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.footer.rows_of(self.at)
    }

    /// Returns the last id of the block before in the same file: a lower bound, exclusive, of the ids of this
    /// block.
    #[must_use]
    pub fn previous_last_id(&self) -> Option<&str> {
        self.at.checked_sub(1).map(|before| self.footer.last_id(before))
    }

    /// Returns the last id, which is the greatest.
    #[must_use]
    pub fn last_id(&self) -> &str {
        self.footer.last_id(self.at)
    }

    /// Checks whether `column` has the same encoded bytes as in `other`, and so the same values. Column 0
    /// holds the ids.
    #[must_use]
    pub fn has_same(&self, other: &Self, column: usize) -> bool {
        let encoded = |block: &Self| block.footer.column_bytes(block.at, column);
        match (encoded(self), encoded(other)) {
            (Some((mine, codec)), Some((theirs, other_codec))) => {
                codec == other_codec && self.rows() == other.rows() && self.bytes[mine] == other.bytes[theirs]
            }
            _ => false,
        }
    }

    /// Compares the bytes with their checksum.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn check(&self) -> Result<(), SnapshotError> {
        self.footer.check_block(self.at, &self.bytes)
    }

    /// Decodes all columns, once [`EncodedBlock::check`] has passed.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn decode(&self) -> Result<RecordBatch, SnapshotError> {
        self.footer.decode_block(self.at, self.bytes.clone(), ProjectionMask::all())
    }

    /// Decodes a single column, once [`EncodedBlock::check`] has passed.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn decode_column(&self, column: usize) -> Result<RecordBatch, SnapshotError> {
        let mask = ProjectionMask::roots(self.footer.parquet_schema(), [column]);
        self.footer.decode_block(self.at, self.bytes.clone(), mask)
    }

    /// Locates the texts of a column without copying them, once [`EncodedBlock::check`] has passed.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn text_page(&self, column: usize) -> Result<TextPage, SnapshotError> {
        self.footer.text_page(self.at, self.bytes.clone(), column)
    }

    /// Validates `bytes` of the block as UTF-8.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn text<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, SnapshotError> {
        std::str::from_utf8(bytes).map_err(|error| self.damaged(error.to_string()))
    }

    pub(super) fn damaged(&self, why: String) -> SnapshotError {
        self.footer.damaged(why)
    }
}
