//! Writes the Parquet files of a snapshot block by block, with hashes and checksums, in bounded memory.
//!
//! A file appears in the lake once it is finished. The caller writes the manifest last, which turns the files
//! into a snapshot. Equal batches give equal bytes.

use std::sync::Arc;

use arrow::{
    array::{Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use bytes::Bytes;
use object_store::buffered::BufWriter;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
    },
    schema::types::ColumnPath,
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::{
    FileEntry, FileKind, SnapshotError, SnapshotId,
    footer::{BlockPlace, KEY, block_text},
};
use crate::lake::Lake;

/// Number of customers in a part. Parts are cut by count, so that equal customers give equal parts.
pub const PART_ROWS: usize = 131_072;
/// Minimum length of the texts in a block of `rows`, in bytes, except for the last block of a part: the
/// amount that a cold lookup reads and decodes, before compression.
pub const ROWS_BLOCK_BYTES: usize = 160 << 10;
/// Length of the texts, in bytes, at which a block of `rows` ends with any id.
const ROWS_BLOCK_MOST_BYTES: usize = ROWS_BLOCK_BYTES / 4 * 5;
/// Ratio of all ids to the ids that may end a block of `rows`.
const ENDING_IDS: u32 = 8;
/// Number of members in a block of a ranking.
pub const RANKING_BLOCK_ROWS: usize = 4_096;
/// Maximum size of a column's dictionary in a part of `customers`, in bytes.
const DICTIONARY_BYTES: usize = 128 << 10;
/// Name of the id column in files of customers.
pub const ID: &str = "customer_id";
/// Name of the id column in `products`.
pub const PRODUCT_ID: &str = "product_id";

/// Returns the schema of `rows`: the id, and one text column per view.
#[must_use]
pub fn rows_schema<'a>(views: impl IntoIterator<Item = &'a str>) -> SchemaRef {
    let texts = views.into_iter().map(|view| Field::new(view, DataType::Utf8, true));
    Arc::new(Schema::new(
        [Field::new(ID, DataType::Utf8, false)].into_iter().chain(texts).collect::<Vec<_>>(),
    ))
}

/// Returns the schema of `products`: the id, a nullable name and category, and the similar products as a JSON
/// array.
#[must_use]
pub fn products_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let fields =
        vec![text(PRODUCT_ID, false), text("name", true), text("category", true), text("similar", false)];
    Arc::new(Schema::new(fields))
}

/// Returns the writer properties of `products`, which are those of `rows` with statistics of the product id.
#[must_use]
pub fn products_properties() -> WriterProperties {
    let id = ColumnPath::from(PRODUCT_ID);
    plain(Compression::LZ4_RAW).set_column_statistics_enabled(id, EnabledStatistics::Chunk).build()
}

/// Returns the writer properties of `rows`: no dictionaries, which every lookup would have to read, and
/// statistics of the ids only.
#[must_use]
pub fn rows_properties() -> WriterProperties {
    plain(Compression::LZ4_RAW).build()
}

/// Returns the writer properties of `customers`, for scans.
#[must_use]
pub fn customers_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_created_by(created_by())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Ids are distinct. A column with many values drops its dictionary early: building the dictionary
        // costs more than it saves.
        .set_column_dictionary_enabled(ColumnPath::from(ID), false)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        // Parts are cut by count, and a part is a single block.
        .set_max_row_group_row_count(None)
        .build()
}

/// Returns the writer properties of rankings.
#[must_use]
pub fn ranking_properties() -> WriterProperties {
    plain(Compression::LZ4_RAW).build()
}

pub(super) fn plain(compression: Compression) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(created_by())
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .set_compression(compression)
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from(ID), EnabledStatistics::Chunk)
        .set_statistics_truncate_length(None)
        .set_max_row_group_row_count(None)
        .set_data_page_row_count_limit(usize::MAX)
        .set_data_page_size_limit(usize::MAX)
        .set_write_batch_size(usize::MAX)
}

/// Returns the creator without a version, so that an upgrade that writes the same bytes keeps the
/// fingerprint.
fn created_by() -> String {
    "larder".to_owned()
}

