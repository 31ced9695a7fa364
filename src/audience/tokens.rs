//! Tokens of expressions: words, symbols, and text in quotes, with the positions of errors.

use super::expression::{ExpressionError, Position};
use crate::feature::is_name_char;

pub(super) type Parsed<T> = Result<T, ExpressionError>;

/// Reserved words.
const KEYWORDS: [&str; 6] = ["and", "or", "not", "in", "is", "null"];

/// The tokens of a text.
pub(super) struct Tokens<'a> {
    pub(super) text: &'a str,
    /// Index of the next byte.
    pub(super) at: usize,
}

pub(super) fn is_word(c: char) -> bool {
    c == '.' || is_name_char(c)
}

pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

impl<'a> Tokens<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips whitespace.
    pub(super) fn skip_whitespace(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Returns the longest prefix of the rest whose characters all match `fits`.
    pub(super) fn prefix(&self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())]
    }

    /// Returns the position of the character at the index `byte`.
    pub(super) fn position(&self, byte: usize) -> Position {
        Position(self.text[..byte].chars().count())
    }

    pub(super) fn error(&self, byte: usize, message: impl Into<String>) -> ExpressionError {
        ExpressionError { position: self.position(byte).0, message: message.into() }
    }

    /// Returns an error with the expected and the found token.
    pub(super) fn expected(&self, what: &str) -> ExpressionError {
        let word = self.prefix(is_word);
        let found = match self.rest().chars().next() {
            None => "the end".to_owned(),
            Some(c) if word.is_empty() => format!("`{}`", c.escape_debug()),
            Some(_) => format!("`{}`", truncated(word)),
        };
        self.error(self.at, format!("expected {what}, found {found}"))
    }

    /// Returns the same error after a value, with a hint if the value seems to continue.
    pub(super) fn expected_next(&self, what: &str) -> ExpressionError {
        let (mut error, word) = (self.expected(what), self.prefix(is_word));
        if !word.is_empty() && !word.contains('.') && !word.eq_ignore_ascii_case("segment") {
            error.message.push_str("; put text of several words in quotes");
        }
        error
    }

    /// Consumes `symbol` if it is next.
    pub(super) fn take_symbol(&mut self, symbol: &str) -> bool {
        self.skip_whitespace();
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len() } else { 0 };
        found
    }

    /// Consumes `keyword` if it is next, ignoring case.
    pub(super) fn take_keyword(&mut self, keyword: &str) -> bool {
        self.skip_whitespace();
        let found = self.prefix(is_word).eq_ignore_ascii_case(keyword);
        self.at += if found { keyword.len() } else { 0 };
        found
    }

    /// Consumes `symbol`, or fails.
    pub(super) fn expect_symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.expected(&format!("`{symbol}`"))) }
    }

    /// Consumes a token without quotes.
    pub(super) fn bare_word(&mut self) -> &'a str {
        let word = self.prefix(|c| {
            !c.is_whitespace() && !matches!(c, '(' | ')' | ',' | '"' | '\'' | '<' | '>' | '=' | '!')
        });
        self.at += word.len();
        word
    }

    /// Parses a text in quotes. A backslash escapes quotes and backslashes.
    pub(super) fn quoted(&mut self) -> Parsed<String> {
        let begun = self.at;
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map_or('"', |(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.at += at + c.len_utf8();
                return Ok(text);
            }
            text.push(match c {
                '\\' => match chars.next() {
                    Some((_, escaped @ ('"' | '\'' | '\\'))) => escaped,
                    _ => {
                        return Err(self.error(
                            begun + at,
                            "a backslash in quotes can only escape a quote or a backslash",
                        ));
                    }
                },
                c => c,
            });
        }
        Err(self.error(begun, format!("the text that begins here has no closing {quote}")))
    }
}

/// Returns at most 64 characters of `word` for a message.
pub(super) fn truncated(word: &str) -> String {
    word.chars().take(64).collect()
}
