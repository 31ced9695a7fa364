//! Calendar of the generated year 2025: months, seasonal demand, and formatting of times.
//!
//! Times are seconds and days since the start of the year. This module does not know customers, products or
//! files.

use chrono::{DateTime, SecondsFormat};

/// Seconds in a day.
pub(super) const DAY: u32 = 86_400;
/// Days in the year.
pub(super) const DAYS: u32 = 365;
/// First second after the year.
pub(super) const END: u32 = DAYS * DAY;
/// First second of the year as a Unix timestamp.
const START: i64 = 1_735_689_600;
/// First day of each month.
const MONTHS: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
/// Demand in each week, as the speed of shop time relative to calendar time.
#[rustfmt::skip]
const SEASON: [f64; 53] = [
    0.95, 0.90, 0.85, 0.80, 0.75, 0.72, 0.72, 0.74, 0.80, 0.87, 0.92, 0.94, 0.96,
    0.98, 1.02, 1.00, 0.98, 1.00, 1.06, 1.02, 1.00, 0.98, 0.97, 0.96, 0.95, 0.93,
    0.91, 0.88, 0.84, 0.80, 0.74, 0.70, 0.70, 0.72, 0.86, 0.96, 1.01, 1.03, 1.04,
    1.06, 1.08, 1.10, 1.14, 1.22, 1.35, 1.50, 1.70, 2.20, 2.00, 1.90, 1.70, 0.95, 0.80,
];

/// Returns the length of the year in shop time, in days.
pub(super) fn shop_time() -> f64 {
    SEASON.iter().sum::<f64>() * 7.0 - SEASON[52] * 6.0
}

/// Returns the day after a wait in shop time, or infinity if that day is after the year.
pub(super) fn later(mut day: f64, mut wait: f64) -> f64 {
    for (week, speed) in SEASON.iter().enumerate().skip(day as usize / 7) {
        let end = (week as f64 + 1.0) * 7.0;
        if wait < (end - day) * speed {
            return day + wait / speed;
        }
        wait -= (end - day) * speed;
        day = end;
    }
    f64::INFINITY
}

/// Returns the month of a time, from 0.
pub(super) fn month(at: u32) -> usize {
    MONTHS[1..].partition_point(|first| first * DAY <= at)
}

/// Returns the first second of a month.
pub(super) fn month_start(month: usize) -> u32 {
    MONTHS[month] * DAY
}

/// Returns the day of the week, 0 for Monday. The year starts on a Wednesday.
pub(super) fn weekday(day: u32) -> u32 {
    (day + 2) % 7
}

/// Formats a time in RFC 3339. Negative times are before the year.
pub(super) fn rfc3339(at: i64) -> String {
    let time = DateTime::from_timestamp(START + at, 0).expect("a valid time");
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Returns the date of each day.
pub(super) fn dates() -> Vec<String> {
    let days = (0..DAYS).map(|day| rfc3339(i64::from(day * DAY)));
    days.map(|time| time[..10].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_functions_agree() {
        assert_eq!(rfc3339(i64::from(END) - 1), "2025-12-31T23:59:59Z");
        assert_eq!(
            (month(0), month(month_start(1) - 1), month(month_start(1)), month(END - 1)),
            (0, 0, 1, 11)
        );
        assert_eq!(weekday(5), 0);
        assert!((300.0..365.0).contains(&later(0.0, shop_time() * 0.9)));
        assert!(later(0.0, shop_time() * 0.999) < 365.0 && later(364.0, 3.0) > 365.0);
    }
}
