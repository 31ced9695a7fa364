//! `[churn]`: horizon, risk levels, training and recommended actions of the `churn` view.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

mod levels;

pub use levels::{CustomerShare, LevelRule, TopLevels};

/// The `[churn]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "UncheckedChurnConfig")]
pub struct ChurnConfig {
    /// Whether builds compute the `churn` view.
    ///
    /// Default: `true`.
    pub enabled: bool,
    /// Time after the as-of time without a purchase that counts as churn, in whole days from `1d` to `3650d`.
    ///
    /// Default: `"90d"`.
    pub horizon: Duration,
    /// Rule of the risk levels: `"thresholds"` or `"top"`. The first compares the churn probability with
    /// `high` and `medium`; the second takes the most urgent customers by value at risk, as many as
    /// `[churn.top]` says.
    ///
    /// Default: `"thresholds"`.
    pub levels: LevelRule,
    /// Churn probability from which the risk level is high.
    ///
    /// Default: `0.6`. Unit: probability, above `medium` and below 1.
    pub high: f64,
    /// Churn probability from which the risk level is medium.
    ///
    /// Default: `0.3`. Unit: probability, above 0 and below `high`.
    pub medium: f64,
    /// `[churn.top]`: numbers of customers of the levels, for `levels = "top"`.
    pub top: TopLevels,
    /// Whether the model must agree with common sense. Given everything else, more time since the last order
    /// never lowers the probability, and more orders or more spending never raise it.
    ///
    /// Default: `true`.
    pub monotone: bool,
    /// Language of the reasons: `"en"` or `"zh"`.
    ///
    /// Default: `"en"`.
    pub language: Language,
    /// Views and features of your own that the model reads, such as `loyalty` or `loyalty.points`. The
    /// built-in views are always read.
    ///
    /// Default: all numeric and boolean features. Example: `["loyalty", "visits.count"]`.
    pub inputs: Option<Vec<String>>,
    /// Views and features of your own that the model does not read; wins over `inputs`.
    ///
    /// Default: `[]`.
    pub exclude: Vec<String>,
    /// Time for which builds score with the model of the current snapshot instead of training anew. It counts
    /// from as-of time to as-of time. `0d` trains in every build. A build with other settings or other code
    /// of Larder trains anew, and so do `larder build --retrain` and the first build after an erasure.
    ///
    /// Default: `"0d"`. Example: `"7d"`.
    pub retrain: Duration,
    /// Largest number of cutoffs: past as-of times of the last year to train and validate on. One younger
    /// cutoff, of which half the horizon has passed, is added.
    ///
    /// Default: `12`. Unit: cutoffs, 2 to 64.
    pub cuts: usize,
    /// Largest number of training rows over all cutoffs. If there are more customers, a sample is drawn by
    /// customer id.
    ///
    /// Default: `100000`. Unit: rows, at least 1000.
    pub training_rows: u64,
    /// `[churn.actions]`: the recommended action for each risk level and level of expected value.
    pub actions: ChurnActions,
}

/// The settings before they are validated together.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UncheckedChurnConfig {
    enabled: bool,
    #[serde(deserialize_with = "days")]
    horizon: Duration,
    levels: LevelRule,
    high: f64,
    medium: f64,
    top: TopLevels,
    monotone: bool,
    language: Language,
    inputs: Option<Vec<String>>,
    exclude: Vec<String>,
    #[serde(deserialize_with = "super::units::duration")]
    retrain: Duration,
    cuts: usize,
    training_rows: u64,
    actions: ChurnActions,
}

/// The `[churn.actions]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChurnActions {
    /// Actions at high risk, by level of expected value.
    ///
    /// Default: `{ high = "call", medium = "win_back_offer", low = "win_back_email" }`.
    pub high: ActionsByValue,
    /// Actions at medium risk, by level of expected value.
    ///
    /// Default: `{ high = "check_in", medium = "reminder", low = "newsletter" }`.
    pub medium: ActionsByValue,
    /// Actions at low risk, by level of expected value.
    ///
    /// Default: `{ high = "reward", medium = "cross_sell", low = "none" }`.
    pub low: ActionsByValue,
}

/// The action for each level of expected value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionsByValue {
    /// Action at high expected value.
    pub high: String,
    /// Action at medium expected value.
    pub medium: String,
    /// Action at low expected value.
    pub low: String,
}

impl ActionsByValue {
    fn new(high: &str, medium: &str, low: &str) -> Self {
        Self { high: high.to_owned(), medium: medium.to_owned(), low: low.to_owned() }
    }
}

impl Default for ChurnActions {
    fn default() -> Self {
        Self {
            high: ActionsByValue::new("call", "win_back_offer", "win_back_email"),
            medium: ActionsByValue::new("check_in", "reminder", "newsletter"),
            low: ActionsByValue::new("reward", "cross_sell", "none"),
        }
    }
}

impl Default for UncheckedChurnConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            horizon: Duration::from_hours(90 * 24),
            levels: LevelRule::Thresholds,
            high: 0.6,
            medium: 0.3,
            top: TopLevels::default(),
            monotone: true,
            language: Language::En,
            inputs: None,
            exclude: Vec::new(),
            retrain: Duration::ZERO,
            cuts: 12,
            training_rows: 100_000,
            actions: ChurnActions::default(),
        }
    }
}

