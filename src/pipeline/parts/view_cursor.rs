//! Reader of a staged view, aligned with the customers of a snapshot.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array},
    buffer::NullBuffer,
    compute::{concat_batches, take},
    datatypes::SchemaRef,
};

use crate::{
    feature::FeatureView,
    pipeline::{
        raw::RawError,
        staging::{StagedFile, open, staging},
    },
    snapshot::{Forgotten, Warning},
};

/// Reader of a staged view that is sorted by customer, for a merge join with the known customers.
pub(super) struct ViewCursor {
    pub(super) schema: SchemaRef,
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
    /// Opens the staged file of `view`. Only the features of `view` are read.
    pub(super) fn new(
        view: &FeatureView,
        file: &StagedFile,
        forgotten: &Arc<Forgotten>,
    ) -> Result<Self, RawError> {
        let is_wanted = |name: &str| view.features.iter().any(|feature| feature.name == name);
        let fields = file.schema.fields().iter().enumerate();
        let wanted: Vec<usize> =
            fields.filter(|(at, field)| *at == 0 || is_wanted(field.name())).map(|(at, _)| at).collect();
        let schema = file.schema.project(&wanted).map_err(|error| staging(&file.path, error))?;
        let is_whole = wanted.len() == file.schema.fields().len();
        let reader = Box::new(open(&file.path, if is_whole { None } else { Some(wanted) })?);
        let schema = Arc::new(schema);
        let rest = RecordBatch::new_empty(Arc::clone(&schema));
        let forgotten = Arc::clone(forgotten);
        let nulls = vec![0; schema.fields().len() - 1];
        Ok(Self {
            schema,
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

    /// Returns the view's columns for exactly `ids`, and which of them have a row.
    pub(super) fn align(&mut self, ids: &StringArray) -> Result<(Vec<ArrayRef>, NullBuffer), RawError> {
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
        let rows = concat_batches(&self.schema, &batches).map_err(failed)?;
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
        let features: Vec<ArrayRef> = rows.columns()[1..]
            .iter()
            .map(|column| take(column, &taken, None))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        for (nulls, feature) in self.nulls.iter_mut().zip(&features) {
            *nulls += feature.null_count() as u64;
        }
        Ok((features, present))
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

fn last_id(batch: &RecordBatch) -> Option<&str> {
    let last = batch.num_rows().checked_sub(1)?;
    batch.column(0).as_string_opt::<i32>().map(|ids| ids.value(last))
}
