//! A staged view in a part: its rows of a range of customers, aligned with the customers of the snapshot.

use std::{ops::Range, sync::Arc};

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
        staging::staging,
        view_files::{CustomerRange, ViewFiles},
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

/// A view and the columns of it that are written.
pub(super) struct ViewSource {
    pub(super) name: String,
    /// The id and the features.
    pub(super) schema: SchemaRef,
    /// All columns that are read: the id, the features, and the times of day counts.
    read: SchemaRef,
    files: ViewFiles,
    /// Indexes in the files of the columns that are read.
    columns: Vec<usize>,
}

impl ViewSource {
    /// Selects the features of `view` from its staged rows, with the times of day counts.
    pub(super) fn new(view: &FeatureView, files: &ViewFiles) -> Result<Self, RawError> {
        let is_wanted = |name: &str| {
            let name = days_since::feature_of(name).unwrap_or(name);
            view.features.iter().any(|feature| feature.name == name)
        };
        let fields = files.schema.fields().iter().enumerate();
        let columns: Vec<usize> =
            fields.filter(|(at, field)| *at == 0 || is_wanted(field.name())).map(|(at, _)| at).collect();
        let read = files.schema.project(&columns).map_err(|error| staging(view.name.as_ref(), error))?;
        let served = read.fields().iter().filter(|field| days_since::feature_of(field.name()).is_none());
        let schema = Arc::new(Schema::new(served.cloned().collect::<Vec<_>>()));
        Ok(Self { name: view.name.clone(), schema, read: Arc::new(read), files: files.clone(), columns })
    }

    pub(super) fn has_features(&self) -> bool {
        self.schema.fields().len() > 1
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
        let derived = days_since::count_days(times, as_of).map_err(|error| self.failed(error))?;
        let (days, derived) = (days.as_primitive::<Int64Type>(), derived.as_primitive::<Int64Type>());
        let differing = || (0..ids.len()).filter(|row| is_different(days, derived, *row));
        let Some(first) = differing().next() else { return Ok(()) };
        Err(ViewError::DaysSince {
            view: self.name.clone(),
            column: name.to_owned(),
            customers: differing().count(),
            id: ids.value(first).to_owned(),
        })
    }

    /// Returns the error of an operation on the rows.
    fn failed(&self, error: arrow::error::ArrowError) -> RawError {
        staging(self.name.as_ref(), error)
    }
}

/// Rows of a view for the customers of a part, and what was seen of them so far.
pub(super) struct PartView<'a> {
    source: &'a ViewSource,
    rows: RecordBatch,
    /// Rows of each partition that are left, sorted by customer.
    left: Vec<Range<usize>>,
    figures: ViewFigures,
    /// Erased customers: not in `customers` either, but never named in a warning.
    forgotten: &'a Forgotten,
}

impl<'a> PartView<'a> {
    /// Reads the rows of the customers of `range`.
    pub(super) fn read(
        source: &'a ViewSource,
        range: CustomerRange<'_>,
        forgotten: &'a Forgotten,
    ) -> Result<Self, RawError> {
        let partitions = source.files.read(range, &source.columns)?;
        let mut end = 0;
        let left = partitions.iter().map(|batches| {
            let start = end;
            end += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
            start..end
        });
        let left = left.collect();
        let rows = concat_batches(&source.read, partitions.iter().flatten());
        let rows = rows.map_err(|error| source.failed(error))?;
        let figures =
            ViewFigures { nulls: vec![0; source.schema.fields().len() - 1], ..ViewFigures::default() };
        Ok(Self { source, rows, left, figures, forgotten })
    }

