//! What a customer is expected to spend within the horizon if they stay: their own rate, drawn towards the mean as far as that
//! was seen to help. Arithmetic on numbers alone.

use super::{
    inputs::{MONETARY, SPEND_365, TENURE},
    measure::{mean, rounded},
};
use crate::snapshot::models::ExpectedValueModel;

/// Weights of the own rate that are tried.
const OWN: [f64; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

/// Customers who stayed: the spending that their own rate gives for the horizon, and the spending seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Stayed {
    pub(super) own: Vec<f64>,
    pub(super) seen: Vec<f64>,
}

/// Spending within `horizon` days at the rate of the last year, or of the time since the first order where that is shorter. What was
/// given back was not spent: the last year counts no more than all purchases less returns.
pub(super) fn own_rate(raw: &[Vec<f64>], row: usize, horizon: f64) -> f64 {
    // Of a number and what is not known, the number.
    let spent = raw[SPEND_365][row].min(raw[MONETARY][row]);
    // Shorter than a horizon, the time since the first order says little: a first order is no rate.
    let days = raw[TENURE][row].clamp(horizon, horizon.max(365.0));
    let rate = spent.max(0.0) / if days.is_nan() { horizon } else { days };
    if rate.is_finite() { rate * horizon } else { 0.0 }
}

/// Fits the weight on `latest` and the rest on `training`.
pub(super) fn fit(training: &Stayed, latest: &Stayed) -> ExpectedValueModel {
    let middle = mean(training.seen.iter().copied());
    let model = |own: f64| {
        let blended = mean(training.own.iter().map(|value| own * value + (1.0 - own) * middle));
        ExpectedValueModel {
            own,
            scale: rounded(if blended > 0.0 { middle / blended } else { 1.0 }),
            mean: rounded(middle),
            error: 0.0,
            error_of_mean: 0.0,
        }
    };
    let error = |model: &ExpectedValueModel| {
        let off = latest.own.iter().zip(&latest.seen).map(|(own, seen)| (expected(model, *own) - seen).abs());
        mean(off)
    };
    let mut best = model(OWN[0]);
    let error_of_mean = error(&best);
    let mut least = error_of_mean;
    for own in &OWN[1..] {
        let tried = model(*own);
        let error = error(&tried);
        if error < least {
            (best, least) = (tried, error);
        }
    }
    ExpectedValueModel { error: rounded(least), error_of_mean: rounded(error_of_mean), ..best }
}

/// Where nothing can be fitted: half the own rate, half the mean of all.
pub(super) fn unfitted(own: &[f64]) -> ExpectedValueModel {
    let mean = rounded(mean(own.iter().copied()));
    ExpectedValueModel { own: 0.5, scale: 1.0, mean, error: 0.0, error_of_mean: 0.0 }
}

/// The spending expected of a customer whose own rate gives `own`.
pub(super) fn expected(model: &ExpectedValueModel, own: f64) -> f64 {
    model.scale * (model.own * own + (1.0 - model.own) * model.mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_no_rate() {
        let mut raw = vec![vec![f64::NAN]; TENURE.max(SPEND_365).max(MONETARY) + 1];
        (raw[SPEND_365][0], raw[MONETARY][0], raw[TENURE][0]) = (77_000.0, 0.0, 300.0);
        assert!(own_rate(&raw, 0, 90.0).abs() < 1e-9);
        raw[MONETARY][0] = f64::NAN;
        assert!((own_rate(&raw, 0, 90.0) - 23_100.0).abs() < 1e-6);
        (raw[SPEND_365][0], raw[MONETARY][0]) = (300.0, 1_000.0);
        assert!((own_rate(&raw, 0, 90.0) - 90.0).abs() < 1e-9);
    }

    #[test]
    fn the_own_rate_counts_where_it_tells_and_the_mean_where_it_does_not() {
        let own: Vec<f64> = (0..100).map(|at| f64::from(at * 10)).collect();
        let telling = Stayed { own: own.clone(), seen: own.iter().map(|value| value * 2.0).collect() };
        let model = fit(&telling, &telling);
        assert!((model.own - 1.0).abs() < 1e-9 && (model.scale - 2.0).abs() < 1e-3 && model.error < 1.0, "{model:?}");
        let blind = Stayed { own, seen: vec![300.0; 100] };
        let model = fit(&blind, &blind);
        assert!(model.own.abs() < 1e-9 && (expected(&model, 990.0) - 300.0).abs() < 1e-3, "{model:?}");
    }
}
