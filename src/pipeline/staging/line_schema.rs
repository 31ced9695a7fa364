//! Columns of the lines that are read from a run: the staged lines, with the number of the raw file.

use std::sync::Arc;

use arrow::{
    array::{Int32Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};

use super::line_buffer::{self, ATTRIBUTES_COLUMN};
use crate::pipeline::raw::{Table, TableSpec};

/// Returns the schema of the lines that a run returns: the staged lines, with the number of the
/// raw file in `file`.
pub(crate) fn schema(spec: &TableSpec) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = line_buffer::schema(spec).fields().iter().map(Arc::clone).collect();
    if let Some(at) = file_column(spec.table) {
        fields.insert(at, Arc::new(Field::new("file", DataType::Int32, false)));
    }
    Arc::new(Schema::new(fields))
}

/// Number of columns of read transactions before the texts.
pub(crate) const TRANSACTION_COLUMNS: usize = 8;
/// Number of columns of read customers before the attributes.
pub(crate) const CUSTOMER_COLUMNS: usize = ATTRIBUTES_COLUMN;
/// Number of columns of read interactions before the texts.
pub(crate) const INTERACTION_COLUMNS: usize = 5;

/// Returns the index of the column with the number of the raw file, which runs do not store.
pub(super) fn file_column(table: Table) -> Option<usize> {
    match table {
        Table::Transactions => Some(TRANSACTION_COLUMNS - 2),
        Table::Customers => None,
        Table::Interactions => Some(INTERACTION_COLUMNS - 1),
    }
}

/// Returns `lines` with the column `file`, which is `number` for all lines.
pub(super) fn with_file(
    spec: &TableSpec,
    lines: &RecordBatch,
    number: i32,
) -> Result<RecordBatch, ArrowError> {
    let Some(at) = file_column(spec.table) else { return Ok(lines.clone()) };
    let mut columns = lines.columns().to_vec();
    if columns.len() >= at {
        columns.insert(at, Arc::new(Int32Array::from_value(number, lines.num_rows())));
    }
    let read: Vec<usize> = (0..columns.len()).collect();
    RecordBatch::try_new(Arc::new(schema(spec).project(&read)?), columns)
}
