//! Features that count whole days from an instant to `as_of`.
//!
//! The rows of a snapshot and of Tair hold the instant in place of the count, so that a row does not change
//! because a day has passed. A reader derives the count with the `as_of` of the snapshot that is served.

use std::ops::Range;

use super::{FeatureView, ViewRows, elements};

/// Microseconds of a day of 86,400 seconds.
const DAY: i64 = 86_400_000_000;
/// Stored value of a feature without an instant.
const NULL: &[u8] = b"null";

/// Returns the number of whole days from `instant` to `as_of`, rounded toward zero as SQL divides integers.
/// Both are in microseconds since 1970. Returns `None` if they are too far apart to be subtracted.
#[must_use]
pub fn days_since(instant: i64, as_of: i64) -> Option<i64> {
    Some(as_of.checked_sub(instant)? / DAY)
}

/// The places of the features of a snapshot that count days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayCounts {
    /// For each view, the indexes of its features that count days, ascending. Empty if no view has one.
    views: Box<[Box<[usize]>]>,
}

impl DayCounts {
    /// Finds the features of `views` that count days.
    #[must_use]
    pub fn of(views: &[FeatureView]) -> Self {
        let places = |view: &FeatureView| {
            let features = view.features.iter().enumerate();
            features.filter(|(_, feature)| feature.days_since).map(|(at, _)| at).collect()
        };
        let views: Box<[Box<[usize]>]> = views.iter().map(places).collect();
        if views.iter().all(|places| places.is_empty()) {
            Self { views: Box::default() }
        } else {
            Self { views }
        }
    }

    /// Checks whether the view at index `view` has features that count days.
    #[must_use]
    pub fn are_in(&self, view: usize) -> bool {
        self.views.get(view).is_some_and(|places| !places.is_empty())
    }

    /// Returns `rows`, as they are stored, with the days up to `as_of` in place of the instants. Returns
    /// `None` if a stored value is neither null nor an instant.
    #[must_use]
    pub fn derive(&self, rows: ViewRows, as_of: i64) -> Option<ViewRows> {
        if self.views.is_empty() {
            return Some(rows);
        }
        rows.edited(|view, bytes, row| match self.views.get(view) {
            Some(places) => derive(bytes, row, places, as_of),
            None => Some(row.len()),
        })
    }

    /// Derives the days in one `array` of the view at index `view`, as [`DayCounts::derive`] does.
    #[must_use]
    pub fn derive_in(&self, view: usize, array: &mut Vec<u8>, as_of: i64) -> Option<()> {
        let places = self.views.get(view).map(|places| &**places).unwrap_or_default();
        let whole = 0..array.len();
        derive(array, whole, places, as_of).map(drop)
    }
}

/// Replaces the instants at `places` of the array in the range `row` of `bytes`. Returns the array's length
/// afterwards.
fn derive(bytes: &mut Vec<u8>, row: Range<usize>, places: &[usize], as_of: i64) -> Option<usize> {
    let Range { start, mut end } = row;
    for place in places {
        let found = range_of(bytes.get(start..end)?, *place)?;
        let (from, to) = (start + found.start, start + found.end);
        let stored = bytes.get(from..to)?;
        if stored == NULL {
            continue;
        }
        let instant = std::str::from_utf8(stored).ok()?.parse().ok()?;
        let mut buffer = itoa::Buffer::new();
        let days = buffer.format(days_since(instant, as_of)?).as_bytes();
        bytes.splice(from..to, days.iter().copied());
        end = end - found.len() + days.len();
    }
    Some(end - start)
}

