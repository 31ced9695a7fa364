//! Parsers of raw fields other than times: ids, quantities and prices. Pure functions.

use std::borrow::Cow;

use crate::feature::{InvalidId, check_id, is_null_word, normal_id};

/// Trims `text` like `str::trim`, with a fast path for texts without surrounding blanks.
#[inline]
pub(crate) fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        [only] if only.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// Words that stand for a missing id: the common ones, and the words configured in `nulls`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nulls(pub(crate) Vec<String>);

impl Nulls {
    /// Returns whether the id `text` stands for a missing id.
    #[inline]
    pub(crate) fn contains(&self, text: &str) -> bool {
        is_null_word(text) || (!self.0.is_empty() && self.0.iter().any(|word| word == text))
    }

    /// Parses a customer id. Returns `None` for a missing id.
    ///
    /// # Errors
    /// Fails if the text is not a valid id.
    #[inline]
    pub(crate) fn customer_id<'a>(&self, text: &'a str) -> Result<Option<Cow<'a, str>>, InvalidId> {
        match check_id(text) {
            Ok(id) => Ok(Some(id).filter(|id| !self.contains(id))),
            Err(InvalidId::Empty) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Parses the id of an order or a product. Returns `None` for a missing id.
    ///
    /// # Errors
    /// [`InvalidId::Ambiguous`]
    #[inline]
    pub(crate) fn id<'a>(&self, text: &'a str) -> Result<Option<Cow<'a, str>>, InvalidId> {
        Ok(Some(normal_id(text)?).filter(|id| !self.contains(id)))
    }
}

/// Number format of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NumberRule {
    /// Configured decimal mark.
    pub(crate) decimal: Option<u8>,
    /// Configured thousands separator. A blank or an apostrophe stands for all of its forms.
    pub(crate) thousands: Option<u8>,
}

/// Reason why a text is not a valid number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNumber {
    /// Not a number, or too many digits.
    Form,
    /// `1.000`, which may mean one or a thousand.
    Thousands,
    /// Above the limit.
    TooGreat,
}

/// Number of decimal digits of a price.
pub(crate) const PRICE_SCALE: i8 = 4;
/// Total number of digits of a price.
pub(crate) const PRICE_DIGITS: u8 = 18;
const PRICE_LIMIT: i64 = 10_i64.pow(PRICE_DIGITS as u32);

impl NumberRule {
    /// Format of numbers in Parquet and JSON: a decimal point and no separators.
    pub(crate) const TYPED: Self = Self { decimal: Some(b'.'), thousands: None };

    /// Parses a whole number. `6.0` and `6e0` are 6.
    ///
    /// # Errors
    /// Fails if the text is not a whole number, or is ambiguous.
    pub(crate) fn integer(self, text: &str) -> Result<i64, NotNumber> {
        let text = trimmed(text);
        if let Ok(number) = text.parse() {
            return Ok(number);
        }
        let plain = self.plain(text).ok_or(NotNumber::Form)?;
        if self.decimal.is_none() && is_grouped(plain.as_bytes()) {
            return Err(NotNumber::Thousands);
        }
        decimal(&plain, 0).and_then(|number| i64::try_from(number).ok()).ok_or(NotNumber::Form)
    }

    /// Parses a whole number, also with the accounting forms of a negative number or with the sign `−`.
    ///
    /// # Errors
    /// Fails if the text is not a whole number, or is ambiguous.
    pub(crate) fn signed_integer(self, text: &str) -> Result<i64, NotNumber> {
        match self.integer(text) {
            Err(NotNumber::Form) => {
                let (text, is_negative) = without_sign(trimmed(text)).ok_or(NotNumber::Form)?;
                if without_sign(text).is_some() {
                    return Err(NotNumber::Form);
                }
                self.integer(text).map(|number| if is_negative { -number } else { number })
            }
            read => read,
        }
    }

    /// Parses a whole number from `-limit` to `limit`.
    ///
    /// # Errors
    /// Fails if the text is not a whole number, is ambiguous, or exceeds the limit.
    pub(crate) fn quantity(self, text: &str, limit: i64) -> Result<i64, NotNumber> {
        let number = self.signed_integer(text)?;
        if (-limit..=limit).contains(&number) { Ok(number) } else { Err(NotNumber::TooGreat) }
    }

