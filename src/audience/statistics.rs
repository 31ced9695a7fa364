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
    column::{ColumnKind, FeatureColumn},
    feature_value::FeatureValue,
};

mod numbers;

use numbers::NumberStatistics;

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
                let numbers = NumberStatistics::of(column, customers);
                distinct = Some(numbers.distinct);
                (quantiles, histogram) = (numbers.quantiles, numbers.histogram);
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
        #[expect(clippy::cast_precision_loss, reason = "a share of the customers")]
        let (valued, few) = (customers.saturating_sub(null) as f64, least as f64);
        // A quantile near an end is a value of few, in the extreme the least or the greatest one.
        let is_kept = |share: f64| share * valued >= few && (1.0 - share) * valued >= few;
        self.quantiles.retain(|quantile| is_kept(quantile.share));
        // The edges of the ranges follow from these quantiles.
        if numbers::HISTOGRAM_SHARES.iter().any(|share| !is_kept(*share)) {
            self.histogram.clear();
        }
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
        self.withhold_top_in_ranges(is_few);
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

impl FeatureStatistics {
    /// Removes the smallest top values of a range of the histogram as long as it has few other customers.
    fn withhold_top_in_ranges(&mut self, is_few: impl Fn(u64) -> bool) {
        for range in &self.histogram {
            let is_inside = |value: &TopValue| {
                let number = value.value.as_f64();
                let is_from =
                    range.from.as_f64().is_none_or(|from| number.is_some_and(|number| number >= from));
                is_from && range.to.as_f64().is_none_or(|to| number.is_some_and(|number| number < to))
            };
            loop {
                let listed: u64 =
                    self.top.iter().filter(|value| is_inside(value)).map(|value| value.customers).sum();
                if !is_few(range.customers.saturating_sub(listed)) {
                    break;
                }
                // The values are sorted by customers.
                let Some(smallest) = self.top.iter().rposition(is_inside) else { break };
                self.top.remove(smallest);
            }
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

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int64Array, StringArray};
    use serde_json::json;

    use super::{numbers::RANGES, *};

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
        // Fewer than ten values are below the quantile 0.01.
        let mut fewer = statistics.clone();
        fewer.withhold(1_001, 10);
        let shares = [&few, &fewer].map(|of| of.quantiles.first().map(|quantile| quantile.share));
        assert_eq!(shares, [Some(0.01), Some(0.05)]);
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
    fn integers_beyond_the_precision_of_floats_are_distinct() {
        let most = 1 << 53;
        let values = Int64Array::from(vec![most, most + 1, most, most + 1, most + 2]);
        let statistics = of(&values);
        assert_eq!(statistics.distinct, Some(3));
        assert_eq!(statistics.quantiles[5].value, json!(most + 1));
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
