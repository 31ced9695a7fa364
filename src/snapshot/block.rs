//! Row blocks as they are stored in the lake: checked, compared, or decoded, a whole block or a single
//! column.

use std::{ops::Range, sync::Arc};

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::Compression,
    errors::Result as ParquetResult,
    file::serialized_reader::SerializedPageReader,
};

use super::{
    SnapshotError,
    chunks::{FileChunk, FileChunks},
    footer::{BlockPlace, Footer},
    text_page::TextPage,
};

/// The bytes of one block.
#[derive(Debug, Clone)]
pub struct EncodedBlock {
    pub(super) footer: Arc<Footer>,
    /// Position of the block in the file.
    pub(super) at: usize,
    pub(super) bytes: Bytes,
}

impl EncodedBlock {
    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.footer.rows_of(self.at)
    }

    /// Returns the last id of the previous block in the file: an exclusive lower bound of the ids of this
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
        match (self.column_bytes(column), other.column_bytes(column)) {
            (Some((mine, codec)), Some((theirs, other_codec))) => {
                codec == other_codec && self.rows() == other.rows() && self.bytes[mine] == other.bytes[theirs]
            }
            _ => false,
        }
    }

    /// Returns the range of an encoded column in the bytes, and the compression.
    fn column_bytes(&self, column: usize) -> Option<(Range<usize>, Compression)> {
        let chunk = self.footer.metadata.metadata().row_group(self.at).columns().get(column)?;
        let (start, length) = chunk.byte_range();
        let start = usize::try_from(start.checked_sub(self.place().offset)?).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        (end <= self.bytes.len()).then(|| (start..end, chunk.compression()))
    }

    /// Compares the bytes with their checksum. Decoding does not.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn check(&self) -> Result<(), SnapshotError> {
        let BlockPlace { offset, length, crc32 } = self.place();
        if crc32fast::hash(&self.bytes) == crc32 {
            return Ok(());
        }
        Err(self.damaged(format!("checksum mismatch in the {length} bytes at offset {offset}")))
    }

    /// Decodes all columns.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn decode(&self) -> Result<RecordBatch, SnapshotError> {
        self.decode_columns(ProjectionMask::all())
    }

    /// Decodes a single column.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn decode_column(&self, column: usize) -> Result<RecordBatch, SnapshotError> {
        self.decode_columns(ProjectionMask::roots(self.footer.metadata.parquet_schema(), [column]))
    }

    fn decode_columns(&self, columns: ProjectionMask) -> Result<RecordBatch, SnapshotError> {
        let rows = usize::try_from(self.rows()).map_err(|error| self.damaged(error.to_string()))?;
        let decode = || -> ParquetResult<Option<RecordBatch>> {
            let metadata = self.footer.metadata.clone();
            let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks(), metadata)
                .with_row_groups(vec![self.at])
                .with_batch_size(rows)
                .with_projection(columns)
                .build()?;
            Ok(reader.next().transpose()?)
        };
        match decode().map_err(|error| self.damaged(error.to_string()))? {
            Some(batch) if batch.num_rows() == rows => Ok(batch),
            _ => Err(self.damaged("a block has fewer rows than its footer says")),
        }
    }

    /// Locates the texts of a column without copying them.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn text_page(&self, column: usize) -> Result<TextPage, SnapshotError> {
        let read = || {
            let rows = usize::try_from(self.rows()).map_err(|error| error.to_string())?;
            let columns = self.footer.metadata.metadata().row_group(self.at).columns();
            let chunk = columns.get(column).ok_or("a column of a block is missing")?;
            let pages = SerializedPageReader::new(Arc::new(self.chunks()), chunk, rows, None);
            let mut pages = pages.map_err(|error| error.to_string())?;
            TextPage::read(&mut pages, rows, chunk.column_descr().max_def_level() > 0)
        };
        read().map_err(|why: String| self.damaged(why))
    }

    /// Validates `bytes` of the block as UTF-8.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn text<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, SnapshotError> {
        std::str::from_utf8(bytes).map_err(|error| self.damaged(error.to_string()))
    }

    fn place(&self) -> BlockPlace {
        self.footer.blocks[self.at]
    }

    fn chunks(&self) -> FileChunks<[FileChunk; 1]> {
        FileChunks([FileChunk { offset: self.place().offset, bytes: self.bytes.clone() }])
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> SnapshotError {
        self.footer.damaged(why)
    }
}
