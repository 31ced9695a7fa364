//! Sorted runs: the checked lines of a raw file, or of a piece of a large one, as a Parquet file.
//!
//! A run is sorted by bucket, customer and order. The bucket of a customer is made of the lowest bits of
//! DataFusion's hash of the id, in reverse order. So the customers of a partition are a range of buckets for
//! any power of two of partitions, no query has to repartition the data, and runs of different builds fit
//! together.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, UInt32Array},
    compute::take_record_batch,
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema},
};
use datafusion::{common::hash_utils::create_hashes, physical_plan::repartition::REPARTITION_RANDOM_STATE};
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::Compression,
    file::{
        metadata::PageIndexPolicy,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

use super::{
    attributes::renumbered,
    id_ranks::IdRanks,
    line_buffer::{ATTRIBUTES_COLUMN, LINE_COLUMN},
    line_columns::LineColumns,
    line_schema::{file_column, with_file},
    staging,
};
use crate::pipeline::raw::{RawError, Table, TableSpec};

/// Number of bits of a bucket: a build has at most 2 to the power of this number of partitions.
pub(crate) const BUCKET_BITS: u32 = 12;
/// Number of rows of a page: the least that a partition reads.
const PAGE_ROWS: usize = 4_096;
/// Maximum size of a column's dictionary, in bytes. Each partition that reads of a run decodes the
/// dictionary.
const DICTIONARY_BYTES: usize = 64 << 10;
/// Number of bits of a line's place that number the line in its file.
const PLACE_BITS: u32 = 40;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Returns the buckets of `ids`.
pub(super) fn buckets(ids: &StringArray) -> Result<Vec<u16>, Failure> {
    let mut hashes = vec![0; ids.len()];
    create_hashes([ids as &dyn Array], REPARTITION_RANDOM_STATE.random_state(), &mut hashes)?;
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits")]
    Ok(hashes.into_iter().map(|hash| (hash as u16).reverse_bits() >> (u16::BITS - BUCKET_BITS)).collect())
}

/// Sorts `lines` and writes a run to `path`.
pub(super) fn write(path: &Path, spec: &TableSpec, lines: &RecordBatch) -> Result<(), RawError> {
    let write = || -> Result<(), Failure> {
        let sorted = sorted(spec, lines)?;
        let mut writer =
            ArrowWriter::try_new(File::create(path)?, sorted.schema(), Some(properties(spec.table)))?;
        writer.write(&sorted)?;
        writer.close()?;
        Ok(())
    };
    write().map_err(|error| staging(path, error))
}

fn properties(table: Table) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by("larder".to_owned())
        .set_compression(Compression::LZ4_RAW)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_max_row_group_row_count(None);
    // Dictionaries of columns with many values cost more than they save.
    let distinct: &[&str] = match table {
        Table::Transactions => &["customer_id", "order_id", "money", "ordered_at"],
        Table::Customers => &["customer_id", "created_at", "line", "updated_at", "attributes"],
        Table::Interactions => &["customer_id", "at"],
    };
    for column in distinct {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(*column), false);
    }
    properties.build()
}

/// Returns `lines`, sorted by bucket, customer and order, with the bucket as the first column.
fn sorted(spec: &TableSpec, lines: &RecordBatch) -> Result<RecordBatch, Failure> {
    let mut numbers = IdRanks::default();
    let mut ranks = numbers.add(lines.column(0).as_string());
    let of_ids = buckets(&StringArray::from_iter_values(numbers.ids()))?;
    let (ids, places) = numbers.sorted_by_key(|id, number| (of_ids[number], id));
    let mut of_rows: Vec<i32> = ranks.iter().map(|number| of_ids[*number as usize].into()).collect();
    for rank in &mut ranks {
        *rank = places[*rank as usize];
    }
    let rows: Vec<u32> = if spec.table == Table::Transactions {
        let lines = with_file(spec, lines, 0)?;
        let lines = LineColumns::new(&lines, &spec.order_scope);
        lines.sorted(&ranks, ids.len(), i64::MAX).into_iter().map(|line| line.row).collect()
    } else {
        let mut rows: Vec<u32> = (0..u32::try_from(lines.num_rows())?).collect();
        rows.sort_by_key(|row| ranks[*row as usize]);
        rows
    };
    of_rows = rows.iter().map(|row| of_rows[*row as usize]).collect();
    let lines = take_record_batch(lines, &UInt32Array::from(rows))?;
    let mut fields = vec![Arc::new(Field::new("bucket", DataType::Int32, false))];
    fields.extend(lines.schema().fields().iter().map(Arc::clone));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(of_rows))];
    columns.extend_from_slice(lines.columns());
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Raw file of a run, as the build numbers it.
#[derive(Debug, Clone)]
pub(super) struct RunOrigin {
    /// Index of the raw file. Lines of later files are later.
    pub(super) file: usize,
    /// Numbers of the attributes of the file, or `None` if they are those of the run.
    pub(super) attributes: Option<Arc<[usize]>>,
}

