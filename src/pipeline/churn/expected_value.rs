//! The expected value: the spending that is expected of a customer within the horizon if the customer stays.
//!
//! There are two candidates. The first one is the customer's own spending rate, shrunk toward the mean as
//! far as that reduces the error. The second one is the expected amount of a purchase (gamma-gamma model)
//! times the expected number of purchases given that there is at least one (purchase model). The candidate
//! with the smaller error on held-out cuts is chosen.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{
    features::{MONETARY, SPEND_365, TENURE},
    horizon::days,
    selection::{LabeledCut, MIN_CLASS_SIZE},
};
use crate::{
    pipeline::learning::{
        gamma_gamma::GammaGamma,
        metrics::{mean, rounded},
        purchase_model::{PurchaseHistory, PurchaseModel},
    },
    snapshot::models::{ExpectedValueModel, ValueFigures},
};

/// Candidate weights of the own rate. The least one is above 0 so that customers with different spending keep
/// different values.
const OWN_WEIGHTS: [f64; 6] = [0.1, 0.2, 0.4, 0.6, 0.8, 1.0];
/// Greatest number of cuts to measure the candidates on.
const MAX_MEASURED: usize = 3;
/// Least relative reduction of the error for which the gamma-gamma model is preferred.
const MIN_GAIN: f64 = 0.005;
/// Weight of the spending rate since the first order; the rate of the last year has the rest. Customers
/// without recent purchases thus keep a value that depends on earlier spending.
const LIFETIME_WEIGHT: f64 = 0.1;

/// Names of the candidates in the model card. Errors are in this order.
const CANDIDATES: [&str; 3] = ["mean", "own_rate", "gamma_gamma"];
/// Indexes into [`CANDIDATES`].
const MEAN: usize = 0;
const OWN_RATE: usize = 1;
const GAMMA_GAMMA: usize = 2;

/// A labeled cut with the spending of the customers who stayed.
pub(super) struct CutWithSpending {
    pub(super) cut: Arc<LabeledCut>,
    /// Spending within the horizon at the own rate of each customer; see [`own_rate`].
    pub(super) own: Vec<f64>,
    pub(super) retained: RetainedCustomers,
}

/// Customers with a purchase within the horizon.
#[derive(Debug, Clone, Default)]
pub(super) struct RetainedCustomers {
    /// Spending within the horizon at the customer's own rate; see [`own_rate`].
    pub(super) own: Vec<f64>,
    pub(super) histories: Vec<PurchaseHistory>,
    /// Observed spending within the horizon.
    pub(super) spent: Vec<f64>,
}

impl RetainedCustomers {
    fn concat<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.own.extend_from_slice(&part.own);
            all.histories.extend_from_slice(&part.histories);
            all.spent.extend_from_slice(&part.spent);
        }
        all
    }

    /// Returns the mean absolute error of the predictions `expected`, by row.
    fn error_of(&self, expected: impl Fn(usize) -> f64) -> f64 {
        mean(self.spent.iter().enumerate().map(|(row, spent)| (expected(row) - spent).abs()))
    }
}

/// Returns the spending within `horizon` days at the customer's own rate: 0.9 × the rate of the last year (or
/// of the time since the first order, if shorter) + 0.1 × the rate since the first order. Spending of the
/// last year counts at most as much as all purchases minus returns, so returned purchases do not count.
pub(super) fn own_rate(raw: &[Vec<f64>], row: usize, horizon: f64) -> f64 {
    let (all, tenure) = (raw[MONETARY][row], raw[TENURE][row]);
    let rate = |spent: f64, most: f64| {
        // A tenure below the horizon counts as the horizon: a single recent order is no rate.
        let days = tenure.clamp(horizon, horizon.max(most));
        let rate = spent.max(0.0) / if days.is_nan() { horizon } else { days };
        if rate.is_finite() { rate * horizon } else { 0.0 }
    };
    // `min` ignores a NaN operand.
    let recent = rate(raw[SPEND_365][row].min(all), 365.0);
    let lifetime = if all.is_nan() { recent } else { rate(all, f64::MAX) };
    (1.0 - LIFETIME_WEIGHT) * recent + LIFETIME_WEIGHT * lifetime
}

