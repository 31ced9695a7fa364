//! Filters a column by a predicate.

use std::ops::RangeInclusive;

use memchr::memmem;

use super::{
    bitmap::{Bitmap, scan},
    column::{ColumnKind, ColumnValues, FeatureColumn, integers},
    expression::{Operand, TextMatch},
    literal::{Decimal, Literal},
    operator::Operator,
    plan::Predicate,
};
use crate::feature::PackedTexts;

/// Greatest difference between greatest and least value for which a list of values is looked up in an array.
const MAX_TABLE: usize = 1 << 20;

/// An integer type of a column.
trait Integer: Copy + Ord + TryFrom<i128> + Into<i128> {
    const LEAST: Self;
    const GREATEST: Self;
}

macro_rules! integer {
    ($($name:ident)+) => {$(
        impl Integer for $name {
            const LEAST: Self = Self::MIN;
            const GREATEST: Self = Self::MAX;
        }
    )+};
}
integer!(i8 i16 i32 i64 i128);

impl FeatureColumn {
    /// Returns the customers whose value matches `predicate`. Null never matches.
    #[must_use]
    pub fn passing(&self, predicate: &Predicate) -> Bitmap {
        if let (ColumnKind::List(lists), Predicate::Has(element)) = (&self.kind, predicate) {
            return lists.having(&element.literal, self.nulls.len());
        }
        let mut words = vec![0; self.nulls.words().len()];
        if let ColumnValues::Float(values) = &self.values {
            floats(values, predicate, &mut words);
        } else {
            let ranges = merged(match predicate {
                Predicate::OneOf(values) => {
                    values.iter().map(|value| self.range(Operator::Equal, value)).collect()
                }
                Predicate::Compare(operator, value) => vec![self.range(*operator, value)],
                Predicate::Match(part, value) => self.matching(*part, value),
                Predicate::Has(_) => Vec::new(),
            });
            integers!(&self.values, values => within(values, &ranges, &mut words), {});
        }
        let mut passing = Bitmap::from_words(words, self.nulls.len());
        passing.remove_all(&self.nulls);
        passing
    }

    /// Returns the indexes of the texts of which a part is the text `value`.
    fn matching(&self, part: TextMatch, value: &Operand) -> Vec<RangeInclusive<i128>> {
        let (ColumnKind::Text(dictionary), Literal::Text(wanted)) = (&self.kind, &value.literal) else {
            return Vec::new();
        };
        let finder = memmem::Finder::new(wanted);
        let matches = |text: &str| match part {
            TextMatch::Contains => finder.find(text.as_bytes()).is_some(),
            TextMatch::StartsWith => text.starts_with(wanted),
            TextMatch::EndsWith => text.ends_with(wanted),
        };
        let found = (0..dictionary.len()).filter(|at| matches(dictionary.get(*at)));
        found.filter_map(|at| i128::try_from(at).ok()).map(|at| at..=at).collect()
    }

    /// Returns the range of integers that match `operator` and `value`.
    fn range(&self, operator: Operator, value: &Operand) -> RangeInclusive<i128> {
        // The greatest integer not above the value, and whether both are equal.
        let (floor, exact) = match (&self.kind, &value.literal) {
            (ColumnKind::Decimal(scale), Literal::Number(number)) => match number.in_units(*scale) {
                Some(found) => found,
                None => (if number.is_negative() { i128::MIN } else { i128::MAX }, false),
            },
            (ColumnKind::Time(unit), Literal::Time(time)) => {
                let nanos =
                    i128::from(time.timestamp()) * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos());
                (nanos.div_euclid(*unit), nanos.rem_euclid(*unit) == 0)
            }
            (ColumnKind::Boolean, Literal::Boolean(value)) => (i128::from(*value), true),
            (ColumnKind::Text(dictionary), Literal::Text(text)) => text_index(dictionary, text),
            _ => return EMPTY,
        };
        match operator {
            Operator::Equal | Operator::NotEqual => {
                if exact {
                    floor..=floor
                } else {
                    EMPTY
                }
            }
            Operator::Less if exact => i128::MIN..=floor.saturating_sub(1),
            Operator::Less | Operator::AtMost => i128::MIN..=floor,
            Operator::AtLeast if exact => floor..=i128::MAX,
            // No integer is greater.
            Operator::Greater | Operator::AtLeast if floor == i128::MAX => EMPTY,
            Operator::Greater | Operator::AtLeast => floor + 1..=i128::MAX,
        }
    }
}

