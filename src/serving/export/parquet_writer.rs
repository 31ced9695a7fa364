//! Writer of a Parquet file that encodes the columns on all threads for computations.
//!
//! A snapshot may have hundreds of columns, and the writer keeps a page and a dictionary of each in memory.
//! So both are small. A column whose texts are distinct has no dictionary, which would cost more time than
//! all the rest of writing.

use std::{collections::HashSet, num::NonZero, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use futures::future::try_join_all;
use parquet::{
    arrow::{
        ArrowWriter, add_encoded_arrow_schema_to_metadata,
        arrow_writer::{
            ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory,
            ArrowWriterOptions, compute_leaves,
        },
    },
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
    schema::types::ColumnPath,
};

use crate::snapshot::{SnapshotError, run_blocking, writer::ID};

/// Least number of customers in a row group.
const GROUP_ROWS: usize = 65_536;
/// Maximum size of a page, in bytes.
const PAGE_BYTES: usize = 64 << 10;
/// Maximum number of values in a page.
const PAGE_ROWS: usize = 8_192;
/// Maximum size of a column's dictionary, in bytes.
const DICTIONARY_BYTES: usize = 64 << 10;
/// Number of texts that show whether a column has distinct texts.
const SAMPLED: usize = 1_024;
/// Number of texts that are too few to show it.
const FEW: usize = 64;

/// Parquet file that is being written.
pub(super) struct ParquetWriter {
    file: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    /// Writers of the columns of the open row group. Each task has one share: of N shares, the first has the
    /// columns 0, N, 2N and so on.
    shares: Vec<Vec<ArrowColumnWriter>>,
    /// Number of rows in the open row group.
    rows: usize,
    /// Number of finished row groups.
    groups: usize,
}

impl ParquetWriter {
    /// Begins a file whose first rows are `rows`. These decide which columns have dictionaries.
    pub(super) fn begin(rows: &RecordBatch, metadata: Vec<KeyValue>) -> Result<Self, SnapshotError> {
        let mut properties = WriterProperties::builder()
            .set_created_by("larder".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(metadata))
            .set_data_page_size_limit(PAGE_BYTES)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_column_dictionary_enabled(ColumnPath::from(ID), false);
        for column in distinct_columns(rows) {
            properties = properties.set_column_dictionary_enabled(column, false);
        }
        let mut properties = properties.build();
        // The types in the file are those of the snapshot, not those of references into it.
        add_encoded_arrow_schema_to_metadata(&without_text_views(&rows.schema()), &mut properties);
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options);
        let (file, factory) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(failed)?;
        Ok(Self { file, factory, schema: rows.schema(), shares: Vec::new(), rows: 0, groups: 0 })
    }

    /// Appends `rows`.
    pub(super) async fn write(mut self, rows: RecordBatch) -> Result<Self, SnapshotError> {
        if self.shares.is_empty() {
            self.shares = shares(self.factory.create_column_writers(self.groups).map_err(failed)?);
        }
        self.rows += rows.num_rows();
        let schema = Arc::clone(&self.schema);
        let leaves = step(move || leaves(&schema, &rows)).await?;
        let writing = self.shares.into_iter().zip(shares(leaves)).map(|(mut writers, leaves)| {
            step(move || {
                let mut columns = writers.iter_mut().zip(&leaves);
                columns.try_for_each(|(writer, leaf)| writer.write(leaf))?;
                Ok(writers)
            })
        });
        self.shares = try_join_all(writing).await?;
        if self.rows >= GROUP_ROWS { self.end_group().await } else { Ok(self) }
    }

    /// Ends the open row group.
    async fn end_group(mut self) -> Result<Self, SnapshotError> {
        let closing = std::mem::take(&mut self.shares).into_iter().map(|writers| {
            step(move || writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<Vec<_>, _>>())
        });
        let mut chunks: Vec<_> = try_join_all(closing).await?.into_iter().map(Vec::into_iter).collect();
        (self.rows, self.groups) = (0, self.groups + 1);
        step(move || {
            let mut group = self.file.next_row_group()?;
            let mut share = 0;
            // The columns are dealt out in turns.
            while let Some(chunk) = chunks.get_mut(share).and_then(Iterator::next) {
                ArrowColumnChunk::append_to_row_group(chunk, &mut group)?;
                share = (share + 1) % chunks.len();
            }
            group.close()?;
            Ok(self)
        })
        .await
    }

    /// Takes the finished bytes of the file.
    pub(super) fn take_finished(&mut self) -> Vec<u8> {
        std::mem::take(self.file.inner_mut())
    }

    /// Writes the footer, and returns the rest of the file.
    pub(super) async fn end(mut self) -> Result<Vec<u8>, SnapshotError> {
        if self.rows > 0 {
            self = self.end_group().await?;
        }
        self.file.into_inner().map_err(failed)
    }
}

/// Runs a step of writing on a thread for computations.
async fn step<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ParquetError> + Send + 'static,
) -> Result<T, SnapshotError> {
    run_blocking("write Parquet", work).await?.map_err(failed)
}

fn failed(error: ParquetError) -> SnapshotError {
    SnapshotError::Write { object: "an export".to_owned(), source: error.into() }
}

