//! What becomes of personal values in an export: those who may not see them get hashes of mail addresses and phone numbers,
//! which is what advertising platforms match by, and nothing of the rest.

use sha2::{Digest, Sha256};

use crate::{feature::Feature, snapshot::hex};

/// What becomes of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// They stay as they are.
    Shown,
    /// SHA-256 of the normalised mail address, in hexadecimal.
    HashedEmail,
    /// SHA-256 of the normalised phone number, in hexadecimal.
    HashedPhone,
    /// They are null.
    Withheld,
}

impl Treatment {
    /// The treatment of `feature` for those who may see personal values (`pii`) or not. What kind of personal value it holds is told
    /// by its name: one with `email` or `e_mail` in it, or one with a word of it being `phone`, `mobile`, `tel` and the like.
    #[must_use]
    pub fn of(feature: &Feature, pii: bool) -> Self {
        if pii || !feature.personal {
            return Self::Shown;
        }
        let phone =
            |word: &str| word.ends_with("phone") || ["mobile", "tel", "msisdn", "cell"].contains(&word);
        match feature.name.as_str() {
            name if name.contains("email") || name.contains("e_mail") => Self::HashedEmail,
            name if name.trim_end_matches(|c: char| c.is_ascii_digit()).split('_').any(phone) => {
                Self::HashedPhone
            }
            _ => Self::Withheld,
        }
    }

    /// What is written for `text`; nothing where nothing is left of it.
    #[must_use]
    pub fn apply(self, text: &str) -> Option<String> {
        let normal = match self {
            Self::Shown => return Some(text.to_owned()),
            Self::Withheld => return None,
            Self::HashedEmail => text.trim().to_lowercase(),
            Self::HashedPhone => phone(text),
        };
        (!normal.is_empty()).then(|| hex(&Sha256::digest(normal)))
    }
}

/// `+` and digits: signs between them go, and so do the two zeros that some write for the `+`.
fn phone(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let zeros = !text.trim_start().starts_with('+');
    let digits = digits.strip_prefix("00").filter(|_| zeros).unwrap_or(&digits);
    if digits.is_empty() { String::new() } else { format!("+{digits}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_what_kind_of_personal_value_it_is() {
        let of = |name: &str, personal| {
            let (name, data_type, description) = (name.to_owned(), "Utf8".to_owned(), String::new());
            Treatment::of(&Feature { name, data_type, description, personal }, false)
        };
        for name in ["email", "work_email", "e_mail", "email_2"] {
            assert_eq!(of(name, true), Treatment::HashedEmail, "{name}");
        }
        for name in ["phone", "telephone", "home_phone", "mobile", "tel", "phone2", "mobile_number"] {
            assert_eq!(of(name, true), Treatment::HashedPhone, "{name}");
        }
        for name in ["name", "hotel", "born", "mailing_address"] {
            assert_eq!(of(name, true), Treatment::Withheld, "{name}");
        }
        assert_eq!(of("email", false), Treatment::Shown);
    }

    #[test]
    fn spellings_of_one_address_have_one_hash() {
        // printf %s ada@example.com | sha256sum
        let ada = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72";
        let hash = |text| Treatment::HashedEmail.apply(text);
        assert_eq!(
            [hash(" Ada@Example.com\t").as_deref(), hash("ada@example.com").as_deref()],
            [Some(ada); 2]
        );
        assert_eq!(hash("  "), None);
        assert_eq!(phone("+49 (151) 123-45"), "+4915112345");
        assert_eq!(phone("0049 151 12345"), "+4915112345");
        assert_eq!((phone("n/a"), phone("4915112345")), (String::new(), "+4915112345".to_owned()));
    }
}
