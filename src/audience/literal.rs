//! Literals of expressions: text, exact decimal numbers, booleans, times.

use std::fmt;

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};

/// A literal value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Literal {
    /// Text in quotes, or a bare word.
    Text(String),
    /// An exact decimal number.
    Number(Decimal),
    /// `true` or `false`.
    Boolean(bool),
    /// A time in RFC 3339, or a date, which stands for its midnight in UTC.
    Time(DateTime<Utc>),
    /// A time before the as-of time of the snapshot.
    Ago(Ago),
}

/// A time before the as-of time of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ago {
    count: u32,
    unit: AgoUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum AgoUnit {
    Hours,
    Days,
    Weeks,
    Months,
    Years,
}

/// Units with their symbols and their names.
const UNITS: [(AgoUnit, &str, &str); 5] = [
    (AgoUnit::Hours, "h", "hour"),
    (AgoUnit::Days, "d", "day"),
    (AgoUnit::Weeks, "w", "week"),
    (AgoUnit::Months, "mo", "month"),
    (AgoUnit::Years, "y", "year"),
];

impl Ago {
    /// Parses a text such as `-30d`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('-')?;
        let (count, symbol) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let (unit, ..) = UNITS.into_iter().find(|(_, known, _)| symbol.eq_ignore_ascii_case(known))?;
        Some(Self { count: count.parse().ok()?, unit })
    }

    /// Returns the time of `count` units such as `days`.
    pub(super) fn of(count: &str, unit: &str) -> Option<Self> {
        let unit = unit.to_ascii_lowercase();
        let singular = unit.strip_suffix('s').unwrap_or(&unit);
        let (unit, ..) = UNITS.into_iter().find(|(.., name)| singular == *name)?;
        Some(Self { count: count.parse().ok()?, unit })
    }

    /// Returns the time before `as_of`; `None` if that is out of the calendar's range.
    pub(super) fn before(self, as_of: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let count = i64::from(self.count);
        let time = match self.unit {
            AgoUnit::Hours => as_of.checked_sub_signed(TimeDelta::try_hours(count)?),
            AgoUnit::Days => as_of.checked_sub_signed(TimeDelta::try_days(count)?),
            AgoUnit::Weeks => as_of.checked_sub_signed(TimeDelta::try_weeks(count)?),
            AgoUnit::Months => as_of.checked_sub_months(Months::new(self.count)),
            AgoUnit::Years => as_of.checked_sub_months(Months::new(self.count.checked_mul(12)?)),
        }?;
        if is_representable(time) { Some(time) } else { None }
    }
}

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbol = UNITS.iter().find(|(unit, ..)| *unit == self.unit).map_or("", |(_, symbol, _)| symbol);
        write!(f, "-{}{symbol}", self.count)
    }
}

/// An exact decimal number: `mantissa` / 10^`scale`, without trailing zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

/// Greatest number of digits.
const MAX_DIGITS: u32 = 38;

impl Decimal {
    /// Creates the number `mantissa` / 10^`scale`.
    #[must_use]
    pub fn new(mut mantissa: i128, mut scale: u32) -> Self {
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self { mantissa, scale }
    }

    /// Parses a number such as `-12.5` or `1e6`. Returns `None` for other texts and for more than 38 digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = whole.bytes().chain(fraction.bytes());
        if whole.is_empty() && fraction.is_empty() || !digits.clone().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let mut mantissa = 0_i128;
        for digit in digits {
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        while mantissa != 0 && scale < 0 {
            mantissa = mantissa.checked_mul(10)?;
            scale += 1;
        }
        let number =
            Self::new(if negative { -mantissa } else { mantissa }, u32::try_from(scale).unwrap_or(0));
        let fits = number.scale <= MAX_DIGITS && number.mantissa.unsigned_abs() < 10_u128.pow(MAX_DIGITS);
        if fits { Some(number) } else { None }
    }

    /// Returns the greatest integer not above the number × 10^`scale`, and whether both are equal. Returns
    /// `None` on overflow, in the direction of the number's sign.
    pub(super) fn in_units(self, scale: u32) -> Option<(i128, bool)> {
        if let Some(up) = scale.checked_sub(self.scale) {
            return Some((self.mantissa.checked_mul(10_i128.checked_pow(up)?)?, true));
        }
        let unit = 10_i128.checked_pow(self.scale - scale)?;
        Some((self.mantissa.div_euclid(unit), self.mantissa.rem_euclid(unit) == 0))
    }

    /// Checks whether the number is below zero.
    pub(super) fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// Returns the nearest floating-point number.
    pub(super) fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs().to_string();
        let scale = usize::try_from(self.scale).unwrap_or(0);
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

/// Parses a date or a time in RFC 3339.
pub(super) fn time(text: &str) -> Option<DateTime<Utc>> {
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let date = if text.len() == 10 { NaiveDate::parse_from_str(text, "%Y-%m-%d").ok() } else { None };
    let time = match date {
        Some(date) => midnight(date),
        None => DateTime::parse_from_rfc3339(text).ok()?.to_utc(),
    };
    // An offset can move a time out of the range.
    if is_representable(time) { Some(time) } else { None }
}

/// Checks whether RFC 3339 can represent the year of `time`.
fn is_representable(time: DateTime<Utc>) -> bool {
    (0..=9_999).contains(&time.year())
}

impl Literal {
    /// Returns the size in memory beyond the value itself, in bytes.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Text(text) = self { text.capacity() } else { 0 }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => {
                f.write_str("\"")?;
                for c in text.chars() {
                    if matches!(c, '"' | '\\') {
                        f.write_str("\\")?;
                    }
                    write!(f, "{c}")?;
                }
                f.write_str("\"")
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Ago(ago) => write!(f, "{ago}"),
            Self::Time(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}
