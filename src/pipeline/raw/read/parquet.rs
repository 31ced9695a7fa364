//! Reader of Parquet files: converts every value to text, and notes which columns the file types.

use std::{borrow::Cow, fmt::Display, io::Read, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    buffer::NullBuffer,
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::{
    archive::{spool, spool_named},
    flat::flatten,
    layout::Layout,
    reader::{FileReader, not_utf8, unreadable},
};
use crate::pipeline::raw::{
    check::{ExtraField, FieldKinds, LineError},
    delta::DeltaFile,
    error::RawError,
    header::{ColumnPlaces, Header},
    json_path::ListPath,
    table::{ColumnSpec, RawType},
};

impl FileReader<'_> {
    /// Copies a Parquet file to a temporary file and reads all rows.
    pub(super) fn read_parquet(&mut self, source: &mut dyn Read, scratch: &Path) -> Result<(), RawError> {
        let spooled = spool(source, scratch).map_err(|error| unreadable(&self.file, 0, &error))?;
        // The Arrow schema of the writer is skipped: its types, such as dictionaries with small keys, may be
        // too narrow for other row groups.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(spooled, options)
            .map_err(|error| unreadable(&self.file, 0, &format!("it is not a Parquet file: {error}")))?;
        let schema = builder.schema().clone();
        let reader = builder.build().map_err(|error| unreadable(&self.file, 0, &error))?;
        self.read_batches(&schema, reader)
    }

    /// Copies a data file of a Delta table to a temporary file and reads the rows that the table has.
    pub(super) fn read_delta(
        &mut self,
        delta: &DeltaFile,
        source: &mut dyn Read,
        scratch: &Path,
    ) -> Result<(), RawError> {
        let spooled = spool_named(source, scratch).map_err(|error| unreadable(&self.file, 0, &error))?;
        let batches = delta.rows(spooled.path()).map_err(|why| unreadable(&self.file, 0, &why))?;
        let mut batches = batches.peekable();
        let Some(first) = batches.peek() else { return Ok(()) };
        let schema = first.as_ref().map_err(|why| unreadable(&self.file, 0, why))?.schema();
        self.read_batches(&schema, batches)
    }

    /// Reads `batches`, whose schema is `schema`.
    fn read_batches<E: Display>(
        &mut self,
        schema: &SchemaRef,
        mut batches: impl Iterator<Item = Result<RecordBatch, E>>,
    ) -> Result<(), RawError> {
        let lists = ListPath::new(self.spec)
            .map_err(|why| RawError::Setting { table: self.spec.table.name(), why })?;
        let empty = RecordBatch::new_empty(Arc::clone(schema));
        let schema = self.flatten(&empty, &lists)?.schema();
        let header: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let columns = Header { file: &self.file, spec: self.spec, names: &header }.columns()?;
        self.check_types(&schema, &columns.places)?;
        self.note_layout(&columns);
        let layout = Layout::new(self.spec, &columns, header.len(), &[]);
        while let Some(batch) =
            batches.next().transpose().map_err(|error| unreadable(&self.file, self.at, &error))?
        {
            let batch = self.flatten(&batch, &lists)?;
            self.batch(&batch, &columns, &layout)?;
        }
        self.physical_lines += self.at;
        Ok(())
    }

    fn flatten(&self, batch: &RecordBatch, lists: &ListPath) -> Result<RecordBatch, RawError> {
        flatten(batch, self.spec, lists, self.folder_columns)
            .map_err(|error| unreadable(&self.file, self.at, &error))
    }

    /// Passes the rows of `batch` to the sink, with all values as text. The conversion is exact.
    fn batch(
        &mut self,
        batch: &RecordBatch,
        columns: &ColumnPlaces,
        layout: &Layout<'_>,
    ) -> Result<(), RawError> {
        let schema = batch.schema_ref();
        let text = |place: usize| -> Result<StringArray, RawError> {
            texts(batch.column(place)).ok_or_else(|| self.column_type(schema, place, "a scalar value"))
        };
        let named: Vec<Option<StringArray>> =
            columns.places.iter().map(|place| place.map(text).transpose()).collect::<Result<_, _>>()?;
        let kept: Vec<StringArray> =
            columns.kept.iter().map(|column| text(column.place)).collect::<Result<_, RawError>>()?;
        let places =
            || columns.places.iter().copied().flatten().chain(columns.kept.iter().map(|column| column.place));
        // Bytes that are not UTF-8, and times out of the calendar's range, become null texts.
        let lossy: Vec<(usize, NullBuffer)> = places()
            .zip(named.iter().flatten().chain(&kept))
            .filter(|(place, texts)| texts.null_count() > batch.column(*place).logical_null_count())
            .map(|(place, texts)| {
                let lost = |row| texts.is_null(row) && !is_null(batch.column(place), row);
                (place, (0..batch.num_rows()).map(lost).collect())
            })
            .collect();
        let kind_of_fields =
            FieldKinds { typed: self.typed(schema, &columns.places), is_total: layout.is_total };
        for row in 0..batch.num_rows() {
            self.at += 1;
            if let Some((place, _)) = lossy.iter().find(|(_, lost)| lost.is_valid(row)) {
                self.bad(lost_value(schema.field(*place)), 1)?;
                continue;
            }
            let mut fields = layout.base;
            for (field, column) in fields.iter_mut().zip(&named) {
                if let Some(column) = column {
                    *field = if column.is_valid(row) { column.value(row) } else { "" };
                }
            }
            let extras: Vec<ExtraField<'_>> = columns
                .kept
                .iter()
                .zip(&kept)
                .map(|(column, texts)| ExtraField {
                    name: &column.name,
                    text: Cow::Borrowed(if texts.is_valid(row) { texts.value(row) } else { "" }),
                    kind: kind(schema.field(column.place).data_type()),
                    declared: column.declared,
                })
                .collect();
            self.record(&fields, kind_of_fields, extras)?;
        }
        Ok(())
    }

    /// Returns a bit per column of the spec: whether `schema` types its values as numbers or times.
    fn typed(&self, schema: &Schema, places: &[Option<usize>]) -> u32 {
        let typed = |column: &ColumnSpec, place: usize| {
            let found = kind(schema.field(place).data_type());
            match column.kind {
                RawType::Timestamp => matches!(found, RawType::Date | RawType::Timestamp),
                _ => {
                    found != RawType::Text
                        || matches!(schema.field(place).data_type(), DataType::Decimal256(..))
                }
            }
        };
        let columns = self.spec.columns.iter().zip(places).enumerate();
        columns.fold(0, |bits, (at, (column, place))| {
            bits | u32::from(place.is_some_and(|place| typed(column, place))) << at
        })
    }

    fn check_types(&self, schema: &Schema, places: &[Option<usize>]) -> Result<(), RawError> {
        for (column, place) in self.spec.columns.iter().zip(places) {
            let Some(place) = *place else { continue };
            let found = kind(schema.field(place).data_type());
            let nested = schema.field(place).data_type().is_nested();
            let fits = match column.kind {
                RawType::Text => !nested,
                RawType::Integer | RawType::Number => {
                    matches!(found, RawType::Integer | RawType::Decimal(_) | RawType::Number | RawType::Text)
                        && !nested
                }
                _ => {
                    matches!(found, RawType::Date | RawType::Timestamp | RawType::Integer | RawType::Text)
                        && !nested
                }
            };
            if !fits {
                return Err(self.column_type(schema, place, column.kind.expected()));
            }
        }
        Ok(())
    }

    fn column_type(&self, schema: &Schema, place: usize, expected: &'static str) -> RawError {
        let field = schema.field(place);
        RawError::ColumnType {
            file: self.file.clone().into_owned(),
            column: field.name().clone(),
            expected,
            found: field.data_type().to_string(),
        }
    }
}

