//! `[quality]`: when a build is too unlike the snapshot before to be published.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error};

/// `[quality]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QualityConfig {
    /// Conditions on a build, beside the built-in checks, for it to be published, e.g. `customers >=
    /// 0.9 * previous` or `null_share(profile.email) <= 0.2`.
    pub rules: Vec<Rule>,
}

/// A condition on a build: `METRIC OP NUMBER`, `METRIC OP NUMBER * previous` or `METRIC OP previous`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The rule as it was configured.
    pub text: String,
    /// The number that is compared.
    pub metric: Metric,
    /// How.
    pub comparison: Comparison,
    /// With which number, or with how many times the metric of the snapshot before.
    pub factor: f64,
    /// Whether it is a factor of the snapshot before.
    pub of_previous: bool,
}

/// The numbers of a snapshot that rules can compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// `customers`: all of the snapshot.
    Customers,
    /// `revenue`: purchases less returns and reductions of all.
    Revenue,
    /// `lines(transactions)`: the lines of a raw table.
    Lines(String),
    /// `null_share(view.feature)`: the share of customers for whom a feature is null.
    NullShare(String),
    /// `segment(name)`: the customers of a segment.
    Segment(String),
}

/// How a metric is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Comparison {
    AtLeast,
    AtMost,
    More,
    Less,
}

impl Comparison {
    /// Whether `value` compares with `limit` as it should.
    #[must_use]
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => value >= limit,
            Self::AtMost => value <= limit,
            Self::More => value > limit,
            Self::Less => value < limit,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Customers => f.write_str("customers"),
            Self::Revenue => f.write_str("revenue"),
            Self::Lines(table) => write!(f, "lines({table})"),
            Self::NullShare(feature) => write!(f, "null_share({feature})"),
            Self::Segment(name) => write!(f, "segment({name})"),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "`{text}` is no rule: {what}; write e.g. `customers >= 0.9 * previous` or `null_share(profile.email) <= 0.2`"
            )
        };
        let at = text.find(['<', '>']).ok_or_else(|| wrong("it has none of >=, <=, > and <"))?;
        let (left, right) = text.split_at(at);
        let (comparison, right) = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::More),
            ("<", Comparison::Less),
        ]
        .into_iter()
        .find_map(|(sign, comparison)| Some((comparison, right.strip_prefix(sign)?.trim())))
        .ok_or_else(|| wrong("it has none of >=, <=, > and <"))?;
        let metric = metric(left.trim()).ok_or_else(|| {
            wrong("it compares none of customers, revenue, lines(TABLE), null_share(VIEW.FEATURE) and segment(NAME)")
        })?;
        let (factor, of_previous) = match right.split_once('*').map(|(a, b)| (a.trim(), b.trim())) {
            None if right == "previous" => ("1", true),
            None => (right, false),
            Some((factor, "previous") | ("previous", factor)) => (factor, true),
            Some(_) => return Err(wrong("only `previous` can be multiplied")),
        };
        let factor: f64 = factor
            .parse()
            .ok()
            .filter(|factor: &f64| factor.is_finite())
            .ok_or_else(|| wrong("it has no number"))?;
        Ok(Self { text: text.to_owned(), metric, comparison, factor, of_previous })
    }
}

fn metric(text: &str) -> Option<Metric> {
    if let Some((name, argument)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let argument = argument.trim().to_owned();
        return match name.trim() {
            "lines" if ["transactions", "customers", "interactions"].contains(&argument.as_str()) => {
                Some(Metric::Lines(argument))
            }
            "null_share" if argument.contains('.') => Some(Metric::NullShare(argument)),
            "segment" if !argument.is_empty() => Some(Metric::Segment(argument)),
            _ => None,
        };
    }
    match text {
        "customers" => Some(Metric::Customers),
        "revenue" => Some(Metric::Revenue),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule = |text: &str| text.parse::<Rule>().expect(text);
        let one = rule("customers >= 0.9 * previous");
        assert_eq!(
            (one.metric, one.comparison, one.of_previous),
            (Metric::Customers, Comparison::AtLeast, true)
        );
        assert!((one.factor - 0.9).abs() < 1e-12);
        assert_eq!(
            rule("null_share( profile.email )<=0.2").metric,
            Metric::NullShare("profile.email".to_owned())
        );
        assert!(!rule("revenue > 1000").of_previous && rule("segment(champions) < previous * 2").of_previous);
        assert!(rule("lines(transactions) >= previous").of_previous);
        for text in [
            "",
            "customers",
            "customers = 1",
            "money >= 1",
            "customers >= x",
            "customers >= 2 * 3",
            "lines(x) > 1",
            "null_share(email) < 1",
        ] {
            assert!(text.parse::<Rule>().is_err_and(|why| why.contains("is no rule")), "{text}");
        }
    }
}
