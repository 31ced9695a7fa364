//! Scan of some typed columns of `customers`, from the first customer to the last: only the bytes of these
//! columns are read, and decoded batch by batch on blocking threads.
//!
//! A block's checksum covers all of its columns, so Parquet's own checks are the only ones here. This module
//! does not know the meaning of columns.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Fields, Schema},
};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream, stream::BoxStream};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder,
        },
    },
    errors::ParquetError,
    file::metadata::PageIndexPolicy,
};

use super::{
    FileKind, SnapshotError,
    chunks::{FileChunk, FileChunks},
    files::SnapshotFiles,
    run_blocking,
    writer::ID,
};

/// Number of customers in a batch.
const BATCH_ROWS: usize = 8_192;
/// Number of blocks that are read ahead of the block being decoded.
const AHEAD: usize = 1;
/// Gap between two columns, in bytes, that costs less than a range read of its own.
const GAP: u64 = 64 << 10;

/// Batches of customers, sorted by id. A failed range read or a damaged block ends the stream.
pub type ColumnBatches = BoxStream<'static, Result<RecordBatch, SnapshotError>>;

impl SnapshotFiles {
    /// Streams the columns `wanted`, such as `rfm.segment` or a whole view. Columns that the snapshot does
    /// not have are missing in the batches.
    #[must_use]
    pub fn columns(&self, wanted: &[&str]) -> ColumnBatches {
        self.scan(wanted, Ok)
    }

    /// Streams the id and the columns `wanted`, as [`SnapshotFiles::columns`] does.
    #[must_use]
    pub fn columns_with_id(&self, wanted: &[&str]) -> ColumnBatches {
        self.columns(&[&[ID], wanted].concat())
    }

    /// Streams as [`SnapshotFiles::columns_with_id`] does, with the texts of views as references to the
    /// decoded pages. Such texts need not be copied until rows are selected, but a batch keeps its pages in
    /// memory.
    #[must_use]
    pub fn text_views_with_id(&self, wanted: &[&str]) -> ColumnBatches {
        self.scan(&[&[ID], wanted].concat(), |metadata| with_text_views(&metadata))
    }

    /// Streams the columns `wanted`, with the types that `typed` gives to a file.
    fn scan(
        &self,
        wanted: &[&str],
        typed: fn(ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError>,
    ) -> ColumnBatches {
        let wanted: Arc<[String]> = wanted.iter().copied().map(str::to_owned).collect();
        let files = self.clone();
        let blocks = stream::iter(self.manifest.parts(FileKind::Customers)).then(move |part| {
            let (files, wanted) = (files.clone(), Arc::clone(&wanted));
            async move {
                let metadata = typed(files.metadata(part).await?);
                let metadata =
                    metadata.map_err(|error| files.count_error(files.damaged(part, error.to_string())))?;
                let blocks = (0..metadata.metadata().num_row_groups()).map(move |at| {
                    Ok(ColumnBlock::open(files.clone(), part, metadata.clone(), at, Arc::clone(&wanted)))
                });
                Ok::<_, SnapshotError>(stream::iter(blocks))
            }
        });
        blocks.try_flatten().try_buffered(AHEAD).map_ok(ColumnBlock::batches).try_flatten().boxed()
    }
}

/// Returns the types of a file with the texts of views as references to the decoded pages.
fn with_text_views(metadata: &ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError> {
    let referring = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    };
    let fields = metadata.schema().fields().iter().map(|field| match field.data_type() {
        DataType::Struct(features) => {
            let features = DataType::Struct(features.iter().map(referring).collect());
            Arc::new(field.as_ref().clone().with_data_type(features))
        }
        _ => Arc::clone(field),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Fields>()));
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip).with_schema(schema);
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// Returns the column `name` of `batch`, `view.feature` or the id, as text; `None` if the batch lacks the
/// column.
#[must_use]
pub fn text_column(batch: &RecordBatch, name: &str) -> Option<StringArray> {
    let column = cast(&column(batch, name)?, &DataType::Utf8).ok()?;
    Some(column.as_string::<i32>().clone())
}

/// Returns the column `name` of `batch`, `view.feature` or the id; `None` if the batch lacks the column.
#[must_use]
pub fn column(batch: &RecordBatch, name: &str) -> Option<ArrayRef> {
    match name.split_once('.') {
        None => batch.column_by_name(name).cloned(),
        Some((view, feature)) => {
            batch.column_by_name(view)?.as_struct_opt()?.column_by_name(feature).cloned()
        }
    }
}

/// The bytes of some columns of one block, and their decoder.
struct ColumnBlock {
    files: SnapshotFiles,
    file: usize,
    reader: ParquetRecordBatchReader,
}

impl ColumnBlock {
    /// Reads the columns `wanted` of block `at`.
    async fn open(
        files: SnapshotFiles,
        file: usize,
        metadata: ArrowReaderMetadata,
        at: usize,
        wanted: Arc<[String]>,
    ) -> Result<Self, SnapshotError> {
        let mask = ProjectionMask::columns(metadata.parquet_schema(), wanted.iter().map(String::as_str));
        let group = metadata.metadata().row_group(at);
        let ranges = (0..group.num_columns()).filter(|leaf| mask.leaf_included(*leaf)).map(|leaf| {
            let (start, length) = group.column(leaf).byte_range();
            start..start + length
        });
        let reads = join_near(ranges.collect()).into_iter().map(|range| {
            let (files, offset) = (&files, range.start);
            async move { Ok::<_, SnapshotError>(FileChunk { offset, bytes: files.read(file, range).await? }) }
        });
        let chunks = FileChunks(try_join_all(reads).await?);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, metadata)
            .with_row_groups(vec![at])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build();
        match reader {
            Ok(reader) => Ok(Self { files, file, reader }),
            Err(error) => Err(files.count_error(files.damaged(file, error.to_string()))),
        }
    }

    /// Decodes the block batch by batch on blocking threads.
    fn batches(self) -> ColumnBatches {
        let decode = |mut block: Self| async move {
            let decoded = run_blocking("decode columns", move || match block.reader.next() {
                None => Ok(None),
                Some(Ok(batch)) => Ok(Some((batch, block))),
                Some(Err(error)) => {
                    let error = block.files.damaged(block.file, error.to_string());
                    Err(block.files.count_error(error))
                }
            });
            decoded.await?
        };
        stream::try_unfold(self, decode).boxed()
    }
}

/// Sorts ranges, and joins those with a small gap between them.
fn join_near(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end + GAP => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_with_small_gaps_are_joined() {
        let join = |ranges: [Range<u64>; 3]| join_near(ranges.to_vec());
        assert_eq!(join([100..200, 0..100, GAP + 250..GAP + 260]), [0..200, GAP + 250..GAP + 260]);
        assert_eq!(join([GAP + 150..GAP + 160, 500..600, 0..100]).len(), 1);
    }
}