/// A file of a snapshot that is being written.
#[derive(Debug)]
pub struct PartWriter {
    path: String,
    kind: FileKind,
    segment: Option<String>,
    encoder: ArrowWriter<Vec<u8>>,
    out: BufWriter,
    hash: Sha256,
    blocks: Vec<BlockPlace>,
    /// Length of the texts in the open block, in bytes, if [`PartWriter::write_in_blocks`] cuts blocks.
    filled: usize,
    offset: u64,
    rows: u64,
    ids: Option<(String, String)>,
}

impl PartWriter {
    /// Starts the file `path` in the folder of the snapshot `id`.
    ///
    /// # Errors
    /// [`SnapshotError::Write`] if Parquet does not support the schema.
    pub fn new(
        lake: &Lake,
        id: &SnapshotId,
        path: String,
        kind: FileKind,
        schema: SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self, SnapshotError> {
        let encoder = ArrowWriter::try_new(Vec::new(), schema, Some(properties))
            .map_err(|error| failed(&path, error))?;
        let out = lake.writer(&id.path(&path));
        let (hash, blocks) = (Sha256::new(), Vec::new());
        Ok(Self {
            path,
            kind,
            segment: None,
            encoder,
            out,
            hash,
            blocks,
            filled: 0,
            offset: 0,
            rows: 0,
            ids: None,
        })
    }

    /// Sets the segment of a ranking.
    #[must_use]
    pub fn of_segment(mut self, segment: &str) -> Self {
        self.segment = Some(segment.to_owned());
        self
    }

    /// Returns the number of rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows to the open block.
    ///
    /// # Errors
    /// [`SnapshotError::Write`].
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), SnapshotError> {
        if let Some(ids) = batch.column(0).as_any().downcast_ref::<StringArray>()
            && !ids.is_empty()
            && self.kind != FileKind::Ranking
        {
            let last = ids.value(ids.len() - 1).to_owned();
            match &mut self.ids {
                Some(range) => range.1 = last,
                None => self.ids = Some((ids.value(0).to_owned(), last)),
            }
        }
        self.rows += batch.num_rows() as u64;
        self.encoder.write(batch).map_err(|error| failed(&self.path, error))
    }

    /// Adds rows of texts, and ends blocks by size at one of the ids that may end a block.
    ///
    /// If blocks ended by size alone, a longer text would move the ends of all later blocks, and two similar
    /// snapshots would share few blocks.
    ///
    /// # Errors
    /// [`SnapshotError::Write`].
    pub async fn write_in_blocks(&mut self, batch: &RecordBatch) -> Result<(), SnapshotError> {
        let texts = |column: &Arc<dyn Array>| column.as_any().downcast_ref::<StringArray>().cloned();
        let texts: Vec<StringArray> = batch.columns().iter().filter_map(texts).collect();
        let mut written = 0;
        for row in 0..batch.num_rows() {
            self.filled += texts.iter().map(|text| text.value(row).len() + size_of::<i32>()).sum::<usize>();
            let ends = self.filled >= ROWS_BLOCK_BYTES
                && (self.filled >= ROWS_BLOCK_MOST_BYTES
                    || texts.first().is_some_and(|ids| ends_blocks(ids.value(row))));
            if ends {
                self.write(&batch.slice(written, row + 1 - written))?;
                self.end_block().await?;
                written = row + 1;
            }
        }
        if written < batch.num_rows() {
            self.write(&batch.slice(written, batch.num_rows() - written))
        } else {
            Ok(())
        }
    }

    /// Ends the open block and passes its bytes to the lake.
    ///
    /// # Errors
    /// [`SnapshotError::Write`].
    pub async fn end_block(&mut self) -> Result<(), SnapshotError> {
        self.filled = 0;
        // The magic number at the start of the file belongs to no block.
        self.drain().await?;
        self.encoder.flush().map_err(|error| failed(&self.path, error))?;
        let (offset, bytes) = (self.offset, self.drain().await?);
        if !bytes.is_empty() {
            self.blocks.push(BlockPlace {
                offset,
                length: bytes.len() as u64,
                crc32: crc32fast::hash(&bytes),
            });
        }
        Ok(())
    }

