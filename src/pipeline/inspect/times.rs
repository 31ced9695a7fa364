//! The format of times, told by the values of a column.

use std::sync::LazyLock;

use chrono_tz::Tz;

use crate::pipeline::raw::{time::TimeRule, time_format::TimeFormat};

/// The format of the times of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeGuess {
    /// Formats to configure; none for ISO 8601 and epochs.
    pub(super) formats: Vec<String>,
    /// Whether no value has a time of day.
    pub(super) is_date: bool,
    /// Whether day and month may be the other way around.
    pub(super) is_ambiguous: bool,
    /// Number of values that the formats do not read.
    pub(super) unread: usize,
}

const DATES: [&str; 22] = [
    "%d.%m.%Y",
    "%d.%m.%y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%m-%y",
    "%m-%d-%y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y年%m月%d日",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%a %d %b %Y",
    "%a, %d %b %Y",
    "%Y-%m-%d",
];
const TIMES: [&str; 15] = [
    "",
    " %H:%M:%S",
    " %H:%M",
    "T%H:%M:%S",
    " %I:%M:%S %p",
    " %I:%M %p",
    ", %H:%M:%S",
    ", %H:%M",
    ", %I:%M:%S %p",
    ", %I:%M %p",
    " %H:%M:%S %z",
    " %H:%M %z",
    " %H:%M:%S GMT",
    " %H:%M:%S UTC",
    " %H:%M:%S%.f",
];
/// Formats of digits alone, which are tried only if the name of the column is that of a time.
const DIGITS: [&str; 7] =
    ["%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d %H%M%S", "epoch_us", "epoch_ns", "excel"];
/// Number of values by which formats are chosen.
const TRIED: usize = 200;
/// Maximum number of formats of a column.
const MOST_FORMATS: usize = 3;

/// The years in which times are plausible, in microseconds.
const OLDEST: i64 = -2_208_988_800_000_000;
const NEWEST: i64 = 4_102_444_800_000_000;

fn rule(format: Option<&str>) -> TimeRule {
    let formats = format.into_iter().filter_map(|format| TimeFormat::new(format).ok()).collect();
    TimeRule { zone: Tz::UTC, formats, oldest: OLDEST, newest: NEWEST }
}

/// Rules of all formats, with their texts.
static FORMATS: LazyLock<Vec<(String, TimeRule)>> = LazyLock::new(|| {
    let texts = DATES.iter().flat_map(|date| TIMES.iter().map(move |time| format!("{date}{time}")));
    texts.map(|text| (text.clone(), rule(Some(&text)))).collect()
});

/// Returns the format of the times `values`, or `None` if less than nine tenths are times. `is_named` tells
/// that the name of the column is that of a time.
pub(super) fn guess(values: &[&str], is_named: bool) -> Option<TimeGuess> {
    if values.is_empty() {
        return None;
    }
    let step = values.len().div_ceil(TRIED);
    let tried: Vec<&str> = values.iter().step_by(step).copied().collect();
    let is_number = |value: &&str| {
        value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && value.matches('.').count() < 2
    };
    let is_digits = tried.iter().all(is_number);
    if is_digits {
        return if is_named { digits(values) } else { None };
    }
    let plain = rule(None);
    let mut left: Vec<&str> =
        values.iter().filter(|value| plain.event(value, false).is_err()).copied().collect();
    let mut guess = TimeGuess { formats: Vec::new(), is_date: false, is_ambiguous: false, unread: 0 };
    while !left.is_empty() && guess.formats.len() < MOST_FORMATS {
        let step = left.len().div_ceil(TRIED);
        let sample: Vec<&str> = left.iter().step_by(step).copied().collect();
        let fits = |rule: &TimeRule| sample.iter().filter(|value| reads(rule, value)).count();
        let best = FORMATS.iter().map(|(text, rule)| (fits(rule), text, rule)).filter(|(fits, ..)| *fits > 0);
        // The first of equal formats counts, so that the largest number is looked for from the end.
        let Some((count, ..)) = best.clone().max_by_key(|(fits, ..)| *fits) else { break };
        let mut candidates: Vec<(usize, &String, &TimeRule)> = best
            .filter(|(fits, ..)| *fits * 10 >= count * 9)
            .map(|(_, text, rule)| (0, text, rule))
            .collect();
        for candidate in &mut candidates {
            candidate.0 = left.iter().filter(|value| reads(candidate.2, value)).count();
        }
        let Some((count, text, rule)) = choose(&candidates, &left) else { break };
        let is_other =
            |(fits, other, _): &(usize, &String, &TimeRule)| *fits == count && swapped(text) == **other;
        guess.is_ambiguous |= candidates.iter().any(is_other) && left.iter().any(|value| differs(value));
        guess.formats.push(text.clone());
        left.retain(|value| !reads(rule, value));
    }
    if left.len() * 10 > values.len() {
        return None;
    }
    guess.unread = left.len();
    guess.is_date = values.iter().all(|value| !value.contains(':'));
    Some(guess)
}