impl Default for ChurnConfig {
    fn default() -> Self {
        UncheckedChurnConfig::default().into_checked()
    }
}

impl UncheckedChurnConfig {
    fn into_checked(self) -> ChurnConfig {
        let Self { enabled, horizon, levels, high, medium, top, monotone, language, .. } = self;
        let Self { inputs, exclude, retrain, cuts, training_rows, actions, .. } = self;
        ChurnConfig {
            enabled,
            horizon,
            levels,
            high,
            medium,
            top,
            monotone,
            language,
            inputs,
            exclude,
            retrain,
            cuts,
            training_rows,
            actions,
        }
    }
}

impl TryFrom<UncheckedChurnConfig> for ChurnConfig {
    type Error = String;

    fn try_from(unchecked: UncheckedChurnConfig) -> Result<Self, String> {
        let UncheckedChurnConfig { high, medium, cuts, training_rows, .. } = unchecked;
        if !(0.0 < medium && medium < high && high < 1.0) {
            return Err(format!(
                "0 < medium < high < 1 must hold, but medium is {medium} and high is {high}"
            ));
        }
        if !(2..=64).contains(&cuts) {
            return Err(format!("cuts must be 2 to 64, not {cuts}"));
        }
        if training_rows < 1_000 {
            return Err(format!("training_rows must be at least 1000, not {training_rows}"));
        }
        Ok(unchecked.into_checked())
    }
}

/// Language of generated sentences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

impl ChurnConfig {
    /// Returns the horizon in whole days.
    #[must_use]
    pub fn horizon_days(&self) -> u32 {
        u32::try_from(self.horizon.as_secs() / 86_400).unwrap_or(u32::MAX)
    }

    /// Returns the level of a churn probability by the thresholds: `high`, `medium` or `low`.
    #[must_use]
    pub fn level_by_threshold(&self, probability: f64) -> &'static str {
        level(probability, self.high, self.medium)
    }

    /// Returns whether the model may read the `feature` of the user's own `view`.
    #[must_use]
    pub fn reads(&self, view: &str, feature: &str) -> bool {
        let names = |name: &String| {
            name == view || name.split_once('.').is_some_and(|(of, column)| of == view && column == feature)
        };
        self.inputs.as_ref().is_none_or(|inputs| inputs.iter().any(names)) && !self.exclude.iter().any(names)
    }

    /// Returns the recommended action at a level of `risk` and a level of `value`.
    #[must_use]
    pub fn action(&self, risk: &str, value: &str) -> &str {
        let by_value = match risk {
            "high" => &self.actions.high,
            "medium" => &self.actions.medium,
            _ => &self.actions.low,
        };
        match value {
            "high" => &by_value.high,
            "medium" => &by_value.medium,
            _ => &by_value.low,
        }
    }
}

/// Returns `high` if `value` is at least `high`, `medium` if it is at least `medium`, else `low`.
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

/// Deserializes a duration of whole days, 1 to 3,650.
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
    fn risk_levels_and_actions_are_looked_up() {
        let config: ChurnConfig = toml::from_str(
            "horizon = \"30d\"\nhigh = 0.8\n[actions.low]\nhigh = \"a\"\nmedium = \"b\"\nlow = \"c\"",
        )
        .expect("valid");
        assert_eq!((config.horizon_days(), config.cuts), (30, 12));
        assert_eq!(
            [0.8, 0.79, 0.3, 0.29].map(|p| config.level_by_threshold(p)),
            ["high", "medium", "medium", "low"]
        );
        assert_eq!((config.action("low", "low"), config.action("high", "high")), ("c", "call"));
        assert_eq!((config.action("medium", "low"), config.action("low", "medium")), ("newsletter", "b"));
    }

    #[test]
    fn invalid_churn_settings_are_rejected() {
        for (text, word) in [
            ("high = 0.2", "medium"),
            ("medium = 0.7", "medium"),
            ("high = 1.0", "high"),
            ("cuts = 1", "cuts"),
            ("training_rows = 5", "training_rows"),
            ("horizon = \"36h\"", "whole days"),
            ("horizon = \"0d\"", "whole days"),
            ("levels = \"best\"", "thresholds"),
            ("language = \"de\"", "zh"),
            ("[top]\nhigh = \"101%\"", "101%"),
            ("[top]\nmedium = \"some\"", "some"),
            ("[actions.urgent]\nhigh = \"x\"", "urgent"),
        ] {
            let error = toml::from_str::<ChurnConfig>(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn own_inputs_are_chosen_by_view_and_by_feature() {
        let reads = |text: &str| {
            let config: ChurnConfig = toml::from_str(text).expect("valid");
            [("loyalty", "points"), ("loyalty", "tier"), ("visits", "count")]
                .map(|(view, feature)| config.reads(view, feature))
        };
        assert_eq!(reads(""), [true, true, true]);
        assert_eq!(reads("inputs = [\"loyalty.points\", \"visits\"]"), [true, false, true]);
        assert_eq!(reads("exclude = [\"loyalty\"]"), [false, false, true]);
        assert_eq!(reads("inputs = [\"loyalty\"]\nexclude = [\"loyalty.tier\"]"), [true, false, false]);
        assert_eq!(reads("inputs = []"), [false, false, false]);
    }
}
