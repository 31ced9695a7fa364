//! Patterns of ids that are not products: postage, fees, manual entries.

/// Patterns that match a whole id, ignoring case; `*` matches any text. Each pattern is stored as the texts
/// between its stars.
#[derive(Debug, Clone)]
pub(super) struct ExcludePatterns(Vec<Vec<String>>);

impl ExcludePatterns {
    pub(super) fn new(patterns: &[String]) -> Self {
        let split = |pattern: &String| pattern.to_lowercase().split('*').map(str::to_owned).collect();
        Self(patterns.iter().map(split).collect())
    }

    /// Checks whether any pattern matches `id`.
    pub(super) fn matches(&self, id: &str) -> bool {
        let normalized = id.trim().to_lowercase();
        self.0.iter().any(|pieces| matches(pieces, &normalized))
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
    use super::*;

    #[test]
    fn patterns_match_whole_ids_ignoring_case() {
        let patterns =
            ExcludePatterns::new(&["POST", "Bank Charges", "gift_0*", "a*b*c", ""].map(str::to_owned));
        for id in ["POST", "post", " POST ", "BANK CHARGES", "gift_0001_20", "GIFT_0", "abc", "axbybzc"] {
            assert!(patterns.matches(id), "{id}");
        }
        for id in ["POSTER", "85123A", "xgift_0001", "ab", "acb", "abca"] {
            assert!(!patterns.matches(id), "{id}");
        }
        assert!(!ExcludePatterns::new(&[]).matches("POST"));
    }
}
