//! Configured formats of times. Pure functions.

use chrono::{
    NaiveTime,
    format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse},
};

use super::value::decimal;

/// A parsed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParsedTime {
    /// Local time of the rule's zone, in microseconds.
    Local(i64),
    /// Microseconds since 1970 in UTC.
    Instant(i64),
}

/// A format of times.
#[derive(Debug, Clone)]
pub(crate) struct TimeFormat {
    /// Configured format.
    pub(crate) text: String,
    form: TimeForm,
}

/// The form of times.
#[derive(Debug, Clone)]
enum TimeForm {
    /// A `strftime` format.
    Items {
        items: Vec<Item<'static>>,
        /// Whether the format ends with a literal that stands for UTC.
        utc: bool,
    },
    /// A number since 1970, of which this many decimal digits are whole seconds to microseconds.
    Epoch(i32),
    /// The serial number of spreadsheets: days since 1899-12-30.
    Excel,
}

/// Names of formats that are numbers.
const NUMBERS: [(&str, TimeForm); 5] = [
    ("epoch_s", TimeForm::Epoch(6)),
    ("epoch_ms", TimeForm::Epoch(3)),
    ("epoch_us", TimeForm::Epoch(0)),
    ("epoch_ns", TimeForm::Epoch(-3)),
    ("excel", TimeForm::Excel),
];
/// Serial numbers of 1900-03-01, before which spreadsheets disagree, and of the year 10000.
const SERIALS: std::ops::Range<f64> = 61.0..2_958_466.0;
/// Serial number of 1970-01-01.
const SERIAL_1970: f64 = 25_569.0;

/// Returns the local time of the serial number `text`, in microseconds. Spreadsheets round to milliseconds.
fn excel(text: &str) -> Option<i64> {
    let serial: f64 = text.parse().ok().filter(|serial| SERIALS.contains(serial))?;
    let milliseconds = ((serial - SERIAL_1970) * 86_400_000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "serial numbers are bounded")]
    Some(milliseconds as i64 * 1_000)
}

/// Returns the microseconds since 1970 that `text` says, a number × 10^`scale` microseconds.
fn epoch_number(text: &str, scale: i32) -> Option<i64> {
    let number = if scale < 0 {
        decimal(text, 0)?.div_euclid(10_i128.pow(scale.unsigned_abs()))
    } else {
        decimal(text, scale)?
    };
    i64::try_from(number).ok()
}

/// Returns whether the last word of `literal` is a name of UTC. Other names, such as `MEZ`, are ambiguous.
fn names_utc(literal: &str) -> bool {
    let words = literal.trim_end_matches(|c: char| !c.is_alphanumeric());
    let last = words.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    ["Z", "UTC", "GMT", "UT"].iter().any(|name| name.eq_ignore_ascii_case(last))
}

impl TimeFormat {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Fails for an invalid format and for specifiers that cannot be parsed reliably.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if let Some((_, form)) = NUMBERS.iter().find(|(name, _)| *name == text) {
            return Ok(Self { text: text.to_owned(), form: form.clone() });
        }
        let items = StrftimeItems::new(text)
            .parse_to_owned()
            .map_err(|_| format!("`{text}` is not a valid strftime format"))?;
        if items.iter().any(|item| matches!(item, Item::Fixed(Fixed::TimezoneName))) {
            return Err(format!(
                "`{text}` has %Z: zone names such as EST are ambiguous and cannot be parsed; use %z for \
                 offsets, or remove the name from the data and set `zone` in [raw]"
            ));
        }
        if items.iter().any(|item| matches!(item, Item::Numeric(Numeric::Nanosecond, _))) {
            return Err(format!(
                "`{text}` has %f, which means nanoseconds; use %.f for a fraction of a second"
            ));
        }
        let utc = match items.last() {
            Some(Item::Literal(end)) => names_utc(end),
            Some(Item::OwnedLiteral(end)) => names_utc(end),
            _ => false,
        };
        Ok(Self { text: text.to_owned(), form: TimeForm::Items { items, utc } })
    }

    /// Parses `text`: an instant if the format has an offset or an epoch, else a local time. Without minutes,
    /// the time is the full hour; without a time, midnight.
    pub(super) fn read(&self, text: &str) -> Option<ParsedTime> {
        let (items, utc) = match &self.form {
            TimeForm::Items { items, utc } => (items, *utc),
            TimeForm::Epoch(scale) => return epoch_number(text, *scale).map(ParsedTime::Instant),
            TimeForm::Excel => return excel(text).map(ParsedTime::Local),
        };
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, items.iter()).ok()?;
        if parsed.hour_mod_12().is_some() && parsed.minute().is_none() {
            parsed.set_minute(0).ok()?;
        }
        if (parsed.timestamp().is_some() || utc) && parsed.offset().is_none() {
            parsed.set_offset(0).ok()?;
        }
        let has_time =
            parsed.hour_mod_12().is_some() || parsed.hour_div_12().is_some() || parsed.minute().is_some();
        if parsed.offset().is_some() {
            if !has_time && parsed.timestamp().is_none() {
                parsed.set_hour(0).and_then(|()| parsed.set_minute(0)).ok()?;
            }
            return Some(ParsedTime::Instant(parsed.to_datetime().ok()?.timestamp_micros()));
        }
        let time = if has_time { parsed.to_naive_time().ok()? } else { NaiveTime::MIN };
        Some(ParsedTime::Local(parsed.to_naive_date().ok()?.and_time(time).and_utc().timestamp_micros()))
    }
}
