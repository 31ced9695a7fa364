//! Patterns of file names.

use glob::MatchOptions;

/// A pattern of file names: `*` stands for any characters but `/`, `**` for any folders.
///
/// A pattern without `/` is compared with the name of a file, any other with its path, or with the end of its
/// path from a folder on.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(glob::Pattern);

impl Pattern {
    /// Characters that make a path a pattern.
    pub(crate) const WILDCARDS: [char; 3] = ['*', '?', '['];

    /// Compiles `text`.
    ///
    /// # Errors
    /// Fails for an invalid pattern.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let compiled = glob::Pattern::new(text);
        compiled.map(Self).map_err(|error| format!("`{text}` is not a pattern of file names: {}", error.msg))
    }

    /// Returns whether the pattern matches the file at `path`.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| at + 1);
        [0].into_iter().chain(folders).any(|from| self.matches_whole(&path[from..]))
    }

    /// Returns whether the pattern matches `path` from its start.
    pub(crate) fn matches_whole(&self, path: &str) -> bool {
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        self.0.matches_with(path, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_ends_of_paths() {
        let matches = |pattern: &str, path: &str| Pattern::new(pattern).expect(pattern).matches(path);
        let path = "raw/transactions/2019/january.csv";
        for pattern in
            ["january.csv", "*.csv", "2019/*.csv", "**/2019/*", "raw/**/*.csv", "**", "raw/*/2019/jan*"]
        {
            assert!(matches(pattern, path), "{pattern}");
        }
        for pattern in ["*.tsv", "2019", "2020/*.csv", "raw/*.csv", "nuary.csv", "transactions/*.csv"] {
            assert!(!matches(pattern, path), "{pattern}");
        }
        assert!(Pattern::new("a[").is_err() && Pattern::new("a**b").is_err());
    }
}
