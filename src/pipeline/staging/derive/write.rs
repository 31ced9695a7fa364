//! Writes one staged table of one partition.

use std::path::PathBuf;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::SchemaRef,
};

use super::{super::ArrowWriter, Derived, Partition};
use crate::pipeline::{
    raw::RawError,
    staging::{create, staging},
};

/// Rows of a batch in a staged file.
pub(super) const BATCH: usize = 8_192;

/// A staged table of one partition.
#[derive(Debug, Clone)]
pub(crate) struct StagedFile {
    pub(crate) path: PathBuf,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: usize,
}

pub(super) struct TableWriter {
    table: &'static str,
    file: StagedFile,
    writer: ArrowWriter,
}

impl TableWriter {
    pub(super) fn new(
        partition: &Partition<'_>,
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

    pub(super) fn finish(mut self, derived: &mut Derived) -> Result<(), RawError> {
        self.writer.finish().map_err(|error| staging(&self.file.path, error))?;
        derived.tables.insert(self.table, self.file);
        Ok(())
    }
}
