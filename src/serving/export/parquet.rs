//! Exports as Parquet: the typed columns of the snapshot, with one struct per view as in `customers`.
//!
//! A snapshot may have hundreds of columns, and the writer keeps a page and a dictionary of each in memory.
//! So both are small. A column whose texts are distinct has no dictionary, which would cost more time than
//! all the rest of writing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray,
        UInt32Array, new_null_array,
    },
    compute::{cast, concat_batches, filter_record_batch, take_record_batch},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
    error::ArrowError,
};
use parquet::{
    arrow::{ArrowWriter, add_encoded_arrow_schema_to_metadata, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

use super::{
    change_labels::ChangeLabels,
    columns::{ABSENT_IN, CHANGE, ExportColumn, ExportColumns, RANK, ViewColumns},
    personal::Treatment,
};
use crate::snapshot::{SnapshotError, writer::ID};

/// Number of customers in a row group.
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

/// Parquet file that is written piece by piece.
pub(super) struct ParquetFile {
    columns: ExportColumns,
    by_view: Vec<ViewColumns>,
    metadata: Vec<KeyValue>,
    writer: Option<ArrowWriter<Vec<u8>>>,
    /// Rows of no customer, which have the types of the columns until there are others.
    empty: Option<RecordBatch>,
    object: String,
    /// Changes by rank, for an export of changes.
    labels: Option<Arc<ChangeLabels>>,
}

impl ParquetFile {
    /// Creates an empty file with `columns`, and with `metadata` as key-value metadata in the footer.
    /// `labels` are the changes of an export of changes.
    pub(super) fn new(
        columns: ExportColumns,
        metadata: [(&str, &str); 2],
        labels: Option<Arc<ChangeLabels>>,
    ) -> Self {
        let key_value = |(key, value): (&str, &str)| KeyValue::new(key.to_owned(), value.to_owned());
        let metadata = metadata.map(key_value).to_vec();
        let object = "an export".to_owned();
        Self { by_view: columns.by_view(), columns, metadata, writer: None, empty: None, object, labels }
    }

    /// Selects the customers of `batch` that have a rank above 0, with the columns of the file. The first
    /// column is the rank, whether it is exported or not.
    pub(super) fn select(&self, batch: &RecordBatch, ranks: &[u32]) -> Result<RecordBatch, SnapshotError> {
        self.try_select(batch, ranks).map_err(|error| self.failed(error))
    }

    fn try_select(&self, batch: &RecordBatch, ranks: &[u32]) -> Result<RecordBatch, ArrowError> {
        let has_rank: BooleanArray = ranks.iter().map(|rank| Some(*rank > 0)).collect();
        let rows = filter_record_batch(batch, &has_rank)?;
        let row_ranks: Int64Array =
            ranks.iter().filter(|rank| **rank > 0).map(|rank| Some(i64::from(*rank))).collect();
        let mut selected: Vec<(Field, ArrayRef)> = Vec::new();
        // The rank is needed to sort the rows.
        selected.push((Field::new(RANK, DataType::Int64, false), Arc::new(row_ranks)));
        if self.columns.has(ExportColumn::Id) {
            let ids = rows.column_by_name(ID).ok_or_else(|| missing(ID))?;
            selected.push((Field::new(ID, DataType::Utf8, false), cast(ids, &DataType::Utf8)?));
        }
        let members = ranks.iter().copied().filter(|rank| *rank > 0);
        if self.columns.has(ExportColumn::Change) {
            let labels = self.labels.as_ref();
            let changes: StringArray =
                members.clone().map(|rank| labels.map(|labels| labels.change(rank))).collect();
            selected.push((Field::new(CHANGE, DataType::Utf8, true), Arc::new(changes)));
        }
        if self.columns.has(ExportColumn::AbsentIn) {
            let ends: StringArray =
                members.map(|rank| self.labels.as_ref().and_then(|labels| labels.absent_in(rank))).collect();
            selected.push((Field::new(ABSENT_IN, DataType::Utf8, true), Arc::new(ends)));
        }
        for ViewColumns { view, features } in &self.by_view {
            let view = &self.columns.views[*view];
            let values = rows.column_by_name(&view.name).and_then(|column| column.as_struct_opt());
            let values = values.ok_or_else(|| missing(&view.name))?;
            // A search for each of many columns would be slow.
            let by_name: HashMap<&str, &ArrayRef> =
                values.fields().iter().map(|field| field.name().as_str()).zip(values.columns()).collect();
            let mut children: Vec<(Arc<Field>, ArrayRef)> = Vec::new();
            for (feature, treatment) in features {
                let name = &view.features[*feature].name;
                let column = *by_name.get(name.as_str()).ok_or_else(|| missing(name))?;
                let column = apply_treatment(column, *treatment)?;
                children.push((Arc::new(Field::new(name, column.data_type().clone(), true)), column));
            }
            let (fields, columns): (Vec<_>, Vec<_>) = children.into_iter().unzip();
            let treated = StructArray::try_new(fields.into(), columns, values.nulls().cloned())?;
            selected.push((Field::new(&view.name, treated.data_type().clone(), true), Arc::new(treated)));
        }
        let (fields, columns): (Vec<_>, Vec<_>) = selected.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }

    /// Returns rows of the customers `ids`, without any features, with the columns of `schema`, or of the
    /// snapshot's views if there is none.
    pub(super) fn absent(
        &self,
        ids: &[&str],
        schema: Option<SchemaRef>,
    ) -> Result<RecordBatch, SnapshotError> {
        let schema = schema.unwrap_or_else(|| Arc::new(self.empty_schema()));
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
        let column = |field: &Arc<Field>| match field.name().as_str() {
            ID => cast(&ids, field.data_type()),
            _ => Ok(new_null_array(field.data_type(), ids.len())),
        };
        let columns: Result<Vec<ArrayRef>, ArrowError> = schema.fields().iter().map(column).collect();
        let rows = columns.and_then(|columns| RecordBatch::try_new(schema, columns));
        rows.map_err(|error| self.failed(error))
    }

    /// Copies texts that refer to the pages of the snapshot, so that `rows` can be kept without them.
    pub(super) fn without_references(&self, rows: &RecordBatch) -> Result<RecordBatch, SnapshotError> {
        let schema = without_text_views(&rows.schema());
        let columns = rows.columns().iter().zip(schema.fields());
        let columns: Result<Vec<ArrayRef>, ArrowError> =
            columns.map(|(column, field)| cast(column, field.data_type())).collect();
        let copied = columns.and_then(|columns| RecordBatch::try_new(Arc::new(schema), columns));
        copied.map_err(|error| self.failed(error))
    }

    /// Sorts the rows of all `batches` by rank. Returns `None` if there are no batches.
    pub(super) fn sort_by_rank(&self, batches: &[RecordBatch]) -> Result<Option<RecordBatch>, SnapshotError> {
        let Some(first) = batches.first() else { return Ok(None) };
        let sorted = concat_batches(&first.schema(), batches).and_then(|all| {
            let ranks = all.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).collect();
            order.sort_unstable_by_key(|at| ranks.value(*at as usize));
            take_record_batch(&all, &UInt32Array::from(order))
        });
        sorted.map(Some).map_err(|error| self.failed(error))
    }

    /// Appends rows, and returns the finished bytes of the file.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, SnapshotError> {
        let projected = if self.columns.has(ExportColumn::Rank) {
            // The id comes first, then the rank.
            let id = usize::from(self.columns.has(ExportColumn::Id));
            let order = (1..=id).chain([0]).chain(1 + id..rows.num_columns()).collect::<Vec<_>>();
            rows.project(&order)
        } else {
            rows.project(&(1..rows.num_columns()).collect::<Vec<_>>())
        };
        let rows = projected.map_err(|error| self.failed(error))?;
        if rows.num_rows() == 0 && self.writer.is_none() {
            self.empty = Some(rows);
            return Ok(Vec::new());
        }
        self.append(&rows).map_err(|error| self.failed(error))?;
        Ok(self.take_finished())
    }

    /// Appends rows, of which the first determine the properties of the file.
    fn append(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(begin(rows, self.metadata.clone())?),
        };
        writer.write(rows)?;
        writer.sync()?;
        Ok(())
    }

    /// Writes the footer, and returns the rest of the file.
    pub(super) fn end(mut self) -> Result<Vec<u8>, SnapshotError> {
        if !self.has_begun() {
            let empty = self.select(&RecordBatch::new_empty(Arc::new(self.empty_schema())), &[])?;
            self.write(&empty)?;
        }
        let mut rest = Vec::new();
        if self.writer.is_none()
            && let Some(empty) = self.empty.take()
        {
            self.append(&empty).map_err(|error| self.failed(error))?;
            rest = self.take_finished();
        }
        let Some(writer) = self.writer.take() else { return Ok(rest) };
        rest.extend(writer.into_inner().map_err(|error| self.failed(error))?);
        Ok(rest)
    }

    /// Checks whether rows were written, also no rows, which determine the types of the columns.
    pub(super) fn has_begun(&self) -> bool {
        self.writer.is_some() || self.empty.is_some()
    }

    /// Takes the finished bytes of the file.
    fn take_finished(&mut self) -> Vec<u8> {
        self.writer.as_mut().map(|writer| std::mem::take(writer.inner_mut())).unwrap_or_default()
    }

    /// Returns a schema for a snapshot without customers, which has no batch to take the types from.
    fn empty_schema(&self) -> Schema {
        let views = self.by_view.iter().map(|columns| {
            let view = &self.columns.views[columns.view];
            let fields = view.features.iter().map(|feature| Field::new(&feature.name, DataType::Utf8, true));
            Field::new(&view.name, DataType::Struct(fields.collect()), true)
        });
        Schema::new([Field::new(ID, DataType::Utf8, false)].into_iter().chain(views).collect::<Vec<_>>())
    }

    fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SnapshotError {
        SnapshotError::Write { object: self.object.clone(), source: error.into() }
    }
}

fn missing(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("the snapshot's `customers` have no column {name}"))
}

fn apply_treatment(column: &ArrayRef, treatment: Treatment) -> Result<ArrayRef, ArrowError> {
    match treatment {
        Treatment::Shown => Ok(Arc::clone(column)),
        Treatment::Withheld => Ok(new_null_array(column.data_type(), column.len())),
        Treatment::HashedEmail(_) | Treatment::HashedPhone(_) => {
            let texts = cast(column, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>().iter();
            Ok(Arc::new(
                texts.map(|text| text.and_then(|text| treatment.apply(text))).collect::<StringArray>(),
            ))
        }
    }
}

/// Begins a file whose first rows are `rows`.
fn begin(rows: &RecordBatch, metadata: Vec<KeyValue>) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by("larder".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(metadata))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
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
    ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options)
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
fn without_text_views(schema: &Schema) -> Schema {
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
    use arrow::array::StringViewArray;
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

    #[test]
    fn only_repeated_texts_have_dictionaries() {
        for count in [0, 3, 5_000] {
            let rows = rows(count);
            let mut writer = begin(&rows, Vec::new()).expect("a file");
            writer.write(&rows).expect("rows");
            let file = Bytes::from(writer.into_inner().expect("a footer"));
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
