//! Reader of a staged view, aligned with the customers of a snapshot.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array},
    buffer::NullBuffer,
    compute::{concat_batches, take},
    datatypes::{Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
};

use crate::{
    feature::FeatureView,
    pipeline::{
        days_since,
        error::ViewError,
        raw::RawError,
        staging::{StagedFile, open, staging},
    },
    snapshot::{Forgotten, Warning},
};

/// The values of a view for some customers. Customers without a row in the view have nulls.
#[derive(Debug)]
pub(super) struct ViewChunk {
    /// A column for each feature.
    pub(super) features: Vec<ArrayRef>,
    /// The columns as rows store them, with instants in place of day counts.
    pub(super) stored: Vec<ArrayRef>,
    /// Which customers have a row.
    pub(super) present: NullBuffer,
}

/// Reader of a staged view that is sorted by customer, for a merge join with the known customers.
pub(super) struct ViewCursor {
    /// The id and the features.
    pub(super) schema: SchemaRef,
    /// Name of the view.
    view: String,
    /// All columns that are read: the id, the features, and the times of day counts.
    columns: SchemaRef,
    path: std::path::PathBuf,
    reader: Box<dyn Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>> + Send>,
    /// Rows that are read and belong to customers after the last chunk.
    rest: RecordBatch,
    /// Number of rows of customers that are not in `customers`.
    unknown_rows: u64,
    /// The first such customer.
    unknown_example: Option<String>,
    /// Number of customers with a null, by feature.
    nulls: Vec<u64>,
    /// Erased customers: not in `customers` either, but never named in a warning.
    forgotten: Arc<Forgotten>,
}

impl ViewCursor {
    /// Opens the staged file of `view`. Only the features of `view` are read, with the times of day counts.
    pub(super) fn new(
        view: &FeatureView,
        file: &StagedFile,
        forgotten: &Arc<Forgotten>,
    ) -> Result<Self, RawError> {
        let is_wanted = |name: &str| {
            let name = days_since::feature_of(name).unwrap_or(name);
            view.features.iter().any(|feature| feature.name == name)
        };
        let fields = file.schema.fields().iter().enumerate();
        let wanted: Vec<usize> =
            fields.filter(|(at, field)| *at == 0 || is_wanted(field.name())).map(|(at, _)| at).collect();
        let columns = file.schema.project(&wanted).map_err(|error| staging(&file.path, error))?;
        let is_whole = wanted.len() == file.schema.fields().len();
        let reader = Box::new(open(&file.path, if is_whole { None } else { Some(wanted) })?);
        let columns = Arc::new(columns);
        let served = columns.fields().iter().filter(|field| days_since::feature_of(field.name()).is_none());
        let schema: SchemaRef = Arc::new(Schema::new(served.cloned().collect::<Vec<_>>()));
        let rest = RecordBatch::new_empty(Arc::clone(&columns));
        let forgotten = Arc::clone(forgotten);
        let nulls = vec![0; schema.fields().len() - 1];
        Ok(Self {
            schema,
            view: view.name.clone(),
            columns,
            path: file.path.clone(),
            reader,
            rest,
            unknown_rows: 0,
            unknown_example: None,
            nulls,
            forgotten,
        })
    }

    fn note_unknown(&mut self, id: &str) {
        if !self.forgotten.contains(id) {
            self.unknown_rows += 1;
            self.unknown_example.get_or_insert_with(|| id.to_owned());
        }
    }

