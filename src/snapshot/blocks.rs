//! The form of Larder's Parquet files: a row group is a block, read by one range request and checked by one checksum.
//!
//! The Parquet format has no checksum over a footer and its writer makes none over pages, so the footer's key
//! `larder.blocks` holds `[[offset, length, crc32], …]`, an entry per row group, and the manifest the CRC of the footer.
//! Knows bytes and Parquet metadata, not what the columns mean.

use std::{ops::Range, sync::Arc};

use bytes::{Buf, Bytes};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::Compression,
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
        reader::{ChunkReader, Length},
        serialized_reader::SerializedPageReader,
    },
};

use arrow::array::RecordBatch;
use object_store::path::Path;

use super::{FileEntry, FileKind, SnapshotError, texts::Texts};
use crate::lake::Lake;

/// The key of the block list in a footer.
pub const KEY: &str = "larder.blocks";

/// Length and magic at the end of a Parquet file.
const TAIL: usize = 8;

/// One row group: where its bytes lie and what their checksum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// CRC-32 of its bytes.
    pub crc32: u32,
}

/// A decoded footer.
#[derive(Debug)]
pub struct Footer {
    metadata: ArrowReaderMetadata,
    blocks: Vec<Block>,
    /// The number of rows before each block, and after the last.
    starts: Vec<u64>,
    /// The greatest id of each block, where the file is sorted by id.
    last_ids: Ids,
}

/// Ids one after the other in one piece, since a search that jumps from one allocation to the next waits for memory each time.
#[derive(Debug, Default)]
struct Ids {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Ids {
    fn push(&mut self, id: &[u8]) {
        self.text.extend_from_slice(id);
        self.ends.push(self.text.len());
    }

    fn get(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }

    /// The place of the first that is not less than `id`.
    fn search(&self, id: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle) < id { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl Footer {
    /// Reads and checks the footer of the file `entry` at `path`.
    ///
    /// # Errors
    /// Of the lake, or of a footer that is damaged.
    pub async fn read(lake: &Lake, path: &Path, entry: &FileEntry) -> Result<Self, SnapshotError> {
        let bytes = lake.get_range(path, footer_range(path, entry)?).await?;
        Self::check(path, entry, &bytes)
    }

    /// The footer in `bytes` of the file `entry` at `path`.
    ///
    /// # Errors
    /// Of a footer that is damaged.
    pub fn check(path: &Path, entry: &FileEntry, bytes: &Bytes) -> Result<Self, SnapshotError> {
        checksum(path, entry, bytes)?;
        let sorted = matches!(entry.kind, FileKind::Rows | FileKind::Products);
        Self::decode(bytes, sorted).map_err(|why| SnapshotError::Damaged { object: path.to_string(), why })
    }

    /// Decodes the footer of a file whose last bytes are `bytes`; `sorted` says that the first column is sorted.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn decode(bytes: &Bytes, sorted: bool) -> Result<Self, String> {
        let metadata = metadata(bytes)?;
        let blocks = block_list(&metadata)?;
        if blocks.len() != metadata.num_row_groups() {
            return Err(format!(
                "its footer lists {} blocks and {} row groups",
                blocks.len(),
                metadata.num_row_groups()
            ));
        }
        let mut starts = vec![0];
        let mut last_ids = Ids::default();
        for group in metadata.row_groups() {
            let rows =
                u64::try_from(group.num_rows()).map_err(|_| "its footer has a negative number of rows")?;
            starts.push(starts.last().copied().unwrap_or(0) + rows);
            if sorted {
                let last = group.column(0).statistics().and_then(|statistics| statistics.max_bytes_opt());
                last_ids.push(last.ok_or("its footer has no greatest id of a block")?);
            }
        }
        Ok(Self { metadata: schema(metadata)?, blocks, starts, last_ids })
    }

    /// The number of rows of the file.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// How many bytes it keeps in memory, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let ids = self.last_ids.text.len() + self.last_ids.ends.len() * size_of::<usize>();
        self.metadata.metadata().memory_size() + self.blocks.len() * (size_of::<Block>() + 8) + ids
    }

    /// The number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The block that holds `id`, if any does, by binary search.
    #[must_use]
    pub fn block_of_id(&self, id: &str) -> Option<usize> {
        let at = self.last_ids.search(id.as_bytes());
        (at < self.last_ids.ends.len()).then_some(at)
    }

    /// The block that holds the row of number `row`, and the number of the block's first row.
    #[must_use]
    pub fn block_of_row(&self, row: u64) -> Option<(usize, u64)> {
        if row >= self.rows() {
            return None;
        }
        let at = self.starts.partition_point(|start| *start <= row) - 1;
        Some((at, self.starts[at]))
    }

    /// Where the bytes of block `at` lie.
    #[must_use]
    pub fn block(&self, at: usize) -> Block {
        self.blocks[at]
    }

    /// The greatest id of block `at`.
    #[must_use]
    pub fn last_id(&self, at: usize) -> &[u8] {
        self.last_ids.get(at)
    }

    /// The number of rows of block `at`.
    #[must_use]
    pub fn rows_of(&self, at: usize) -> u64 {
        self.starts[at + 1] - self.starts[at]
    }

    /// Where the encoded `column` lies in the bytes of block `at`, and how it is compressed.
    #[must_use]
    pub fn column(&self, at: usize, column: usize) -> Option<(Range<usize>, Compression)> {
        let chunk = self.metadata.metadata().row_group(at).columns().get(column)?;
        let (start, length) = chunk.byte_range();
        let start = usize::try_from(start.checked_sub(self.blocks[at].offset)?).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        (end as u64 <= self.blocks[at].length).then(|| (start..end, chunk.compression()))
    }