/// The own rate, shrunk toward the mean: `scale` × (`own` × rate + (1 − `own`) × `mean`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OwnRate {
    own: f64,
    scale: f64,
    mean: f64,
}

impl OwnRate {
    /// Fits mean and scale to `training`, and chooses the weight with the least error on `latest`.
    fn fit(training: &RetainedCustomers, latest: &RetainedCustomers) -> Self {
        let middle = mean(training.spent.iter().copied());
        let model = |own: f64| {
            let blended = mean(training.own.iter().map(|value| own * value + (1.0 - own) * middle));
            Self {
                own,
                scale: rounded(if blended > 0.0 { middle / blended } else { 1.0 }),
                mean: rounded(middle),
            }
        };
        let tried = OWN_WEIGHTS.map(|own| {
            let model = model(own);
            (model, latest.error_of(|row| model.expected(latest.own[row])))
        });
        let (first, others) = (tried[0], &tried[1..]);
        others.iter().fold(first, |best, one| if one.1 < best.1 { *one } else { best }).0
    }

    fn expected(self, own: f64) -> f64 {
        self.scale * (self.own * own + (1.0 - self.own) * self.mean)
    }
}

/// The gamma-gamma model combined with the purchase model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct GammaGammaForecast {
    purchases: PurchaseModel,
    amounts: GammaGamma,
    days: f64,
    scale: f64,
}

impl GammaGammaForecast {
    /// Fits the models to `latest`, where each customer occurs once.
    fn fit(latest: &LabeledCut, training: &RetainedCustomers, days: f64) -> Result<Self, String> {
        let amounts = GammaGamma::fit(&latest.rows.histories, |history| history.repeats + 1.0)?;
        let purchases =
            *latest.purchase_fits().best().ok_or_else(|| "there is no valid purchase model".to_owned())?;
        let mut forecast = Self { purchases, amounts, days, scale: 1.0 };
        let predicted = mean(training.histories.iter().map(|history| forecast.expected(history)));
        let spent = mean(training.spent.iter().copied());
        forecast.scale = rounded(if predicted > 0.0 { spent / predicted } else { 1.0 });
        Ok(forecast)
    }

    fn expected(&self, history: &PurchaseHistory) -> f64 {
        let stays = (1.0 - self.purchases.none_within(history, self.days)).max(1e-9);
        let number = self.purchases.expected(history, self.days) / stays;
        self.scale * number * self.amounts.expected(history.repeats + 1.0, history.mean_amount)
    }
}

/// All candidates, fitted to the same cuts.
struct FittedCandidates {
    mean: f64,
    own: OwnRate,
    gamma_gamma: Result<GammaGammaForecast, String>,
}

impl FittedCandidates {
    /// Fits the candidates to `cuts`. The weight of the own rate comes from the latest cut.
    fn fit(cuts: &[&CutWithSpending], days: f64) -> Self {
        let training = RetainedCustomers::concat(cuts.iter().map(|cut| &cut.retained));
        let empty = RetainedCustomers::default();
        let latest = cuts.last().map_or(&empty, |cut| &cut.retained);
        Self {
            mean: mean(training.spent.iter().copied()),
            own: OwnRate::fit(&training, latest),
            gamma_gamma: cuts
                .last()
                .ok_or_else(|| "there is no cut".to_owned())
                .and_then(|cut| GammaGammaForecast::fit(&cut.cut, &training, days)),
        }
    }

    /// Returns the error of each candidate on `retained`; `None` for a degenerate one.
    fn errors(&self, retained: &RetainedCustomers) -> [Option<f64>; CANDIDATES.len()] {
        let gamma_gamma = self.gamma_gamma.as_ref().ok();
        [
            Some(retained.error_of(|_| self.mean)),
            Some(retained.error_of(|row| self.own.expected(retained.own[row]))),
            gamma_gamma.map(|model| retained.error_of(|row| model.expected(&retained.histories[row]))),
        ]
    }
}

