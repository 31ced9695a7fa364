//! The values of raw fields: ids, numbers and times, from text to what the staging keeps. Pure.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike};
use chrono_tz::Tz;

use crate::feature::{InvalidId, check_id};

/// `text` without the blanks around it; as `str::trim`, and at once for what has none.
pub(crate) fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        [only] if only.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// A customer's id as raw data writes it: trimmed, and of `17850.0` (digits, point, zeros) the digits. Nothing where it is empty.
///
/// # Errors
/// What keeps the text from being an id.
pub(crate) fn customer_id(text: &str) -> Result<Option<&str>, InvalidId> {
    match check_id(text) {
        Ok(id) => Ok(Some(whole_digits(id).unwrap_or(id))),
        Err(InvalidId::Empty) => Ok(None),
        Err(other) => Err(other),
    }
}

/// The digits of `17850.0`.
fn whole_digits(text: &str) -> Option<&str> {
    let (whole, zeros) = text.split_once('.')?;
    let digits = !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit());
    (digits && !zeros.is_empty() && zeros.bytes().all(|b| b == b'0')).then_some(whole)
}

/// A whole number; `6.0` is 6.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = trimmed(text);
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    whole_digits(digits)?.parse::<i64>().ok().map(|number| sign * number)
}

/// The digits behind the point of a price.
pub(crate) const PRICE_SCALE: i8 = 4;
/// All digits of a price.
pub(crate) const PRICE_DIGITS: u8 = 18;

/// A DECIMAL(18,4) in ten-thousandths: nothing where the text is no plain decimal number or has more digits.
pub(crate) fn price(text: &str) -> Option<i64> {
    const LIMIT: i64 = 10_i64.pow(PRICE_DIGITS as u32);
    let bytes = trimmed(text).as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let (mut value, mut scale, mut seen_point, mut seen_digit) = (0_i64, 0, false, false);
    for byte in digits {
        match byte {
            b'.' if !seen_point => seen_point = true,
            b'0'..=b'9' if seen_point && scale == PRICE_SCALE => {
                if *byte != b'0' {
                    return None;
                }
            }
            b'0'..=b'9' => {
                seen_digit = true;
                scale += i8::from(seen_point);
                value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            }
            _ => return None,
        }
    }
    for _ in scale..PRICE_SCALE {
        value = value.checked_mul(10)?;
    }
    (seen_digit && value < LIMIT).then_some(if negative { -value } else { value })
}

/// What `text` looks like: letters as `a` or `A`, digits as `9`. It tells an operator what is wrong with a value without the value, which may be
/// personal whatever its column is called, since a line may be cut wrongly.
pub(crate) fn form(text: &str) -> String {
    let sign = |c: char| match c {
        _ if c.is_uppercase() => 'A',
        _ if c.is_alphabetic() => 'a',
        _ if c.is_numeric() => '9',
        _ if c.is_ascii_graphic() || c == ' ' => c,
        _ => '?',
    };
    text.chars().take(40).map(sign).collect()
}

/// How the times of a table are written.
#[derive(Debug, Clone)]
pub(crate) struct TimeRule {
    /// The zone of times that name none.
    pub(crate) zone: Tz,
    /// A `strftime` format, tried before the known ones.
    pub(crate) format: Option<String>,
}

impl TimeRule {
    /// Microseconds since 1970 in UTC of an ISO 8601 date or time, of epoch seconds or milliseconds, or of the rule's format.
    pub(crate) fn parse(&self, text: &str) -> Option<i64> {
        let text = trimmed(text);
        if let Some(format) = &self.format {
            return self.parse_format(text, format);
        }
        if let Some((local, offset)) = iso(text.as_bytes()) {
            return match offset {
                Some(seconds) => local.checked_sub(i64::from(seconds) * 1_000_000),
                None => self.to_utc(local),
            };
        }
        epoch(text)
    }

