//! Exports as Parquet: the typed columns of the snapshot, with one struct per view as in `customers`.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray,
        UInt32Array, new_null_array,
    },
    compute::{cast, concat_batches, filter_record_batch, take_record_batch},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{metadata::KeyValue, properties::WriterProperties},
};

use super::{
    columns::{ExportColumn, ExportColumns, RANK, ViewColumns},
    personal::Treatment,
};
use crate::snapshot::{SnapshotError, writer::ID};

/// Number of customers in a row group.
const GROUP_ROWS: usize = 65_536;

/// Parquet file that is written piece by piece.
pub(super) struct ParquetFile {
    columns: ExportColumns,
    by_view: Vec<ViewColumns>,
    metadata: Vec<KeyValue>,
    writer: Option<ArrowWriter<Vec<u8>>>,
    object: String,
}

impl ParquetFile {
    /// Creates an empty file with `columns`, and with `metadata` as key-value metadata in the footer.
    pub(super) fn new(columns: ExportColumns, metadata: [(&str, &str); 2]) -> Self {
        let key_value = |(key, value): (&str, &str)| KeyValue::new(key.to_owned(), value.to_owned());
        let metadata = metadata.map(key_value).to_vec();
        Self { by_view: columns.by_view(), columns, metadata, writer: None, object: "an export".to_owned() }
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
        for ViewColumns { view, features } in &self.by_view {
            let view = &self.columns.views[*view];
            let values = rows.column_by_name(&view.name).and_then(|column| column.as_struct_opt());
            let values = values.ok_or_else(|| missing(&view.name))?;
            let mut children: Vec<(Arc<Field>, ArrayRef)> = Vec::new();
            for (feature, treatment) in features {
                let name = &view.features[*feature].name;
                let column = values.column_by_name(name).ok_or_else(|| missing(name))?;
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
        let mut written = Ok(());
        if !self.has_begun() {
            let properties = WriterProperties::builder()
                .set_created_by("larder".to_owned())
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_key_value_metadata(Some(self.metadata.clone()))
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .build();
            match ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => written = Err(error),
            }
        }
        if let Some(writer) = &mut self.writer {
            written = writer.write(&rows).and_then(|()| writer.sync().map_err(Into::into));
        }
        written.map_err(|error| self.failed(error))?;
        Ok(self.take_finished())
    }

    /// Writes the footer, and returns the rest of the file.
    pub(super) fn end(mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut rest = Vec::new();
        if !self.has_begun() {
            let empty = self.select(&RecordBatch::new_empty(Arc::new(self.empty_schema())), &[])?;
            rest = self.write(&empty)?;
        }
        let Some(writer) = self.writer.take() else { return Ok(rest) };
        rest.extend(writer.into_inner().map_err(|error| self.failed(error))?);
        Ok(rest)
    }

    /// Checks whether rows were written, which determine the types of the columns.
    pub(super) fn has_begun(&self) -> bool {
        self.writer.is_some()
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
