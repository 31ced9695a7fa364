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
            ParquetRecordBatchReaderBuilder, RowSelection,
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
        self.scan(wanted, Ok, None)
    }

    /// Streams the id and the columns `wanted`, as [`SnapshotFiles::columns`] does.
    #[must_use]
    pub fn columns_with_id(&self, wanted: &[&str]) -> ColumnBatches {
        self.columns(&[&[ID], wanted].concat())
    }

    /// Streams as [`SnapshotFiles::columns_with_id`] does, with the texts of views as references to the
    /// decoded pages. Such texts need not be copied until rows are selected, but a batch keeps its pages in
    /// memory. Other customers than those whose positions `selected` returns are skipped.
    #[must_use]
    pub fn text_views_with_id(&self, wanted: &[&str], selected: Option<SelectPositions>) -> ColumnBatches {
        self.scan(&[&[ID], wanted].concat(), |metadata| with_text_views(&metadata), selected)
    }

    /// Streams the columns `wanted`, with the types that `typed` gives to a file.
    fn scan(
        &self,
        wanted: &[&str],
        typed: fn(ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError>,
        selected: Option<SelectPositions>,
    ) -> ColumnBatches {
        let wanted: Arc<[String]> = wanted.iter().copied().map(str::to_owned).collect();
        let files = self.clone();
        let mut rows = 0;
        let parts = self.manifest.parts(FileKind::Customers).into_iter().map(|part| {
            let first = rows;
            rows += self.manifest.files[part].rows;
            (part, first)
        });
        let parts: Vec<(usize, u64)> = parts.collect();
        let blocks = stream::iter(parts).then(move |(part, mut first)| {
            let (files, wanted, selected) = (files.clone(), Arc::clone(&wanted), selected.clone());
            async move {
                let metadata = typed(files.metadata(part).await?);
                let metadata =
                    metadata.map_err(|error| files.count_error(files.damaged(part, error.to_string())))?;
                let blocks = (0..metadata.metadata().num_row_groups()).filter_map(move |at| {
                    let places = first..first + metadata.metadata().row_group(at).num_rows().unsigned_abs();
                    first = places.end;
                    let selected = selected.as_ref().map(|selected| selection(&**selected, places));
                    if selected.as_ref().is_some_and(|selected| !selected.selects_any()) {
                        return None;
                    }
                    let block = BlockColumns { part, metadata: metadata.clone(), at, selected };
                    Some(Ok(ColumnBlock::open(files.clone(), block, Arc::clone(&wanted))))
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

/// Function that returns the ranges of selected positions in a range of positions of the snapshot, sorted.
pub type SelectPositions = Arc<dyn Fn(Range<u64>) -> Vec<Range<u64>> + Send + Sync>;

/// Returns the selected rows of the block of the customers at `places`.
fn selection(selected: &dyn Fn(Range<u64>) -> Vec<Range<u64>>, places: Range<u64>) -> RowSelection {
    let row = |place: u64| usize::try_from(place - places.start).unwrap_or(usize::MAX);
    let ranges = selected(places.clone()).into_iter().map(|range| row(range.start)..row(range.end));
    RowSelection::from_consecutive_ranges(ranges, row(places.end))
}

/// Columns of one block to be read.
struct BlockColumns {
    part: usize,
    metadata: ArrowReaderMetadata,
    /// Number of the block in the part.
    at: usize,
    selected: Option<RowSelection>,
}

/// The bytes of some columns of one block, and their decoder.
struct ColumnBlock {
    files: SnapshotFiles,
    file: usize,
    reader: ParquetRecordBatchReader,
}

impl ColumnBlock {
    /// Reads the columns `wanted` of a block.
    async fn open(
        files: SnapshotFiles,
        block: BlockColumns,
        wanted: Arc<[String]>,
    ) -> Result<Self, SnapshotError> {
        let BlockColumns { part: file, metadata, at, selected } = block;
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
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, metadata)
            .with_row_groups(vec![at])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS);
        if let Some(selected) = selected {
            reader = reader.with_row_selection(selected);
        }
        match reader.build() {
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
