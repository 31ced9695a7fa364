//! Instants to measure forecasts at and to learn from, and how many days they look ahead.

use super::summary::DAY;

/// Greatest number of days that a forecast is learned from or measured on: a year.
const MOST_DAYS: i64 = 365;
/// Least number of days of the history before a measured instant.
pub(super) const MIN_HISTORY: i64 = 60;
/// Number of instants to learn from.
const LEARNED: i64 = 4;

/// An instant at which forecasts are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MeasuredTime {
    /// Microseconds since 1970.
    pub(super) at: i64,
    /// Days that the forecast looks ahead.
    pub(super) days: i64,
}

/// Returns the instants to measure at, oldest first; none if the history is too short.
///
/// The latest one looks ahead as many days as leave a year, or two thirds of the history, before it. The
/// others lie half of their days apart.
pub(super) fn measured(start: i64, as_of: i64) -> Vec<MeasuredTime> {
    let history = (as_of - start) / DAY;
    let latest = (history / 3).max(history - MOST_DAYS).min(MOST_DAYS);
    let before = history - latest;
    if before < MIN_HISTORY {
        return Vec::new();
    }
    let days = latest.min(before / 2);
    let earlier = [2, 1].map(|back| MeasuredTime { at: as_of - (latest + days * back / 2) * DAY, days });
    earlier.into_iter().chain([MeasuredTime { at: as_of - latest * DAY, days: latest }]).collect()
}

/// The instants to learn from, oldest first, and the days after them whose outcome is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LearningTimes {
    pub(super) days: i64,
    pub(super) at: Vec<i64>,
}

/// Returns the instants to learn from what was known at `until`: a third of the history is the outcome, at
/// most a year, and at least as much lies before each instant.
pub(super) fn learning(start: i64, until: i64) -> LearningTimes {
    let history = (until - start) / DAY;
    let days = (history / 3).clamp(1, MOST_DAYS);
    let step = (days / 3).max(1);
    let back = (0..LEARNED).rev().map(|number| days + number * step);
    let at = back.filter(|back| history - back >= days).map(|back| until - back * DAY).collect();
    LearningTimes { days, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the days before the end, and the days ahead, of each measured instant.
    fn days(history: i64) -> Vec<(i64, i64)> {
        let end = history * DAY;
        measured(0, end).into_iter().map(|time| ((end - time.at) / DAY, time.days)).collect()
    }

    #[test]
    fn a_year_is_measured_if_a_year_lies_before_it() {
        assert_eq!(days(2_000), [(730, 365), (547, 365), (365, 365)]);
        assert_eq!(days(730), [(547, 182), (456, 182), (365, 365)]);
        assert_eq!(days(700), [(517, 182), (426, 182), (335, 335)]);
        assert_eq!(days(373), [(248, 124), (186, 124), (124, 124)]);
        assert_eq!(days(90), [(60, 30), (45, 30), (30, 30)]);
        assert!(days(80).is_empty());
    }

    #[test]
    fn outcomes_end_before_the_instant_of_learning() {
        for history in [3, 60, 373, 1_095, 4_000] {
            let until = history * DAY;
            let LearningTimes { days, at } = learning(0, until);
            assert!(!at.is_empty() && at.is_sorted(), "{history}");
            assert!(at.iter().all(|at| at + days * DAY <= until && *at >= days * DAY), "{history}: {at:?}");
            assert_eq!(at.last(), Some(&(until - days * DAY)), "{history}");
        }
        assert_eq!(learning(0, 2_000 * DAY).days, 365);
    }
}
