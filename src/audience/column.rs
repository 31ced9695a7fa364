//! A feature of all customers in memory, with integers as narrow as the values allow; for filters, sorting,
//! sums and counts.
//!
//! All values except binary floating point are integers: decimals without their point, times as counts of
//! their unit, booleans as 0 and 1, and texts as indexes into a sorted dictionary. One scan over integers
//! therefore serves all types.

use std::iter::Sum;

use chrono::{DateTime, SecondsFormat, Utc};

use super::{
    bitmap::{Bitmap, bits},
    lists::Lists,
    literal::Decimal,
};
use crate::feature::PackedTexts;

/// Nanoseconds of a day.
pub(super) const DAY: i128 = 86_400 * 1_000_000_000;

/// A feature of all customers. Values are by customer number.
#[derive(Debug)]
pub struct FeatureColumn {
    pub(super) kind: ColumnKind,
    pub(super) values: ColumnValues,
    /// Customers for whom the feature is null.
    pub nulls: Bitmap,
}

/// The meaning of a column's integers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ColumnKind {
    /// A decimal number × 10^scale.
    Decimal(u32),
    Float,
    /// A time since 1970 in UTC, in units of this many nanoseconds.
    Time(i128),
    Boolean,
    /// An index into the dictionary.
    Text(PackedTexts),
    List(Lists),
    /// A struct or a list of structs, of which only null is known.
    Nested,
}

/// Values by customer; 0 for null.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ColumnValues {
    None,
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    Float(Vec<f64>),
}

/// Runs `$body` with the integers `$values` of any width, else `$other`.
macro_rules! integers {
    ($of:expr, $values:ident => $body:expr, $other:expr) => {
        match $of {
            ColumnValues::I8($values) => $body,
            ColumnValues::I16($values) => $body,
            ColumnValues::I32($values) => $body,
            ColumnValues::I64($values) => $body,
            ColumnValues::I128($values) => $body,
            ColumnValues::None | ColumnValues::Float(_) => $other,
        }
    };
}
pub(super) use integers;

/// Widens an integer to `i128`.
pub(super) fn wide<T: Into<i128>>(integer: T) -> i128 {
    integer.into()
}

impl FeatureColumn {
    /// Returns the approximate size in memory in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            ColumnValues::None => 0,
            ColumnValues::I8(values) => values.len(),
            ColumnValues::I16(values) => values.len() * 2,
            ColumnValues::I32(values) => values.len() * 4,
            ColumnValues::I64(values) => values.len() * 8,
            ColumnValues::I128(values) => values.len() * 16,
            ColumnValues::Float(values) => values.len() * 8,
        };
        let dictionary = match &self.kind {
            ColumnKind::Text(dictionary) => dictionary.bytes(),
            ColumnKind::List(lists) => lists.bytes(),
            _ => 0,
        };
        size_of::<Self>() + values + dictionary + self.nulls.len() / 8
    }

    /// Returns the integer of `customer`, for whom the feature is not null.
    pub(super) fn integer(&self, customer: usize) -> i128 {
        integers!(&self.values, values => wide(values[customer]), 0)
    }

    /// Returns the value of `customer` as JSON.
    #[must_use]
    pub fn json(&self, customer: usize) -> String {
        if self.nulls.contains(customer) {
            return "null".to_owned();
        }
        match &self.values {
            ColumnValues::Float(values) => serde_json::Value::from(values[customer]).to_string(),
            _ => self.json_of(self.integer(customer)),
        }
    }

    /// Returns the value that `integer` stands for as JSON.
    pub(super) fn json_of(&self, integer: i128) -> String {
        match &self.kind {
            ColumnKind::Decimal(scale) => Decimal::new(integer, *scale).to_string(),
            ColumnKind::Boolean => (integer != 0).to_string(),
            ColumnKind::Time(unit) => {
                let nanos = integer * unit;
                let second = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0);
                let rest = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
                let time = DateTime::<Utc>::from_timestamp(second, rest).unwrap_or_default();
                let text = if *unit == DAY {
                    time.format("%Y-%m-%d").to_string()
                } else {
                    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
                };
                serde_json::Value::from(text).to_string()
            }
            ColumnKind::Text(dictionary) => {
                let text = usize::try_from(integer).map_or("", |at| dictionary.get(at));
                serde_json::Value::from(text).to_string()
            }
            ColumnKind::Float | ColumnKind::List(_) | ColumnKind::Nested => "null".to_owned(),
        }
    }

    /// Returns `number`, in the integers of the column, as JSON: a number, or a time to the second.
    #[expect(clippy::cast_possible_truncation, reason = "times have no fractions of their unit")]
    pub(super) fn number_json(&self, number: f64) -> String {
        match self.kind {
            ColumnKind::Time(unit) => {
                let second = unit_second(unit);
                self.json_of((number.round() as i128).div_euclid(second) * second)
            }
            ColumnKind::Decimal(scale) => {
                let value = number / 10_f64.powi(i32::try_from(scale).unwrap_or(0));
                serde_json::Value::from(value).to_string()
            }
            _ => serde_json::Value::from(number).to_string(),
        }
    }

    /// Returns the decimal number of `customer` × 10^`scale`. Returns `None` for null, for other types, and
    /// on overflow.
    #[must_use]
    pub fn scaled(&self, customer: usize, scale: u32) -> Option<i128> {
        let ColumnKind::Decimal(own) = self.kind else { return None };
        if self.nulls.contains(customer) {
            return None;
        }
        let value = self.integer(customer);
        match scale.checked_sub(own) {
            Some(up) => value.checked_mul(10_i128.checked_pow(up)?),
            None => Some(value / 10_i128.checked_pow(own - scale)?),
        }
    }

    /// Returns the exact sum over the `members` with a value, and the number of these members.
    #[must_use]
    pub fn sum(&self, members: &Bitmap) -> (Decimal, usize) {
        let scale = if let ColumnKind::Decimal(scale) = self.kind { scale } else { 0 };
        let words = members.words().iter().zip(self.nulls.words()).map(|(member, null)| member & !null);
        // Sixty-four narrow integers cannot overflow 64 bits, in which sums take a fraction of the time.
        let (sum, count) = match &self.values {
            ColumnValues::None | ColumnValues::Float(_) => (0, 0),
            ColumnValues::I8(values) => sum_by_word::<_, i64>(values, words),
            ColumnValues::I16(values) => sum_by_word::<_, i64>(values, words),
            ColumnValues::I32(values) => sum_by_word::<_, i64>(values, words),
            ColumnValues::I64(values) => sum_by_word::<_, i128>(values, words),
            ColumnValues::I128(values) => sum_by_word::<_, i128>(values, words),
        };
        (Decimal::new(sum, scale), count)
    }
}

/// Returns the number of units of `unit` nanoseconds in a second; 1 for longer units.
fn unit_second(unit: i128) -> i128 {
    (1_000_000_000 / unit).max(1)
}

/// Returns the sum of the `values` whose bits are set in `words`, and their number. `S` holds the sum of 64
/// values.
fn sum_by_word<T, S>(values: &[T], words: impl Iterator<Item = u64>) -> (i128, usize)
where
    T: Copy,
    S: From<T> + Sum + Into<i128>,
{
    let (mut sum, mut count) = (0, 0);
    for (word, values) in words.zip(values.chunks(64)) {
        count += word.count_ones() as usize;
        let of_word: S = match word {
            u64::MAX => values.iter().map(|value| S::from(*value)).sum(),
            word => bits(word).map(|bit| S::from(values[bit])).sum(),
        };
        sum += of_word.into();
    }
    (sum, count)
}
