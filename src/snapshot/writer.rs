//! Writing a snapshot's Parquet files: block by block, hashed on the way, never held whole.
//!
//! A file appears in the lake when it is finished and not before; the manifest, written last by the caller,
//! is what makes the files a snapshot. The same batches give the same bytes.

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
    footer::{Block, KEY, block_text},
    manifest::hex,
};
use crate::lake::Lake;

/// The customers of a part. Parts are cut by count, so that the same customers give the same parts.
pub const PART_ROWS: usize = 131_072;
/// The texts of a block of `rows` are at least this long, unless its part ends: what a cold lookup reads and
/// decodes, before compression.
pub const ROWS_BLOCK_BYTES: usize = 160 << 10;
/// No block of `rows` goes on with texts this long.
const ROWS_BLOCK_MOST_BYTES: usize = ROWS_BLOCK_BYTES / 4 * 5;
/// One id in this many may end a block of `rows`.
const ENDING_IDS: u32 = 8;
/// The members of a block of a ranking.
pub const RANKING_BLOCK_ROWS: usize = 4_096;
/// The most that a column's dictionary in a part of `customers` may hold.
const DICTIONARY_BYTES: usize = 128 << 10;
/// The name of the id column in every file of customers.
pub const ID: &str = "customer_id";
/// The name of the id column in `products`.
pub const PRODUCT_ID: &str = "product_id";

/// The schema of `rows`: the id, and one text column per view.
#[must_use]
pub fn rows_schema<'a>(views: impl IntoIterator<Item = &'a str>) -> SchemaRef {
    let texts = views.into_iter().map(|view| Field::new(view, DataType::Utf8, true));
    Arc::new(Schema::new(
        [Field::new(ID, DataType::Utf8, false)].into_iter().chain(texts).collect::<Vec<_>>(),
    ))
}

/// The schema of `products`: the id, name and category where there is one, and the similar products as a JSON
/// array.
#[must_use]
pub fn products_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let fields =
        vec![text(PRODUCT_ID, false), text("name", true), text("category", true), text("similar", false)];
    Arc::new(Schema::new(fields))
}

/// As `rows`.
#[must_use]
pub fn products_properties() -> WriterProperties {
    let id = ColumnPath::from(PRODUCT_ID);
    plain(Compression::LZ4_RAW).set_column_statistics_enabled(id, EnabledStatistics::Chunk).build()
}

/// Ready to serve: no dictionaries, since a lookup would have to read them; no statistics but the ids'.
#[must_use]
pub fn rows_properties() -> WriterProperties {
    plain(Compression::LZ4_RAW).build()
}

/// Typed, for scans.
#[must_use]
pub fn customers_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_created_by(created_by())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Ids are all different. A column of many values gives its dictionary up early: trying on costs more
        // than it saves.
        .set_column_dictionary_enabled(ColumnPath::from(ID), false)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        // Parts are cut by count already, and a block ends where its part does.
        .set_max_row_group_row_count(None)
        .build()
}

/// A member list.
#[must_use]
pub fn ranking_properties() -> WriterProperties {
    plain(Compression::LZ4_RAW).build()
}