    fn parse_format(&self, text: &str, format: &str) -> Option<i64> {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.timestamp_micros());
        }
        let local = NaiveDateTime::parse_from_str(text, format)
            .or_else(|_| NaiveDate::parse_from_str(text, format).map(|date| date.and_time(NaiveTime::MIN)));
        self.to_utc(local.ok()?.and_utc().timestamp_micros())
    }

    /// A time of the zone's clocks in UTC: the earlier of two, and one that the clocks skipped by the offset before the gap.
    fn to_utc(&self, local: i64) -> Option<i64> {
        if self.zone == Tz::UTC {
            return Some(local);
        }
        let naive = DateTime::from_timestamp_micros(local)?.naive_utc();
        let offset = match self.zone.offset_from_local_datetime(&naive).earliest() {
            Some(offset) => offset,
            None => self.zone.offset_from_utc_datetime(&(naive - chrono::TimeDelta::hours(12))),
        };
        local.checked_sub(i64::from(offset.fix().local_minus_utc()) * 1_000_000)
    }

    /// Weekday (1 is Monday) and hour of the zone's clocks at `micros`.
    pub(crate) fn weekday_and_hour(&self, micros: i64) -> (i32, i32) {
        if self.zone == Tz::UTC {
            let days = micros.div_euclid(86_400_000_000);
            let hour = micros.rem_euclid(86_400_000_000) / 3_600_000_000;
            // 1970-01-01 was a Thursday.
            return (i32::try_from((days + 3).rem_euclid(7)).unwrap_or(0) + 1, i32::try_from(hour).unwrap_or(0));
        }
        let Some(utc) = DateTime::from_timestamp_micros(micros) else { return (1, 0) };
        let local = utc.with_timezone(&self.zone);
        let weekday = i32::try_from(local.weekday().number_from_monday()).unwrap_or(1);
        (weekday, i32::try_from(local.hour()).unwrap_or(0))
    }
}