#[expect(clippy::reversed_empty_ranges, reason = "an empty range")]
const EMPTY: RangeInclusive<i128> = 1..=0;

/// Returns the index of the greatest text that is not above `text`, and whether both are equal.
fn text_index(dictionary: &PackedTexts, text: &str) -> (i128, bool) {
    let index = |at: usize| i128::try_from(at).unwrap_or(i128::MAX);
    match dictionary.search(text) {
        Ok(at) => (index(at), true),
        Err(at) => (index(at) - 1, false),
    }
}

/// Merges `ranges` into sorted, disjoint ranges with gaps between them.
fn merged(mut ranges: Vec<RangeInclusive<i128>>) -> Vec<RangeInclusive<i128>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<i128>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*range.end().max(last.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Sets the bits of the values that are in any of `ranges`, which must be merged.
fn within<T: Integer>(values: &[T], ranges: &[RangeInclusive<i128>], out: &mut [u64]) {
    let bounds: Vec<(T, T)> = ranges.iter().filter_map(|range| bounds(range)).collect();
    match bounds.as_slice() {
        [] => {}
        [(low, high)] => scan(values, |value| (*low..=*high).contains(&value), out),
        several => {
            let (first, last) = (several[0].0.into(), several[several.len() - 1].1.into());
            let span = usize::try_from(last.saturating_sub(first)).unwrap_or(usize::MAX);
            if span < MAX_TABLE {
                let mut table = vec![false; span + 1];
                let place =
                    |value: T| usize::try_from(value.into().saturating_sub(first)).unwrap_or(usize::MAX);
                for (low, high) in several {
                    table[place(*low)..=place(*high)].fill(true);
                }
                scan(values, |value| table.get(place(value)).is_some_and(|is| *is), out);
            } else {
                let holds = |value: T| {
                    let at = several.partition_point(|(_, high)| *high < value);
                    several.get(at).is_some_and(|(low, _)| *low <= value)
                };
                scan(values, holds, out);
            }
        }
    }
}

/// Returns the part of `range` that `T` can represent.
fn bounds<T: Integer>(range: &RangeInclusive<i128>) -> Option<(T, T)> {
    let (low, high) = (*range.start().max(&T::LEAST.into()), *range.end().min(&T::GREATEST.into()));
    if low > high {
        return None;
    }
    Some((T::try_from(low).ok()?, T::try_from(high).ok()?))
}

/// Sets the bits of the floating-point values that match `predicate`.
fn floats(values: &[f64], predicate: &Predicate, out: &mut [u64]) {
    let number = |value: &Operand| match &value.literal {
        Literal::Number(number) => Decimal::to_f64(*number),
        _ => f64::NAN,
    };
    match predicate {
        Predicate::OneOf(any) => {
            let mut numbers: Vec<f64> = any.iter().map(number).collect();
            numbers.sort_unstable_by(f64::total_cmp);
            let is_listed = |value: f64| {
                let at = numbers.partition_point(|number| *number < value);
                #[expect(clippy::float_cmp, reason = "the value itself is wanted")]
                numbers.get(at).is_some_and(|number| *number == value)
            };
            scan(values, is_listed, out);
        }
        Predicate::Compare(operator, operand) => {
            let bound = number(operand);
            match operator {
                Operator::Less => scan(values, |value| value < bound, out),
                Operator::AtMost => scan(values, |value| value <= bound, out),
                Operator::Greater => scan(values, |value| value > bound, out),
                Operator::AtLeast => scan(values, |value| value >= bound, out),
                Operator::Equal | Operator::NotEqual => {}
            }
        }
        // Only texts have parts, and only lists elements.
        Predicate::Match(..) | Predicate::Has(_) => {}
    }
}
