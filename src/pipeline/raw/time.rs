//! Parsers of times and dates of raw data. Pure functions: the current time is part of the limits.

use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone, Timelike};
use chrono_tz::Tz;

use super::{
    time_format::{ParsedTime, TimeFormat},
    value::trimmed,
};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Time formats of a table, and the limits for times of events.
#[derive(Debug, Clone)]
pub(crate) struct TimeRule {
    /// Zone of times without an offset.
    pub(crate) zone: Tz,
    /// `strftime` formats, tried in this order before the built-in formats.
    pub(crate) formats: Vec<TimeFormat>,
    /// Earliest time of an event, in microseconds.
    pub(crate) oldest: i64,
    /// Latest time of an event, in microseconds.
    pub(crate) newest: i64,
}

/// Reason why a text is not a valid time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTime {
    /// No known format.
    Form,
    /// Digits without separators, which may be a date or an epoch. Holds the format of the date.
    Digits(&'static str),
    /// Outside the limits for events.
    Range {
        /// Year of the time.
        year: i32,
        /// Limit that is exceeded, in microseconds.
        limit: i64,
    },
}

impl TimeRule {
    /// Parses the time of an event, in microseconds since 1970. Accepts the configured formats (unless
    /// `typed`), ISO 8601, and epoch seconds or milliseconds.
    ///
    /// # Errors
    /// Fails if the text is not a time, or is outside the limits for events.
    pub(crate) fn event(&self, text: &str, typed: bool) -> Result<i64, NotTime> {
        let micros = self.instant(text, typed)?;
        if (self.oldest..=self.newest).contains(&micros) {
            return Ok(micros);
        }
        let year = DateTime::from_timestamp_micros(micros).map_or(i32::MAX, |time| time.year());
        Err(NotTime::Range { year, limit: if micros < self.oldest { self.oldest } else { self.newest } })
    }

    /// Parses a time that is not an event, of any year from 1 to 9999.
    ///
    /// # Errors
    /// Fails if the text is not a time.
    pub(crate) fn instant(&self, text: &str, typed: bool) -> Result<i64, NotTime> {
        match self.written(trimmed(text), typed)? {
            ParsedTime::Instant(micros) => Ok(micros),
            ParsedTime::Local(local) => {
                self.to_utc(local).filter(|micros| (YEARS.0..YEARS.1).contains(micros)).ok_or(NotTime::Form)
            }
        }
    }

    /// Parses a date, in days since 1970. A date without a time is the same in every zone. An instant has the
    /// date of the rule's zone.
    ///
    /// # Errors
    /// Fails if the text is not a date or a time.
    pub(crate) fn date(&self, text: &str, typed: bool) -> Result<i32, NotTime> {
        let local = match self.written(trimmed(text), typed)? {
            ParsedTime::Local(local) => local,
            ParsedTime::Instant(micros) => self.to_local(micros).ok_or(NotTime::Form)?,
        };
        i32::try_from(local.div_euclid(DAY)).map_err(|_| NotTime::Form)
    }

    fn written(&self, text: &str, typed: bool) -> Result<ParsedTime, NotTime> {
        let formats = if typed { &[] } else { self.formats.as_slice() };
        let found = formats.iter().find_map(|format| format.read(text));
        let found = found.or_else(|| {
            iso(text.as_bytes()).and_then(|(local, offset)| match offset {
                Some(seconds) => local.checked_sub(i64::from(seconds) * 1_000_000).map(ParsedTime::Instant),
                None => Some(ParsedTime::Local(local)),
            })
        });
        let found = match found {
            Some(found) => found,
            None => epoch(text).map(ParsedTime::Instant)?,
        };
        let (ParsedTime::Local(micros) | ParsedTime::Instant(micros)) = found;
        if (YEARS.0..YEARS.1).contains(&micros) { Ok(found) } else { Err(NotTime::Form) }
    }

    fn to_local(&self, micros: i64) -> Option<i64> {
        let offset =
            self.zone.offset_from_utc_datetime(&DateTime::from_timestamp_micros(micros)?.naive_utc());
        micros.checked_add(i64::from(offset.fix().local_minus_utc()) * 1_000_000)
    }

