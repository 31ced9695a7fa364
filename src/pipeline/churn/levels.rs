//! Risk levels by the configured rule, and what was observed of each level on a held-out cut.

use crate::{
    config::{ChurnConfig, LevelRule},
    pipeline::learning::metrics::{mean, rounded},
    snapshot::models::{ObservedLevel, RiskLevelFigures},
};

/// The risk levels, most urgent first.
const LEVELS: [&str; 3] = ["high", "medium", "low"];

/// Returns the risk level of each customer. `values_at_risk` have the order of `probabilities`. Of equal
/// values at risk, the first one is more urgent.
pub(super) fn assign(
    config: &ChurnConfig,
    probabilities: &[f64],
    values_at_risk: impl Fn(usize) -> i128,
) -> Vec<&'static str> {
    match config.levels {
        LevelRule::Thresholds => probabilities.iter().map(|p| config.level_by_threshold(*p)).collect(),
        LevelRule::Top => {
            let count = probabilities.len();
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by_cached_key(|row| (std::cmp::Reverse(values_at_risk(*row)), *row));
            let high = config.top.high.of(count);
            let medium = high + config.top.medium.of(count).min(count - high);
            let mut levels = vec!["low"; count];
            for (rank, row) in order.into_iter().enumerate().take(medium) {
                levels[row] = if rank < high { "high" } else { "medium" };
            }
            levels
        }
    }
}

/// Customers of a held-out cut with their levels.
pub(super) struct HeldOutLevels<'a> {
    pub(super) levels: &'a [&'static str],
    pub(super) probabilities: &'a [f64],
    pub(super) churned: &'a [bool],
}

/// Returns the figures of each level for the model card.
pub(super) fn figures(
    levels: &[&'static str],
    probabilities: &[f64],
    held_out: Option<&HeldOutLevels<'_>>,
) -> Vec<RiskLevelFigures> {
    let of_level = |levels: &[&str], level: &str| -> Vec<usize> {
        (0..levels.len()).filter(|row| levels[*row] == level).collect()
    };
    let figures = |level: &str| {
        let rows = of_level(levels, level);
        let observed = held_out.map(|cut| {
            let rows = of_level(cut.levels, level);
            let share = |of: &dyn Fn(usize) -> f64| rounded(mean(rows.iter().map(|row| of(*row))));
            ObservedLevel {
                customers: rows.len() as u64,
                predicted: share(&|row| cut.probabilities[row]),
                churned: share(&|row| f64::from(u8::from(cut.churned[row]))),
            }
        });
        RiskLevelFigures {
            level: level.to_owned(),
            customers: rows.len() as u64,
            predicted: rounded(mean(rows.iter().map(|row| probabilities[*row]))),
            observed,
        }
    };
    LEVELS.iter().map(|level| figures(level)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ChurnConfig {
        toml::from_str(text).expect("valid")
    }

    #[test]
    fn top_levels_hold_the_configured_numbers() {
        let values = [5, 9, 9, 1, 0];
        let assigned =
            |text: &str| assign(&config(text), &[0.1, 0.9, 0.2, 0.3, 0.99], |row| values[row]).join(" ");
        assert_eq!(
            assigned("levels = \"top\"\n[top]\nhigh = 1\nmedium = \"40%\""),
            "medium high medium low low"
        );
        assert_eq!(assigned("levels = \"top\"\n[top]\nhigh = 4\nmedium = 4"), "high high high high medium");
        assert_eq!(assigned(""), "low high low medium high");
    }

    #[test]
    fn figures_count_customers_and_outcomes() {
        let (levels, probabilities) = (["high", "low", "high"], [0.7, 0.1, 0.8]);
        let held_out = HeldOutLevels {
            levels: &["low", "high", "low", "low"],
            probabilities: &[0.1, 0.9, 0.2, 0.3],
            churned: &[false, true, true, false],
        };
        let found = figures(&levels, &probabilities, Some(&held_out));
        let customers: Vec<u64> = found.iter().map(|level| level.customers).collect();
        assert_eq!(customers, [2, 0, 1]);
        assert!((found[0].predicted - 0.75).abs() < 1e-9);
        let observed = found[2].observed.as_ref().expect("observed");
        assert_eq!(observed.customers, 3);
        assert!((observed.predicted - 0.2).abs() < 1e-9 && (observed.churned - 0.3333).abs() < 1e-9);
    }
}