/// `2010-12-01`, `2010-12-01 08:26`, `2010-12-01T08:26:00.5Z`, `…+01:00`: microseconds by the clock it names, and the
/// offset from UTC in seconds if it names one.
fn iso(text: &[u8]) -> Option<(i64, Option<i32>)> {
    let number = |from: usize, to: usize| -> Option<u32> {
        let digits = text.get(from..to)?;
        digits.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
    };
    if text.get(4) != Some(&b'-') || text.get(7) != Some(&b'-') {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 7)?, number(8, 10)?)?;
    let days = i64::from(date.num_days_from_ce()) - 719_163;
    if text.len() == 10 {
        return Some((days * 86_400_000_000, None));
    }
    if !matches!(text[10], b' ' | b'T' | b't') || text.get(13) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    let (mut second, mut micros, mut at) = (0, 0, 16);
    if text.get(at) == Some(&b':') {
        second = number(17, 19)?;
        at = 19;
        if text.get(at) == Some(&b'.') {
            let digits = text[20..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            let kept = digits.min(6);
            micros = number(20, 20 + kept)? * 10_u32.pow(u32::try_from(6 - kept).ok()?);
            at = 20 + digits;
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second);
    let local = seconds * 1_000_000 + i64::from(micros);
    let rest = text.get(at..)?.trim_ascii_start();
    Some((local, offset(rest)?))
}

/// No offset, `Z`, `UTC`, `+01:00`, `+0100` or `+01`.
fn offset(text: &[u8]) -> Option<Option<i32>> {
    let (sign, digits) = match text {
        [] => return Some(None),
        b"Z" | b"z" | b"UTC" => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let two = |at: usize| -> Option<i32> {
        let pair = digits.get(at..at + 2)?;
        pair.iter().all(u8::is_ascii_digit).then(|| i32::from(pair[0] - b'0') * 10 + i32::from(pair[1] - b'0'))
    };
    let minutes = match digits.len() {
        2 => 0,
        4 => two(2)?,
        5 if digits[2] == b':' => two(3)?,
        _ => return None,
    };
    Some(Some(sign * (two(0)? * 3_600 + minutes * 60)))
}

/// Epoch seconds (10 digits) or milliseconds (13 digits).
fn epoch(text: &str) -> Option<i64> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i64 = text.parse().ok()?;
    match text.len() {
        9..=10 => number.checked_mul(1_000_000),
        12..=13 => number.checked_mul(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_spreadsheets_lose_their_zeros_and_keep_the_leading_ones() {
        assert_eq!(customer_id(" 17850.0 "), Ok(Some("17850")));
        assert_eq!(customer_id("0017850.00"), Ok(Some("0017850")));
        assert_eq!(customer_id("17850.5"), Ok(Some("17850.5")));
        assert_eq!(customer_id("A.0"), Ok(Some("A.0")));
        assert_eq!(customer_id("  "), Ok(None));
        assert!(customer_id("a\u{0}").is_err());
    }

    #[test]
    fn prices_are_exact_or_nothing() {
        assert_eq!(price("2.55"), Some(25_500));
        assert_eq!(price("-11062.06"), Some(-110_620_600));
        assert_eq!(price("1.23450000"), Some(12_345));
        assert_eq!(price(".5"), Some(5_000));
        assert_eq!(price("99999999999999.9999"), Some(999_999_999_999_999_999));
        for text in ["1.23451", "100000000000000", "NaN", "inf", "", ".", "1e3", "1,5", "--1", "1.2.3"] {
            assert_eq!(price(text), None, "{text}");
        }
        assert_eq!((integer("6"), integer("-6.0"), integer("1.5"), integer("x")), (Some(6), Some(-6), None, None));
    }

    #[test]
    fn times_in_several_forms_are_the_same_instant() {
        let utc = TimeRule { zone: Tz::UTC, format: None };
        let at = 1_291_191_960_000_000;
        for text in [
            "2010-12-01 08:26:00",
            "2010-12-01T08:26",
            "2010-12-01T09:26:00+01:00",
            "2010-12-01T08:26:00.000Z",
            "1291191960",
            "1291191960000",
        ] {
            assert_eq!(utc.parse(text), Some(at), "{text}");
        }
        assert_eq!(utc.parse("2010-12-01T08:26:00.123456789Z"), Some(at + 123_456));
        let british = TimeRule { zone: Tz::UTC, format: Some("%d/%m/%Y %H:%M".to_owned()) };
        assert_eq!(british.parse("01/12/2010 08:26"), Some(at));
        for text in [
            "2010-13-01",
            "2010-02-30 08:00",
            "01/12/2010 08:26",
            "2010-12-01 25:00",
            "soon",
            "",
            "2010-12-01 08:26:00 CEST",
        ] {
            assert_eq!(utc.parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_form_tells_no_value() {
        assert_eq!(form("Ada.L@example.com"), "Aaa.A@aaaaaaa.aaa");
        assert_eq!(form("+49 151 1234-5"), "+99 999 9999-9");
        assert_eq!(form("Zoë\t٣Ж"), "Aaa?9A");
        assert_eq!(form(&"1".repeat(50)).len(), 40);
    }

    #[test]
    fn a_zone_moves_times_without_one() {
        let berlin = TimeRule { zone: Tz::Europe__Berlin, format: None };
        let utc = TimeRule { zone: Tz::UTC, format: None };
        assert_eq!(berlin.parse("2024-07-01 12:00"), utc.parse("2024-07-01 10:00"));
        assert_eq!(berlin.parse("2024-07-01 12:00Z"), utc.parse("2024-07-01 12:00"));
        // The clocks skipped 02:30 and showed 02:30 twice.
        assert_eq!(berlin.parse("2024-03-31 02:30"), utc.parse("2024-03-31 01:30"));
        assert_eq!(berlin.parse("2024-10-27 02:30"), utc.parse("2024-10-27 00:30"));
        let midnight = utc.parse("2024-07-01 23:30").expect("a time");
        assert_eq!(utc.weekday_and_hour(midnight), (1, 23));
        assert_eq!(berlin.weekday_and_hour(midnight), (2, 1));
    }
}
