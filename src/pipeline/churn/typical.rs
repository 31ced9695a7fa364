//! The typical customer, with whom sentences compare a customer.

use super::features::FeatureTable;
use crate::pipeline::learning::metrics::mean;

/// Typical values over the customers for whom they are known.
#[derive(Debug)]
pub(super) struct TypicalCustomer {
    /// Median and mean of each feature.
    pub(super) medians: Vec<f64>,
    pub(super) means: Vec<f64>,
    /// Median number of days with an order.
    pub(super) median_days: f64,
}

impl TypicalCustomer {
    /// Returns the typical values of the customers of `table`.
    pub(super) fn of(table: &FeatureTable) -> Self {
        let known = |values: &Vec<f64>| mean(values.iter().copied().filter(|value| value.is_finite()));
        Self {
            medians: table.raw.iter().map(|values| median(values)).collect(),
            means: table.raw.iter().map(known).collect(),
            median_days: median(&table.days),
        }
    }
}

/// Returns the median; NaN without a known value.
fn median(values: &[f64]) -> f64 {
    let mut known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if known.is_empty() {
        return f64::NAN;
    }
    let middle = known.len() / 2;
    *known.select_nth_unstable_by(middle, f64::total_cmp).1
}