/// Returns the values of `column` as texts. Values without a text become null. Returns `None` if the type has
/// no text.
fn texts(column: &ArrayRef) -> Option<StringArray> {
    if let Ok(texts) = cast(column, &DataType::Utf8) {
        return Some(texts.as_string::<i32>().clone());
    }
    if !matches!(kind(column.data_type()), RawType::Timestamp | RawType::Date) {
        return None;
    }
    // A value out of the calendar's range fails the whole cast, so values are cast one by one.
    let text = |row| {
        let cell = cast(&column.slice(row, 1), &DataType::Utf8).ok()?;
        let texts = cell.as_string::<i32>();
        if texts.is_valid(0) { Some(texts.value(0).to_owned()) } else { None }
    };
    Some((0..column.len()).map(text).collect())
}

fn is_null(column: &ArrayRef, row: usize) -> bool {
    column.logical_nulls().is_some_and(|nulls| nulls.is_null(row))
}

/// Returns the error for a value without a text.
fn lost_value(field: &Field) -> LineError {
    match kind(field.data_type()) {
        RawType::Timestamp | RawType::Date => LineError {
            cause: format!("column `{}`: a time out of range", field.name()),
            found: "found a value that cannot be shown".to_owned(),
        },
        _ => not_utf8(&format!("column `{}`", field.name())),
    }
}

/// Returns the raw type of an Arrow type.
fn kind(data_type: &DataType) -> RawType {
    match data_type {
        DataType::Boolean => RawType::Boolean,
        DataType::Date32 | DataType::Date64 => RawType::Date,
        DataType::Timestamp(..) => RawType::Timestamp,
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale)
            if *scale <= 0 =>
        {
            RawType::Integer
        }
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            RawType::Decimal(scale.unsigned_abs())
        }
        // More digits than a number in responses may have.
        DataType::Decimal256(..) => RawType::Text,
        DataType::Dictionary(_, value) => kind(value),
        other if other.is_integer() => RawType::Integer,
        other if other.is_numeric() => RawType::Number,
        _ => RawType::Text,
    }
}