    /// Returns the view's values for exactly `ids`, which are in the staging's `partitions`. Day counts are
    /// checked against their times and `as_of`. Each call passes later ids.
    pub(super) fn align(
        &mut self,
        ids: &StringArray,
        partitions: &[u16],
        as_of: i64,
    ) -> Result<ViewChunk, ViewError> {
        let rows = self.rows.clone();
        let found = rows.column(0).as_string::<i32>();
        let mut indexes = Vec::with_capacity(ids.len());
        for (id, partition) in ids.iter().flatten().zip(partitions) {
            let partition = usize::from(*partition);
            let mut matching = None;
            while let Some(row) = self.left[partition].clone().next()
                && found.value(row) <= id
            {
                self.left[partition].start += 1;
                if found.value(row) == id {
                    matching = Some(u32::try_from(row).unwrap_or(u32::MAX));
                    break;
                }
                self.figures.note_unknown(found.value(row), self.forgotten);
            }
            indexes.push(matching);
        }
        let present = indexes.iter().map(Option::is_some).collect::<NullBuffer>();
        let taken = UInt32Array::from(indexes);
        let mut features: Vec<ArrayRef> = rows.columns()[1..]
            .iter()
            .map(|column| take(column, &taken, None))
            .collect::<Result<_, _>>()
            .map_err(|error| self.source.failed(error))?;
        let source = self.source;
        let times = features.split_off(source.schema.fields().len() - 1);
        for (nulls, feature) in self.figures.nulls.iter_mut().zip(&features) {
            *nulls += feature.null_count() as u64;
        }
        let mut stored = features.clone();
        for (times, column) in times.iter().zip(&source.read.fields()[source.schema.fields().len()..]) {
            let Some(name) = days_since::feature_of(column.name()) else { continue };
            let place = source.schema.index_of(name).map_err(|error| source.failed(error))? - 1;
            source.check_days(name, &features[place], times, ids, as_of)?;
            stored[place] =
                Arc::new(times.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>());
        }
        Ok(ViewChunk { features, stored, present })
    }

    /// Returns the figures, with the rows that are left.
    pub(super) fn finish(mut self) -> ViewFigures {
        let ids = self.rows.column(0).as_string::<i32>();
        for row in self.left.into_iter().flatten() {
            self.figures.note_unknown(ids.value(row), self.forgotten);
        }
        self.figures
    }
}

/// Checks whether the values at `row` differ.
fn is_different(days: &Int64Array, derived: &Int64Array, row: usize) -> bool {
    let value = |of: &Int64Array| of.is_valid(row).then(|| of.value(row));
    value(days) != value(derived)
}

/// Figures of the rows of a view.
#[derive(Debug, Clone, Default)]
pub(super) struct ViewFigures {
    /// Number of customers with a null, by feature.
    nulls: Vec<u64>,
    /// Number of rows of customers that are not in `customers`.
    unknown_rows: u64,
    /// The first such customer in the order of ids.
    unknown_example: Option<String>,
}

impl ViewFigures {
    fn note_unknown(&mut self, id: &str, forgotten: &Forgotten) {
        if !forgotten.contains(id) {
            self.unknown_rows += 1;
            if self.unknown_example.as_deref().is_none_or(|example| id < example) {
                self.unknown_example = Some(id.to_owned());
            }
        }
    }

    /// Adds the figures of the next part.
    pub(super) fn add(&mut self, next: Self) {
        self.nulls.resize(next.nulls.len(), 0);
        self.nulls.iter_mut().zip(&next.nulls).for_each(|(nulls, more)| *nulls += more);
        self.unknown_rows += next.unknown_rows;
        self.unknown_example = self.unknown_example.take().or(next.unknown_example);
    }

    /// Returns the share of `customers` with a null, for each feature of `view`.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(super) fn null_shares(&self, view: &FeatureView, customers: u64) -> Vec<(String, f64)> {
        let share = |nulls: &u64| (*nulls as f64 / customers.max(1) as f64 * 1e6).round() / 1e6;
        let features = view.features.iter().zip(&self.nulls);
        features.map(|(feature, nulls)| (format!("{}.{}", view.name, feature.name), share(nulls))).collect()
    }

    /// Returns a warning if the view has rows of unknown customers.
    pub(super) fn warning(&self, view: &str) -> Option<Warning> {
        if self.unknown_rows == 0 {
            return None;
        }
        Some(Warning {
            kind: "unknown_customers".to_owned(),
            message: format!(
                "view {view}: {} rows of customers that are not known at as_of are left out, for example",
                self.unknown_rows
            ),
            customer_id: self.unknown_example.clone(),
        })
    }
}
