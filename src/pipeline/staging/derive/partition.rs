//! Input of the derivation: the staged lines of one partition.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use arrow::{array::RecordBatch, compute::concat_batches, datatypes::Schema};

use super::extras::ExtraColumn;
use crate::pipeline::{
    raw::{RawError, Table, TableSpec},
    staging::{
        guests::GuestLines,
        line_schema::{self, CUSTOMER_COLUMNS},
        sorted_run::SortedRun,
        staging,
    },
};

/// One partition, and the settings that its tables are derived with.
#[derive(Debug)]
pub(crate) struct PartitionInput<'a> {
    pub(crate) number: usize,
    /// As-of time in microseconds, inclusive.
    pub(crate) as_of: i64,
    pub(crate) specs: &'a BTreeMap<Table, TableSpec>,
    pub(crate) runs: &'a BTreeMap<Table, Vec<SortedRun>>,
    /// Whether the lines are read. If not, all tables are empty.
    pub(crate) filled: bool,
    /// Attributes that `customers` has.
    pub(crate) extras: &'a [ExtraColumn],
    /// Names of the staged attributes, in the order of their numbers.
    pub(crate) attribute_names: &'a [String],
    pub(crate) has_created_at: bool,
    /// Guest lines of all partitions, by a hash of their order.
    pub(crate) guests: &'a HashMap<u64, GuestLines>,
    /// Folder for the staged tables.
    pub(crate) scratch: &'a Path,
}

impl PartitionInput<'_> {
    /// Loads the staged lines of `table`, without attributes that no table has.
    pub(super) fn load(&self, table: Table) -> Result<RecordBatch, RawError> {
        let Some(spec) = self.specs.get(&table) else {
            return Ok(RecordBatch::new_empty(Arc::new(Schema::empty())));
        };
        let runs = match self.runs.get(&table) {
            Some(runs) if self.filled => runs.as_slice(),
            _ => &[],
        };
        let schema = line_schema::schema(spec);
        let has_attributes = table != Table::Customers || !self.extras.is_empty();
        let columns = if has_attributes { schema.fields().len() } else { CUSTOMER_COLUMNS };
        let mut batches = Vec::with_capacity(runs.len());
        for run in runs {
            batches.extend(run.read(spec, self.number, columns)?);
        }
        let columns: Vec<usize> = (0..columns).collect();
        let joined = schema.project(&columns).and_then(|schema| concat_batches(&Arc::new(schema), &batches));
        joined.map_err(|error| staging(self.scratch, error))
    }
}