/// Errors of the candidates by measured cut, in the order of time.
struct MeasuredErrors(Vec<[Option<f64>; CANDIDATES.len()]>);

impl MeasuredErrors {
    /// Measures candidates that learn only from cuts whose horizon had ended by the measured cut.
    fn measure(cuts: &[CutWithSpending], horizon: TimeDelta) -> Self {
        let before = |at: usize| {
            cuts.iter()
                .filter(|one| one.cut.at + horizon <= cuts[at].cut.at)
                .collect::<Vec<&CutWithSpending>>()
        };
        let is_enough = |cut: &CutWithSpending| cut.retained.spent.len() >= MIN_CLASS_SIZE;
        let measurable: Vec<(usize, Vec<&CutWithSpending>)> = (0..cuts.len())
            .map(|at| (at, before(at)))
            .filter(|(at, before)| is_enough(&cuts[*at]) && before.iter().any(|one| is_enough(one)))
            .collect();
        let skipped = measurable.len().saturating_sub(MAX_MEASURED);
        let errors = measurable[skipped..]
            .iter()
            .map(|(at, before)| FittedCandidates::fit(before, days(horizon)).errors(&cuts[*at].retained));
        Self(errors.collect())
    }

    /// Returns the mean error of a candidate on all measured cuts but the latest, or on the only one.
    fn to_choose(&self, candidate: usize) -> Option<f64> {
        let basis = &self.0[..self.0.len() - usize::from(self.0.len() > 1)];
        let known: Vec<f64> = basis.iter().map(|cut| cut[candidate]).collect::<Option<_>>()?;
        if known.is_empty() { None } else { Some(mean(known.into_iter())) }
    }

    /// Returns the error of a candidate on the latest measured cut.
    fn latest(&self, candidate: usize) -> Option<f64> {
        self.0.last().and_then(|cut| cut[candidate])
    }

    /// Checks whether the gamma-gamma model has a sufficiently smaller error than the own rate.
    fn prefer_gamma_gamma(&self) -> bool {
        let (gamma_gamma, own) = (self.to_choose(GAMMA_GAMMA), self.to_choose(OWN_RATE));
        let is_better = gamma_gamma.zip(own).is_some_and(|(gamma, own)| gamma < own * (1.0 - MIN_GAIN));
        is_better && self.latest(GAMMA_GAMMA).is_some()
    }

    /// Returns the errors for the model card.
    fn figures(&self) -> Vec<ValueFigures> {
        let figures = CANDIDATES.iter().enumerate().filter_map(|(candidate, name)| {
            Some(ValueFigures {
                name: (*name).to_owned(),
                error_to_choose: rounded(self.to_choose(candidate)?),
                error: rounded(self.latest(candidate)?),
            })
        });
        figures.collect()
    }
}

/// The fitted model of expected values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExpectedValues {
    pub(super) card: ExpectedValueModel,
    /// The gamma-gamma model fitted to the latest cut, or the reason why it is degenerate.
    pub(super) amounts: Result<GammaGamma, String>,
    own: OwnRate,
    /// The gamma-gamma forecast if it was chosen.
    forecast: Option<GammaGammaForecast>,
}

impl ExpectedValues {
    /// Chooses a candidate on held-out cuts and fits it to all `cuts`, which must be in the order of time.
    pub(super) fn fit(cuts: &[CutWithSpending], horizon: TimeDelta) -> Self {
        let errors = MeasuredErrors::measure(cuts, horizon);
        let all: Vec<&CutWithSpending> = cuts.iter().collect();
        let fitted = FittedCandidates::fit(&all, days(horizon));
        let amounts = fitted.gamma_gamma.clone().map(|forecast| forecast.amounts);
        let forecast = if errors.prefer_gamma_gamma() { fitted.gamma_gamma.ok() } else { None };
        let chosen = if forecast.is_some() { GAMMA_GAMMA } else { OWN_RATE };
        let own = fitted.own;
        let card = ExpectedValueModel {
            chosen: CANDIDATES[chosen].to_owned(),
            own: own.own,
            scale: forecast.map_or(own.scale, |forecast| forecast.scale),
            mean: own.mean,
            error: rounded(errors.latest(chosen).unwrap_or(0.0)),
            error_of_mean: rounded(errors.latest(MEAN).unwrap_or(0.0)),
            candidates: errors.figures(),
        };
        Self { card, amounts, own, forecast }
    }

