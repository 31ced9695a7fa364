//! Statistics of numbers and times, from the sorted values of a column.

use std::cmp::Ordering;

use serde_json::Value;

use super::{HistogramRange, Quantile, parsed};
use crate::audience::{
    bitmap::Bitmap,
    column::{ColumnKind, ColumnValues, FeatureColumn, integers, wide},
};

/// Shares of customers at or below each quantile.
/// Shares of the quantiles between which the ranges of a histogram have equal width.
pub(super) const HISTOGRAM_SHARES: [f64; 2] = [0.01, 0.99];
const QUANTILES: [f64; 11] = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];
/// Number of ranges of a histogram.
pub(super) const RANGES: usize = 20;

/// A number of a column, as the column holds it.
trait ColumnNumber: Copy {
    fn compare(&self, other: &Self) -> Ordering;
    fn to_f64(self) -> f64;
    /// Returns the value that the number stands for in `column` as JSON.
    fn json(self, column: &FeatureColumn) -> String;
}

impl<T: Copy + Ord + Into<i128>> ColumnNumber for T {
    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "JSON is made of the integer itself")]
    fn to_f64(self) -> f64 {
        wide(self) as f64
    }

    fn json(self, column: &FeatureColumn) -> String {
        column.json_of(wide(self))
    }
}

/// A binary floating-point number, which has no order of its own.
#[derive(Debug, Clone, Copy)]
struct Float(f64);

impl ColumnNumber for Float {
    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }

    #[inline]
    fn to_f64(self) -> f64 {
        self.0
    }

    fn json(self, _: &FeatureColumn) -> String {
        Value::from(self.0).to_string()
    }
}

/// Statistics of numbers and times.
#[derive(Default)]
pub(super) struct NumberStatistics {
    pub(super) distinct: u64,
    pub(super) quantiles: Vec<Quantile>,
    pub(super) histogram: Vec<HistogramRange>,
}

/// Ascending values of a column.
struct Ascending<'a, T> {
    column: &'a FeatureColumn,
    numbers: Vec<T>,
}

impl NumberStatistics {
    /// Computes the statistics of `customers` in `column`.
    pub(super) fn of(column: &FeatureColumn, customers: &Bitmap) -> Self {
        let mut valued = customers.clone();
        valued.remove_all(&column.nulls);
        match &column.values {
            ColumnValues::Float(values) => {
                Ascending::of(column, valued.iter().map(|at| Float(values[at]))).statistics()
            }
            of => integers!(of, values => {
                Ascending::of(column, valued.iter().map(|at| values[at])).statistics()
            }, Self::default()),
        }
    }
}

impl<'a, T: ColumnNumber> Ascending<'a, T> {
    fn of(column: &'a FeatureColumn, values: impl Iterator<Item = T>) -> Self {
        let mut numbers: Vec<T> = values.collect();
        numbers.sort_unstable_by(T::compare);
        Self { column, numbers }
    }

    fn statistics(&self) -> NumberStatistics {
        let (distinct, quantiles, histogram) = (self.distinct(), self.quantiles(), self.histogram());
        NumberStatistics { distinct, quantiles, histogram }
    }

    /// Returns the place of a quantile: the lowest one with at least the share of all values up to it.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    fn place(&self, share: f64) -> usize {
        let last = self.numbers.len().saturating_sub(1);
        ((share * self.numbers.len() as f64).ceil() as usize).saturating_sub(1).min(last)
    }

    fn value(&self, place: usize) -> Value {
        self.numbers.get(place).map_or(Value::Null, |number| parsed(&number.json(self.column)))
    }

    fn distinct(&self) -> u64 {
        let changes = self.numbers.windows(2).filter(|pair| pair[0].compare(&pair[1]).is_ne()).count();
        (changes + usize::from(!self.numbers.is_empty())) as u64
    }

    fn quantiles(&self) -> Vec<Quantile> {
        if self.numbers.is_empty() {
            return Vec::new();
        }
        let quantile = |share: f64| Quantile { share, value: self.value(self.place(share)) };
        QUANTILES.map(quantile).into()
    }

    #[expect(clippy::cast_precision_loss, reason = "the number of a range")]
    fn histogram(&self) -> Vec<HistogramRange> {
        let Some(last) = self.numbers.len().checked_sub(1) else { return Vec::new() };
        let [low, high] = HISTOGRAM_SHARES.map(|share| self.numbers[self.place(share)].to_f64());
        // Ranges of whole numbers begin at whole numbers, and hold at least one.
        let is_whole = self.column.kind == ColumnKind::Decimal(0);
        let span = if is_whole { high - low + 1.0 } else { high - low };
        let ranges = match span {
            _ if low >= high => 1,
            span if is_whole && span < RANGES as f64 => (1..RANGES).find(|n| *n as f64 >= span).unwrap_or(1),
            _ => RANGES,
        };
        let edge = |range: usize| {
            let edge = low + span * range as f64 / ranges as f64;
            if is_whole { edge.floor() } else { edge }
        };
        #[expect(clippy::cast_possible_truncation, reason = "an edge between values of the column")]
        let shown = |number: f64| {
            let json =
                if is_whole { self.column.json_of(number as i128) } else { self.column.number_json(number) };
            parsed(&json)
        };
        let (mut found, mut start) = (Vec::with_capacity(ranges), 0);
        for range in 0..ranges {
            let is_last = range + 1 == ranges;
            let end = if is_last {
                self.numbers.len()
            } else {
                self.numbers.partition_point(|number| number.to_f64() < edge(range + 1))
            };
            found.push(HistogramRange {
                from: if range == 0 { self.value(0) } else { shown(edge(range)) },
                to: if is_last { self.value(last) } else { shown(edge(range + 1)) },
                customers: (end - start) as u64,
            });
            start = end;
        }
        found
    }
}