    /// Finishes the file, which then appears in the lake.
    ///
    /// # Errors
    /// [`SnapshotError::Write`].
    pub async fn finish(mut self) -> Result<FileEntry, SnapshotError> {
        self.end_block().await?;
        self.encoder.append_key_value_metadata(KeyValue::new(KEY.to_owned(), block_text(&self.blocks)));
        self.encoder.finish().map_err(|error| failed(&self.path, error))?;
        let footer = self.drain().await?;
        self.out.shutdown().await.map_err(|error| failed(&self.path, error))?;
        let (first, last) = self.ids.unzip();
        Ok(FileEntry {
            path: self.path,
            kind: self.kind,
            segment: self.segment,
            rows: self.rows,
            bytes: self.offset,
            sha256: format!("{:x}", self.hash.finalize()),
            footer_bytes: footer.len() as u64,
            footer_crc32: crc32fast::hash(&footer),
            first,
            last,
        })
    }

    /// Passes the encoded bytes to the lake.
    async fn drain(&mut self) -> Result<Bytes, SnapshotError> {
        self.encoder.sync().map_err(|error| failed(&self.path, error))?;
        let bytes = Bytes::from(std::mem::take(self.encoder.inner_mut()));
        self.hash.update(&bytes);
        self.offset += bytes.len() as u64;
        if !bytes.is_empty() {
            self.out.put(bytes.clone()).await.map_err(|error| failed(&self.path, error))?;
        }
        Ok(bytes)
    }
}

fn failed(path: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SnapshotError {
    SnapshotError::Write { object: path.to_owned(), source: error.into() }
}

/// Checks whether a block may end with the customer or product `id`.
fn ends_blocks(id: &str) -> bool {
    // The multiplication spreads the checksums: those of consecutive ids have a pattern.
    let spread = crc32fast::hash(id.as_bytes()).wrapping_mul(0x9E37_79B1);
    (spread >> 16).is_multiple_of(ENDING_IDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::LakeConfig, snapshot::footer::Footer};

    /// Writes a part of `texts` in batches of `size` and returns the last id of each block.
    async fn ends(texts: &[(String, String)], size: usize) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&LakeConfig::default(), folder.path()).expect("a lake");
        let (id, schema) = (SnapshotId::new(chrono::DateTime::UNIX_EPOCH, 1), rows_schema(["one"]));
        let path = "rows/part-00000.parquet".to_owned();
        let properties = rows_properties();
        let mut part = PartWriter::new(&lake, &id, path, FileKind::Rows, Arc::clone(&schema), properties)
            .expect("a part");
        for some in texts.chunks(size) {
            let (ids, texts): (Vec<_>, Vec<_>) =
                some.iter().map(|(id, text)| (id.as_str(), text.as_str())).unzip();
            let columns = [ids, texts].map(|column| Arc::new(StringArray::from(column)) as _).to_vec();
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("rows");
            part.write_in_blocks(&batch).await.expect("written");
        }
        let entry = part.finish().await.expect("a file");
        let path = id.path(&entry.path);
        let footer =
            lake.get_range(&path, entry.bytes - entry.footer_bytes..entry.bytes).await.expect("bytes");
        let footer = Footer::parse(path, &entry, &footer).expect("a footer");
        (0..footer.blocks()).map(|at| footer.last_id(at).to_owned()).collect()
    }

    #[tokio::test]
    async fn changed_texts_move_few_block_ends() {
        let row = |number: usize| (format!("C{number:07}"), "x".repeat(300 + number * 7919 % 200));
        let mut texts: Vec<_> = (0..20_000).map(row).collect();
        let before = ends(&texts, 8_192).await;
        assert_eq!(before, ends(&texts, 777).await, "batch sizes change the blocks");
        let bytes: usize = texts.iter().map(|(id, text)| id.len() + text.len() + 8).sum();
        assert!((bytes / ROWS_BLOCK_MOST_BYTES..=bytes / ROWS_BLOCK_BYTES + 1).contains(&before.len()));
        // Insert a customer, and lengthen some texts.
        texts.insert(1_000, ("C0000999a".to_owned(), "y".repeat(400)));
        texts.iter_mut().step_by(100).for_each(|(_, text)| text.push_str("zzz"));
        let after = ends(&texts, 8_192).await;
        let kept = before.iter().filter(|end| after.contains(end)).count();
        assert!(kept * 10 >= before.len() * 9, "only {kept} of {} blocks kept their end", before.len());
    }

    #[tokio::test]
    async fn long_texts_end_a_block_at_any_id() {
        let row = |number: usize| (format!("C{number:07}"), "x".repeat(ROWS_BLOCK_MOST_BYTES / 2));
        let texts: Vec<_> = (0..200).map(row).collect();
        let ends = ends(&texts, 200).await;
        assert_eq!(ends.len(), 100);
    }
}
