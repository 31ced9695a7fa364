//! Breakdowns of an audience by a feature: members by value, or by range of values.

use std::collections::BTreeMap;

use super::{
    bitmap::Bitmap,
    column::{ColumnValues, FeatureColumn, integers, wide},
    order::SortedCustomers,
    plan::ValueKind,
};

/// Number of members by value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueCounts {
    /// Most frequent values as JSON with their numbers of members, most frequent first; equal counts in the
    /// order of values.
    pub values: Vec<(String, usize)>,
    /// Number of other values, and number of their members.
    pub other: (usize, usize),
    /// Members without a value.
    pub null: usize,
}

/// Ranges of a feature with about the same number of members each (quantiles).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Least and greatest value of each range as JSON, and its number of members.
    pub buckets: Vec<(String, String, usize)>,
    /// Members without a value.
    pub null: usize,
}

/// Checks whether values of this kind can be counted one by one.
#[must_use]
pub fn is_counted(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::Text | ValueKind::Integer | ValueKind::Boolean)
}

/// Checks whether customers can be sorted by values of this kind.
#[must_use]
pub fn is_ordered(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::Integer | ValueKind::Number | ValueKind::Time)
}

/// Greatest difference between greatest and least value for which counts are kept in an array instead of a
/// map.
const MAX_TABLE: usize = 1 << 22;

impl ValueCounts {
    /// Counts the values of `members` in `column`, and lists the `top` most frequent ones.
    #[must_use]
    pub fn of(column: &FeatureColumn, members: &Bitmap, top: usize) -> Self {
        let mut valued = members.clone();
        valued.remove_all(&column.nulls);
        let mut counts: Vec<(i128, usize)> = integers!(&column.values, values => {
            let value = |customer: usize| wide(values[customer]);
            let least = valued.iter().map(value).min().unwrap_or(0);
            let most = valued.iter().map(value).max().unwrap_or(0);
            let span = usize::try_from(most - least).unwrap_or(usize::MAX);
            if span < MAX_TABLE {
                let mut table = vec![0; span + 1];
                for customer in valued.iter() {
                    table[usize::try_from(value(customer) - least).unwrap_or(0)] += 1;
                }
                (least..).zip(table).filter(|(_, count)| *count > 0).collect()
            } else {
                let mut table = BTreeMap::new();
                valued.iter().for_each(|customer| *table.entry(value(customer)).or_default() += 1);
                table.into_iter().collect()
            }
        }, Vec::new());
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let others = counts.split_off(top.min(counts.len()));
        Self {
            values: counts.into_iter().map(|(value, count)| (column.json_of(value), count)).collect(),
            other: (others.len(), others.iter().map(|(_, count)| count).sum()),
            null: members.count() - valued.count(),
        }
    }
}

impl Buckets {
    /// Divides the values of `members` in `column` into at most `parts` ranges. `order` must be the ascending
    /// order by `column`. Equal values are in the same range, so there may be fewer ranges.
    #[must_use]
    pub fn of(column: &FeatureColumn, order: &SortedCustomers, members: &Bitmap, parts: usize) -> Self {
        let mut valued = members.clone();
        valued.remove_all(&column.nulls);
        let ordered: Vec<usize> = order.walk(&valued).collect();
        let equal = |a: usize, b: usize| match &column.values {
            #[expect(clippy::float_cmp, reason = "equal values are in the same range")]
            ColumnValues::Float(values) => values[a] == values[b],
            _ => column.integer(a) == column.integer(b),
        };
        let (mut buckets, mut start) = (Vec::new(), 0);
        for part in 1..=parts {
            // Extends the range to the last value that equals the value at its edge.
            let edge = (ordered.len() * part).div_ceil(parts);
            if edge <= start {
                continue;
            }
            let last = ordered[edge - 1];
            let end = edge + ordered[edge..].iter().take_while(|customer| equal(**customer, last)).count();
            buckets.push((column.json(ordered[start]), column.json(last), end - start));
            start = end;
        }
        Self { buckets, null: members.count() - valued.count() }
    }
}
