//! Email addresses and phone numbers in the forms that advertising platforms hash.
//!
//! - Google ([format user data][google]): an address is in lower case and without white space; at Gmail, the
//!   local part is without dots and without a `+` and what follows it. A number is E.164 with `+`.
//! - Meta ([customer information parameters][meta]): an address is trimmed and in lower case. A number is
//!   digits with the country code, without symbols, letters and leading zeros.
//!
//! A platform hashes its own values in that form and compares. So a value that is no address or number, and
//! the hash of a hash, match nobody.
//!
//! [google]: https://developers.google.com/data-manager/api/devguides/concepts/formatting
//! [meta]: https://developers.facebook.com/docs/marketing-api/conversions-api/parameters

use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::snapshot::hex;

/// Advertising platform that hashes are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Google Ads Customer Match.
    Google,
    /// Meta custom audiences and Conversions API.
    Meta,
}

impl FromStr for Platform {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "google" => Ok(Self::Google),
            "meta" => Ok(Self::Meta),
            _ => Err("google or meta"),
        }
    }
}

/// Domains of Gmail, which ignores dots in the local part, and what follows a `+`.
const GMAIL: [&str; 2] = ["gmail.com", "googlemail.com"];
/// Number of digits of an international phone number: at most that of E.164.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Marks of an extension, longest first.
const EXTENSIONS: [&str; 6] = ["extension", "extn", "ext", "durchwahl", "x", "#"];

/// Returns the hash of the email address `text` in the form for `platform`; `None` if `text` is no address. A
/// hash stays as it is.
pub(super) fn hashed_email(text: &str, platform: Option<Platform>) -> Option<String> {
    existing_hash(text).or_else(|| email(text, platform).map(hash))
}

/// Returns the hash of the phone number `text` in the form for `platform`; `None` if `text` is not one
/// number. A hash stays as it is.
pub(super) fn hashed_phone(text: &str, platform: Option<Platform>) -> Option<String> {
    existing_hash(text).or_else(|| phone(text, platform).map(hash))
}

fn hash(normalized: String) -> String {
    hex(&Sha256::digest(normalized))
}

/// Returns `text` in lower case if it is a SHA-256 in hexadecimal.
fn existing_hash(text: &str) -> Option<String> {
    let text = trim(text);
    let is_hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| text.to_ascii_lowercase())
}

/// Removes white space, byte order marks and zero-width spaces at both ends.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}'))
}

/// Returns the address `text` in the form for `platform`.
fn email(text: &str, platform: Option<Platform>) -> Option<String> {
    let mut address = trim(text).to_lowercase();
    if platform == Some(Platform::Google) {
        address.retain(|c| !c.is_whitespace());
    }
    // Blanks, lists and brackets are of several addresses, or of an address with a name.
    let is_foreign = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | ';' | '<' | '>');
    let (local, domain) = address.split_once('@')?;
    if local.is_empty() || domain.is_empty() || domain.contains('@') || address.contains(is_foreign) {
        return None;
    }
    if platform != Some(Platform::Google) || !GMAIL.contains(&domain) {
        return Some(address);
    }
    let mailbox = local.split('+').next().unwrap_or_default().replace('.', "");
    if mailbox.is_empty() { None } else { Some(format!("{mailbox}@{domain}")) }
}

/// Returns the number `text` in the form for `platform`: digits for Meta, otherwise `+` and digits.
fn phone(text: &str, platform: Option<Platform>) -> Option<String> {
    let number = without_extension(trim(text))?;
    let number = without_fraction(number);
    let (is_international, national) = match number.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let is_layout =
        |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '/' | '.' | '-' | '\u{2010}'..='\u{2015}');
    if !national.chars().all(|c| c.is_ascii_digit() || (is_layout(c) && !matches!(c, '\r' | '\n'))) {
        return None;
    }
    let digits: String = without_trunk_zero(national).chars().filter(char::is_ascii_digit).collect();
    let prefixes = ["00", "011"];
    let dialed = prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let is_international = is_international || dialed.is_some();
    let digits = dialed.unwrap_or(&digits);
    // No country code begins with a zero.
    if is_international && digits.starts_with('0') {
        return None;
    }
    let digits = match platform {
        Some(Platform::Meta) => digits.trim_start_matches('0'),
        Some(Platform::Google) if digits.starts_with('0') => return None,
        _ => digits,
    };
    if !DIGITS.contains(&digits.len()) {
        return None;
    }
    Some(if platform == Some(Platform::Meta) { digits.to_owned() } else { format!("+{digits}") })
}

