//! Statistics of a feature over all customers: nulls, distinct values, quantiles, a histogram and the most
//! frequent values. All of them are exact.

use std::collections::HashMap;

use arrow::array::{Array, AsArray};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    bitmap::Bitmap,
    breakdown::ValueCounts,
    column::{ColumnKind, ColumnValues, FeatureColumn, integers, wide},
    feature_value::FeatureValue,
};

/// Shares of customers at or below each quantile.
const QUANTILES: [f64; 11] = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];
/// Number of ranges of a histogram.
const RANGES: usize = 20;
/// Number of most frequent values.
const TOP: usize = 10;
/// Greatest number of distinct texts that are counted.
const MAX_TEXTS: usize = 100_000;

/// Statistics of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FeatureStatistics {
    /// Number of customers without a value; null where it is withheld.
    #[schema(example = 12)]
    pub null: Option<u64>,
    /// Share of customers without a value, 0 to 1.
    #[schema(example = 0.0027)]
    pub null_share: Option<f64>,
    /// Exact number of distinct values; null for a list or a struct, for more than 100,000 texts, which are
    /// not counted, or where it is withheld.
    #[schema(example = 38)]
    pub distinct: Option<u64>,
    /// Quantiles of a number or a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub quantiles: Vec<Quantile>,
    /// Histogram of a number or a time: at most 20 ranges of equal width between the 0.01 and the 0.99
    /// quantile, of which the first and the last reach to the least and the greatest value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub histogram: Vec<HistogramRange>,
    /// Most frequent values of a text, a whole number or a boolean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub top: Vec<TopValue>,
}

/// A quantile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Quantile {
    /// Share of the customers with a value who have this value or a lower one.
    #[schema(example = 0.5)]
    pub share: f64,
    /// The value.
    #[schema(value_type = FeatureValue)]
    pub value: Value,
}

/// A range of a histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistogramRange {
    /// Start of the range; null where it is withheld.
    #[schema(value_type = Option<FeatureValue>)]
    pub from: Value,
    /// End of the range, which belongs to the next range, except for that of the last; null where it is
    /// withheld.
    #[schema(value_type = Option<FeatureValue>)]
    pub to: Value,
    /// Number of customers.
    #[schema(example = 1731)]
    pub customers: u64,
}

/// A value and its customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TopValue {
    /// The value.
    #[schema(value_type = FeatureValue)]
    pub value: Value,
    /// Number of customers.
    #[schema(example = 604)]
    pub customers: u64,
}

/// Ascending values of a column.
struct Ascending<'a> {
    column: &'a FeatureColumn,
    /// Values as numbers, and customers with these values.
    numbers: Vec<(f64, u32)>,
}

impl FeatureStatistics {
    /// Computes the statistics of `customers` in `column`.
    #[must_use]
    pub fn of(column: &FeatureColumn, customers: &Bitmap) -> Self {
        let (count, null) = (customers.count(), customers.count_common(&column.nulls));
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let null_share = if count == 0 { 0.0 } else { null as f64 / count as f64 };
        let (mut quantiles, mut histogram, mut top) = (Vec::new(), Vec::new(), Vec::new());
        let mut distinct = None;
        match &column.kind {
            ColumnKind::List(_) | ColumnKind::Nested => {}
            ColumnKind::Text(_) | ColumnKind::Boolean => {
                let counts = ValueCounts::of(column, customers, TOP);
                let values = counts.values.len() + counts.other.0;
                if values <= MAX_TEXTS {
                    distinct = Some(values as u64);
                    top = top_values(counts);
                }
            }
            kind => {
                let ascending = Ascending::of(column, customers);
                distinct = Some(ascending.distinct());
                quantiles = ascending.quantiles();
                histogram = ascending.histogram();
                if *kind == ColumnKind::Decimal(0) {
                    top = top_values(ValueCounts::of(column, customers, TOP));
                }
            }
        }
        Self { null: Some(null as u64), null_share: Some(null_share), distinct, quantiles, histogram, top }
    }

