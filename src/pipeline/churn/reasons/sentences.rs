//! The sentences of reasons, one file per language.

use std::{collections::HashMap, sync::LazyLock};

use crate::config::Language;

type Texts = HashMap<String, String>;

/// The sentences of a language.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sentences(&'static Texts);

fn parse(text: &str) -> Texts {
    toml::from_str(text).unwrap_or_default()
}

impl Sentences {
    pub(super) fn of(language: Language) -> Self {
        static ENGLISH: LazyLock<Texts> = LazyLock::new(|| parse(include_str!("en.toml")));
        static CHINESE: LazyLock<Texts> = LazyLock::new(|| parse(include_str!("zh.toml")));
        Self(match language {
            Language::En => &ENGLISH,
            Language::Zh => &CHINESE,
        })
    }

    /// Returns the sentence `key` with its placeholders replaced by `values`.
    pub(super) fn text(self, key: &str, values: &[(&str, &str)]) -> String {
        let mut rest = self.0.get(key).map_or(key, String::as_str);
        let mut text = String::with_capacity(rest.len() + 16);
        while let Some((before, (name, after))) =
            rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
        {
            text.push_str(before);
            text.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
            rest = after;
        }
        text.push_str(rest);
        text
    }

    /// Returns `count` days in words: whole days from 10 on, tenths below.
    pub(super) fn days(self, count: f64) -> String {
        let n = number(if count >= 10.0 { count.round() } else { (count * 10.0).round() / 10.0 });
        self.text(if n == "1" { "day" } else { "days" }, &[("n", &n)])
    }
}

/// Formats `value` with at most two decimal places and without trailing zeros.
pub(super) fn number(value: f64) -> String {
    let hundredths = (value * 100.0).round();
    if hundredths.abs() < 1e15 {
        // Formatting a whole number takes a fraction of the time.
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 1e15")]
        let whole = hundredths as i64;
        let (sign, whole) = (if whole < 0 { "-" } else { "" }, whole.unsigned_abs());
        return match (whole / 100, whole % 100) {
            (units, 0) => format!("{sign}{units}"),
            (units, rest) if rest % 10 == 0 => format!("{sign}{units}.{}", rest / 10),
            (units, rest) => format!("{sign}{units}.{rest:02}"),
        };
    }
    format!("{value:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the keys with their placeholders.
    fn placeholders(language: Language) -> Vec<(String, Vec<String>)> {
        let mut all: Vec<_> = Sentences::of(language)
            .0
            .iter()
            .map(|(key, text)| {
                let names = text.split('{').skip(1).filter_map(|part| part.split_once('}'));
                let mut names: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
                names.sort();
                (key.clone(), names)
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn languages_have_the_same_sentences() {
        let english = placeholders(Language::En);
        assert!(english.len() > 20, "{english:?}");
        assert_eq!(english, placeholders(Language::Zh));
    }

    #[test]
    fn placeholders_are_replaced() {
        let english = Sentences::of(Language::En);
        assert_eq!(english.text("orders", &[("value", "3"), ("tenure", "1 day")]), "3 orders in 1 day");
        assert_eq!([1.0, 2.54, 36.21].map(|count| english.days(count)), ["1 day", "2.5 days", "36 days"]);
        assert_eq!(Sentences::of(Language::Zh).days(1.0), "1 天");
        assert_eq!([12.0, 12.5, 0.126, -0.001].map(number), ["12", "12.5", "0.13", "0"]);
    }
}
