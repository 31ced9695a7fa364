//! Patterns of ids that are not products: postage, fees, manual entries.

use std::borrow::Cow;

/// Length in bytes up to which an ASCII id is compared without an allocation.
const SHORT: usize = 64;

/// Patterns that match a whole id, ignoring case; `*` matches any text.
#[derive(Debug, Clone)]
pub(super) struct ExcludePatterns {
    /// Each pattern as the texts between its stars.
    patterns: Vec<Vec<String>>,
    /// Whether a pattern may match an id by the first byte of the id.
    by_first: [bool; 256],
}

impl ExcludePatterns {
    pub(super) fn new(patterns: &[String]) -> Self {
        let split = |pattern: &String| pattern.to_lowercase().split('*').map(str::to_owned).collect();
        let patterns: Vec<Vec<String>> = patterns.iter().map(split).collect();
        // Lower case and trimming may change the first byte of an id that begins with no other ASCII
        // character.
        let mut by_first = [true; 256];
        for byte in (b'!'..=b'~').filter(u8::is_ascii_graphic) {
            let lower = byte.to_ascii_lowercase();
            let may_match = |pieces: &Vec<String>| {
                let first = pieces.first().and_then(|piece| piece.bytes().next());
                first.map_or(pieces.len() > 1, |first| first == lower)
            };
            by_first[usize::from(byte)] = patterns.iter().any(may_match);
        }
        Self { patterns, by_first }
    }

    /// Checks whether any pattern matches `id`.
    pub(super) fn matches(&self, id: &str) -> bool {
        // Most ids begin like no pattern.
        if let Some(first) = id.bytes().next()
            && !self.by_first[usize::from(first)]
        {
            return false;
        }
        let id = id.trim();
        let mut buffer = [0; SHORT];
        let short = buffer.get_mut(..id.len()).filter(|_| id.is_ascii());
        let normalized = short.and_then(|short| {
            short.copy_from_slice(id.as_bytes());
            short.make_ascii_lowercase();
            std::str::from_utf8(short).ok()
        });
        let normalized = normalized.map_or_else(|| Cow::Owned(id.to_lowercase()), Cow::Borrowed);
        self.patterns.iter().any(|pieces| matches(pieces, &normalized))
    }
}

/// Checks whether `text` is the `pieces` with any text between them.
fn matches(pieces: &[String], text: &str) -> bool {
    let Some((first, rest)) = pieces.split_first() else { return false };
    let Some((last, middle)) = rest.split_last() else { return text == first };
    let Some(mut inner) =
        text.strip_prefix(first.as_str()).and_then(|inner| inner.strip_suffix(last.as_str()))
    else {
        return false;
    };
    for piece in middle {
        let Some(at) = inner.find(piece.as_str()) else { return false };
        inner = &inner[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_whole_ids_ignoring_case() {
        let patterns =
            ExcludePatterns::new(&["POST", "Bank Charges", "gift_0*", "a*b*c", ""].map(str::to_owned));
        for id in ["POST", "post", " POST ", "BANK CHARGES", "gift_0001_20", "GIFT_0", "abc", "axbybzc", " "]
        {
            assert!(patterns.matches(id), "{id}");
        }
        for id in ["POSTER", "85123A", "xgift_0001", "ab", "acb", "abca"] {
            assert!(!patterns.matches(id), "{id}");
        }
        assert!(!ExcludePatterns::new(&[]).matches("POST"));
        assert!(ExcludePatterns::new(&["*fee".to_owned()]).matches("AmazonFEE"));
    }

    proptest! {
        /// `ſ` and `K` (Kelvin) have ASCII letters as other cases.
        #[test]
        fn look_at_the_first_byte_changes_no_result(
            patterns in prop::collection::vec("[ aKkſ*1_]{0,4}", 0..5),
            id in "[ aAkKKſ1_é]{0,5}",
        ) {
            let known = ExcludePatterns::new(&patterns);
            let every = ExcludePatterns { by_first: [true; 256], ..known.clone() };
            prop_assert_eq!(known.matches(&id), every.matches(&id));
        }
    }
}
