//! Footers of Larder's Parquet files. A row group is a block: one range request reads a block, one checksum
//! covers a block.
//!
//! The Parquet format has no checksum over a footer, and its writer makes none over pages. So the footer's
//! key `larder.blocks` holds `[[offset, length, crc32], …]`, an entry per row group, and the manifest holds
//! the CRC-32 of the footer. This module knows bytes and Parquet metadata, not the meaning of columns.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use object_store::path::Path;
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
};

use super::{FileEntry, FileKind, SnapshotError};
use crate::feature::PackedTexts;

/// Key of the block list in a footer.
pub const KEY: &str = "larder.blocks";

/// Length field and magic number at the end of a Parquet file, in bytes.
const TAIL: usize = 8;

/// Place and checksum of one row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPlace {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// CRC-32 of the bytes.
    pub crc32: u32,
}

/// A decoded footer.
#[derive(Debug)]
pub struct Footer {
    /// Path of the file, for errors.
    object: Path,
    pub(super) metadata: ArrowReaderMetadata,
    pub(super) blocks: Vec<BlockPlace>,
    /// Number of rows before each block, and of all rows.
    starts: Vec<u64>,
    /// Greatest id of each block; empty unless the file is sorted by id.
    last_ids: PackedTexts,
}

impl Footer {
    /// Checks and decodes `bytes`, the footer of the file `entry` at `object`.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn parse(object: Path, entry: &FileEntry, bytes: &Bytes) -> Result<Self, SnapshotError> {
        let damaged = |why: &str| SnapshotError::damaged(&object, why);
        let metadata = metadata(entry, bytes).map_err(|why| damaged(&why))?;
        let groups = metadata.metadata();
        let blocks = block_list(groups).map_err(|why| damaged(&why))?;
        if blocks.len() != groups.num_row_groups() {
            let (blocks, groups) = (blocks.len(), groups.num_row_groups());
            return Err(damaged(&format!("the footer lists {blocks} blocks and {groups} row groups")));
        }
        let is_sorted = matches!(
            entry.kind,
            FileKind::Rows | FileKind::Products | FileKind::Purchases | FileKind::Events
        );
        let mut starts = vec![0];
        let mut last_ids = PackedTexts::default();
        for group in groups.row_groups() {
            let rows = u64::try_from(group.num_rows())
                .map_err(|_| damaged("the footer has a negative number of rows"))?;
            starts.push(starts.last().copied().unwrap_or(0) + rows);
            if is_sorted {
                let last = group.column(0).statistics().and_then(|statistics| statistics.max_bytes_opt());
                let last = last.and_then(|last| std::str::from_utf8(last).ok());
                last_ids.push(last.ok_or_else(|| damaged("the footer has no last id of a block"))?);
            }
        }
        Ok(Self { object, metadata, blocks, starts, last_ids })
    }

    /// Returns the number of rows of the file.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Returns the approximate memory in use, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let blocks = self.blocks.len() * (size_of::<BlockPlace>() + size_of::<u64>());
        self.metadata.metadata().memory_size() + blocks + self.last_ids.bytes()
    }

    /// Returns the number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Returns the only block that can hold `id`, by binary search.
    #[must_use]
    pub fn block_of_id(&self, id: &str) -> Option<usize> {
        let at = self.last_ids.lower_bound(id);
        (at < self.last_ids.len()).then_some(at)
    }

    /// Returns the adjacent blocks that can hold rows of `id`, where several rows have one id.
    #[must_use]
    pub fn blocks_of_id(&self, id: &str) -> Range<usize> {
        let first = self.last_ids.lower_bound(id);
        let mut end = first;
        // All blocks but the last one of an id end with the id.
        while end < self.last_ids.len() && self.last_ids.get(end) == id {
            end += 1;
        }
        first..(end + 1).min(self.last_ids.len())
    }

    /// Returns the block that holds the row number `row`, and the number of the block's first row.
    #[must_use]
    pub fn block_of_row(&self, row: u64) -> Option<(usize, u64)> {
        if row >= self.rows() {
            return None;
        }
        let at = self.starts.partition_point(|start| *start <= row) - 1;
        Some((at, self.starts[at]))
    }

    /// Returns the byte range of adjacent blocks, at least one.
    #[must_use]
    pub fn range(&self, blocks: Range<usize>) -> Range<u64> {
        let last = self.blocks[blocks.end - 1];
        self.blocks[blocks.start].offset..last.offset + last.length
    }

    /// Groups ascending `blocks` into runs of adjacent ones, each of at most `limit` bytes or of a single
    /// block.
    #[must_use]
    pub fn runs(&self, blocks: impl Iterator<Item = usize>, limit: u64) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for at in blocks {
            let fits = |run: &Range<usize>| {
                let bytes = self.range(run.start..at + 1);
                run.end == at && bytes.end - bytes.start <= limit
            };
            match runs.last_mut() {
                Some(run) if fits(run) => run.end += 1,
                _ => runs.push(at..at + 1),
            }
        }
        runs
    }

    /// Returns the greatest id of block `at`.
    #[must_use]
    pub fn last_id(&self, at: usize) -> &str {
        self.last_ids.get(at)
    }

    /// Returns the number of the first row of block `at`.
    #[must_use]
    pub fn first_row(&self, at: usize) -> u64 {
        self.starts[at]
    }

    /// Returns the number of rows of block `at`.
    #[must_use]
    pub fn rows_of(&self, at: usize) -> u64 {
        self.starts[at + 1] - self.starts[at]
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> SnapshotError {
        SnapshotError::damaged(&self.object, why)
    }
}

/// Checks and decodes `bytes`, the Parquet footer of the file `entry`, whether the footer lists blocks or
/// not.
pub(super) fn metadata(entry: &FileEntry, bytes: &Bytes) -> Result<ArrowReaderMetadata, String> {
    if crc32fast::hash(bytes) != entry.footer_crc32 {
        return Err("checksum mismatch in the footer".to_owned());
    }
    // Page indexes may precede the metadata; the length of the metadata follows it.
    let end = bytes.len().checked_sub(TAIL).ok_or("the footer is too short")?;
    let length = bytes[end..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let start = usize::try_from(length).ok().and_then(|length| end.checked_sub(length));
    let start = start.ok_or("the footer is shorter than its length field says")?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    ParquetMetaDataReader::decode_metadata(&bytes[start..end])
        .and_then(|metadata| ArrowReaderMetadata::try_new(Arc::new(metadata), options))
        .map_err(|error| error.to_string())
}

/// Encodes the block list that a footer keeps under [`KEY`].
#[must_use]
pub fn block_text(blocks: &[BlockPlace]) -> String {
    let list: Vec<_> = blocks.iter().map(|block| (block.offset, block.length, block.crc32)).collect();
    serde_json::json!(list).to_string()
}

fn block_list(metadata: &ParquetMetaData) -> Result<Vec<BlockPlace>, String> {
    let pairs = metadata.file_metadata().key_value_metadata();
    let text =
        pairs.into_iter().flatten().find(|pair| pair.key == KEY).and_then(|pair| pair.value.as_deref());
    let text = text.ok_or_else(|| format!("the footer has no `{KEY}`"))?;
    let list: Vec<(u64, u64, u32)> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(list.into_iter().map(|(offset, length, crc32)| BlockPlace { offset, length, crc32 }).collect())
}
