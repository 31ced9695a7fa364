//! Validation of names: ASCII for views and segments, letters of any script for features.

use std::borrow::Cow;

use super::trim;
use icu_normalizer::{ComposingNormalizerBorrowed, properties::CanonicalCombiningClassMapBorrowed};

/// Length limit of a name in characters.
const LONGEST: usize = 64;

/// Checks whether `name` is a valid name of a view or a segment: `[a-z0-9_]{1,64}`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Checks whether `name` is a valid name of a feature: 1 to 64 lower-case letters and digits of any script,
/// and `_`.
#[must_use]
pub fn is_feature_name(name: &str) -> bool {
    !name.is_empty() && feature_name(name) == name
}

/// Checks whether `c` may be part of a feature name: letters, digits, combining marks and `_`.
#[must_use]
pub fn is_name_char(c: char) -> bool {
    c == '_'
        || c.is_alphanumeric()
        || (!c.is_ascii() && CanonicalCombiningClassMapBorrowed::new().get_u8(c) != 0)
}

/// Converts a column name to a feature name: lower case, NFC, at most 64 characters, and `_` in place of
/// every character but letters, digits and combining marks.
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
    fn view_names_are_lower_case_ascii() {
        assert!(is_name("about_to_sleep") && is_name("v2"));
        assert!(!is_name("") && !is_name("Upper") && !is_name("a-b") && !is_name(&"x".repeat(65)));
    }

    #[test]
    fn feature_names_keep_letters_of_any_script() {
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
