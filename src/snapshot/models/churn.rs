//! The card of the churn model.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{config::level, snapshot::rfc3339};

/// The churn model: what it foretells, what it was made from, how good it was on customers and times it had
/// not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChurnModel {
    /// Churn is: no purchase within so many days after `as_of`.
    #[schema(example = 90)]
    pub horizon_days: u32,
    /// The candidate that makes the probabilities: `logistic`, `boosted`, `blend`, …, or `rule` where there
    /// was too little data.
    #[schema(example = "blend")]
    pub chosen: String,
    /// Whether the probabilities may be believed.
    #[schema(example = true)]
    pub trusted: bool,
    /// Why not, where they may not.
    #[schema(example = json!(["the history is 40 days, too short to measure a model on a horizon of 90 days"]))]
    pub reasons: Vec<String>,
    /// What to keep in mind all the same.
    #[schema(example = json!(["the share that churned moved between 0.40 and 0.52 over the training cuts: the level of the probabilities may be off by as much"]))]
    pub caveats: Vec<String>,
    /// The instants at which customers were looked at to train the model that serves, oldest first.
    #[schema(example = json!(["2011-01-12T00:00:00Z", "2011-02-11T00:00:00Z"]))]
    pub training_cuts: Vec<String>,
    /// The parts of the horizon that learners learn, in days, the whole one last: the mean of their
    /// log-odds makes the score. After the youngest cuts only shorter parts have ended.
    #[serde(default)]
    #[schema(example = json!([45, 90]))]
    pub learned_days: Vec<u32>,
    /// Rows that the serving model was trained on: customers, once per cut.
    #[schema(example = 14_321)]
    pub training_rows: u64,
    /// How customers were sampled for training.
    #[schema(example = "all customers")]
    pub sampling: String,
    /// Share that churned of the training rows whose horizon has ended.
    #[schema(example = 0.466)]
    pub base_rate: f64,
    /// By how much the log-odds are stretched, as learned from cuts the model had not seen; 1 leaves them
    /// alone.
    #[schema(example = 0.94)]
    pub calibration_slope: f64,
    /// The cuts it was measured on, oldest first; each candidate was trained on what was known at that cut
    /// alone.
    pub cuts: Vec<ChurnCut>,
    /// The features, the weightiest first.
    pub features: Vec<ModelFeature>,
    /// The models of coming and going that are candidates, or inputs of candidates, as fitted to the latest
    /// training cut, where each customer counts once; absent where there was too little data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchases: Option<PurchaseModels>,
    /// The model of `expected_value`.
    pub expected_value: ExpectedValueModel,
    /// Where risk levels begin.
    pub thresholds: RiskThresholds,
    /// Where value levels begin, for the policy table.
    pub value_levels: ValueLevels,
}

/// A cut in time that candidates were measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChurnCut {
    /// The instant.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-09-09T00:00:00Z")]
    pub at: DateTime<Utc>,
    /// Whether the choice among candidates, or the calibration, rests on this cut; the latest is kept out
    /// of both where there are others.
    #[schema(example = false)]
    pub used_to_choose: bool,
    /// Rows that candidates were trained on for it.
    #[schema(example = 9_842)]
    pub training_rows: u64,
    /// Customers measured.
    #[schema(example = 3_362)]
    pub customers: u64,
    /// Share of them that churned.
    #[schema(example = 0.433)]
    pub churned: f64,
    /// The figures of each candidate, and of the `model` as it serves: the chosen candidate, calibrated.
    pub candidates: Vec<CandidateFigures>,
    /// The `model` in ten bins of equal size, least risk first.
    pub bins: Vec<ChurnBin>,
}

/// How good a candidate was on a cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CandidateFigures {
    /// The candidate.
    #[schema(example = "logistic")]
    pub name: String,
    /// Area under the ROC curve: how often of two customers, of whom one churned, that one had the greater
    /// probability.
    #[schema(example = 0.745)]
    pub auc: f64,
    /// Mean log loss.
    #[schema(example = 0.598)]
    pub log_loss: f64,
    /// Brier score: the mean square of probability less outcome.
    #[schema(example = 0.206)]
    pub brier: f64,
    /// Calibration error: mean distance of foretold and seen shares over ten bins of equal size.
    #[schema(example = 0.041)]
    pub calibration_error: f64,
    /// Share of churn in the tenth of greatest risk over the share in all.
    #[schema(example = 1.9)]
    pub top_lift: f64,
}

