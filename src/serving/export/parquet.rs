//! Exports as Parquet: the typed columns of the snapshot, with one struct per view as in `customers`.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray,
        UInt32Array, new_null_array,
    },
    compute::{cast, concat_batches, filter_record_batch, take_record_batch},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
    error::ArrowError,
};
use parquet::file::metadata::KeyValue;

use super::{
    change_labels::ChangeLabels,
    columns::{ABSENT_IN, CHANGE, ExportColumn, ExportColumns, RANK, ViewColumns},
    parquet_writer::{ParquetWriter, without_text_views},
    personal::Treatment,
};
use crate::snapshot::{SnapshotError, writer::ID};

/// Parquet file that is written piece by piece.
pub(super) struct ParquetFile {
    columns: ExportColumns,
    by_view: Vec<ViewColumns>,
    metadata: Vec<KeyValue>,
    writer: Option<ParquetWriter>,
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
            let ranks = all.column(0).as_primitive::<Int64Type>();
            let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).collect();
            order.sort_unstable_by_key(|at| ranks.value(*at as usize));
            take_record_batch(&all, &UInt32Array::from(order))
        });
        sorted.map(Some).map_err(|error| self.failed(error))
    }

    /// Appends rows, and returns the finished bytes of the file.
    pub(super) async fn write(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, SnapshotError> {
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
        self.append(rows).await
    }

    /// Appends rows, of which the first determine the properties of the file.
    async fn append(&mut self, rows: RecordBatch) -> Result<Vec<u8>, SnapshotError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => ParquetWriter::begin(&rows, self.metadata.clone())?,
        };
        let mut writer = writer.write(rows).await?;
        let finished = writer.take_finished();
        self.writer = Some(writer);
        Ok(finished)
    }

    /// Writes the footer, and returns the rest of the file.
    pub(super) async fn end(mut self) -> Result<Vec<u8>, SnapshotError> {
        if !self.has_begun() {
            let empty = self.select(&RecordBatch::new_empty(Arc::new(self.empty_schema())), &[])?;
            self.write(&empty).await?;
        }
        let mut rest = Vec::new();
        if self.writer.is_none()
            && let Some(empty) = self.empty.take()
        {
            rest = self.append(empty).await?;
        }
        if let Some(writer) = self.writer.take() {
            rest.extend(writer.end().await?);
        }
        Ok(rest)
    }

    /// Checks whether rows were written, also no rows, which determine the types of the columns.
    pub(super) fn has_begun(&self) -> bool {
        self.writer.is_some() || self.empty.is_some()
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
