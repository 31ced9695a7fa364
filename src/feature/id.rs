//! Customer ids and their normalization.
//!
//! Raw files, REST, batches, the Feast API, `forget` and exports all normalize ids with [`normal_id`], so
//! that an id from one of them is valid in every other.

use std::{borrow::Borrow, borrow::Cow, fmt, sync::Arc};

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::Serialize;

/// A customer id: 1 to 256 bytes of UTF-8 in the form of [`normal_id`], without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CustomerId(Arc<str>);

/// The reason why a text is not a customer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The id is empty after trimming.
    #[error("a customer id must not be empty")]
    Empty,
    /// The id has more than 256 bytes.
    #[error("a customer id must not be longer than 256 bytes, this one has {0}")]
    TooLong(usize),
    /// The id contains a control character.
    #[error("a customer id must not contain control characters")]
    Control,
    /// The id is a number that a spreadsheet or a double has rounded.
    #[error(
        "the id is a rounded number, such as 1.79E+04 or a double above 2^53, and may stand for several ids; \
         write all digits"
    )]
    Ambiguous,
}

/// Length limit of a customer id in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// 2^53, from which doubles no longer represent every whole number.
const MAX_EXACT_DOUBLE: u64 = 1 << 53;

impl CustomerId {
    /// Normalizes and validates `text`.
    ///
    /// # Errors
    /// [`InvalidId`] with the rule that the text violates.
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

/// Returns the normalized form of a customer id ([`normal_id`]) after a check of its length and characters.
///
/// # Errors
/// [`InvalidId`] with the rule that the text violates.
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

/// Returns the normalized form of the id of a customer, an order or a product: without surrounding blanks and
/// invisible characters, in Unicode normalization form C, and without the zero decimals of a whole number
/// (`17850.0` becomes `17850`). The result may be empty.
///
/// # Errors
/// [`InvalidId::Ambiguous`] for a number in scientific notation (`1.79E+04`) and for a decimal of at least
/// 2^53, where doubles skip whole numbers.
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
        // Normalization does not change ASCII, so a changed text is not a number.
        Cow::Owned(id) => Ok(Cow::Owned(id)),
    }
}

/// Returns `text` without surrounding blanks and invisible characters.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c))
}

/// Words for a missing value in databases, pandas, spreadsheets and JavaScript, in lower case.
const NULLS: [&str; 9] = ["nan", "null", "none", "\\n", "n/a", "#n/a", "<na>", "(null)", "undefined"];

/// Checks whether the trimmed `text` is empty or a common word for a missing value.
#[inline]
#[must_use]
pub fn is_null_word(text: &str) -> bool {
    match text.as_bytes() {
        [] => true,
        [b'n' | b'N' | b'\\' | b'#' | b'<' | b'(' | b'u' | b'U', ..] => is_listed(text),
        _ => false,
    }
}

/// Compares with the list of words. A separate function, so that an inlined [`is_null_word`] only tests the
/// first byte.
fn is_listed(text: &str) -> bool {
    NULLS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Checks whether `text` is already in normal form: printable ASCII and not a number.
#[inline]
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else { return false };
    // Without a decimal point or a sign, a number has only one notation.
    match bytes.iter().fold(0, |classes, byte| classes | CLASSES[usize::from(*byte)]) {
        WORD => true,
        classes => classes < OTHER && !first.is_ascii_digit() && *first != b'-',
    }
}

/// Character class of letters, digits and `_`.
const WORD: u8 = 1;
/// Character class of other printable ASCII characters.
const SIGN: u8 = 2;
/// Character class of all other bytes.
const OTHER: u8 = 4;
/// Character class of each byte.
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

/// Checks whether `c` is invisible: zero-width spaces and joiners, direction marks, the byte order mark, soft
/// hyphens.
fn is_invisible(c: char) -> bool {
    let is_mark = matches!(c, '\u{ad}' | '\u{180e}' | '\u{feff}');
    is_mark || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

/// Returns the digits of `17850.0`, and any other text unchanged.
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

/// Checks whether `rest`, the text after leading digits, is the end of a number in scientific notation:
/// `.79E+04`, `e+16`, `.5e7`. Digits with a bare `e`, such as `12e4`, may be a hexadecimal id and do not
/// count.
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
    fn customer_id_is_trimmed_and_validated() {
        assert_eq!(CustomerId::parse(" 17850 ").expect("valid").as_str(), "17850");
        assert_eq!(CustomerId::parse("   "), Err(InvalidId::Empty));
        assert_eq!(CustomerId::parse(&"ä".repeat(129)), Err(InvalidId::TooLong(258)));
        assert_eq!(CustomerId::parse("a\u{7}b"), Err(InvalidId::Control));
        assert!(CustomerId::parse(&"ä".repeat(128)).is_ok());
    }

    #[test]
    fn zero_decimals_are_dropped_and_leading_zeros_kept() {
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
    fn ids_are_nfc_and_trimmed_of_invisible_characters() {
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