/// Cuts off an extension, such as `ext. 5`, `x5` or `#5`. Returns `None` if the text has other letters.
fn without_extension(text: &str) -> Option<&str> {
    let is_mark = |c: char| c.is_alphabetic() || c == '#';
    let Some(at) = text.find(is_mark) else { return Some(text) };
    let (number, rest) = text.split_at(at);
    let lower = rest.to_lowercase();
    let extension = EXTENSIONS.iter().find_map(|mark| lower.strip_prefix(mark))?;
    let extension = extension.trim_start_matches(['.', ':', '=', ' ']);
    let is_extension = !extension.is_empty() && extension.bytes().all(|b| b.is_ascii_digit());
    is_extension.then(|| number.trim_end_matches([' ', '\u{a0}', ',', ';', '/', '-', '(']))
}

/// Cuts off the fraction of a number that was kept as a float: `4915112345.0`.
fn without_fraction(number: &str) -> &str {
    match number.split_once('.') {
        Some((whole, "0" | "00")) if whole.trim_start_matches('+').bytes().all(|b| b.is_ascii_digit()) => {
            whole
        }
        _ => number,
    }
}

/// Removes the zero of national calls that is written in parentheses: `+49 (0)151`.
fn without_trunk_zero(number: &str) -> String {
    number.replace("(0)", " ").replace("( 0 )", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLATFORMS: [Option<Platform>; 3] = [None, Some(Platform::Google), Some(Platform::Meta)];

    #[test]
    fn addresses_have_the_form_of_the_platform() {
        for (text, expected) in [
            ("ada@example.com", ["ada@example.com"; 3].map(Some)),
            (" Ada@Example.COM\t", ["ada@example.com"; 3].map(Some)),
            ("\u{feff}ada@example.com\u{200b}", ["ada@example.com"; 3].map(Some)),
            ("ÄDA@example.com", ["äda@example.com"; 3].map(Some)),
            ("user.name+NYC@Example.com", ["user.name+nyc@example.com"; 3].map(Some)),
            (
                "Ada.Lovelace+shop@Gmail.com",
                [
                    Some("ada.lovelace+shop@gmail.com"),
                    Some("adalovelace@gmail.com"),
                    Some("ada.lovelace+shop@gmail.com"),
                ],
            ),
            (
                "a.b+c+d@googlemail.com",
                [Some("a.b+c+d@googlemail.com"), Some("ab@googlemail.com"), Some("a.b+c+d@googlemail.com")],
            ),
            ("a.b@mail.gmail.com", ["a.b@mail.gmail.com"; 3].map(Some)),
            ("+tag@gmail.com", [Some("+tag@gmail.com"), None, Some("+tag@gmail.com")]),
            ("ada @example.com", [None, Some("ada@example.com"), None]),
            ("", [None; 3]),
            ("  ", [None; 3]),
            ("n/a", [None; 3]),
            ("null", [None; 3]),
            ("-", [None; 3]),
            ("true", [None; 3]),
            ("not an email", [None; 3]),
            ("@example.com", [None; 3]),
            ("ada@", [None; 3]),
            ("ada@@example.com", [None; 3]),
            ("ada@example.com,bob@example.com", [None; 3]),
            ("ada@example.com; bob@example.com", [None; 3]),
            ("ada@example.com bob@example.com", [None; 3]),
            ("Ada <ada@example.com>", [None; 3]),
        ] {
            assert_eq!(
                PLATFORMS.map(|platform| email(text, platform)),
                expected.map(|text| text.map(str::to_owned)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn numbers_have_the_form_of_the_platform() {
        let same = |digits: &'static str| {
            [Some(format!("+{digits}")), Some(format!("+{digits}")), Some(digits.to_owned())]
        };
        let none = || [None, None, None];
        for (text, expected) in [
            ("+4915112345", same("4915112345")),
            ("4915112345", same("4915112345")),
            ("+49 (151) 123-45", same("4915112345")),
            ("+49 151/123.45", same("4915112345")),
            ("+49\u{a0}151\u{2011}12345", same("4915112345")),
            ("\u{feff}+49 151 12345 ", same("4915112345")),
            ("(650)555-1212", same("6505551212")),
            // The zero of national calls.
            ("+49 (0)151 12345", same("4915112345")),
            ("+49(0)15112345", same("4915112345")),
            ("0049 (0) 151 12345", same("4915112345")),
            ("+49 ( 0 ) 151 12345", same("4915112345")),
            // Prefixes of international calls.
            ("0049 151 12345", same("4915112345")),
            ("011 49 151 12345", same("4915112345")),
            ("+0049 151 12345", same("4915112345")),
            ("00 (49) 151 12345", same("4915112345")),
            // Numbers kept as floats.
            ("4915112345.0", same("4915112345")),
            ("+4915112345.0", same("4915112345")),
            ("4915112345.00", same("4915112345")),
            ("4.915112345e9", none()),
            ("4.91511E+11", none()),
            // Extensions.
            ("+49 151 12345 ext. 5", same("4915112345")),
            ("+49 151 12345 ext 5", same("4915112345")),
            ("+49 151 12345, Ext: 5", same("4915112345")),
            ("+49 151 12345;ext=5", same("4915112345")),
            ("+49 151 12345 extension 15", same("4915112345")),
            ("+49 151 12345x5", same("4915112345")),
            ("+49 151 12345 X 5", same("4915112345")),
            ("+49 151 12345 #5", same("4915112345")),
            ("+49 151 12345#5", same("4915112345")),
            ("+49 151 12345 x", none()),
            ("+49 151 12345 ext. five", none()),
            // No number, or several.
            ("", none()),
            ("n/a", none()),
            ("none", none()),
            ("-", none()),
            ("true", none()),
            ("12345", none()),
            ("call Ada 4915112345", none()),
            ("+49 151 12345 (work)", none()),
            ("+49 151 12345, +49 30 12345", none()),
            ("+49 151 12345; 49 30 12345", none()),
            ("+49 151 12345 / +49 30 12345", none()),
            ("+49 151 12345\n+49 30 12345", none()),
            ("4915112345\n4930123456", none()),
            ("0049 151 123456 / 0049 30 12345", none()),
            ("1234567890123456", none()),
            ("+0151 123456", none()),
            ("2024-01-31 10:00", none()),
            // No country code: matched by nobody, and no E.164.
            ("0151 123456", [Some("+0151123456".to_owned()), None, Some("151123456".to_owned())]),
        ] {
            assert_eq!(PLATFORMS.map(|platform| phone(text, platform)), expected, "{text:?}");
        }
    }

    #[test]
    fn hashes_are_those_of_the_platforms_documentation() {
        // Meta's examples.
        assert_eq!(
            hashed_email("John_Smith@gmail.com", Some(Platform::Meta)).as_deref(),
            Some("62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f")
        );
        assert_eq!(
            hashed_phone("1 (650)555-1212", Some(Platform::Meta)).as_deref(),
            Some("e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176")
        );
        // printf %s ada@example.com | sha256sum
        let ada = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72";
        for platform in PLATFORMS {
            for text in [" Ada@Example.com\t", ada, &ada.to_uppercase(), &format!(" {ada}\n")] {
                assert_eq!(hashed_email(text, platform).as_deref(), Some(ada), "{text}");
            }
            assert_eq!(hashed_phone(&ada.to_uppercase(), platform).as_deref(), Some(ada));
            assert_eq!(hashed_email(&ada[1..], platform), None);
        }
    }
}
