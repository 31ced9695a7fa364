//! Breakdowns of an audience by a feature: members by value, or by range of values.

use std::collections::BTreeMap;

use super::{
    bitmap::Bitmap,
    catalog::ValueKind,
    column::{ColumnValues, FeatureColumn, integers, wide},
    order::SortedCustomers,
};

/// Number of members by value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueCounts {
    /// Most frequent values as JSON with their numbers of members, most frequent first; equal counts in the
    /// order of values.
    pub values: Vec<(String, usize)>,
    /// Number of other values, and number of their members.
    pub other: (usize, usize),
    /// Members without a value; `None` if their number is withheld and counted in `other`.
    pub null: Option<usize>,
}

/// Ranges of a feature with about the same number of members each (quantiles).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Least and greatest value of each range as JSON, and its number of members.
    pub buckets: Vec<(String, String, usize)>,
    /// Members without a value; `None` if their number is withheld.
    pub null: Option<usize>,
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
            null: Some(members.count() - valued.count()),
        }
    }

    /// Withholds counts below `least`: such values, and members without a value, are counted in `other`. If
    /// too few members are left there, the least frequent values are added, and then the members without a
    /// value, so that no count follows from the size of the audience.
    pub fn withhold(&mut self, least: usize) {
        let (mut values, mut customers) = self.other;
        if let Some(null) = self.null
            && (1..least).contains(&null)
        {
            customers += null;
            self.null = None;
        }
        while let Some((_, count)) = self.values.last()
            && (*count < least || (1..least).contains(&customers))
        {
            values += 1;
            customers += count;
            self.values.pop();
        }
        if (1..least).contains(&customers) {
            customers += self.null.take().unwrap_or(0);
        }
        self.other = (values, customers);
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
        Self { buckets, null: Some(members.count() - valued.count()) }
    }

    /// Withholds counts below `least`: neighboring ranges are joined until each has enough members, and so
    /// has the group of members without a value.
    pub fn withhold(&mut self, least: usize) {
        let mut joined: Vec<(String, String, usize)> = Vec::with_capacity(self.buckets.len());
        for (from, to, count) in std::mem::take(&mut self.buckets) {
            match joined.last_mut() {
                Some(last) if last.2 < least || count < least => {
                    last.1 = to;
                    last.2 += count;
                }
                _ => joined.push((from, to, count)),
            }
        }
        let null = self.null.unwrap_or(0);
        let is_small = |count: usize| (1..least).contains(&count);
        if is_small(null) || joined.iter().any(|(.., count)| is_small(*count)) {
            // The number without a value would follow from the ranges, and the other way round.
            joined.clear();
            self.null = None;
        }
        self.buckets = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: &[usize], other: (usize, usize), null: usize) -> ValueCounts {
        let values = values.iter().map(|count| (count.to_string(), *count)).collect();
        ValueCounts { values, other, null: Some(null) }
    }

    fn shown(mut counts: ValueCounts) -> (Vec<usize>, (usize, usize), Option<usize>) {
        counts.withhold(5);
        (counts.values.iter().map(|(_, count)| *count).collect(), counts.other, counts.null)
    }

    #[test]
    fn small_counts_are_withheld_and_do_not_follow_from_others() {
        assert_eq!(shown(counts(&[9, 7, 5], (0, 0), 0)), (vec![9, 7, 5], (0, 0), Some(0)));
        assert_eq!(shown(counts(&[9, 7, 3, 2], (0, 0), 0)), (vec![9, 7], (2, 5), Some(0)));
        // A single small value would follow from the size of the audience.
        assert_eq!(shown(counts(&[9, 7, 2], (0, 0), 6)), (vec![9], (2, 9), Some(6)));
        assert_eq!(shown(counts(&[9, 7], (0, 0), 1)), (vec![9], (1, 8), None));
        assert_eq!(shown(counts(&[9, 7], (3, 4), 0)), (vec![9], (4, 11), Some(0)));
        // Few members have a value.
        assert_eq!(shown(counts(&[1], (0, 0), 195)), (vec![], (1, 196), None));
    }

    #[test]
    fn small_ranges_are_joined() {
        let bucket = |at: usize, count| (at.to_string(), (at + 1).to_string(), count);
        let joined = |buckets: &[usize], null| {
            let buckets = buckets.iter().enumerate().map(|(at, count)| bucket(2 * at, *count)).collect();
            let mut all = Buckets { buckets, null: Some(null) };
            all.withhold(5);
            (all.buckets, all.null)
        };
        assert_eq!(joined(&[6, 5], 0), (vec![bucket(0, 6), bucket(2, 5)], Some(0)));
        assert_eq!(joined(&[3, 3, 6], 7), (vec![("0".to_owned(), "3".to_owned(), 6), bucket(4, 6)], Some(7)));
        assert_eq!(joined(&[6, 6, 1], 0).0.iter().map(|(.., count)| *count).collect::<Vec<_>>(), [6, 7]);
        assert_eq!(joined(&[6, 6], 2), (Vec::new(), None));
        assert_eq!(joined(&[3], 0), (Vec::new(), None));
    }
}