/// A tenth of the customers of a cut, by probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChurnBin {
    /// Customers in it.
    #[schema(example = 336)]
    pub customers: u64,
    /// Their mean probability.
    #[schema(example = 0.81)]
    pub foretold: f64,
    /// The share that churned.
    #[schema(example = 0.79)]
    pub seen: f64,
    /// That share over the share in all.
    #[schema(example = 1.83)]
    pub lift: f64,
}

/// A feature of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelFeature {
    /// What the model reads.
    #[schema(example = "log_recency")]
    pub name: String,
    /// The feature that it is made of.
    #[schema(example = "rfm.recency_days")]
    pub source: String,
    /// Change of the log-odds by one standard deviation, in the logistic regression.
    #[schema(example = 0.41)]
    pub weight: f64,
    /// Share of what the boosted trees' splits change, 0 to 1.
    #[schema(example = 0.22)]
    pub importance: f64,
}

/// The parameters of the purchase models. A purchase is a day (UTC) with an order; times are in days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PurchaseModels {
    /// NBD: purchases at a rate of the customer's own, for ever. `null` where it is degenerate.
    pub nbd: Option<PurchaseFit>,
    /// BG/NBD (Fader, Hardie and Lee 2005): the same, and after each purchase the customer may leave.
    pub bg_nbd: Option<PurchaseFit>,
    /// The gamma-gamma model of what a purchase is worth (Fader, Hardie and Lee 2005).
    pub gamma_gamma: Option<GammaGammaFit>,
    /// Which of them are degenerate, and why; those are never chosen.
    #[schema(example = json!(["bg_nbd: no customer is seen to leave: it explains the purchases no better than NBD"]))]
    pub degenerate: Vec<String>,
}

/// A fit of NBD or BG/NBD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PurchaseFit {
    /// Shape of the rates of purchase over customers.
    #[schema(example = 0.243)]
    pub r: f64,
    /// Rate of the same, in days.
    #[schema(example = 30.9)]
    pub alpha: f64,
    /// First parameter of the chances of leaving; `null` for NBD.
    #[schema(example = 0.793)]
    pub a: Option<f64>,
    /// Second parameter of the same.
    #[schema(example = 2.426)]
    pub b: Option<f64>,
    /// Log-likelihood of the customers that it was fitted to, at most 20,000.
    #[schema(example = -9_582.4)]
    pub log_likelihood: f64,
}

/// A fit of the gamma-gamma model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GammaGammaFit {
    /// Shape of a purchase's worth.
    #[schema(example = 6.25)]
    pub p: f64,
    /// Shape of the rates of worth over customers.
    #[schema(example = 3.74)]
    pub q: f64,
    /// Rate of the same, in money.
    #[schema(example = 15.44)]
    pub gamma: f64,
}

/// How `expected_value` is made. `own_rate`: scale × (own × the customer's spending rate + (1 − own) × the
/// mean), over the horizon. `gamma_gamma`: scale × the worth expected of a purchase × the number of them
/// expected of those who stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExpectedValueModel {
    /// The candidate that makes the values: `own_rate` or `gamma_gamma`.
    #[serde(default = "own_rate")]
    #[schema(example = "own_rate")]
    pub chosen: String,
    /// The weight of the customer's own rate in `own_rate`; chosen on the latest cut of the training rows.
    #[schema(example = 0.75)]
    pub own: f64,
    /// The factor that makes the sum right over the training cuts.
    #[schema(example = 1.12)]
    pub scale: f64,
    /// The mean spending of those who stayed, over the horizon.
    #[schema(example = 702.4)]
    pub mean: f64,
    /// Mean absolute error on the latest cut, over those who stayed, of what was learned before it.
    #[schema(example = 480.2)]
    pub error: f64,
    /// The same for foretelling the mean for everybody.
    #[schema(example = 650.9)]
    pub error_of_mean: f64,
    /// The errors of each candidate.
    #[serde(default)]
    pub candidates: Vec<ValueFigures>,
}

fn own_rate() -> String {
    "own_rate".to_owned()
}