    /// Checks the bytes of block `at`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn check_block(&self, at: usize, bytes: &[u8]) -> Result<(), String> {
        let block = self.blocks[at];
        if crc32fast::hash(bytes) == block.crc32 {
            Ok(())
        } else {
            Err(format!("the checksum of the {} bytes at {} is wrong", block.length, block.offset))
        }
    }

    /// Checks and decodes the bytes of block `at`.
    ///
    /// # Errors
    /// As [`Footer::check_block`].
    pub fn decode_block(&self, at: usize, bytes: Bytes) -> Result<RecordBatch, String> {
        self.check_block(at, &bytes)?;
        self.decode_columns(at, bytes, ProjectionMask::all())
    }

    /// Decodes one column of block `at`, whose bytes were checked.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn decode_column(&self, at: usize, bytes: Bytes, column: usize) -> Result<RecordBatch, String> {
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        self.decode_columns(at, bytes, ProjectionMask::roots(schema, [column]))
    }

    /// The texts of one column of block `at`, whose bytes were checked, where they lie.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn texts(&self, at: usize, bytes: Bytes, column: usize) -> Result<Texts, String> {
        let rows = usize::try_from(self.rows_of(at)).map_err(|error| error.to_string())?;
        let chunk =
            self.metadata.metadata().row_group(at).columns().get(column).ok_or("it has too few columns")?;
        let window = Arc::new(Window { start: self.blocks[at].offset, bytes });
        let mut pages =
            SerializedPageReader::new(window, chunk, rows, None).map_err(|error| error.to_string())?;
        Texts::read(&mut pages, rows, chunk.column_descr().max_def_level() > 0)
    }

    /// Decodes `columns` of block `at`, whose bytes were checked.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn decode_columns(
        &self,
        at: usize,
        bytes: Bytes,
        columns: ProjectionMask,
    ) -> Result<RecordBatch, String> {
        let block = self.blocks[at];
        let rows = usize::try_from(self.rows_of(at)).map_err(|error| error.to_string())?;
        let window = Window { start: block.offset, bytes };
        let text = |error: ParquetError| error.to_string();
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(window, self.metadata.clone())
            .with_row_groups(vec![at])
            .with_batch_size(rows)
            .with_projection(columns)
            .build()
            .map_err(text)?;
        let batch = reader.next().ok_or("a block is empty")?.map_err(|error| error.to_string())?;
        if batch.num_rows() == rows {
            Ok(batch)
        } else {
            Err("a block has fewer rows than its footer says".to_owned())
        }
    }
}

/// What the footer in `bytes` of the file `entry` at `path` says of row groups and columns, whether it lists blocks or not.
///
/// # Errors
/// Of a footer that is damaged.
pub fn columns(path: &Path, entry: &FileEntry, bytes: &Bytes) -> Result<ArrowReaderMetadata, SnapshotError> {
    checksum(path, entry, bytes)?;
    let columns = metadata(bytes).and_then(schema);
    columns.map_err(|why| SnapshotError::Damaged { object: path.to_string(), why })
}

fn checksum(path: &Path, entry: &FileEntry, bytes: &Bytes) -> Result<(), SnapshotError> {
    if crc32fast::hash(bytes) == entry.footer_crc32 {
        return Ok(());
    }
    let why = "the checksum of its footer is wrong".to_owned();
    Err(SnapshotError::Damaged { object: path.to_string(), why })
}

fn metadata(bytes: &Bytes) -> Result<ParquetMetaData, String> {
    // Indexes may stand before the metadata; its own length stands behind it.
    let end = bytes.len().checked_sub(TAIL).ok_or("its footer is too short")?;
    let length = bytes[end..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let start = usize::try_from(length).ok().and_then(|length| end.checked_sub(length));
    let start = start.ok_or("its footer is shorter than it says")?;
    ParquetMetaDataReader::decode_metadata(&bytes[start..end]).map_err(|error| error.to_string())
}

fn schema(metadata: ParquetMetaData) -> Result<ArrowReaderMetadata, String> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(|error| error.to_string())
}

/// Where the footer of the file `entry` at `path` lies.
///
/// # Errors
/// Of a manifest that contradicts itself.
pub fn footer_range(path: &Path, entry: &FileEntry) -> Result<Range<u64>, SnapshotError> {
    let start = entry.bytes.checked_sub(entry.footer_bytes);
    let why = "the manifest gives it a footer larger than itself";
    let start =
        start.ok_or_else(|| SnapshotError::Damaged { object: path.to_string(), why: why.to_owned() })?;
    Ok(start..entry.bytes)
}

/// The text that a footer keeps under [`KEY`].
#[must_use]
pub fn block_text(blocks: &[Block]) -> String {
    let list: Vec<_> = blocks.iter().map(|block| (block.offset, block.length, block.crc32)).collect();
    serde_json::json!(list).to_string()
}

fn block_list(metadata: &ParquetMetaData) -> Result<Vec<Block>, String> {
    let pairs = metadata.file_metadata().key_value_metadata();
    let text =
        pairs.into_iter().flatten().find(|pair| pair.key == KEY).and_then(|pair| pair.value.as_deref());
    let text = text.ok_or_else(|| format!("its footer has no `{KEY}`"))?;
    let list: Vec<(u64, u64, u32)> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(list.into_iter().map(|(offset, length, crc32)| Block { offset, length, crc32 }).collect())
}

/// The bytes of one block, in the place that they have in the file.
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        let at = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|at| *at <= self.bytes.len());
        at.map(|at| self.bytes.slice(at..))
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} lies outside the block")))
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes from {start} lie outside the block")));
        }
        Ok(bytes.slice(..length))
    }
}
