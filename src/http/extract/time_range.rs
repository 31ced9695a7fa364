//! Time ranges in queries: `from`, `to`, and the number of snapshots between them.

use std::ops::Range;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use super::query::limit;
use crate::{http::Problem, serving::Timeline, snapshot::rfc3339};

/// The greatest number of snapshots in an answer.
const MAX_SNAPSHOTS: usize = 100;
/// The number of snapshots in an answer unless the query says otherwise.
const DEFAULT_SNAPSHOTS: usize = 30;

/// The instant of a day that a date stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DayEnd {
    First,
    Last,
}

/// Reads an instant (RFC 3339), or a date in UTC, which is its first or its last instant.
pub(crate) fn instant(text: &str, end: DayEnd) -> Option<DateTime<Utc>> {
    let first = rfc3339::instant(text)?;
    if end == DayEnd::Last && text.parse::<NaiveDate>().is_ok() {
        first.checked_add_signed(TimeDelta::days(1) - TimeDelta::microseconds(1))
    } else {
        Some(first)
    }
}

/// A time range.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TimeRange {
    /// Earliest `as_of`: a time (RFC 3339) or a date.
    #[param(example = "2011-06-01")]
    pub(crate) from: Option<String>,
    /// Latest `as_of`: a time (RFC 3339) or a date, which includes the whole day.
    #[param(example = "2011-12-09")]
    pub(crate) to: Option<String>,
    /// Number of snapshots, the newest of the range; 1 to 100, by default 30.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, example = 30)]
    pub(crate) limit: Option<String>,
}

impl TimeRange {
    /// Returns the places in `timeline` of the newest `limit` snapshots of the range.
    pub(crate) fn places(&self, timeline: &Timeline) -> Result<Range<usize>, Problem> {
        let from = bound("from", self.from.as_deref(), DayEnd::First)?;
        let to = bound("to", self.to.as_deref(), DayEnd::Last)?;
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(Problem::bad_parameter("`from` must not be later than `to`"));
        }
        let limit = limit(self.limit.as_deref(), DEFAULT_SNAPSHOTS, MAX_SNAPSHOTS)?;
        let range = timeline.between(from, to);
        Ok(range.start.max(range.end.saturating_sub(limit))..range.end)
    }
}

fn bound(name: &str, text: Option<&str>, end: DayEnd) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let time = instant(text, end);
    time.map(Some)
        .ok_or_else(|| Problem::bad_parameter(format!("`{name}` must be a time (RFC 3339) or a date")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_first_or_last_instant_of_day() {
        let text = |text, end| instant(text, end).map(|time| time.to_rfc3339());
        assert_eq!(text("2011-12-09", DayEnd::First).as_deref(), Some("2011-12-09T00:00:00+00:00"));
        assert_eq!(text("2011-12-09", DayEnd::Last).as_deref(), Some("2011-12-09T23:59:59.999999+00:00"));
        assert_eq!(
            text("2011-12-09T14:50:00+02:00", DayEnd::Last).as_deref(),
            Some("2011-12-09T12:50:00+00:00")
        );
        assert!(
            text("+262142-12-31", DayEnd::Last).is_some_and(|last| last.ends_with("23:59:59.999999+00:00"))
        );
        assert_eq!(text("yesterday", DayEnd::Last), None);
    }
}
