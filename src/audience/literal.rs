//! Values in expressions: text, exact numbers, booleans, instants.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, SecondsFormat, Utc};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Literal {
    /// In quotes, or a bare word.
    Text(String),
    /// Exact.
    Number(Decimal),
    /// `true` or `false`.
    Boolean(bool),
    /// RFC 3339, or a date, which means its midnight in UTC.
    Time(DateTime<Utc>),
}

/// An exact number: `mantissa` / 10^`scale`, without trailing zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

/// The digits that a number may have.
const MAX_DIGITS: u32 = 38;

impl Decimal {
    /// `mantissa` / 10^`scale`.
    #[must_use]
    pub fn new(mut mantissa: i128, mut scale: u32) -> Self {
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self { mantissa, scale }
    }

    /// A number such as `-12.5` or `1e6`; nothing where the text is none, or has more than 38 digits.
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
        fits.then_some(number)
    }

    /// How often `unit` / 10^`scale` fits into the number, and whether it does so without a rest: the whole number below it, and
    /// whether it is that. Nothing where that is beyond all numbers, which is on the side of its sign.
    pub(super) fn in_units(self, scale: u32) -> Option<(i128, bool)> {
        if let Some(up) = scale.checked_sub(self.scale) {
            return Some((self.mantissa.checked_mul(10_i128.checked_pow(up)?)?, true));
        }
        let unit = 10_i128.checked_pow(self.scale - scale)?;
        Some((self.mantissa.div_euclid(unit), self.mantissa.rem_euclid(unit) == 0))
    }

    /// Whether it is below zero.
    pub(super) fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The nearest number of binary floating point.
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
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

/// A date, or a time in RFC 3339.
pub(super) fn time(text: &str) -> Option<DateTime<Utc>> {
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10);
    let time = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let time = date().map(|date| date.and_time(NaiveTime::MIN).and_utc()).or_else(time);
    // An offset can carry a time out of the years that RFC 3339 can write.
    time.filter(|time| (0..=9_999).contains(&time.year()))
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
            Self::Time(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}