/// Returns the best of the `candidates`: the one that reads most values, or of equal ones the one by which
/// the `values` ascend most, or the first one.
fn choose<'a>(
    candidates: &[(usize, &'a String, &'a TimeRule)],
    values: &[&str],
) -> Option<(usize, &'a String, &'a TimeRule)> {
    let most = candidates.iter().map(|(fits, ..)| *fits).max()?;
    let descents = |rule: &TimeRule| {
        let times: Vec<i64> = values.iter().filter_map(|value| rule.event(value, false).ok()).collect();
        times.windows(2).filter(|pair| pair[0] > pair[1]).count()
    };
    let equal = candidates.iter().filter(|(fits, ..)| *fits == most);
    equal.min_by_key(|(_, _, rule)| descents(rule)).copied()
}

fn reads(rule: &TimeRule, value: &str) -> bool {
    rule.event(value, false).is_ok()
}

/// Returns the format with day and month the other way around.
pub(super) fn swapped(format: &str) -> String {
    format.replace("%d", "%D").replace("%m", "%d").replace("%D", "%m")
}

/// Returns whether the first two numbers of a date differ.
fn differs(value: &str) -> bool {
    let mut parts = value.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let (first, second) = (parts.next(), parts.next());
    first.map(|part| part.trim_start_matches('0')) != second.map(|part| part.trim_start_matches('0'))
}

/// Returns the format of times that are digits alone.
fn digits(values: &[&str]) -> Option<TimeGuess> {
    let enough = |count: usize| count * 10 >= values.len() * 9;
    let plain = rule(None);
    if enough(values.iter().filter(|value| reads(&plain, value)).count()) {
        return Some(TimeGuess { formats: Vec::new(), is_date: false, is_ambiguous: false, unread: 0 });
    }
    let years = 631_152_000_000_000..NEWEST;
    DIGITS.iter().find_map(|format| {
        let rule = rule(Some(format));
        let fits = |value: &&&str| rule.event(value, false).is_ok_and(|time| years.contains(&time));
        let whole = values.iter().all(|value| !value.contains('.'));
        let is_date = *format == "%Y%m%d" || (*format == "excel" && whole);
        enough(values.iter().filter(fits).count()).then(|| TimeGuess {
            formats: vec![(*format).to_owned()],
            is_date,
            is_ambiguous: false,
            unread: 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_values() {
        let found = |values: &[&str]| {
            guess(values, true).map(|guess| (guess.formats.join(" | "), guess.is_date, guess.is_ambiguous))
        };
        let is = |format: &str, is_date, is_ambiguous| Some((format.to_owned(), is_date, is_ambiguous));
        assert_eq!(found(&["12/1/2010 8:26", "12/13/2010 18:06"]), is("%m/%d/%Y %H:%M", false, false));
        assert_eq!(found(&["1/12/2010 8:26", "13/12/2010 18:06"]), is("%d/%m/%Y %H:%M", false, false));
        assert_eq!(found(&["1/2/2010", "1/3/2010", "1/4/2010", "2/1/2010"]), is("%m/%d/%Y", true, true));
        assert_eq!(found(&["1/1/2010", "2/2/2010"]), is("%d/%m/%Y", true, false));
        assert_eq!(found(&["01.02.2024 08:00:05"]), is("%d.%m.%Y %H:%M:%S", false, false));
        assert_eq!(found(&["13.05.2010", "14.05.2010"]), is("%d.%m.%Y", true, false));
        assert_eq!(found(&["5/13/24 1:05 PM"]), is("%m/%d/%y %I:%M %p", false, false));
        assert_eq!(found(&["2024-01-05 10:12:33 +0100", "2024-01-05T10:12:33Z"]), is("", false, false));
        assert_eq!(found(&["20240105", "20231231"]), is("%Y%m%d", true, false));
        assert_eq!(found(&["1704067200", "1704067201"]), is("", false, false));
        assert_eq!(found(&["1704067200000000"]), is("epoch_us", false, false));
        assert_eq!(found(&["45292.5", "45293"]), is("excel", false, false));
        assert_eq!(found(&["13/5/2024", "2024-05-13"]), is("%d/%m/%Y", true, false));
        assert_eq!(found(&["2024年1月5日"]), is("%Y年%m月%d日", true, false));
        assert_eq!(found(&["Jan 15, 2024"]), is("%b %d, %Y", true, false));
        let mail = is("%a, %d %b %Y %H:%M:%S GMT", false, false);
        assert_eq!(found(&["Tue, 16 Jan 2024 08:12:31 GMT"]), mail);
        let with_offset = is("%a, %d %b %Y %H:%M:%S %z", false, false);
        assert_eq!(found(&["Tue, 16 Jan 2024 08:12:31 +0100"]), with_offset);
        assert_eq!(found(&["a", "2024-01-05"]), None);
        assert_eq!(guess(&["1704067200"], false), None);
    }
}
