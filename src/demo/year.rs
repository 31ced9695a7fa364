//! The made-up year, 2025: its months, its seasons and how to write a time of it.
//!
//! Times are seconds and days since it began. Nothing here knows customers, products or files.

use chrono::{DateTime, SecondsFormat};

pub(super) const DAY: u32 = 86_400;
pub(super) const DAYS: u32 = 365;
/// The first second after it.
pub(super) const END: u32 = DAYS * DAY;
/// Its first second, in Unix time.
const START: i64 = 1_735_689_600;
/// The day on which each month starts.
const MONTHS: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
/// How fast the shop's time runs in each week.
#[rustfmt::skip]
const SEASON: [f64; 53] = [
    0.95, 0.90, 0.85, 0.80, 0.75, 0.72, 0.72, 0.74, 0.80, 0.87, 0.92, 0.94, 0.96,
    0.98, 1.02, 1.00, 0.98, 1.00, 1.06, 1.02, 1.00, 0.98, 0.97, 0.96, 0.95, 0.93,
    0.91, 0.88, 0.84, 0.80, 0.74, 0.70, 0.70, 0.72, 0.86, 0.96, 1.01, 1.03, 1.04,
    1.06, 1.08, 1.10, 1.14, 1.22, 1.35, 1.50, 1.70, 2.20, 2.00, 1.90, 1.70, 0.95, 0.80,
];

/// The whole year in the shop's time.
pub(super) fn shop_time() -> f64 {
    SEASON.iter().sum::<f64>() * 7.0 - SEASON[52] * 6.0
}

/// The day that comes after a wait in the shop's time, or infinity when that is past the year.
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

/// The month of a time, from 0.
pub(super) fn month(at: u32) -> usize {
    MONTHS[1..].partition_point(|first| first * DAY <= at)
}

/// The first second of a month.
pub(super) fn month_start(month: usize) -> u32 {
    MONTHS[month] * DAY
}

/// The day of the week, from 0 for Monday; the year starts on a Wednesday.
pub(super) fn weekday(day: u32) -> u32 {
    (day + 2) % 7
}

/// A time as RFC 3339; before the year it is negative.
pub(super) fn rfc3339(at: i64) -> String {
    let time = DateTime::from_timestamp(START + at, 0).expect("a time of our days");
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The dates of its days.
pub(super) fn dates() -> Vec<String> {
    let days = (0..DAYS).map(|day| rfc3339(i64::from(day * DAY)));
    days.map(|time| time[..10].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_holds_together() {
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
