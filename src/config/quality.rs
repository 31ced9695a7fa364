//! `[quality]`: conditions that a build must meet to be published.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error};

/// The `[quality]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QualityConfig {
    /// Conditions for publishing a build, in addition to the built-in checks. A rule has the form `METRIC OP
    /// NUMBER`, `METRIC OP NUMBER * previous` or `METRIC OP previous`. Metrics are `customers`, `revenue`,
    /// `lines(TABLE)`, `null_share(VIEW.FEATURE)` and `segment(NAME)`; operators are `>=`, `<=`, `>` and `<`;
    /// `previous` is the value of the current snapshot.
    ///
    /// Default: `[]`. Example: `["customers >= 0.9 * previous", "null_share(profile.email) <= 0.2"]`.
    pub rules: Vec<QualityRule>,
}

/// A condition for publishing a build: `METRIC OP NUMBER`, `METRIC OP NUMBER * previous` or `METRIC OP
/// previous`.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityRule {
    /// Text of the rule in the configuration.
    pub text: String,
    /// Metric on the left side.
    pub metric: QualityMetric,
    /// Operator between both sides.
    pub comparator: Comparator,
    /// Limit, or the factor for the metric of the current snapshot.
    pub factor: f64,
    /// Whether the limit is `factor` times the metric of the current snapshot.
    pub of_previous: bool,
}

/// A number of a snapshot that rules can compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QualityMetric {
    /// `customers`: number of customers.
    Customers,
    /// `revenue`: purchases less returns and reductions of all customers.
    Revenue,
    /// `lines(transactions)`: number of lines of a raw table.
    Lines(String),
    /// `null_share(view.feature)`: share of customers whose feature is null, 0 to 1.
    NullShare(String),
    /// `segment(name)`: number of customers of a segment.
    Segment(String),
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparator {
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `<`
    Less,
}

impl Comparator {
    /// Checks whether `value` meets `limit`.
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

impl fmt::Display for QualityMetric {
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

impl FromStr for QualityRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| {
            format!(
                "`{text}` is not a rule: {why}; write e.g. `customers >= 0.9 * previous` or \
                 `null_share(profile.email) <= 0.2`"
            )
        };
        let no_operator = || invalid("the operator must be >=, <=, > or <");
        let at = text.find(['<', '>']).ok_or_else(no_operator)?;
        let (left, comparison) = text.split_at(at);
        let (comparator, limit) = [
            (">=", Comparator::AtLeast),
            ("<=", Comparator::AtMost),
            (">", Comparator::More),
            ("<", Comparator::Less),
        ]
        .into_iter()
        .find_map(|(sign, comparator)| Some((comparator, comparison.strip_prefix(sign)?.trim())))
        .ok_or_else(no_operator)?;
        let metric = metric(left.trim()).ok_or_else(|| {
            invalid(
                "the metric must be customers, revenue, lines(TABLE), null_share(VIEW.FEATURE) or \
                 segment(NAME)",
            )
        })?;
        let (number, of_previous) = match limit.split_once('*').map(|(a, b)| (a.trim(), b.trim())) {
            None if limit == "previous" => ("1", true),
            None => (limit, false),
            Some((factor, "previous") | ("previous", factor)) => (factor, true),
            Some(_) => return Err(invalid("only `previous` can be multiplied")),
        };
        match number.parse::<f64>() {
            Ok(factor) if factor.is_finite() => {
                Ok(Self { text: text.to_owned(), metric, comparator, factor, of_previous })
            }
            _ => Err(invalid("the limit is not a number")),
        }
    }
}

/// Parses the left side of a rule.
fn metric(text: &str) -> Option<QualityMetric> {
    if let Some((name, argument)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let argument = argument.trim().to_owned();
        return match name.trim() {
            "lines" if ["transactions", "customers", "interactions"].contains(&argument.as_str()) => {
                Some(QualityMetric::Lines(argument))
            }
            "null_share" if argument.contains('.') => Some(QualityMetric::NullShare(argument)),
            "segment" if !argument.is_empty() => Some(QualityMetric::Segment(argument)),
            _ => None,
        };
    }
    match text {
        "customers" => Some(QualityMetric::Customers),
        "revenue" => Some(QualityMetric::Revenue),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for QualityRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_parsed() {
        let rule = |text: &str| text.parse::<QualityRule>().expect(text);
        let one = rule("customers >= 0.9 * previous");
        assert_eq!(
            (one.metric, one.comparator, one.of_previous),
            (QualityMetric::Customers, Comparator::AtLeast, true)
        );
        assert!((one.factor - 0.9).abs() < 1e-12);
        assert_eq!(
            rule("null_share( profile.email )<=0.2").metric,
            QualityMetric::NullShare("profile.email".to_owned())
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
            assert!(text.parse::<QualityRule>().is_err_and(|why| why.contains("is not a rule")), "{text}");
        }
    }
}