/// Returns the byte range of the element of `array` at index `place`.
fn range_of(array: &[u8], place: usize) -> Option<Range<usize>> {
    // The first element follows the bracket.
    let mut start = 1;
    for (at, element) in elements(array).enumerate() {
        if at == place {
            return Some(start..start + element.len());
        }
        start += element.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::feature::Feature;

    fn view(name: &str, features: &[bool]) -> FeatureView {
        let feature = |(at, days_since): (usize, &bool)| Feature {
            name: format!("f{at}"),
            data_type: "Int64".to_owned(),
            description: String::new(),
            personal: false,
            days_since: *days_since,
        };
        FeatureView {
            name: name.to_owned(),
            description: String::new(),
            source: String::new(),
            features: features.iter().enumerate().map(feature).collect(),
        }
    }

    #[test]
    fn days_are_rounded_toward_zero() {
        let cases = [(0, 0, 0), (0, DAY - 1, 0), (0, DAY, 1), (1, DAY, 0), (-1, DAY, 1), (-DAY, DAY, 2)];
        for (instant, as_of, days) in cases {
            assert_eq!(days_since(instant, as_of), Some(days), "{instant} {as_of}");
            assert_eq!(days_since(as_of, instant), Some(-days), "{as_of} {instant}");
        }
        assert_eq!(days_since(i64::MIN, 0), None);
    }

    #[test]
    fn other_values_are_refused() {
        let counts = DayCounts::of(&[view("v", &[false, true])]);
        for text in [
            "[1]",
            "[1,2.5]",
            "[1,\"2\"]",
            "[1,]",
            "",
            "[1,99999999999999999999]",
            "[1,-9223372036854775808]",
        ] {
            let rows = ViewRows::new([Some(text.as_bytes())].into_iter()).expect("short");
            assert_eq!(counts.derive(rows, DAY), None, "{text}");
        }
    }

    #[test]
    fn rows_without_day_counts_stay_the_same() {
        let counts = DayCounts::of(&[view("v", &[false]), view("w", &[])]);
        let rows = ViewRows::new([Some(b"[86400000000]".as_slice()), None].into_iter()).expect("short");
        assert_eq!(counts.derive(rows.clone(), 0), Some(rows));
    }

    /// A stored number, and whether it is an instant to count days from.
    type Value = (Option<i64>, bool);

    /// Instants from about 1843 to 2096.
    const TIMES: Range<i64> = -4_000_000_000_000_000..4_000_000_000_000_000;

    fn value() -> impl Strategy<Value = Value> {
        (prop::option::of(TIMES), any::<bool>())
    }

    proptest! {
        #[test]
        fn malformed_rows_do_not_panic(text in r#"[\[\]{},"\\a1-]{0,30}"#, place in 0..4_usize) {
            let counts = DayCounts::of(&[view("v", &[place == 0, place == 1, place == 2, place == 3])]);
            let rows = ViewRows::new([Some(text.as_bytes()), None].into_iter()).expect("short");
            let views = counts.derive(rows, DAY).map(|rows| rows.len());
            prop_assert!(views.is_none_or(|views| views == 2));
        }

        #[test]
        fn instants_become_days_and_nothing_else_changes(
            views in prop::collection::vec(prop::option::of(prop::collection::vec(value(), 0..5)), 0..5),
            as_of in TIMES,
        ) {
            let text = |value: &Value, served: bool| match value {
                (None, _) => "null".to_owned(),
                (Some(instant), true) if served => ((as_of - instant) / DAY).to_string(),
                (Some(instant), true) => instant.to_string(),
                (Some(other), false) => format!("\"a,[{other}\\\"\""),
            };
            let rows = |served: bool| {
                let texts: Vec<Option<String>> = views
                    .iter()
                    .map(|row| {
                        let values = row.as_ref()?.iter().map(|value| text(value, served));
                        Some(format!("[{}]", values.collect::<Vec<_>>().join(",")))
                    })
                    .collect();
                ViewRows::new(texts.iter().map(|text| text.as_deref().map(str::as_bytes))).expect("short")
            };
            let known: Vec<FeatureView> = views
                .iter()
                .map(|row| {
                    let counts: Vec<bool> = row.iter().flatten().map(|(_, counts)| *counts).collect();
                    view("v", &counts)
                })
                .collect();
            let counts = DayCounts::of(&known);
            prop_assert_eq!(counts.derive(rows(false), as_of), Some(rows(true)));
            for (at, (stored, served)) in rows(false).iter().zip(rows(true).iter()).enumerate() {
                let mut array = stored.unwrap_or(b"[]").to_vec();
                let is_derived = stored.is_none() || counts.derive_in(at, &mut array, as_of).is_some();
                prop_assert!(is_derived && array == served.unwrap_or(b"[]"));
            }
        }
    }
}