/// A run that is open for reading.
#[derive(Debug)]
pub(crate) struct SortedRun {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    /// Number of rows before the end of each partition, in the order of the buckets.
    ends: Vec<usize>,
    origin: RunOrigin,
}

impl SortedRun {
    /// Opens the run at `path` for a build of `partitions` partitions, which is a power of two.
    pub(super) fn open(path: PathBuf, partitions: usize, origin: RunOrigin) -> Result<Self, RawError> {
        let open = || -> Result<(ArrowReaderMetadata, Vec<usize>), Failure> {
            let file = File::open(&path)?;
            let options = ArrowReaderOptions::new()
                .with_column_index_policy(PageIndexPolicy::Skip)
                .with_offset_index_policy(PageIndexPolicy::Required);
            let metadata = ArrowReaderMetadata::load(&file, options)?;
            let mut counts = vec![0; partitions];
            let buckets = ProjectionMask::leaves(metadata.parquet_schema(), [0]);
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
            let shift = BUCKET_BITS - partitions.ilog2();
            for batch in reader.with_projection(buckets).with_batch_size(1 << 16).build()? {
                for bucket in batch?.column(0).as_primitive::<Int32Type>().values() {
                    let count = usize::try_from(bucket >> shift).ok().and_then(|at| counts.get_mut(at));
                    *count.ok_or("a bucket is out of range")? += 1;
                }
            }
            let mut rows = 0;
            for count in &mut counts {
                rows += *count;
                *count = rows;
            }
            Ok((metadata, counts))
        };
        let (metadata, ends) = open().map_err(|error| staging(&path, error))?;
        Ok(Self { path, metadata, ends, origin })
    }

    /// Returns the first `columns` columns of the lines of `partition`.
    pub(super) fn read(
        &self,
        spec: &TableSpec,
        partition: usize,
        columns: usize,
    ) -> Result<Option<RecordBatch>, RawError> {
        let place = partition.reverse_bits() >> (usize::BITS - self.ends.len().ilog2());
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        let rows = self.ends[place] - start;
        if rows == 0 {
            return Ok(None);
        }
        let read = || -> Result<Option<RecordBatch>, Failure> {
            let stored = columns - usize::from(file_column(spec.table).is_some_and(|at| at < columns));
            let mask = ProjectionMask::leaves(self.metadata.parquet_schema(), 1..=stored);
            let file = File::open(&self.path)?;
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
            let reader = reader.with_projection(mask).with_batch_size(rows);
            let mut batches = reader.with_offset(start).with_limit(rows).build()?;
            let Some(batch) = batches.next().transpose()? else { return Ok(None) };
            if batch.num_rows() != rows || batches.next().is_some() {
                return Err("the run has an unexpected number of rows".into());
            }
            Ok(Some(self.place(spec, &batch)?))
        };
        read().map_err(|error| staging(&self.path, error))
    }

    /// Adds the number of the raw file to `lines`.
    fn place(&self, spec: &TableSpec, lines: &RecordBatch) -> Result<RecordBatch, Failure> {
        if spec.table != Table::Customers {
            return Ok(with_file(spec, lines, i32::try_from(self.origin.file).unwrap_or(i32::MAX))?);
        }
        let mut columns = lines.columns().to_vec();
        let first = i64::try_from(self.origin.file)? << PLACE_BITS;
        let places = columns[LINE_COLUMN].as_primitive::<Int64Type>();
        columns[LINE_COLUMN] = Arc::new(places.unary::<_, Int64Type>(|line| line + first));
        if let (Some(numbers), Some(texts)) = (&self.origin.attributes, columns.get_mut(ATTRIBUTES_COLUMN)) {
            *texts = Arc::new(renumbered(texts.as_string(), numbers));
        }
        Ok(RecordBatch::try_new(lines.schema(), columns)?)
    }
}