/// How good a candidate for `expected_value` was: mean absolute errors over those who stayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValueFigures {
    /// `mean` (the same for everybody), `own_rate` or `gamma_gamma`.
    #[schema(example = "gamma_gamma")]
    pub name: String,
    /// On the cuts that the choice rests on.
    #[schema(example = 471.3)]
    pub error_to_choose: f64,
    /// On the latest cut, which is kept out of the choice where there are others.
    #[schema(example = 480.2)]
    pub error: f64,
}

/// Where risk levels begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RiskThresholds {
    /// Probability from which the risk is high.
    #[schema(example = 0.6)]
    pub high: f64,
    /// Probability from which it is medium.
    #[schema(example = 0.3)]
    pub medium: f64,
}

/// Where value levels begin: the greatest fifth is high, the next three tenths medium. Customers of equal
/// expected values have one level, the lower one where they are too many for the higher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValueLevels {
    /// Expected value from which it is high; null where nobody's is.
    #[schema(example = 1_204.5)]
    pub high: Option<f64>,
    /// Expected value from which it is medium; null where nobody's is.
    #[schema(example = 402.1)]
    pub medium: Option<f64>,
    /// The share of the customers whose level is high.
    #[serde(default)]
    #[schema(example = 0.2)]
    pub high_share: f64,
    /// The share of the customers whose level is medium.
    #[serde(default)]
    #[schema(example = 0.3)]
    pub medium_share: f64,
}

impl ValueLevels {
    /// Returns the levels of `expected` values.
    #[must_use]
    pub fn of(expected: &[f64]) -> Self {
        let mut sorted = expected.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let (high, highs) = level_from(&sorted, sorted.len() / 5);
        let (medium, mediums) = level_from(&sorted, sorted.len() / 2);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = |customers: usize| (customers as f64 / sorted.len().max(1) as f64 * 1e4).round() / 1e4;
        Self { high, medium, high_share: share(highs), medium_share: share(mediums - highs) }
    }

    /// Returns the level of `value`: `high`, `medium` or `low`.
    #[must_use]
    pub fn level(&self, value: f64) -> &'static str {
        level(value, self.high.unwrap_or(f64::INFINITY), self.medium.unwrap_or(f64::INFINITY))
    }

    /// Says why the levels have other shares than a fifth and three tenths, if they have.
    #[must_use]
    pub fn caveat(&self) -> Option<String> {
        const SLACK: f64 = 0.02;
        ((0.2 - self.high_share).abs() > SLACK || (0.5 - self.high_share - self.medium_share).abs() > SLACK).then(|| {
            format!(
                "customers have equal expected values, or are few, so that the levels do not have the shares of 20 % and 30 %: {:.1} % \
                 are high, {:.1} % medium",
                self.high_share * 100.0,
                self.medium_share * 100.0
            )
        })
    }
}

/// Returns the value from which on at most `count` of `sorted` values are, the greatest first, and how many
/// they are. Equal ones stay together.
fn level_from(sorted: &[f64], count: usize) -> (Option<f64>, usize) {
    let tied = |count: usize| count > 0 && sorted.get(count).is_some_and(|next| *next >= sorted[count - 1]);
    let mut count = count;
    while tied(count) {
        count -= 1;
    }
    (count.checked_sub(1).map(|last| sorted[last]), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_level() {
        let levels = |values: &[f64]| {
            let levels = ValueLevels::of(values);
            (levels.high, levels.medium, levels.high_share, levels.medium_share, levels.caveat().is_some())
        };
        let ten: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(levels(&ten), (Some(80.0), Some(50.0), 0.2, 0.3, false));
        assert_eq!(levels(&[7.0; 100]), (None, None, 0.0, 0.0, true));
        // Four fifths have the least value.
        let mut few = vec![1.0; 80];
        few.extend((0..20).map(|at| f64::from(at) + 2.0));
        assert_eq!(levels(&few), (Some(2.0), Some(2.0), 0.2, 0.0, true));
        // A quarter shares the greatest.
        let mut many = vec![9.0; 25];
        many.extend((0..75).map(|at| f64::from(at) / 100.0));
        assert_eq!(levels(&many), (None, Some(0.5), 0.0, 0.5, true));
        assert_eq!(ValueLevels::of(&many).level(9.0), "medium");
        assert_eq!(levels(&[]), (None, None, 0.0, 0.0, true));
    }
}
