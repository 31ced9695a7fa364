//! Customers as Parquet: the typed columns of the snapshot with their own Arrow types, one struct a view, as in `customers`.

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
    columns::{Column, Columns, OfView, RANK},
    personal::Treatment,
};
use crate::snapshot::{SnapshotError, writer::ID};

/// Customers of a row group.
const GROUP_ROWS: usize = 65_536;

/// Writes a Parquet file piece by piece.
pub(super) struct Table {
    columns: Columns,
    by_view: Vec<OfView>,
    notes: Vec<KeyValue>,
    writer: Option<ArrowWriter<Vec<u8>>>,
    object: String,
}

impl Table {
    /// A file with `columns`; `notes` stand in its footer.
    pub(super) fn new(columns: Columns, notes: [(&str, &str); 2]) -> Self {
        let notes = notes.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec();
        Self { by_view: columns.by_view(), columns, notes, writer: None, object: "an export".to_owned() }
    }

    /// The columns of the snapshot that it is made from.
    pub(super) fn sources(columns: &Columns) -> Vec<String> {
        columns.names().into_iter().filter(|name| name.contains('.')).collect()
    }

    /// The customers of `batch` that have one of the `ranks`, with the columns of the file.
    pub(super) fn select(&self, batch: &RecordBatch, ranks: &[u32]) -> Result<RecordBatch, SnapshotError> {
        self.selected(batch, ranks).map_err(|error| self.failed(error))
    }

    fn selected(&self, batch: &RecordBatch, ranks: &[u32]) -> Result<RecordBatch, ArrowError> {
        let wanted: BooleanArray = ranks.iter().map(|rank| Some(*rank > 0)).collect();
        let rows = filter_record_batch(batch, &wanted)?;
        let ranks: Int64Array =
            ranks.iter().filter(|rank| **rank > 0).map(|rank| Some(i64::from(*rank))).collect();
        let mut found: Vec<(Field, ArrayRef)> = Vec::new();
        // Ranks go with the rows until they are in order, wanted or not.
        found.push((Field::new(RANK, DataType::Int64, false), Arc::new(ranks)));
        if self.columns.has(Column::Id) {
            let ids = rows.column_by_name(ID).ok_or_else(|| missing(ID))?;
            found.push((Field::new(ID, DataType::Utf8, false), cast(ids, &DataType::Utf8)?));
        }
        for OfView { view, features } in &self.by_view {
            let view = &self.columns.views[*view];
            let structs = rows.column_by_name(&view.name).and_then(|column| column.as_struct_opt());
            let structs = structs.ok_or_else(|| missing(&view.name))?;
            let mut children: Vec<(Arc<Field>, ArrayRef)> = Vec::new();
            for (place, treatment) in features {
                let name = &view.features[*place].name;
                let column = structs.column_by_name(name).ok_or_else(|| missing(name))?;
                let column = treated(column, *treatment)?;
                children.push((Arc::new(Field::new(name, column.data_type().clone(), true)), column));
            }
            let (fields, columns): (Vec<_>, Vec<_>) = children.into_iter().unzip();
            let structs = StructArray::try_new(fields.into(), columns, structs.nulls().cloned())?;
            found.push((Field::new(&view.name, structs.data_type().clone(), true), Arc::new(structs)));
        }
        let (fields, columns): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }

    /// The rows of `batches` in the order of ranks.
    pub(super) fn in_order(&self, batches: &[RecordBatch]) -> Result<Option<RecordBatch>, SnapshotError> {
        let Some(first) = batches.first() else { return Ok(None) };
        let ordered = concat_batches(&first.schema(), batches).and_then(|all| {
            let ranks = all.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).collect();
            order.sort_unstable_by_key(|at| ranks.value(*at as usize));
            take_record_batch(&all, &UInt32Array::from(order))
        });
        ordered.map(Some).map_err(|error| self.failed(error))
    }

    /// Adds rows; gives what of the file is finished.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, SnapshotError> {
        let rows = if self.columns.has(Column::Rank) {
            // The id stands first, as everywhere.
            let id = usize::from(self.columns.has(Column::Id));
            let order = (1..=id).chain([0]).chain(1 + id..rows.num_columns()).collect::<Vec<_>>();
            rows.project(&order)
        } else {
            rows.project(&(1..rows.num_columns()).collect::<Vec<_>>())
        };
        let rows = rows.map_err(|error| self.failed(error))?;
        let mut written = Ok(());
        if !self.has_begun() {
            let properties = WriterProperties::builder()
                .set_created_by("larder".to_owned())
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_key_value_metadata(Some(self.notes.clone()))
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
        Ok(self.finished())
    }

    /// Ends the file; gives the rest of it.
    pub(super) fn end(mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut rest = Vec::new();
        if !self.has_begun() {
            let empty = self.select(&RecordBatch::new_empty(Arc::new(self.unseen())), &[])?;
            rest = self.write(&empty)?;
        }
        let Some(writer) = self.writer.take() else { return Ok(rest) };
        rest.extend(writer.into_inner().map_err(|error| self.failed(error))?);
        Ok(rest)
    }

    /// Whether its columns are written already.
    pub(super) fn has_begun(&self) -> bool {
        self.writer.is_some()
    }

    /// What of the file is finished and not yet taken.
    fn finished(&mut self) -> Vec<u8> {
        self.writer.as_mut().map(|writer| std::mem::take(writer.inner_mut())).unwrap_or_default()
    }

    /// The columns of a snapshot without a customer, whose types nobody has written.
    fn unseen(&self) -> Schema {
        let views = self.by_view.iter().map(|of| {
            let view = &self.columns.views[of.view];
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

fn treated(column: &ArrayRef, treatment: Treatment) -> Result<ArrayRef, ArrowError> {
    match treatment {
        Treatment::Shown => Ok(Arc::clone(column)),
        Treatment::Withheld => Ok(new_null_array(column.data_type(), column.len())),
        Treatment::HashedEmail | Treatment::HashedPhone => {
            let texts = cast(column, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>().iter();
            Ok(Arc::new(
                texts.map(|text| text.and_then(|text| treatment.apply(text))).collect::<StringArray>(),
            ))
        }
    }
}