    /// Withholds numbers of fewer than `least` customers, and the least and the greatest value, which are
    /// those of few. `customers` is the number of all customers.
    pub fn withhold(&mut self, customers: u64, least: u64) {
        let is_few = |count: u64| (1..least).contains(&count);
        let null = self.null.unwrap_or(0);
        if is_few(null) || is_few(customers.saturating_sub(null)) {
            *self = Self {
                null: None,
                null_share: None,
                distinct: None,
                quantiles: Vec::new(),
                histogram: Vec::new(),
                top: Vec::new(),
            };
            return;
        }
        self.quantiles.retain(|quantile| quantile.share > 0.0 && quantile.share < 1.0);
        // The edges of the outer ranges are the least and the greatest value.
        self.histogram =
            std::mem::take(&mut self.histogram).into_iter().fold(Vec::new(), |mut joined, range| {
                match joined.last_mut() {
                    Some(last) if is_few(last.customers) || is_few(range.customers) => {
                        last.to = range.to;
                        last.customers += range.customers;
                    }
                    _ => joined.push(range),
                }
                joined
            });
        if self.histogram.iter().any(|range| is_few(range.customers)) {
            self.histogram.clear();
        }
        if let Some(first) = self.histogram.first_mut() {
            first.from = Value::Null;
        }
        if let Some(last) = self.histogram.last_mut() {
            last.to = Value::Null;
        }
        self.top.retain(|value| !is_few(value.customers));
        // The other values follow from those listed, unless they have enough customers.
        while let listed = self.top.iter().map(|value| value.customers).sum::<u64>()
            && is_few(customers.saturating_sub(null).saturating_sub(listed))
            && self.top.pop().is_some()
        {}
        // A number of distinct values that is close to that listed tells that others are few.
        if self.distinct.is_some_and(|distinct| distinct > self.top.len() as u64) && !self.top.is_empty() {
            self.distinct = None;
        }
    }
}

/// Counter of the values of a text feature, in bounded memory.
#[derive(Debug, Default)]
pub struct TextCounter {
    customers: u64,
    null: u64,
    /// Number of customers by text; `None` if there are too many texts.
    counts: Option<HashMap<String, u64>>,
}

impl TextCounter {
    /// Creates a counter of no customers.
    #[must_use]
    pub fn new() -> Self {
        Self { counts: Some(HashMap::new()), ..Self::default() }
    }

    /// Counts the texts of the next customers. `absent` returns whether the customer at a row is absent from
    /// the view.
    ///
    /// # Errors
    /// Returns a description of the problem if `array` does not hold texts.
    pub fn push(&mut self, array: &dyn Array, absent: impl Fn(usize) -> bool) -> Result<(), String> {
        let texts = array.as_string_opt::<i32>().ok_or("the column does not hold texts")?;
        for row in 0..texts.len() {
            self.customers += 1;
            if absent(row) || texts.is_null(row) {
                self.null += 1;
                continue;
            }
            let Some(counts) = &mut self.counts else { continue };
            let text = texts.value(row);
            if let Some(count) = counts.get_mut(text) {
                *count += 1;
            } else if counts.len() < MAX_TEXTS {
                counts.insert(text.to_owned(), 1);
            } else {
                self.counts = None;
            }
        }
        Ok(())
    }

    /// Returns the statistics of all customers.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn finish(self) -> FeatureStatistics {
        let Self { customers, null, counts } = self;
        let distinct = counts.as_ref().map(|counts| counts.len() as u64);
        let mut top: Vec<(String, u64)> = counts.into_iter().flatten().collect();
        top.sort_unstable_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        top.truncate(TOP);
        let top = top.into_iter().map(|(text, customers)| TopValue { value: text.into(), customers });
        FeatureStatistics {
            null: Some(null),
            null_share: Some(if customers == 0 { 0.0 } else { null as f64 / customers as f64 }),
            distinct,
            quantiles: Vec::new(),
            histogram: Vec::new(),
            top: top.collect(),
        }
    }
}