    /// Converts a local time of the zone to UTC. Of two possible instants, returns the earlier one. A time
    /// that the clocks skip is converted by the offset before the gap.
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

    /// Returns the weekday (1 is Monday) and the hour at `micros` in the zone.
    pub(crate) fn weekday_and_hour(&self, micros: i64) -> (i32, i32) {
        if self.zone == Tz::UTC {
            let days = micros.div_euclid(86_400_000_000);
            let hour = micros.rem_euclid(86_400_000_000) / 3_600_000_000;
            // 1970-01-01 was a Thursday.
            return (
                i32::try_from((days + 3).rem_euclid(7)).unwrap_or(0) + 1,
                i32::try_from(hour).unwrap_or(0),
            );
        }
        let Some(utc) = DateTime::from_timestamp_micros(micros) else { return (1, 0) };
        let local = utc.with_timezone(&self.zone);
        let weekday = i32::try_from(local.weekday().number_from_monday()).unwrap_or(1);
        (weekday, i32::try_from(local.hour()).unwrap_or(0))
    }
}

/// Microseconds at the start of the year 1 and of the year 10000.
const YEARS: (i64, i64) = (-719_162 * DAY, 2_932_897 * DAY);

/// Parses `2010-12-01`, `2010-12-01 08:26`, `2010-12-01T08:26:00.5Z` and `…+01:00`. Returns the local time in
/// microseconds, and the offset from UTC in seconds if there is one.
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

/// Maximum offset of a zone from UTC, in hours.
const MAX_OFFSET_HOURS: i32 = 18;

/// Parses an optional offset: nothing, `Z`, `UTC`, `+01:00`, `+0100` or `+01`.
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
        pair.iter()
            .all(u8::is_ascii_digit)
            .then(|| i32::from(pair[0] - b'0') * 10 + i32::from(pair[1] - b'0'))
    };
    let minutes = match digits.len() {
        2 => 0,
        4 => two(2)?,
        5 if digits[2] == b':' => two(3)?,
        _ => return None,
    };
    let hours = two(0)?;
    (hours <= MAX_OFFSET_HOURS && minutes < 60).then_some(Some(sign * (hours * 3_600 + minutes * 60)))
}

/// Parses epoch seconds (9 or 10 digits) or milliseconds (12 or 13 digits). Fails if the digits may also be a
/// date without separators.
fn epoch(text: &str) -> Result<i64, NotTime> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotTime::Form);
    }
    let digits = text.len();
    let compact = [(8, "%Y%m%d"), (10, "%Y%m%d%H"), (12, "%Y%m%d%H%M"), (14, "%Y%m%d%H%M%S")];
    if let Some((_, format)) = compact.iter().find(|(length, _)| *length == digits)
        && is_compact(text.as_bytes())
    {
        return Err(NotTime::Digits(format));
    }
    let number: i64 = text.parse().map_err(|_| NotTime::Form)?;
    let factor = match digits {
        9..=10 => 1_000_000,
        12..=13 => 1_000,
        _ => return Err(NotTime::Form),
    };
    number.checked_mul(factor).ok_or(NotTime::Form)
}