    /// Parses a `DECIMAL(18,4)`, in ten-thousandths. More digits are accepted only as the noise of a double,
    /// as in `64.42000000000001`.
    ///
    /// # Errors
    /// Fails if the text is not such a number.
    pub(crate) fn price(self, text: &str) -> Result<i64, NotNumber> {
        let text = trimmed(text);
        if self.thousands.is_none()
            && self.decimal.is_none_or(|mark| mark == b'.')
            && let Some(price) = plain_price(text.as_bytes())
        {
            return Ok(price);
        }
        let plain = self.plain(text).ok_or(NotNumber::Form)?;
        let number = decimal(&plain, PRICE_SCALE.into()).and_then(|number| i64::try_from(number).ok());
        number.filter(|number| number.unsigned_abs() < PRICE_LIMIT.unsigned_abs()).ok_or(NotNumber::Form)
    }

    /// Converts the number to a decimal point and no thousands separators. Returns `None` if a separator is
    /// misplaced.
    fn plain(self, text: &str) -> Option<Cow<'_, str>> {
        let decimal = self.decimal.unwrap_or(b'.');
        if decimal == b'.' && self.thousands.is_none() {
            return Some(Cow::Borrowed(text));
        }
        let (whole, fraction) = match text.split_once(char::from(decimal)) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let mut plain = String::with_capacity(text.len());
        let groups = self
            .thousands
            .map_or_else(|| vec![whole], |mark| whole.split(|c| plain_mark(c) == char::from(mark)).collect());
        for (at, group) in groups.iter().enumerate() {
            let digits = if at == 0 { group.trim_start_matches(['+', '-']) } else { group };
            let fits =
                if at == 0 { groups.len() == 1 || (1..=3).contains(&digits.len()) } else { group.len() == 3 };
            let all_digits = groups.len() == 1 || digits.bytes().all(|byte| byte.is_ascii_digit());
            if !fits || !all_digits || group.contains('.') {
                return None;
            }
            plain.push_str(group);
        }
        if let Some(fraction) = fraction {
            plain.push('.');
            plain.push_str(fraction);
        }
        Some(Cow::Owned(plain))
    }
}

/// Returns the character of ASCII for a blank or an apostrophe between thousands, and any other one as given.
/// Programs write them in several forms.
pub(crate) fn plain_mark(mark: char) -> char {
    match mark {
        '\u{a0}' | '\u{202f}' | '\u{2009}' => ' ',
        '’' => '\'',
        other => other,
    }
}

/// Returns the number in `(12)`, `12-`, `-12` or `+12`, and whether the number is negative. Returns `None`
/// for a number without a sign.
pub(super) fn without_sign(text: &str) -> Option<(&str, bool)> {
    let inside = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let minus = ['-', '−'];
    let negative = inside.or_else(|| text.strip_suffix(minus)).or_else(|| text.strip_prefix(minus));
    negative.map(|text| (text.trim(), true)).or_else(|| Some((text.strip_prefix('+')?.trim(), false)))
}

/// Returns whether `text` is one to three digits, a point and three zeros.
fn is_grouped(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let Some(point) = digits.iter().position(|byte| *byte == b'.') else { return false };
    (1..=3).contains(&point)
        && digits[..point].iter().all(u8::is_ascii_digit)
        && &digits[point + 1..] == b"000"
}

/// Parses a plain decimal number. Digits after the fourth decimal must be zeros.
fn plain_price(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let (mut value, mut scale, mut seen_point, mut seen_digit) = (0_i64, 0, false, false);
    for byte in digits {
        match byte {
            b'.' if !seen_point => seen_point = true,
            b'0'..=b'9' if seen_point && scale == PRICE_SCALE => {
                if *byte != b'0' {
                    return None;
                }
            }
            b'0'..=b'9' => {
                seen_digit = true;
                scale += i8::from(seen_point);
                value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            }
            _ => return None,
        }
    }
    for _ in scale..PRICE_SCALE {
        value = value.checked_mul(10)?;
    }
    (seen_digit && value < PRICE_LIMIT).then_some(if negative { -value } else { value })
}

