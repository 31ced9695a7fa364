//! Writer of one staged table of one partition.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch},
    datatypes::{DataType, SchemaRef},
};

use super::{partition::PartitionInput, tables::DerivedTables};
use crate::pipeline::{
    raw::{RawError, TableSpec},
    staging::{ArrowWriter, MONEY, StagedFile, create, staging},
};

/// Number of rows of a batch in a staged file.
pub(super) const BATCH: usize = 8_192;

/// Returns the name of the file of `table` in the partition `number`.
pub(crate) fn file_name(table: &str, number: usize) -> String {
    format!("{table}-{number}.arrow")
}

pub(super) struct TableWriter {
    table: &'static str,
    file: StagedFile,
    writer: ArrowWriter,
}

impl TableWriter {
    pub(super) fn new(
        partition: &PartitionInput<'_>,
        table: &'static str,
        schema: SchemaRef,
    ) -> Result<Self, RawError> {
        let path = partition.scratch.join(file_name(table, partition.number));
        let writer = create(&path, &schema)?;
        Ok(Self { table, file: StagedFile { path, schema, rows: 0 }, writer })
    }

    pub(super) fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), RawError> {
        let batch = RecordBatch::try_new(self.file.schema.clone(), columns)
            .map_err(|error| staging(&self.file.path, error))?;
        self.file.rows += batch.num_rows();
        self.writer.write(&batch).map_err(|error| staging(&self.file.path, error))
    }

    /// Ends the file and adds it to the tables of `derived`.
    pub(super) fn finish(mut self, derived: &mut DerivedTables) -> Result<(), RawError> {
        self.writer.finish().map_err(|error| staging(&self.file.path, error))?;
        derived.tables.insert(self.table, self.file);
        Ok(())
    }
}

/// Returns a column of money. `values` are in ten-thousandths.
pub(super) fn money_array(values: Vec<i128>) -> ArrayRef {
    Arc::new(Decimal128Array::from(values).with_data_type(MONEY))
}

/// Type of decimal quantities and their sums.
const DECIMAL_QUANTITY: DataType = DataType::Decimal128(38, 4);

/// Returns the type of quantities.
pub(super) fn quantity_type(spec: &TableSpec) -> DataType {
    if spec.decimal_quantities { DECIMAL_QUANTITY } else { DataType::Int64 }
}

/// Returns a column of quantities. `values` are items, or ten-thousandths of an item if quantities are
/// decimal. Quantities are bounded, so that no sum of whole items exceeds 64 bits.
pub(super) fn quantities(spec: &TableSpec, values: impl Iterator<Item = i128>) -> ArrayRef {
    if spec.decimal_quantities {
        return Arc::new(Decimal128Array::from_iter_values(values).with_data_type(DECIMAL_QUANTITY));
    }
    Arc::new(Int64Array::from_iter_values(values.map(|value| i64::try_from(value).unwrap_or(i64::MAX))))
}
