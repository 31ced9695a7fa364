//! Rules that divide customers into the risk levels high, medium and low.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// Rule of the risk levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LevelRule {
    /// By thresholds of the probability.
    #[default]
    Thresholds,
    /// The customers with the greatest value at risk.
    Top,
}

impl LevelRule {
    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Thresholds => "thresholds",
            Self::Top => "top",
        }
    }
}

/// The `[churn.top]` section: the most urgent customers by value at risk.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopLevels {
    /// Customers of the level high: a number, or a share such as `"5%"`.
    ///
    /// Default: `"5%"`. Unit: customers, or percent of the customers with an order.
    pub high: CustomerShare,
    /// Customers of the level medium, who follow those of the level high.
    ///
    /// Default: `"15%"`. Unit: as for `high`.
    pub medium: CustomerShare,
}

impl Default for TopLevels {
    fn default() -> Self {
        Self { high: CustomerShare::Percent(5.0), medium: CustomerShare::Percent(15.0) }
    }
}

/// A number of customers, or a share of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CustomerShare {
    /// Number of customers.
    Customers(u64),
    /// Percent of all customers, 0 to 100.
    Percent(f64),
}

impl CustomerShare {
    /// Returns the number of customers out of `all`. A share is rounded up.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers of customers"
    )]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Customers(customers) => usize::try_from(customers).unwrap_or(usize::MAX).min(all),
            Self::Percent(percent) => ((all as f64 * percent / 100.0).ceil() as usize).min(all),
        }
    }
}

impl fmt::Display for CustomerShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Customers(customers) => write!(f, "{customers} customers"),
            Self::Percent(percent) => write!(f, "{percent} % of the customers"),
        }
    }
}

impl<'de> Deserialize<'de> for CustomerShare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer) {
            Ok(Written::Number(customers)) => return Ok(Self::Customers(customers)),
            Ok(Written::Text(text)) => text,
            Err(_) => return Err(de::Error::custom(EXPECTED)),
        };
        let parsed = match text.strip_suffix('%') {
            Some(percent) => {
                percent.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(Self::Percent)
            }
            None => text.parse().ok().map(Self::Customers),
        };
        parsed.ok_or_else(|| de::Error::custom(format!("`{text}` is not {EXPECTED}")))
    }
}

const EXPECTED: &str = "a number of customers such as 200, or a share such as \"5%\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_numbers_or_shares() {
        let levels: TopLevels = toml::from_str("high = 200\nmedium = \"12.5%\"").expect("valid");
        assert_eq!(levels.high, CustomerShare::Customers(200));
        assert_eq!([levels.medium.of(1_000), levels.medium.of(9), levels.high.of(50)], [125, 2, 50]);
        assert!(toml::from_str::<TopLevels>("high = -1").is_err());
    }
}
