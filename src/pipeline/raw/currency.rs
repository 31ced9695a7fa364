//! Currencies of lines, and their conversion to the currency of the features.

use std::{borrow::Cow, collections::BTreeMap};

use super::value::decimal;
use crate::config::CurrencyConfig;

/// Number of decimal digits of a rate.
const RATE_SCALE: i32 = 10;
const RATE_UNIT: i128 = 10_i128.pow(RATE_SCALE.unsigned_abs());

/// The currency of the features, and the rates of others.
#[derive(Debug, Clone, Default)]
pub(crate) struct CurrencyRule {
    base: Option<String>,
    /// Value of a unit of a currency in units of `base`, × 10^10.
    rates: BTreeMap<String, i128>,
}

/// Returns the name of a currency in capital letters.
pub(super) fn currency_name(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        Cow::Owned(text.to_ascii_uppercase())
    } else {
        Cow::Borrowed(text)
    }
}

impl CurrencyRule {
    pub(super) fn new(config: &CurrencyConfig) -> Result<Self, String> {
        let base = config.base.as_deref().map(|base| currency_name(base.trim()).into_owned());
        if base.is_none() && !config.rates.is_empty() {
            return Err("`rates` of [raw.currency] need a `base`".to_owned());
        }
        let rates = config.rates.iter().map(|(name, text)| {
            let rate = decimal(text.trim(), RATE_SCALE).filter(|rate| *rate > 0);
            let rate = rate.ok_or_else(|| {
                format!("the rate of {name} in [raw.currency] is `{text}`; expected a number greater than 0")
            })?;
            Ok((currency_name(name.trim()).into_owned(), rate))
        });
        Ok(Self { base, rates: rates.collect::<Result<_, String>>()? })
    }

    /// Returns whether amounts are converted.
    pub(crate) fn converts(&self) -> bool {
        self.base.is_some()
    }

    /// Converts `value`, a price or an amount in the currency `name`, to the base. A value without a currency
    /// is in the base. Returns `None` for an unknown currency, and on overflow.
    pub(super) fn convert(&self, value: i64, name: &str) -> Option<i64> {
        if name.is_empty() || self.base.as_deref() == Some(name) {
            return Some(value);
        }
        let product = i128::from(value) * self.rates.get(name)?;
        let rounded = (product.abs() + RATE_UNIT / 2) / RATE_UNIT * product.signum();
        i64::try_from(rounded).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_converted_and_rounded() {
        let config = |base: Option<&str>, rates: &[(&str, &str)]| CurrencyConfig {
            base: base.map(str::to_owned),
            rates: rates.iter().map(|(name, rate)| ((*name).to_owned(), (*rate).to_owned())).collect(),
        };
        let rule =
            CurrencyRule::new(&config(Some("eur"), &[("usd", "0.92"), ("JPY", "0.0061")])).expect("a rule");
        assert_eq!(rule.convert(100_000, "USD"), Some(92_000));
        assert_eq!(rule.convert(-100_001, "USD"), Some(-92_001));
        assert_eq!(rule.convert(7, "JPY"), Some(0));
        assert_eq!((rule.convert(5, "EUR"), rule.convert(5, "")), (Some(5), Some(5)));
        assert_eq!(rule.convert(5, "GBP"), None);
        assert!(CurrencyRule::new(&config(None, &[("USD", "1")])).is_err());
        assert!(CurrencyRule::new(&config(Some("EUR"), &[("USD", "-1")])).is_err());
    }
}