/// Deals `columns` out in turns, to one share for each core.
fn shares<T>(columns: Vec<T>) -> Vec<Vec<T>> {
    let count = std::thread::available_parallelism().map_or(1, NonZero::get).min(columns.len().max(1));
    let mut shares: Vec<Vec<T>> = std::iter::repeat_with(Vec::new).take(count).collect();
    for (at, column) in columns.into_iter().enumerate() {
        shares[at % count].push(column);
    }
    shares
}

/// Returns the values of all columns of the file, with their levels.
fn leaves(schema: &Schema, rows: &RecordBatch) -> Result<Vec<ArrowLeafColumn>, ParquetError> {
    let mut leaves = Vec::new();
    for (field, values) in schema.fields().iter().zip(rows.columns()) {
        leaves.extend(compute_leaves(field, values)?);
    }
    Ok(leaves)
}

/// Returns the features whose texts in `rows` are mostly distinct.
fn distinct_columns(rows: &RecordBatch) -> Vec<ColumnPath> {
    let schema = rows.schema();
    let views = schema.fields().iter().zip(rows.columns());
    let features = views.filter_map(|(view, values)| Some((view.name(), values.as_struct_opt()?)));
    let features = features.flat_map(|(view, values)| {
        let features = values.fields().iter().zip(values.columns());
        features.map(move |(feature, values)| {
            (ColumnPath::new(vec![view.clone(), feature.name().clone()]), values)
        })
    });
    features.filter(|(_, values)| are_distinct(values)).map(|(path, _)| path).collect()
}

/// Checks whether a sample of `values` has mostly distinct texts.
fn are_distinct(values: &ArrayRef) -> bool {
    let sample = values.slice(0, values.len().min(SAMPLED));
    let texts: Vec<&str> = match sample.data_type() {
        DataType::Utf8 => sample.as_string::<i32>().iter().flatten().collect(),
        DataType::Utf8View => sample.as_string_view().iter().flatten().collect(),
        _ => return false,
    };
    let distinct: HashSet<&str> = texts.iter().copied().collect();
    texts.len() > FEW && distinct.len() > texts.len() / 2
}

/// Returns `schema` with texts in place of references to them.
pub(super) fn without_text_views(schema: &Schema) -> Schema {
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        _ => Arc::clone(field),
    };
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Struct(features) => {
            let features = DataType::Struct(features.iter().map(plain).collect());
            Arc::new(field.as_ref().clone().with_data_type(features))
        }
        _ => Arc::clone(field),
    });
    Schema::new(fields.collect::<Fields>())
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Int64Array, StringArray, StringViewArray, StructArray},
        compute::{cast, concat_batches},
    };
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// Returns rows with the id, and a view with a text per row and one of two texts.
    fn rows(count: usize) -> RecordBatch {
        let ids: StringArray = (0..count).map(|row| Some(format!("c{row:05}"))).collect();
        let name: StringViewArray = (0..count).map(|row| Some(format!("a name of its own {row}"))).collect();
        let city: StringViewArray = (0..count).map(|row| Some(["Rome", "Oslo"][row % 2])).collect();
        let count: Int64Array = (0..count).map(|row| i64::try_from(row).ok()).collect();
        let columns: [(&str, ArrayRef); 3] =
            [("name", Arc::new(name)), ("city", Arc::new(city)), ("count", Arc::new(count))];
        let field = |name: &str, values: &ArrayRef| Field::new(name, values.data_type().clone(), true);
        let fields: Fields = columns.iter().map(|(name, values)| field(name, values)).collect();
        let view = StructArray::new(fields, columns.map(|(_, values)| values).to_vec(), None);
        let schema = Schema::new(vec![
            Field::new(ID, DataType::Utf8, false),
            Field::new("profile", view.data_type().clone(), true),
        ]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(view)]).expect("rows")
    }

    #[tokio::test]
    async fn only_repeated_texts_have_dictionaries() {
        for count in [0, 3, 5_000] {
            let rows = rows(count);
            let writer = ParquetWriter::begin(&rows, Vec::new()).expect("a file");
            let writer = writer.write(rows.clone()).await.expect("rows");
            let file = Bytes::from(writer.end().await.expect("a footer"));
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a file");
            assert_eq!(reader.schema().as_ref(), &without_text_views(&rows.schema()));
            let groups = reader.metadata().row_groups().to_vec();
            let read: Vec<RecordBatch> =
                reader.build().expect("rows").map(|batch| batch.expect("rows")).collect();
            let read = concat_batches(&Arc::new(without_text_views(&rows.schema())), &read).expect("rows");
            assert_eq!(&cast(read.column(1), rows.column(1).data_type()).expect("texts"), rows.column(1));
            let Some(group) = groups.first() else { continue };
            let dictionaries: Vec<(String, bool)> = group
                .columns()
                .iter()
                .map(|column| (column.column_path().string(), column.dictionary_page_offset().is_some()))
                .collect();
            // A few texts do not show whether a column repeats them.
            let expected =
                [(ID, false), ("profile.name", count < FEW), ("profile.city", true), ("profile.count", true)];
            assert_eq!(dictionaries, expected.map(|(name, has)| (name.to_owned(), has)), "{count} rows");
        }
    }
}