    /// Returns the view's values for exactly `ids`. Day counts are checked against their times and `as_of`.
    pub(super) fn align(&mut self, ids: &StringArray, as_of: i64) -> Result<ViewChunk, ViewError> {
        let path = self.path.clone();
        let failed = |error| staging(&path, error);
        let last = ids.value(ids.len() - 1);
        let mut batches = vec![self.rest.clone()];
        while batches.last().is_none_or(|batch| last_id(batch).is_none_or(|id| id <= last)) {
            match self.reader.next() {
                Some(batch) => batches.push(batch.map_err(failed)?),
                None => break,
            }
        }
        let rows = concat_batches(&self.columns, &batches).map_err(failed)?;
        let found = rows.column(0).as_string::<i32>();
        let mut at = 0;
        let mut indexes = Vec::with_capacity(ids.len());
        for id in (0..ids.len()).map(|row| ids.value(row)) {
            while at < found.len() && found.value(at) < id {
                self.note_unknown(found.value(at));
                at += 1;
            }
            if at < found.len() && found.value(at) == id {
                indexes.push(Some(u32::try_from(at).unwrap_or(u32::MAX)));
                at += 1;
            } else {
                indexes.push(None);
            }
        }
        self.rest = rows.slice(at, rows.num_rows() - at);
        let present = indexes.iter().map(Option::is_some).collect::<NullBuffer>();
        let taken = UInt32Array::from(indexes);
        let mut features: Vec<ArrayRef> = rows.columns()[1..]
            .iter()
            .map(|column| take(column, &taken, None))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let times = features.split_off(self.schema.fields().len() - 1);
        for (nulls, feature) in self.nulls.iter_mut().zip(&features) {
            *nulls += feature.null_count() as u64;
        }
        let mut stored = features.clone();
        for (times, column) in times.iter().zip(&self.columns.fields()[self.schema.fields().len()..]) {
            let Some(name) = days_since::feature_of(column.name()) else { continue };
            let place = self.schema.index_of(name).map_err(failed)? - 1;
            self.check_days(name, &features[place], times, ids, as_of)?;
            stored[place] =
                Arc::new(times.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>());
        }
        Ok(ViewChunk { features, stored, present })
    }

    /// Checks that the days of the feature `name` are those from `times` to `as_of`. They are not if the two
    /// columns were computed from an expression that has another value each time, such as `random()`.
    fn check_days(
        &self,
        name: &str,
        days: &ArrayRef,
        times: &ArrayRef,
        ids: &StringArray,
        as_of: i64,
    ) -> Result<(), ViewError> {
        let derived = days_since::count_days(times, as_of).map_err(|error| staging(&self.path, error))?;
        let (days, derived) = (days.as_primitive::<Int64Type>(), derived.as_primitive::<Int64Type>());
        let differing = || (0..ids.len()).filter(|row| is_different(days, derived, *row));
        let Some(first) = differing().next() else { return Ok(()) };
        Err(ViewError::DaysSince {
            view: self.view.clone(),
            column: name.to_owned(),
            customers: differing().count(),
            id: ids.value(first).to_owned(),
        })
    }

    /// Returns the share of `customers` with a null, for each feature of `view`.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(super) fn null_shares(&self, view: &FeatureView, customers: u64) -> Vec<(String, f64)> {
        let share = |nulls: &u64| (*nulls as f64 / customers.max(1) as f64 * 1e6).round() / 1e6;
        let features = view.features.iter().zip(&self.nulls);
        features.map(|(feature, nulls)| (format!("{}.{}", view.name, feature.name), share(nulls))).collect()
    }

    /// Returns a warning if the view has rows of unknown customers.
    pub(super) fn warning(mut self, view: &str) -> Option<Warning> {
        let mut left = Some(self.rest.clone());
        while let Some(batch) = left {
            batch.column(0).as_string::<i32>().iter().flatten().for_each(|id| self.note_unknown(id));
            left = self.reader.by_ref().flatten().next();
        }
        if self.unknown_rows == 0 {
            return None;
        }
        Some(Warning {
            kind: "unknown_customers".to_owned(),
            message: format!(
                "view {view}: {} rows of customers that are not known at as_of are left out, for example",
                self.unknown_rows
            ),
            customer_id: self.unknown_example,
        })
    }
}

/// Checks whether the values at `row` differ.
fn is_different(days: &Int64Array, derived: &Int64Array, row: usize) -> bool {
    let value = |of: &Int64Array| of.is_valid(row).then(|| of.value(row));
    value(days) != value(derived)
}

fn last_id(batch: &RecordBatch) -> Option<&str> {
    let last = batch.num_rows().checked_sub(1)?;
    batch.column(0).as_string_opt::<i32>().map(|ids| ids.value(last))
}