fn top_values(counts: ValueCounts) -> Vec<TopValue> {
    let value =
        |(value, customers): (String, usize)| TopValue { value: parsed(&value), customers: customers as u64 };
    counts.values.into_iter().map(value).collect()
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

impl<'a> Ascending<'a> {
    #[expect(clippy::cast_precision_loss, reason = "the value itself is read from the column")]
    fn of(column: &'a FeatureColumn, customers: &Bitmap) -> Self {
        let mut valued = customers.clone();
        valued.remove_all(&column.nulls);
        let numbered = |customer: usize, number: f64| (number, u32::try_from(customer).unwrap_or(u32::MAX));
        let mut numbers: Vec<(f64, u32)> = match &column.values {
            ColumnValues::Float(values) => valued.iter().map(|at| numbered(at, values[at])).collect(),
            of => integers!(of, values => {
                valued.iter().map(|at| numbered(at, wide(values[at]) as f64)).collect()
            }, Vec::new()),
        };
        numbers.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Self { column, numbers }
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
        self.numbers.get(place).map_or(Value::Null, |(_, at)| parsed(&self.column.json(*at as usize)))
    }

    fn distinct(&self) -> u64 {
        let differs = |pair: &[(f64, u32)]| match &self.column.values {
            ColumnValues::Float(_) => pair[0].0.total_cmp(&pair[1].0).is_ne(),
            _ => self.column.integer(pair[0].1 as usize) != self.column.integer(pair[1].1 as usize),
        };
        let changes = self.numbers.windows(2).filter(|pair| differs(pair)).count();
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
        let (low, high) = (self.numbers[self.place(0.01)].0, self.numbers[self.place(0.99)].0);
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
                self.numbers.partition_point(|(number, _)| *number < edge(range + 1))
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

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int64Array, StringArray};
    use serde_json::json;

    use super::*;

    fn of(values: &dyn Array) -> FeatureStatistics {
        FeatureStatistics::of(&FeatureColumn::of_values(values), &Bitmap::full(values.len()))
    }

    #[test]
    fn numbers_have_quantiles_and_a_histogram() {
        let values = (0..1_000).map(|n| (n < 990).then_some(n * 10)).chain([Some(1_000_000)]);
        let values = values.collect::<Decimal128Array>().with_precision_and_scale(20, 2).expect("fits");
        let statistics = of(&values);
        assert_eq!((statistics.null, statistics.distinct), (Some(10), Some(991)));
        let at = |share: f64| {
            let found = statistics.quantiles.iter().find(|quantile| quantile.share.total_cmp(&share).is_eq());
            found.map(|quantile| quantile.value.clone())
        };
        assert_eq!([at(0.0), at(0.5), at(1.0)], [json!(0), json!(49.5), json!(10000)].map(Some));
        assert_eq!(statistics.histogram.len(), RANGES);
        assert_eq!(statistics.histogram.iter().map(|range| range.customers).sum::<u64>(), 991);
        let (first, last) = (&statistics.histogram[0], &statistics.histogram[RANGES - 1]);
        assert_eq!((&first.from, &last.to), (&json!(0), &json!(10000)));
        let mut few = statistics.clone();
        few.withhold(1_001, 5);
        assert!(few.quantiles.iter().all(|quantile| quantile.share > 0.0 && quantile.share < 1.0));
        assert_eq!((&few.histogram[0].from, few.null), (&json!(null), Some(10)));
        few.withhold(1_001, 20);
        assert_eq!((few.null, few.histogram.len()), (None, 0));
    }

    #[test]
    fn whole_numbers_have_a_range_each() {
        let values = (0..500).map(|n| Some(1 + n % 4)).collect::<Int64Array>();
        let statistics = of(&values);
        let ranges = statistics.histogram.iter().map(|range| (&range.from, &range.to, range.customers));
        let ends = [(json!(1), json!(2)), (json!(2), json!(3)), (json!(3), json!(4)), (json!(4), json!(4))];
        assert_eq!(ranges.collect::<Vec<_>>(), ends.each_ref().map(|(from, to)| (from, to, 125)));
        assert_eq!(statistics.top.len(), 4);
    }

    #[test]
    fn texts_are_counted_up_to_a_bound() {
        let texts = |count: usize| (0..count).map(|at| Some(format!("t{}", at / 2))).chain([None]);
        for count in [0, 40, 2 * MAX_TEXTS, 2 * MAX_TEXTS + 2] {
            let array = texts(count).collect::<StringArray>();
            let mut counter = TextCounter::new();
            let (first, rest) = (array.slice(0, count / 3), array.slice(count / 3, count + 1 - count / 3));
            counter.push(&first, |_| false).expect("texts");
            counter.push(&rest, |_| false).expect("texts");
            let counted = counter.finish();
            assert_eq!(counted.distinct, (count / 2 <= MAX_TEXTS).then_some(count as u64 / 2), "{count}");
            // The column in memory gives the same statistics.
            assert_eq!(counted, of(&array));
        }
        assert!(TextCounter::new().push(&Int64Array::from(vec![1]), |_| false).is_err());
    }

    #[test]
    fn texts_have_top_values_without_few_customers() {
        let texts = (0..40).map(|at| {
            Some(if at < 30 {
                "a"
            } else if at < 38 {
                "b"
            } else {
                "c"
            })
        });
        let statistics = of(&texts.collect::<StringArray>());
        let top = |of: &FeatureStatistics| {
            of.top.iter().map(|top| (top.value.clone(), top.customers)).collect::<Vec<_>>()
        };
        assert_eq!(top(&statistics), [(json!("a"), 30), (json!("b"), 8), (json!("c"), 2)]);
        assert_eq!(statistics.distinct, Some(3));
        let mut few = statistics;
        few.withhold(40, 5);
        // The two customers with the third value would follow.
        assert_eq!((top(&few), few.distinct), (vec![(json!("a"), 30)], None));
    }
}
