//! Spans of time in queries: `from`, `to`, and how many snapshots of it.

use std::ops::Range;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::Problem;
use crate::{serving::Timeline, snapshot::rfc3339};

/// The most snapshots of an answer.
pub(super) const MOST: usize = 100;

/// Which end of a span a date stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

/// An instant (RFC 3339), or a date, which is its first instant or its last.
pub(super) fn instant(text: &str, end: End) -> Option<DateTime<Utc>> {
    let first = rfc3339::instant(text)?;
    let is_date = end == End::Last && text.parse::<NaiveDate>().is_ok();
    if is_date {
        first.checked_add_signed(TimeDelta::days(1) - TimeDelta::microseconds(1))
    } else {
        Some(first)
    }
}

/// The places of the snapshots of `timeline` that are wanted: the newest `limit` of those from `from` to `to`.
pub(super) fn places(
    timeline: &Timeline,
    from: Option<&str>,
    to: Option<&str>,
    limit: Option<&str>,
) -> Result<Range<usize>, Problem> {
    let time = |name: &str, text: Option<&str>, end: End| {
        let bad = || Problem::bad_parameter(format!("`{name}` must be a time (RFC 3339) or a date"));
        text.map(|text| instant(text, end).ok_or_else(bad)).transpose()
    };
    let (from, to) = (time("from", from, End::First)?, time("to", to, End::Last)?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Problem::bad_parameter("`from` must not be later than `to`"));
    }
    let bad = || Problem::bad_parameter(format!("`limit` must be a number from 1 to {MOST}"));
    let limit = limit.map_or(Ok(30), |text| {
        text.parse().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(bad)
    })?;
    let wanted = timeline.between(from, to);
    Ok(wanted.start.max(wanted.end.saturating_sub(limit))..wanted.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_first_instant_or_its_last() {
        let text = |text, end| instant(text, end).map(|time| time.to_rfc3339());
        assert_eq!(text("2011-12-09", End::First).as_deref(), Some("2011-12-09T00:00:00+00:00"));
        assert_eq!(text("2011-12-09", End::Last).as_deref(), Some("2011-12-09T23:59:59.999999+00:00"));
        assert_eq!(
            text("2011-12-09T14:50:00+02:00", End::Last).as_deref(),
            Some("2011-12-09T12:50:00+00:00")
        );
        assert!(text("+262142-12-31", End::Last).is_some_and(|last| last.ends_with("23:59:59.999999+00:00")));
        assert_eq!(text("yesterday", End::Last), None);
    }
}
