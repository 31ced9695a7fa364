//! Temporary files with the features of all customers, which are read a partition at a time.

use arrow::{
    array::{Array, AsArray},
    datatypes::Float64Type,
};

use super::{
    features::{BUILT_IN, FeatureTable, TENURE},
    horizon::days,
    product_demand::DemandWindow,
};
use crate::pipeline::{
    RawError,
    id_hash::is_sampled,
    staging::{StagedFile, open, staging},
};

/// The features of all customers with an order, in temporary files by partition.
#[derive(Debug)]
pub(super) struct FeatureFiles {
    /// Built-in features, and the number of days with an order.
    pub(super) built_in: Vec<StagedFile>,
    /// Features of the user's views: their indexes, and the files.
    pub(super) own: Vec<(Vec<usize>, Vec<StagedFile>)>,
    /// Number of features.
    pub(super) sources: usize,
    pub(super) window: DemandWindow,
}

impl FeatureFiles {
    /// Returns the number of partitions.
    pub(super) fn partitions(&self) -> usize {
        self.built_in.len()
    }

    /// Returns the number of customers.
    pub(super) fn customers(&self) -> usize {
        self.built_in.iter().map(|file| file.rows).sum()
    }

    /// Returns the horizon in days of the features from [`super::product_demand`].
    pub(super) fn horizon(&self) -> f64 {
        days(self.window.horizon)
    }

    /// Returns a table without customers.
    pub(super) fn empty(&self) -> FeatureTable {
        FeatureTable {
            raw: vec![Vec::new(); self.sources],
            horizon: self.horizon(),
            ..FeatureTable::default()
        }
    }

    /// Reads the customers of a partition, or one in `one_in` of them by the hash of the id.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub(super) fn read(&self, partition: usize, one_in: u64) -> Result<FeatureTable, RawError> {
        let mut table = self.empty();
        #[expect(clippy::cast_precision_loss, reason = "present-day times are exact to the microsecond")]
        let now = self.window.at.timestamp_micros() as f64;
        read_rows(&self.built_in[partition], |id, values| {
            if !is_sampled(id, one_in) {
                return;
            }
            table.ids.push(id.to_owned());
            for (place, (known, value)) in table.raw.iter_mut().zip(&values[..BUILT_IN.len()]).enumerate() {
                known.push(if place == TENURE { (now - value) / 86_400e6 } else { *value });
            }
            let days = values[BUILT_IN.len()];
            table.days.push(if days.is_nan() { 1.0 } else { days });
        })?;
        for values in &mut table.raw[BUILT_IN.len()..] {
            values.resize(table.ids.len(), f64::NAN);
        }
        for (places, files) in &self.own {
            let mut row = 0;
            read_rows(&files[partition], |id, values| {
                while table.ids.get(row).is_some_and(|known| known.as_str() < id) {
                    row += 1;
                }
                if table.ids.get(row).is_some_and(|known| known == id) {
                    for (place, value) in places.iter().zip(values) {
                        table.raw[*place][row] = *value;
                    }
                }
            })?;
        }
        Ok(table)
    }
}

/// Reads a file, and calls `work` with each id and its numbers, NaN for null.
fn read_rows(file: &StagedFile, mut work: impl FnMut(&str, &[f64])) -> Result<(), RawError> {
    let mut values = Vec::new();
    for batch in open(&file.path, None)? {
        let batch = batch.map_err(|error| staging(&file.path, error))?;
        let ids = batch.column(0).as_string::<i32>();
        let columns: Vec<_> = batch.columns()[1..].iter().map(AsArray::as_primitive::<Float64Type>).collect();
        for row in 0..batch.num_rows() {
            values.clear();
            values.extend(
                columns.iter().map(|column| if column.is_valid(row) { column.value(row) } else { f64::NAN }),
            );
            work(ids.value(row), &values);
        }
    }
    Ok(())
}