/// Number of significant digits from which a number may be the exact text of a double.
const DOUBLE_DIGITS: u32 = 15;
/// Maximum difference to a number of fewer digits that counts as the noise of a double: one part in this
/// many.
const NOISE: u128 = 1_000_000_000;

/// Parses a decimal number, also in scientific notation, and multiplies it by ten to the `scale`. A remainder
/// is rounded if it is the noise of a double; otherwise the result is `None`.
pub(crate) fn decimal(text: &str, scale: i32) -> Option<i128> {
    let (negative, rest) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let (mut mantissa, mut digits, mut behind, mut seen_point, mut seen_digit) =
        (0_u128, 0_u32, 0_i32, false, false);
    let mut exponent = 0_i32;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'.' if !seen_point => seen_point = true,
            b'0'..=b'9' => {
                seen_digit = true;
                mantissa = mantissa.checked_mul(10)?.checked_add(u128::from(byte - b'0'))?;
                digits += u32::from(mantissa > 0);
                behind += i32::from(seen_point);
            }
            b'e' | b'E' if seen_digit => {
                let text = std::str::from_utf8(&rest[at + 1..]).ok()?;
                exponent = text.parse().ok().filter(|exponent: &i32| exponent.abs() <= 40)?;
                break;
            }
            _ => return None,
        }
    }
    if !seen_digit {
        return None;
    }
    let shift = exponent - behind + scale;
    let power = 10_u128.checked_pow(shift.unsigned_abs());
    let value = if mantissa == 0 {
        0
    } else if shift >= 0 {
        mantissa.checked_mul(power?)?
    } else {
        let power = power?;
        let (value, left) = (mantissa / power, mantissa % power);
        let distance = left.min(power - left);
        // The difference to the rounded number is `distance / power / 10^scale`.
        let noise = 10_u128.checked_pow(scale.unsigned_abs())?.checked_mul(power)? / NOISE;
        if left > 0 && (digits < DOUBLE_DIGITS || distance > noise) {
            return None;
        }
        value + u128::from(left > 0 && left > power - left)
    };
    let value = i128::try_from(value).ok()?;
    Some(if negative { -value } else { value })
}

