//! Masking of personal values in exports. Callers with the scope `match` get hashes of email addresses and
//! phone numbers, which advertising platforms match customers by. Other callers without the scope `pii` get
//! no personal values.

use super::contact::{Platform, hashed_email, hashed_phone};
use crate::feature::Feature;

/// Treatment of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// The values are exported unchanged.
    Shown,
    /// SHA-256 of the email address in the form for a platform, in hexadecimal.
    HashedEmail(Option<Platform>),
    /// SHA-256 of the phone number in the form for a platform, in hexadecimal.
    HashedPhone(Option<Platform>),
    /// The values are replaced with null.
    Withheld,
}

/// Form in which a caller gets personal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonalValues {
    /// As they are.
    Shown,
    /// Email addresses and phone numbers as hashes for a platform, other values not at all.
    Hashed(Option<Platform>),
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
    /// addresses must be text. Phone numbers may be numbers, as raw files often have them; booleans and times
    /// are none.
    #[must_use]
    pub fn of(feature: &Feature, values: PersonalValues) -> Self {
        let platform = match values {
            PersonalValues::Hashed(platform) if feature.personal => platform,
            PersonalValues::Withheld if feature.personal => return Self::Withheld,
            _ => return Self::Shown,
        };
        let lower = feature.name.to_lowercase();
        let words = lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
        let mut words: Vec<&str> = words.collect();
        while words.last().is_some_and(|word| QUALIFIERS.contains(word)) {
            words.pop();
        }
        let is_text = feature.data_type == "Utf8";
        let is_number = matches!(feature.data_type.as_str(), "Int64" | "Float64");
        match words.as_slice() {
            [.., "email"] | [.., "e", "mail"] if is_text => Self::HashedEmail(platform),
            [.., word] if PHONES.contains(word) && (is_text || is_number) => Self::HashedPhone(platform),
            _ => Self::Withheld,
        }
    }

    /// Checks whether the values are exported as hashes.
    #[must_use]
    pub fn is_hash(self) -> bool {
        matches!(self, Self::HashedEmail(_) | Self::HashedPhone(_))
    }

    /// Returns the exported value for `text`; `None` if it is withheld, or is not one address or number.
    #[must_use]
    pub fn apply(self, text: &str) -> Option<String> {
        match self {
            Self::Shown => Some(text.to_owned()),
            Self::Withheld => None,
            Self::HashedEmail(platform) => hashed_email(text, platform),
            Self::HashedPhone(platform) => hashed_phone(text, platform),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn treatment_follows_last_word_and_type_of_feature() {
        let feature = |name: &str, data_type: &str, personal| {
            let (name, data_type, description) = (name.to_owned(), data_type.to_owned(), String::new());
            Feature { name, data_type, description, personal, days_since: false }
        };
        let treatment = |name: &str, personal| {
            Treatment::of(&feature(name, "Utf8", personal), PersonalValues::Hashed(None))
        };
        for name in ["email", "work_email", "e_mail", "email_2", "email_address", "Email1"] {
            assert_eq!(treatment(name, true), Treatment::HashedEmail(None), "{name}");
        }
        for name in ["phone", "telephone", "home_phone", "mobile", "tel", "phone2", "mobile_number"] {
            assert_eq!(treatment(name, true), Treatment::HashedPhone(None), "{name}");
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
        for platform in [Platform::Google, Platform::Meta].map(Some) {
            let values = PersonalValues::Hashed(platform);
            let of = |name: &str| Treatment::of(&feature(name, "Utf8", true), values);
            assert_eq!(of("email"), Treatment::HashedEmail(platform));
            assert_eq!(of("phone"), Treatment::HashedPhone(platform));
        }
        for (name, data_type, expected) in [
            ("email", "Boolean", Treatment::Withheld),
            ("email", "Int64", Treatment::Withheld),
            ("email", "Timestamp", Treatment::Withheld),
            ("accepts_email", "Boolean", Treatment::Withheld),
            ("phone", "Int64", Treatment::HashedPhone(None)),
            ("phone", "Float64", Treatment::HashedPhone(None)),
            ("phone", "Date32", Treatment::Withheld),
            ("phone", "Timestamp", Treatment::Withheld),
            ("phone", "Boolean", Treatment::Withheld),
        ] {
            let feature = feature(name, data_type, true);
            assert_eq!(Treatment::of(&feature, PersonalValues::Hashed(None)), expected, "{name} {data_type}");
            assert_eq!(Treatment::of(&feature, PersonalValues::Withheld), Treatment::Withheld);
            assert_eq!(Treatment::of(&feature, PersonalValues::Shown), Treatment::Shown);
        }
    }
}