fn plain(compression: Compression) -> WriterPropertiesBuilder {
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

/// No version in it: an upgrade that writes the same bytes keeps the fingerprint.
fn created_by() -> String {
    "larder".to_owned()
}

/// Writes one file of a snapshot.
#[derive(Debug)]
pub struct PartWriter {
    path: String,
    kind: FileKind,
    segment: Option<String>,
    encoder: ArrowWriter<Vec<u8>>,
    out: BufWriter,
    hash: Sha256,
    blocks: Vec<Block>,
    /// The bytes of the texts of the block under way, where it is cut by them.
    filled: usize,
    offset: u64,
    rows: u64,
    ids: Option<(String, String)>,
}

impl PartWriter {
    /// Starts the file `path` of the snapshot `id`.
    ///
    /// # Errors
    /// Of a schema that Parquet cannot hold.
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

    /// Names the segment that a ranking is of.
    #[must_use]
    pub fn of_segment(mut self, segment: &str) -> Self {
        self.segment = Some(segment.to_owned());
        self
    }

    /// The rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows to the block under way.
    ///
    /// # Errors
    /// Of the encoder.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), SnapshotError> {
        let ids = batch.column(0).as_any().downcast_ref::<StringArray>();
        if let Some(ids) = ids.filter(|ids| !ids.is_empty() && self.kind != FileKind::Ranking) {
            let last = ids.value(ids.len() - 1).to_owned();
            match &mut self.ids {
                Some(range) => range.1 = last,
                None => self.ids = Some((ids.value(0).to_owned(), last)),
            }
        }
        self.rows += batch.num_rows() as u64;
        self.encoder.write(batch).map_err(|error| failed(&self.path, error))
    }

    /// Adds rows of texts, such as those of `rows`, and ends blocks by their size, and by the ids, of which
    /// some may end one.
    ///
    /// Were it the size alone, a text that grows would move the ends of all blocks behind it, and two
    /// snapshots that differ in little would have few blocks in common.
    ///
    /// # Errors
    /// Of the encoder or the lake.
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

    /// Ends the block under way and hands its bytes to the lake.
    ///
    /// # Errors
    /// Of the encoder or the lake.
    pub async fn end_block(&mut self) -> Result<(), SnapshotError> {
        self.filled = 0;
        // The magic number at the start of the file belongs to no block.
        self.drain().await?;
        self.encoder.flush().map_err(|error| failed(&self.path, error))?;
        let (offset, bytes) = (self.offset, self.drain().await?);
        if !bytes.is_empty() {
            self.blocks.push(Block { offset, length: bytes.len() as u64, crc32: crc32fast::hash(&bytes) });
        }
        Ok(())
    }

    /// Ends the file. It is in the lake from now on.
    ///
    /// # Errors
    /// Of the encoder or the lake.
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
            sha256: hex(&self.hash.finalize()),
            footer_bytes: footer.len() as u64,
            footer_crc32: crc32fast::hash(&footer),
            first,
            last,
        })
    }

    /// Hands what the encoder has made to the lake.
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

/// Whether a block may end with the customer or product `id`.
fn ends_blocks(id: &str) -> bool {
    // Spread, since the checksums of ids that are counted up have a pattern.
    let spread = crc32fast::hash(id.as_bytes()).wrapping_mul(0x9E37_79B1);
    (spread >> 16).is_multiple_of(ENDING_IDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::LakeConfig, snapshot::footer::Footer};

    /// The last id of each block of a part of `texts`, written in batches of `size`.
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
    async fn blocks_end_with_the_same_ids_though_texts_differ() {
        let row = |number: usize| (format!("C{number:07}"), "x".repeat(300 + number * 7919 % 200));
        let mut texts: Vec<_> = (0..20_000).map(row).collect();
        let before = ends(&texts, 8_192).await;
        assert_eq!(before, ends(&texts, 777).await, "batches decide nothing");
        let bytes: usize = texts.iter().map(|(id, text)| id.len() + text.len() + 8).sum();
        assert!((bytes / ROWS_BLOCK_MOST_BYTES..=bytes / ROWS_BLOCK_BYTES + 1).contains(&before.len()));
        // One more customer, and longer texts here and there.
        texts.insert(1_000, ("C0000999a".to_owned(), "y".repeat(400)));
        texts.iter_mut().step_by(100).for_each(|(_, text)| text.push_str("zzz"));
        let after = ends(&texts, 8_192).await;
        let kept = before.iter().filter(|end| after.contains(end)).count();
        assert!(kept * 10 >= before.len() * 9, "{kept} of {} blocks end where they did", before.len());
    }

    #[tokio::test]
    async fn a_block_of_long_texts_ends_whatever_its_ids() {
        let row = |number: usize| (format!("C{number:07}"), "x".repeat(ROWS_BLOCK_MOST_BYTES / 2));
        let texts: Vec<_> = (0..200).map(row).collect();
        let ends = ends(&texts, 200).await;
        assert_eq!(ends.len(), 100);
    }
}
