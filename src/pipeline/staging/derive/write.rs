//! Writer of one staged table of one partition.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Decimal128Array, RecordBatch},
    datatypes::SchemaRef,
};

use super::{partition::PartitionInput, tables::DerivedTables};
use crate::pipeline::{
    raw::RawError,
    staging::{ArrowWriter, MONEY, StagedFile, create, staging},
};

/// Number of rows of a batch in a staged file.
pub(super) const BATCH: usize = 8_192;

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
        let path = partition.scratch.join(format!("{table}-{}.arrow", partition.number));
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
