//! Masking of personal values in exports. Callers without the scope `pii` get hashes of email addresses and
//! phone numbers, which advertising platforms match customers by, and no other personal values.

use sha2::{Digest, Sha256};

use crate::{feature::Feature, snapshot::hex};

/// Treatment of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// The values are exported unchanged.
    Shown,
    /// SHA-256 of the normalized email address, in hexadecimal.
    HashedEmail,
    /// SHA-256 of the normalized phone number, in hexadecimal.
    HashedPhone,
    /// The values are replaced with null.
    Withheld,
}

impl Treatment {
    /// Returns the treatment of `feature` for a caller who may see personal values (`pii`) or not.
    ///
    /// The name of a personal feature tells its kind: an email address if the name contains `email` or
    /// `e_mail`, a phone number if a word of the name is `phone`, `mobile`, `tel` or similar.
    #[must_use]
    pub fn of(feature: &Feature, pii: bool) -> Self {
        if pii || !feature.personal {
            return Self::Shown;
        }
        let is_phone =
            |word: &str| word.ends_with("phone") || ["mobile", "tel", "msisdn", "cell"].contains(&word);
        match feature.name.as_str() {
            name if name.contains("email") || name.contains("e_mail") => Self::HashedEmail,
            name if name.trim_end_matches(|c: char| c.is_ascii_digit()).split('_').any(is_phone) => {
                Self::HashedPhone
            }
            _ => Self::Withheld,
        }
    }

    /// Returns the exported value for `text`; `None` if it is withheld, or empty after normalization.
    #[must_use]
    pub fn apply(self, text: &str) -> Option<String> {
        let normalized = match self {
            Self::Shown => return Some(text.to_owned()),
            Self::Withheld => return None,
            Self::HashedEmail => text.trim().to_lowercase(),
            Self::HashedPhone => normalize_phone(text),
        };
        if normalized.is_empty() { None } else { Some(hex(&Sha256::digest(normalized))) }
    }
}

/// Normalizes a phone number to `+` and digits. Drops other characters, and the prefix `00` that stands for
/// `+`.
fn normalize_phone(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let number = match digits.strip_prefix("00") {
        Some(number) if !text.trim_start().starts_with('+') => number,
        _ => &digits,
    };
    if number.is_empty() { String::new() } else { format!("+{number}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn treatment_follows_feature_name() {
        let treatment = |name: &str, personal| {
            let (name, data_type, description) = (name.to_owned(), "Utf8".to_owned(), String::new());
            Treatment::of(&Feature { name, data_type, description, personal }, false)
        };
        for name in ["email", "work_email", "e_mail", "email_2"] {
            assert_eq!(treatment(name, true), Treatment::HashedEmail, "{name}");
        }
        for name in ["phone", "telephone", "home_phone", "mobile", "tel", "phone2", "mobile_number"] {
            assert_eq!(treatment(name, true), Treatment::HashedPhone, "{name}");
        }
        for name in ["name", "hotel", "born", "mailing_address"] {
            assert_eq!(treatment(name, true), Treatment::Withheld, "{name}");
        }
        assert_eq!(treatment("email", false), Treatment::Shown);
    }

    #[test]
    fn equivalent_spellings_have_equal_hashes() {
        // printf %s ada@example.com | sha256sum
        let ada = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72";
        let hash = |text| Treatment::HashedEmail.apply(text);
        assert_eq!(
            [hash(" Ada@Example.com\t").as_deref(), hash("ada@example.com").as_deref()],
            [Some(ada); 2]
        );
        assert_eq!(hash("  "), None);
        assert_eq!(normalize_phone("+49 (151) 123-45"), "+4915112345");
        assert_eq!(normalize_phone("0049 151 12345"), "+4915112345");
        assert_eq!(normalize_phone("n/a"), "");
        assert_eq!(normalize_phone("4915112345"), "+4915112345");
    }
}
