//! Customer ids: the one rule by which a text becomes an id, whoever wrote the text.
//!
//! Raw files, REST, batches, Feast's contract, `forget` and exports all read ids by [`normal_id`], so that
//! an id found in one place can be asked for in another.

use std::{borrow::Borrow, borrow::Cow, fmt, sync::Arc};

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::Serialize;

/// A customer's id: text of 1 to 256 bytes of UTF-8 in the form of [`normal_id`], without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CustomerId(Arc<str>);

/// The reasons why a text is no customer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing is left after trimming.
    #[error("a customer id must not be empty")]
    Empty,
    /// More than 256 bytes.
    #[error("a customer id must not be longer than 256 bytes, this one has {0}")]
    TooLong(usize),
    /// A control character inside.
    #[error("a customer id must not contain control characters")]
    Control,
    /// A number that a spreadsheet or a double has rounded.
    #[error(
        "the id is a rounded number, such as 1.79E+04 or a double above 2^53, and may stand for several ids; write all digits"
    )]
    Ambiguous,
}

/// The longest customer id in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// The whole number from which on doubles do not tell neighbours apart, 2^53.
const MAX_EXACT_DOUBLE: u64 = 1 << 53;

impl CustomerId {
    /// Reads `text` by the rule for ids.
    ///
    /// # Errors
    /// Says which of the rules the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        check_id(text).map(|id| Self(id.into()))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for CustomerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the customer id that `text` stands for: the text of [`normal_id`], checked for length and
/// control characters.
///
/// # Errors
/// Says which of the rules the text breaks.
#[inline]
pub fn check_id(text: &str) -> Result<Cow<'_, str>, InvalidId> {
    if is_plain(text) && text.len() <= MAX_ID_BYTES {
        return Ok(Cow::Borrowed(text));
    }
    let id = normal_id(text)?;
    match &*id {
        "" => Err(InvalidId::Empty),
        _ if id.len() > MAX_ID_BYTES => Err(InvalidId::TooLong(id.len())),
        _ if !id.bytes().all(|byte| matches!(byte, b' '..=b'~')) && id.chars().any(char::is_control) => {
            Err(InvalidId::Control)
        }
        _ => Ok(id),
    }
}

/// Returns the id of a customer, an order or a product that `text` stands for: without blanks and invisible
/// characters around it, in Unicode's composed form (NFC), and of a whole number written as a decimal
/// (`17850.0`) the digits. It may be empty.
///
/// # Errors
/// [`InvalidId::Ambiguous`] for a number in scientific notation (`1.79E+04`) and for a decimal beyond the
/// whole numbers that doubles can tell apart.
#[inline]
pub fn normal_id(text: &str) -> Result<Cow<'_, str>, InvalidId> {
    if is_plain(text) {
        return Ok(Cow::Borrowed(text));
    }
    if text.is_ascii() {
        return whole_number(text.trim_ascii()).map(Cow::Borrowed);
    }
    match ComposingNormalizerBorrowed::new_nfc().normalize(trim(text)) {
        Cow::Borrowed(id) => whole_number(id).map(Cow::Borrowed),
        // Composing changes no ASCII text, so there is no number in it.
        Cow::Owned(id) => Ok(Cow::Owned(id)),
    }
}

/// Returns `text` without blanks and invisible characters around it.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c))
}

/// Words that databases, pandas, spreadsheets and JavaScript write for a missing value, in any case.
const NULLS: [&str; 9] = ["nan", "null", "none", "\\n", "n/a", "#n/a", "<na>", "(null)", "undefined"];

/// Whether `text`, trimmed, is empty or a usual word for a missing value.
#[inline]
#[must_use]
pub fn is_null_word(text: &str) -> bool {
    match text.as_bytes() {
        [] => true,
        [b'n' | b'N' | b'\\' | b'#' | b'<' | b'(' | b'u' | b'U', ..] => is_listed(text),
        _ => false,
    }
}

/// Kept apart so that the first byte alone is looked at where [`is_null_word`] is inlined.
fn is_listed(text: &str) -> bool {
    NULLS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether `text` is an id as it stands: ASCII characters that show, and no number.
#[inline]
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else { return false };
    // Without a point or a sign it is no number that could be written otherwise.
    match bytes.iter().fold(0, |classes, byte| classes | CLASSES[usize::from(*byte)]) {
        WORD => true,
        classes => classes < OTHER && !first.is_ascii_digit() && *first != b'-',
    }
}