/// Returns whether the digits are a date with a year from 1900 to 2099, optionally followed by hour, minute
/// and second.
fn is_compact(digits: &[u8]) -> bool {
    let number =
        |from: usize, to: usize| digits[from..to].iter().fold(0, |sum, b| sum * 10 + u32::from(b - b'0'));
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)).unwrap_or(0), number(4, 6), number(6, 8));
    let clock = digits[8..].chunks(2).map(|two| two.iter().fold(0, |sum, b| sum * 10 + u32::from(b - b'0')));
    date.is_some_and(|date| (1900..2100).contains(&date.year()))
        && clock.zip([23, 59, 59]).all(|(part, most)| part <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(zone: Tz, formats: &[&str]) -> TimeRule {
        let formats = formats.iter().map(|format| TimeFormat::new(format).expect("a format")).collect();
        TimeRule { zone, formats, oldest: -25_567 * DAY, newest: 30_000 * DAY }
    }

    /// 2010-12-01T08:26:00Z
    const AT: i64 = 1_291_191_960_000_000;

    #[test]
    fn iso_and_epoch_forms_are_the_same_instant() {
        let utc = rule(Tz::UTC, &[]);
        for text in [
            "2010-12-01 08:26:00",
            "2010-12-01T08:26",
            "2010-12-01T09:26:00+01:00",
            "2010-12-01T08:26:00.000Z",
            "1291191960",
            "1291191960000",
        ] {
            assert_eq!(utc.event(text, false), Ok(AT), "{text}");
        }
        assert_eq!(utc.event("2010-12-01T08:26:00.123456789Z", false), Ok(AT + 123_456));
        for text in [
            "2010-13-01",
            "2010-02-30 08:00",
            "01/12/2010 08:26",
            "2010-12-01 25:00",
            "soon",
            "",
            "2010-12-01 08:26:00 CEST",
            "2010-12-01T08:26:00-99:00",
            "2010-12-01T08:26:00+02:99",
        ] {
            assert_eq!(utc.event(text, false), Err(NotTime::Form), "{text}");
        }
    }

    #[test]
    fn formats_are_tried_in_order_before_iso_and_epoch() {
        let mixed = rule(Tz::UTC, &["%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%s!"]);
        for text in
            ["01/12/2010 08:26", "12/01/2010 08:26:00 AM", "2010-12-01 08:26", "1291191960", "1291191960!"]
        {
            assert_eq!(mixed.event(text, false), Ok(AT), "{text}");
        }
        let east = rule(Tz::Asia__Shanghai, &["%s!", "%d.%m.%Y"]);
        assert_eq!(east.event("1291191960!", false), Ok(AT), "an epoch has no zone");
        assert_eq!(east.event("01.12.2010", false), Ok(1_291_132_800_000_000));
        let dated = rule(Tz::Asia__Shanghai, &["%Y-%m-%dZ"]).event("2010-12-01Z", false);
        assert_eq!(dated, Ok(1_291_161_600_000_000));
        assert!(rule(Tz::America__New_York, &[]).instant("9999-12-31 23:59:59", false).is_err());
        assert_eq!(
            rule(Tz::Asia__Shanghai, &["%Y-%m-%dT%H:%M:%SZ"]).event("2010-12-01T08:26:00Z", false),
            Ok(AT)
        );
        for (format, text) in [
            ("%a, %d %b %Y %H:%M:%S GMT", "Wed, 01 Dec 2010 08:26:00 GMT"),
            ("%d.%m.%Y %H:%M (UTC)", "01.12.2010 08:26 (UTC)"),
            ("%Y-%m-%dT%H:%M:%S.000Z", "2010-12-01T08:26:00.000Z"),
            ("%Y-%m-%dT%H:%M:00Z", "2010-12-01T08:26:00Z"),
            // Names of other zones are as ambiguous as `%Z`, also if they end with Z.
            ("%d.%m.%Y %H:%M MEZ", "01.12.2010 16:26 MEZ"),
        ] {
            assert_eq!(rule(Tz::Asia__Shanghai, &[format]).event(text, false), Ok(AT), "{text}");
        }
        // Configured formats do not apply to typed times.
        let years = rule(Tz::UTC, &["%Y-%d-%m %H:%M:%S"]);
        assert_eq!(years.event("2010-12-01 08:26:00", true), Ok(AT));
        assert_eq!(years.event("2010-01-12 08:26:00", false), Ok(AT));
    }

    #[test]
    fn numbers_are_times_where_configured() {
        for (format, text) in [
            ("epoch_s", "1291191960"),
            ("epoch_s", "1291191960.0"),
            ("epoch_ms", "1291191960000"),
            ("epoch_us", "1291191960000000"),
            ("epoch_us", "1.29119196e15"),
            ("epoch_ns", "1291191960000000000"),
            ("excel", "40513.3513888889"),
        ] {
            assert_eq!(rule(Tz::UTC, &[format]).event(text, false), Ok(AT), "{format} {text}");
        }
        assert_eq!(rule(Tz::UTC, &[]).event("1291191960000000", false), Err(NotTime::Form));
        assert_eq!(rule(Tz::UTC, &["excel"]).date("40513", false), Ok(14_944));
        // Times of spreadsheets have no zone.
        assert_eq!(rule(Tz::Europe__Berlin, &["excel"]).event("40513.5", false), Ok(1_291_201_200_000_000));
        assert_eq!(rule(Tz::UTC, &["excel"]).event("12.5", false), Err(NotTime::Form));
    }

    #[test]
    fn lossy_time_formats_are_rejected() {
        assert!(TimeFormat::new("%Y-%m-%d %H:%M:%S %Z").expect_err("a zone name").contains("%z"));
        assert!(TimeFormat::new("%Y-%Q").is_err());
        assert!(TimeFormat::new("%H:%M:%S.%f").expect_err("nanoseconds").contains("%.f"));
        // Without %p, the half of the day is unknown.
        assert_eq!(rule(Tz::UTC, &["%d/%m/%Y %I:%M"]).event("01/12/2010 08:26", false), Err(NotTime::Form));
    }

    #[test]
    fn digits_that_may_be_a_date_are_not_an_epoch() {
        let utc = rule(Tz::UTC, &[]);
        for (text, format) in [
            ("20111025", "%Y%m%d"),
            ("2011102514", "%Y%m%d%H"),
            ("201110251413", "%Y%m%d%H%M"),
            ("20111025141315", "%Y%m%d%H%M%S"),
        ] {
            assert_eq!(utc.event(text, false), Err(NotTime::Digits(format)));
            assert!(rule(Tz::UTC, &[format]).event(text, false).is_ok(), "{text}");
        }
        assert_eq!(utc.event("978307200", false), Ok(978_307_200_000_000));
        assert_eq!(utc.event("978307200000", false), Ok(978_307_200_000_000));
    }

    #[test]
    fn events_outside_the_limits_are_rejected() {
        let utc = rule(Tz::UTC, &["%d/%m/%Y"]);
        for (text, year) in
            [("0001-01-01", 1), ("9999-12-31", 9999), ("1899-12-31T23:59:59Z", 1899), ("01/01/0011", 11)]
        {
            let found = utc.event(text, false);
            assert!(matches!(found, Err(NotTime::Range { year: y, .. }) if y == year), "{text}: {found:?}");
            assert!(utc.instant(text, false).is_ok(), "{text}");
        }
        assert!(utc.event("1900-01-01", false).is_ok());
        assert_eq!(utc.instant("01/01/12345", false), Err(NotTime::Form));
    }

    #[test]
    fn date_without_time_is_independent_of_zone() {
        let day = 7_425;
        for zone in [Tz::UTC, Tz::Asia__Shanghai, Tz::Europe__Berlin, Tz::America__New_York] {
            assert_eq!(rule(zone, &[]).date("1990-05-01", false), Ok(day), "{zone}");
            assert_eq!(rule(zone, &["%d.%m.%Y"]).date("01.05.1990", false), Ok(day), "{zone}");
        }
        assert_eq!(rule(Tz::Asia__Shanghai, &[]).date("1990-04-30T16:00:00Z", false), Ok(day));
        assert_eq!(rule(Tz::UTC, &[]).date("1990-04-30T16:00:00Z", false), Ok(day - 1));
    }

    #[test]
    fn zone_applies_to_times_without_offset() {
        let (berlin, utc) = (rule(Tz::Europe__Berlin, &[]), rule(Tz::UTC, &[]));
        let at = |rule: &TimeRule, text: &str| rule.event(text, false).expect("a time");
        assert_eq!(at(&berlin, "2024-07-01 12:00"), at(&utc, "2024-07-01 10:00"));
        assert_eq!(at(&berlin, "2024-07-01 12:00Z"), at(&utc, "2024-07-01 12:00"));
        // 02:30 is skipped in spring and occurs twice in autumn.
        assert_eq!(at(&berlin, "2024-03-31 02:30"), at(&utc, "2024-03-31 01:30"));
        assert_eq!(at(&berlin, "2024-10-27 02:30"), at(&utc, "2024-10-27 00:30"));
        let midnight = at(&utc, "2024-07-01 23:30");
        assert_eq!(utc.weekday_and_hour(midnight), (1, 23));
        assert_eq!(berlin.weekday_and_hour(midnight), (2, 1));
    }
}