/// Returns the shape of `text`: letters as `a` or `A`, digits as `9`. Operators see what is wrong with a
/// value without the value itself. The value of any column may be personal, since a line may be split
/// wrongly.
pub(crate) fn shape(text: &str) -> String {
    let sign = |c: char| match c {
        _ if c.is_uppercase() => 'A',
        _ if c.is_alphabetic() => 'a',
        _ if c.is_numeric() => '9',
        _ if c.is_ascii_graphic() || c == ' ' => c,
        _ => '?',
    };
    text.chars().take(40).map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: NumberRule = NumberRule { decimal: None, thousands: None };
    const GERMAN: NumberRule = NumberRule { decimal: Some(b','), thousands: Some(b'.') };
    const AMERICAN: NumberRule = NumberRule { decimal: Some(b'.'), thousands: Some(b',') };

    #[test]
    fn prices_are_exact_or_rejected() {
        for (text, price) in [
            ("2.55", 25_500),
            ("-11062.06", -110_620_600),
            ("1.23450000", 12_345),
            (".5", 5_000),
            ("99999999999999.9999", 999_999_999_999_999_999),
            ("1e3", 10_000_000),
            ("1.2345E+3", 12_345_000),
            ("25E-1", 25_000),
            ("0e0", 0),
            ("-0.0", 0),
        ] {
            assert_eq!(PLAIN.price(text), Ok(price), "{text}");
        }
        for text in [
            "1.23451",
            "100000000000000",
            "NaN",
            "inf",
            "",
            ".",
            "e3",
            "1e",
            "1,5",
            "--1",
            "1.2.3",
            "1e99",
            "1e-5",
            "-922337203685477.5808",
        ] {
            assert_eq!(PLAIN.price(text), Err(NotNumber::Form), "{text}");
        }
    }

    #[test]
    fn double_noise_is_rounded_and_extra_digits_are_rejected() {
        for (text, price) in [
            ("64.42000000000001", 644_200),
            ("0.30000000000000004", 3_000),
            ("2.5499999999999998", 25_500),
            ("-64.42000000000001", -644_200),
            ("123456.78000000001", 1_234_567_800),
            ("6.442000000000001e1", 644_200),
        ] {
            assert_eq!(PLAIN.price(text), Ok(price), "{text}");
        }
        // A third, a 32-bit float, and eight significant decimals.
        for text in ["3.3333333333333335", "2.549999952316284", "2.00000001", "1.0000000001"] {
            assert_eq!(PLAIN.price(text), Err(NotNumber::Form), "{text}");
        }
    }

    #[test]
    fn ambiguous_whole_numbers_are_rejected() {
        for (text, number) in
            [("6", 6), ("-6.0", -6), ("6.00", 6), ("1234.000", 1_234), ("1e3", 1_000), ("-0", 0)]
        {
            assert_eq!(PLAIN.integer(text), Ok(number), "{text}");
        }
        for text in ["1.000", "+1.000", "-12.000", "999.000"] {
            assert_eq!(PLAIN.integer(text), Err(NotNumber::Thousands), "{text}");
            assert!(NumberRule::TYPED.integer(text).is_ok(), "{text}");
        }
        assert_eq!(NumberRule::TYPED.integer("1.000"), Ok(1));
        for text in ["1.5", "x", "", "99999999999999999999"] {
            assert_eq!(PLAIN.integer(text), Err(NotNumber::Form), "{text}");
        }
        assert_eq!(PLAIN.quantity("4006381333931", 10_000_000), Err(NotNumber::TooGreat));
        assert_eq!(PLAIN.quantity("-10000000", 10_000_000), Ok(-10_000_000));
        assert_eq!(PLAIN.quantity("-9223372036854775808", 10_000_000), Err(NotNumber::TooGreat));
    }

    #[test]
    fn configured_decimal_mark_and_thousands_separator_are_used() {
        assert_eq!(GERMAN.price("1.234,50"), Ok(12_345_000));
        assert_eq!(GERMAN.price("-2,5"), Ok(-25_000));
        assert_eq!(GERMAN.integer("1.000"), Ok(1_000));
        assert_eq!(AMERICAN.price("1,234.50"), Ok(12_345_000));
        assert_eq!(AMERICAN.integer("-1,000,000"), Ok(-1_000_000));
        assert_eq!(AMERICAN.price("64.42000000000001"), Ok(644_200));
        for text in ["1.23", "12.34,5", "1234.567,8", ".123", "1.5e2"] {
            assert_eq!(GERMAN.price(text), Err(NotNumber::Form), "{text}");
        }
        for text in ["1,23", "1234,567", "1.234,5", ",123"] {
            assert_eq!(AMERICAN.price(text), Err(NotNumber::Form), "{text}");
        }
        let comma = NumberRule { decimal: Some(b','), thousands: None };
        assert_eq!((comma.price("2,55"), comma.price("2.55")), (Ok(25_500), Err(NotNumber::Form)));
    }

    #[test]
    fn null_words_are_missing_ids() {
        let nulls = Nulls(vec!["0".to_owned(), "guest".to_owned()]);
        for text in [
            "",
            "  ",
            "nan",
            "NaN",
            "NULL",
            "None",
            "\\N",
            "N/A",
            "#N/A",
            "<NA>",
            "undefined",
            "0",
            "0.0",
            "guest",
        ] {
            assert_eq!(nulls.customer_id(text), Ok(None), "{text}");
        }
        for text in ["nancy", "1", "Guest", "-", "n", "00"] {
            assert_eq!(nulls.customer_id(text).ok().flatten().as_deref(), Some(text));
        }
        assert_eq!(Nulls::default().customer_id("0"), Ok(Some("0".into())));
        assert!(Nulls::default().customer_id("a\u{0}").is_err());
        assert_eq!(Nulls::default().id("536365.0"), Ok(Some("536365".into())));
        assert_eq!(Nulls::default().id(" nan "), Ok(None));
    }

    #[test]
    fn shape_hides_the_value() {
        assert_eq!(shape("Ada.L@example.com"), "Aaa.A@aaaaaaa.aaa");
        assert_eq!(shape("+49 151 1234-5"), "+99 999 9999-9");
        assert_eq!(shape("Zoë\t٣Ж"), "Aaa?9A");
        assert_eq!(shape(&"1".repeat(50)).len(), 40);
    }
}
