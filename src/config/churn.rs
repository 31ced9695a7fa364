//! `[churn]`: what churn is, where risk levels begin, and what is to be done about whom.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// `[churn]`
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Raw")]
pub struct ChurnConfig {
    /// Whether builds make the `churn` view; default true.
    pub enabled: bool,
    /// Churn is: no purchase for so long after `as_of`; default `90d`, whole days.
    pub horizon: Duration,
    /// Probability from which the risk is high; default 0.6.
    pub high: f64,
    /// Probability from which it is medium; default 0.3.
    pub medium: f64,
    /// At how many instants of the last year customers are looked at for training, at most, besides a younger one whose horizon has ended
    /// by half; default 12.
    pub cuts: usize,
    /// Rows to train on, at most, over all cuts; default 100,000. Where there are more customers, some are drawn by their ids.
    pub training_rows: u64,
    /// `[churn.actions]`: risk × value → action.
    pub actions: Actions,
}

/// The settings before they are checked together.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    enabled: bool,
    #[serde(deserialize_with = "days")]
    horizon: Duration,
    high: f64,
    medium: f64,
    cuts: usize,
    training_rows: u64,
    actions: Actions,
}

/// `[churn.actions]`: for each level of risk, the action by level of expected value.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Actions {
    /// Of those whose risk is high; default `call`, `win_back_offer`, `win_back_email`.
    pub high: ByValue,
    /// Of those whose risk is medium; default `check_in`, `reminder`, `newsletter`.
    pub medium: ByValue,
    /// Of those whose risk is low; default `reward`, `cross_sell`, `none`.
    pub low: ByValue,
}

/// The action for each level of expected value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByValue {
    /// Where the expected value is high.
    pub high: String,
    /// Where it is medium.
    pub medium: String,
    /// Where it is low.
    pub low: String,
}

impl ByValue {
    fn new(high: &str, medium: &str, low: &str) -> Self {
        Self { high: high.to_owned(), medium: medium.to_owned(), low: low.to_owned() }
    }
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            high: ByValue::new("call", "win_back_offer", "win_back_email"),
            medium: ByValue::new("check_in", "reminder", "newsletter"),
            low: ByValue::new("reward", "cross_sell", "none"),
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            enabled: true,
            horizon: Duration::from_hours(90 * 24),
            high: 0.6,
            medium: 0.3,
            cuts: 12,
            training_rows: 100_000,
            actions: Actions::default(),
        }
    }
}

impl Default for ChurnConfig {
    fn default() -> Self {
        let Raw { enabled, horizon, high, medium, cuts, training_rows, actions } = Raw::default();
        Self { enabled, horizon, high, medium, cuts, training_rows, actions }
    }
}

impl TryFrom<Raw> for ChurnConfig {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { enabled, horizon, high, medium, cuts, training_rows, actions } = raw;
        if !(0.0 < medium && medium < high && high < 1.0) {
            return Err(format!("0 < medium < high < 1 must hold, and medium is {medium}, high is {high}"));
        }
        if !(2..=64).contains(&cuts) {
            return Err(format!("cuts must be 2 to 64, not {cuts}"));
        }
        if training_rows < 1_000 {
            return Err(format!("training_rows must be 1000 at least, not {training_rows}"));
        }
        Ok(Self { enabled, horizon, high, medium, cuts, training_rows, actions })
    }
}

impl ChurnConfig {
    /// The horizon in whole days.
    #[must_use]
    pub fn horizon_days(&self) -> u32 {
        u32::try_from(self.horizon.as_secs() / 86_400).unwrap_or(u32::MAX)
    }

    /// The level of risk of `probability`: `high`, `medium` or `low`.
    #[must_use]
    pub fn risk(&self, probability: f64) -> &'static str {
        level(probability, self.high, self.medium)
    }

    /// What is to be done at a level of `risk` and a level of `value`.
    #[must_use]
    pub fn action(&self, risk: &str, value: &str) -> &str {
        let of =
            |levels: &[&'static str; 2], at: &str| levels.iter().position(|level| *level == at).unwrap_or(2);
        let levels = ["high", "medium"];
        let row = [&self.actions.high, &self.actions.medium, &self.actions.low][of(&levels, risk)];
        [&row.high, &row.medium, &row.low][of(&levels, value)]
    }
}

/// `high` from `high` on, `medium` from `medium` on, else `low`.
#[must_use]
pub fn level(value: f64, high: f64, medium: f64) -> &'static str {
    if value >= high {
        "high"
    } else if value >= medium {
        "medium"
    } else {
        "low"
    }
}

/// Whole days, 1 to 3,650.
fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    const DAY: Duration = Duration::from_hours(24);
    let text = String::deserialize(deserializer)?;
    let duration = super::parse_duration(&text).map_err(D::Error::custom)?;
    let days = duration.as_secs() / DAY.as_secs();
    let whole = duration == DAY * u32::try_from(days).unwrap_or(0);
    if whole && (1..=3_650).contains(&days) {
        Ok(duration)
    } else {
        Err(D::Error::custom(format!("`{text}` must be whole days, 1d to 3650d")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_and_the_levels_are_looked_up() {
        let config: ChurnConfig = toml::from_str(
            "horizon = \"30d\"\nhigh = 0.8\n[actions.low]\nhigh = \"a\"\nmedium = \"b\"\nlow = \"c\"",
        )
        .expect("valid");
        assert_eq!((config.horizon_days(), config.cuts), (30, 12));
        assert_eq!([0.8, 0.79, 0.3, 0.29].map(|p| config.risk(p)), ["high", "medium", "medium", "low"]);
        assert_eq!((config.action("low", "low"), config.action("high", "high")), ("c", "call"));
        assert_eq!((config.action("medium", "low"), config.action("low", "medium")), ("newsletter", "b"));
    }

    #[test]
    fn settings_without_sense_are_refused() {
        for (text, word) in [
            ("high = 0.2", "medium"),
            ("medium = 0.7", "medium"),
            ("high = 1.0", "high"),
            ("cuts = 1", "cuts"),
            ("training_rows = 5", "training_rows"),
            ("horizon = \"36h\"", "whole days"),
            ("horizon = \"0d\"", "whole days"),
            ("[actions.urgent]\nhigh = \"x\"", "urgent"),
        ] {
            let error = toml::from_str::<ChurnConfig>(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
