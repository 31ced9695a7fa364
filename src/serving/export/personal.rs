//! Masking of personal values in exports. Callers with the scope `match` get hashes of email addresses and
//! phone numbers, which advertising platforms match customers by. Other callers without the scope `pii` get
//! no personal values.

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

/// Form in which a caller gets personal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonalValues {
    /// As they are.
    Shown,
    /// Email addresses and phone numbers as hashes, other values not at all.
    Hashed,
    /// Not at all.
    Withheld,
}

/// Words that may follow the kind of contact in the name of a feature: `email_address`, `mobile_number`.
const QUALIFIERS: [&str; 4] = ["address", "number", "no", "nr"];
/// Words for a phone number.
const PHONES: [&str; 8] =
    ["phone", "telephone", "cellphone", "mobilephone", "mobile", "tel", "msisdn", "cell"];

impl Treatment {
    /// Returns the treatment of `feature` for a caller who gets personal values in the form `values`.
    ///
    /// The name of a personal feature tells its kind, by its last word: `work_email`, `e_mail`,
    /// `phone_number`, `mobile2`. A name that goes on, such as `email_opt_in`, is of no contact. Email
    /// addresses must be text, phone numbers text or integers.
    #[must_use]
    pub fn of(feature: &Feature, values: PersonalValues) -> Self {
        if values == PersonalValues::Shown || !feature.personal {
            return Self::Shown;
        }
        if values == PersonalValues::Withheld {
            return Self::Withheld;
        }
        let lower = feature.name.to_lowercase();
        let words = lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
        let mut words: Vec<&str> = words.collect();
        while words.last().is_some_and(|word| QUALIFIERS.contains(word)) {
            words.pop();
        }
        let is_text = feature.data_type == "Utf8";
        match words.as_slice() {
            [.., "email"] | [.., "e", "mail"] if is_text => Self::HashedEmail,
            [.., word] if PHONES.contains(word) && (is_text || feature.data_type == "Int64") => {
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
    fn treatment_follows_last_word_and_type_of_feature() {
        let feature = |name: &str, data_type: &str, personal| {
            let (name, data_type, description) = (name.to_owned(), data_type.to_owned(), String::new());
            Feature { name, data_type, description, personal }
        };
        let treatment =
            |name: &str, personal| Treatment::of(&feature(name, "Utf8", personal), PersonalValues::Hashed);
        for name in ["email", "work_email", "e_mail", "email_2", "email_address", "Email1"] {
            assert_eq!(treatment(name, true), Treatment::HashedEmail, "{name}");
        }
        for name in ["phone", "telephone", "home_phone", "mobile", "tel", "phone2", "mobile_number"] {
            assert_eq!(treatment(name, true), Treatment::HashedPhone, "{name}");
        }
        for name in [
            "name",
            "hotel",
            "born",
            "mailing_address",
            "email_opt_in",
            "email_verified",
            "emails_opened",
            "phone_verified_at",
            "mobile_app",
            "address",
            "number",
            "",
        ] {
            assert_eq!(treatment(name, true), Treatment::Withheld, "{name}");
        }
        assert_eq!(treatment("email", false), Treatment::Shown);
        for (name, data_type, expected) in [
            ("email", "Boolean", Treatment::Withheld),
            ("phone", "Int64", Treatment::HashedPhone),
            ("phone", "Boolean", Treatment::Withheld),
        ] {
            let feature = feature(name, data_type, true);
            assert_eq!(Treatment::of(&feature, PersonalValues::Hashed), expected, "{name} {data_type}");
            assert_eq!(Treatment::of(&feature, PersonalValues::Withheld), Treatment::Withheld);
            assert_eq!(Treatment::of(&feature, PersonalValues::Shown), Treatment::Shown);
        }
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