    /// Returns the chosen candidate as it was known at `at`: fitted to the cuts whose horizon had ended by
    /// then.
    pub(super) fn known_at(&self, cuts: &[CutWithSpending], at: DateTime<Utc>, horizon: TimeDelta) -> Self {
        let before: Vec<&CutWithSpending> = cuts.iter().filter(|one| one.cut.at + horizon <= at).collect();
        let fitted = FittedCandidates::fit(&before, days(horizon));
        let forecast = self.forecast.and_then(|_| fitted.gamma_gamma.ok());
        Self { card: self.card.clone(), amounts: self.amounts.clone(), own: fitted.own, forecast }
    }

    /// Returns the model without training data: half the own rate and half its `mean` over customers.
    pub(super) fn unfitted(mean: f64) -> Self {
        let own = OwnRate { own: 0.5, scale: 1.0, mean: rounded(mean) };
        let card = ExpectedValueModel {
            chosen: CANDIDATES[OWN_RATE].to_owned(),
            own: own.own,
            scale: own.scale,
            mean: own.mean,
            error: 0.0,
            error_of_mean: 0.0,
            candidates: Vec::new(),
        };
        Self { card, amounts: Err("too little data to fit".to_owned()), own, forecast: None }
    }

    /// Returns the expected spending of a customer with this own rate and purchase history.
    pub(super) fn expected(&self, own: f64, history: &PurchaseHistory) -> f64 {
        self.forecast.map_or_else(|| self.own.expected(own), |forecast| forecast.expected(history))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returned_purchases_do_not_count_in_the_own_rate() {
        let mut raw = vec![vec![f64::NAN]; TENURE.max(SPEND_365).max(MONETARY) + 1];
        (raw[SPEND_365][0], raw[MONETARY][0], raw[TENURE][0]) = (77_000.0, 0.0, 300.0);
        assert!(own_rate(&raw, 0, 90.0).abs() < 1e-9);
        raw[MONETARY][0] = f64::NAN;
        assert!((own_rate(&raw, 0, 90.0) - 23_100.0).abs() < 1e-6);
        (raw[SPEND_365][0], raw[MONETARY][0]) = (300.0, 1_000.0);
        // 300 in the last 300 days, 1,000 in total.
        assert!((own_rate(&raw, 0, 90.0) - (0.9 * 90.0 + 0.1 * 300.0)).abs() < 1e-9);
        // Without spending in the last year, the value depends on earlier spending.
        (raw[SPEND_365][0], raw[MONETARY][0], raw[TENURE][0]) = (0.0, 4.83, 1_000.0);
        let little = own_rate(&raw, 0, 90.0);
        raw[MONETARY][0] = 14_595.0;
        assert!(little > 0.0 && own_rate(&raw, 0, 90.0) > 1_000.0 * little);
    }

    #[test]
    fn weight_of_the_own_rate_depends_on_its_predictive_power() {
        let own: Vec<f64> = (0..100).map(|at| f64::from(at * 10)).collect();
        let predictive = RetainedCustomers {
            own: own.clone(),
            spent: own.iter().map(|value| value * 2.0).collect(),
            ..RetainedCustomers::default()
        };
        let model = OwnRate::fit(&predictive, &predictive);
        assert!((model.own - 1.0).abs() < 1e-9 && (model.scale - 2.0).abs() < 1e-3, "{model:?}");
        let constant = RetainedCustomers { own, spent: vec![300.0; 100], ..RetainedCustomers::default() };
        let model = OwnRate::fit(&constant, &constant);
        assert!((model.own - 0.1).abs() < 1e-9, "{model:?}");
        assert!(
            (model.expected(990.0) - 300.0).abs() < 100.0 && model.expected(990.0) > model.expected(4.0),
            "{model:?}"
        );
    }
}