/// The class of a letter, a digit or `_`, of any other character that shows, and of the rest.
const WORD: u8 = 1;
const SIGN: u8 = 2;
const OTHER: u8 = 4;
const CLASSES: [u8; 256] = {
    let (mut classes, mut byte) = ([OTHER; 256], 0);
    while byte < 128_u8 {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            classes[byte as usize] = WORD;
        } else if byte.is_ascii_graphic() {
            classes[byte as usize] = SIGN;
        }
        byte += 1;
    }
    classes
};

/// Whether `c` takes no place on a screen: zero-width spaces and joiners, marks of direction, the byte
/// order mark, soft hyphens.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Returns the digits of `17850.0`, and any other text as it is.
#[inline]
fn whole_number(text: &str) -> Result<&str, InvalidId> {
    let sign = usize::from(text.starts_with('-'));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok(text);
    }
    let (whole, rest) = text.split_at(sign + digits);
    if is_scientific(rest) {
        return Err(InvalidId::Ambiguous);
    }
    match rest.strip_prefix('.') {
        Some(zeros) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => {
            match whole[sign..].trim_start_matches('0').parse::<u64>() {
                Ok(number) if number >= MAX_EXACT_DOUBLE => Err(InvalidId::Ambiguous),
                Err(_) if whole.len() > 15 => Err(InvalidId::Ambiguous),
                _ => Ok(whole),
            }
        }
        _ => Ok(text),
    }
}

/// Whether `rest`, which follows digits, makes a number in scientific notation: `.79E+04`, `e+16`, `.5e7`.
/// Digits and a bare `e` alone, as in `12e4`, may be an id in hexadecimal.
fn is_scientific(rest: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((fraction, exponent)) = rest.split_once(['e', 'E']) else { return false };
    let unsigned = exponent.trim_start_matches(['+', '-']);
    let point = fraction.strip_prefix('.').is_some_and(digits);
    (point || (fraction.is_empty() && unsigned.len() + 1 == exponent.len())) && digits(unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_trimmed_and_checked() {
        assert_eq!(CustomerId::parse(" 17850 ").expect("valid").as_str(), "17850");
        assert_eq!(CustomerId::parse("   "), Err(InvalidId::Empty));
        assert_eq!(CustomerId::parse(&"ä".repeat(129)), Err(InvalidId::TooLong(258)));
        assert_eq!(CustomerId::parse("a\u{7}b"), Err(InvalidId::Control));
        assert!(CustomerId::parse(&"ä".repeat(128)).is_ok());
    }

    #[test]
    fn ids_of_spreadsheets_lose_their_zeros_and_keep_the_leading_ones() {
        for (text, id) in [
            (" 17850.0 ", "17850"),
            ("0017850.00", "0017850"),
            ("17850.5", "17850.5"),
            ("A.0", "A.0"),
            ("9007199254740991.0", "9007199254740991"),
            ("123456789012345678901", "123456789012345678901"),
            ("0.0", "0"),
            ("123e4567", "123e4567"),
            ("12E5", "12E5"),
            ("1.2.3", "1.2.3"),
            ("-1", "-1"),
            ("-1.0", "-1"),
            ("-a.0", "-a.0"),
        ] {
            assert_eq!(normal_id(text).as_deref(), Ok(id), "{text}");
        }
        for text in [
            "1.79E+04",
            "-1.79E+04",
            "1.785e4",
            "1e+16",
            "9.0000000017857e16",
            "9007199254740992.0",
            "123456789012345678901.0",
        ] {
            assert_eq!(normal_id(text), Err(InvalidId::Ambiguous), "{text}");
        }
    }

    #[test]
    fn ids_are_composed_and_without_invisible_characters_around_them() {
        assert_eq!(normal_id("Jose\u{301}").as_deref(), Ok("José"));
        assert_eq!(normal_id("\u{feff}\u{200b}abc\u{200b}\u{a0}").as_deref(), Ok("abc"));
        assert_eq!(normal_id("\u{200b}17850.0").as_deref(), Ok("17850"));
        assert_eq!(normal_id("\u{200b}1.79E+04"), Err(InvalidId::Ambiguous));
        assert_eq!(check_id("\u{feff}"), Err(InvalidId::Empty));
        for text in ["José", "17850.0", "a b", "ｱ"] {
            let once = normal_id(text).expect("an id").into_owned();
            assert_eq!(normal_id(&once).as_deref(), Ok(once.as_str()), "{text}");
        }
    }
}
