//! Names: of views and segments, which are ASCII words, and of features, which keep the letters of any
//! script.

use std::borrow::Cow;

use super::trim;
use icu_normalizer::{ComposingNormalizerBorrowed, properties::CanonicalCombiningClassMapBorrowed};

/// The most characters of a name.
const LONGEST: usize = 64;

/// Whether `name` may name a view or a segment: `[a-z0-9_]{1,64}`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether `name` may name a feature: 1 to 64 lower-case letters and digits of any script, and `_`.
#[must_use]
pub fn is_feature_name(name: &str) -> bool {
    !name.is_empty() && feature_name(name) == name
}

/// Whether `c` may stand in the name of a feature: letters, digits, the marks that belong to letters, and
/// `_`.
#[must_use]
pub fn is_name_char(c: char) -> bool {
    c == '_'
        || c.is_alphanumeric()
        || (!c.is_ascii() && CanonicalCombiningClassMapBorrowed::new().get_u8(c) != 0)
}

/// Returns the name of the feature that a column called `column` becomes: lower case, composed (NFC), at
/// most 64 characters, with `_` for all but letters, digits and the marks that belong to them.
#[must_use]
pub fn feature_name(column: &str) -> String {
    let letter = |c: char| if is_name_char(c) { c } else { '_' };
    let lower: Cow<'_, str> = trim(column).to_lowercase().into();
    let name: String =
        ComposingNormalizerBorrowed::new_nfc().normalize(&lower).chars().take(LONGEST).map(letter).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words() {
        assert!(is_name("about_to_sleep") && is_name("v2"));
        assert!(!is_name("") && !is_name("Upper") && !is_name("a-b") && !is_name(&"x".repeat(65)));
    }

    #[test]
    fn letters_of_any_script_stay_letters() {
        for (column, name) in [
            ("姓名", "姓名"),
            ("Größe", "größe"),
            ("Имя", "имя"),
            ("Full Name", "full_name"),
            ("E-Mail", "e_mail"),
            ("cafe\u{301}", "café"),
            ("नमस्ते", "नमस्ते"),
            ("الاسم", "الاسم"),
            ("", "_"),
        ] {
            assert_eq!(feature_name(column), name);
            assert!(is_feature_name(name), "{name}");
        }
        assert!(!is_feature_name("Größe") && !is_feature_name("a b") && !is_feature_name(""));
    }
}
