//! An audience by a feature: how many members have each value, or are in each part of its range.

use std::collections::BTreeMap;

use super::{
    bitmap::Bitmap,
    column::{Column, Values, integers, wide},
    order::Order,
    plan::ValueKind,
};

/// How many members have each value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values as JSON with their members, most first, equal counts in the order of the values.
    pub values: Vec<(String, usize)>,
    /// How many other values there are, and their members.
    pub other: (usize, usize),
    /// Members without a value.
    pub null: usize,
}

/// Parts of a feature's range with about as many members each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets {
    /// The least and the greatest value of each as JSON, and its members.
    pub buckets: Vec<(String, String, usize)>,
    /// Members without a value.
    pub null: usize,
}

/// Whether values of this kind are counted one by one.
#[must_use]
pub fn is_counted(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::Text | ValueKind::Integer | ValueKind::Boolean)
}

/// Whether values of this kind have an order to sort customers by.
#[must_use]
pub fn is_ordered(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::Integer | ValueKind::Number | ValueKind::Time)
}

/// Between the least and the greatest of so many values they are counted in a table.
const TABLE: usize = 1 << 22;

impl Counts {
    /// Counts the values that `members` have in `column`, and names the `top` most frequent.
    #[must_use]
    pub fn of(column: &Column, members: &Bitmap, top: usize) -> Self {
        let mut valued = members.clone();
        valued.remove_all(&column.nulls);
        let mut counts: Vec<(i128, usize)> = integers!(&column.values, values => {
            let of = |customer: usize| wide(values[customer]);
            let least = valued.iter().map(of).min().unwrap_or(0);
            let most = valued.iter().map(of).max().unwrap_or(0);
            if let Some(span) = usize::try_from(most - least).ok().filter(|span| *span < TABLE) {
                let mut table = vec![0; span + 1];
                valued.iter().for_each(|customer| table[usize::try_from(of(customer) - least).unwrap_or(0)] += 1);
                (least..).zip(table).filter(|(_, count)| *count > 0).collect()
            } else {
                let mut table = BTreeMap::new();
                valued.iter().for_each(|customer| *table.entry(of(customer)).or_default() += 1);
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
    /// Parts the range of `column` that `members` have into at most `parts`, given the customers in its ascending order. Equal values
    /// are in the same part, so there may be fewer.
    #[must_use]
    pub fn of(column: &Column, order: &Order, members: &Bitmap, parts: usize) -> Self {
        let mut valued = members.clone();
        valued.remove_all(&column.nulls);
        let ordered: Vec<usize> = order.walk(&valued).collect();
        let equal = |a: usize, b: usize| match &column.values {
            #[expect(clippy::float_cmp, reason = "equal values are in the same part")]
            Values::Float(values) => values[a] == values[b],
            _ => column.integer(a) == column.integer(b),
        };
        let (mut buckets, mut start) = (Vec::new(), 0);
        for part in 1..=parts {
            // The part ends behind the last value that is as the one at its edge.
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
