//! Accuracy of forecasts against outcomes.

use crate::{
    pipeline::learning::metrics::{mean, rounded},
    snapshot::models::ForecastFigures,
};

/// Returns the accuracy of `forecasts` against `outcomes`, rounded to four decimal places.
pub(super) fn figures(name: &str, forecasts: &[f64], outcomes: &[f64]) -> ForecastFigures {
    let pairs = || forecasts.iter().zip(outcomes);
    let (expected, seen) = (mean(forecasts.iter().copied()), mean(outcomes.iter().copied()));
    let caught = top_decile(forecasts, outcomes);
    let most = top_decile(outcomes, outcomes);
    let ratio = |one: f64, all: f64| if all > 0.0 { one / all } else { 0.0 };
    ForecastFigures {
        name: name.to_owned(),
        mean_absolute_error: rounded(mean(pairs().map(|(forecast, seen)| (forecast - seen).abs()))),
        bias: rounded(ratio(expected - seen, seen)),
        rank_correlation: rounded(correlation(&ranks(forecasts), &ranks(outcomes))),
        top_decile_share: rounded(ratio(caught, most)),
        explained_deviance: rounded(explained_deviance(forecasts, outcomes)),
    }
}

/// Returns the share of the Poisson deviance of the outcomes that the forecasts explain; 0 for the mean of
/// the outcomes. It is greatest for the true expectations, while the absolute error of skewed amounts is
/// least for forecasts that are too low. A forecast counts as at least a hundredth of the mean.
pub(super) fn explained_deviance(forecasts: &[f64], outcomes: &[f64]) -> f64 {
    let middle = mean(outcomes.iter().copied());
    let deviance = |forecast: f64, seen: f64| {
        let forecast = forecast.max(middle / 100.0);
        let surprise = if seen > 0.0 { seen * (seen / forecast).ln() } else { 0.0 };
        surprise - seen + forecast
    };
    let of_mean = mean(outcomes.iter().map(|seen| deviance(middle, *seen)));
    let of_forecasts =
        mean(forecasts.iter().zip(outcomes).map(|(forecast, seen)| deviance(*forecast, *seen)));
    if of_mean > 0.0 { 1.0 - of_forecasts / of_mean } else { 0.0 }
}

/// Returns the sum of `outcomes` of the tenth with the greatest `forecasts`. Of equal forecasts, the first
/// ones are taken.
fn top_decile(forecasts: &[f64], outcomes: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..forecasts.len()).collect();
    order.sort_by(|a, b| forecasts[*b].total_cmp(&forecasts[*a]).then(a.cmp(b)));
    order[..order.len() / 10].iter().map(|row| outcomes[*row]).sum()
}

/// Returns the rank of each value; equal values share their mean rank.
#[expect(clippy::cast_precision_loss, reason = "ranks of customers")]
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut start) = (vec![0.0; values.len()], 0);
    for run in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        for row in run {
            ranks[*row] = start as f64 + f64::midpoint(run.len() as f64, 1.0);
        }
        start += run.len();
    }
    ranks
}

/// Returns the correlation of `a` and `b`; 0 if one of them is constant.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (middle_a, middle_b) = (mean(a.iter().copied()), mean(b.iter().copied()));
    let product = |one: &[f64], middle: f64, other: &[f64], middle_other: f64| {
        mean(one.iter().zip(other).map(|(x, y)| (x - middle) * (y - middle_other)))
    };
    let spread = product(a, middle_a, a, middle_a) * product(b, middle_b, b, middle_b);
    if spread > 0.0 { product(a, middle_a, b, middle_b) / spread.sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_match_manual_calculation() {
        // By hand: errors 1, 1, 0, 2; total 12 of 10; ranks 2, 1, 3.5, 3.5 against 1, 2, 3, 4.
        let found = figures("x", &[2.0, 1.0, 4.5, 4.5], &[1.0, 2.0, 4.5, 2.5]);
        assert!((found.mean_absolute_error - 1.0).abs() < 1e-9, "{found:?}");
        assert!((found.bias - 0.2).abs() < 1e-9, "{found:?}");
        assert!((figures("x", &[1.0, 2.0, 3.0], &[10.0, 20.0, 40.0]).rank_correlation - 1.0).abs() < 1e-9);
        assert!((figures("x", &[3.0, 2.0, 1.0], &[10.0, 20.0, 40.0]).rank_correlation + 1.0).abs() < 1e-9);
        assert!(figures("x", &[1.0, 1.0], &[1.0, 2.0]).rank_correlation.abs() < 1e-9);
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 9.0]), [2.5, 1.0, 2.5, 4.0]);
    }

    #[test]
    fn top_decile_share_is_the_part_that_was_found() {
        // Twenty customers; the best two spend 100 and 60, and one of them was foreseen.
        let mut outcomes = vec![1.0; 20];
        (outcomes[3], outcomes[7]) = (100.0, 60.0);
        let mut forecasts = vec![0.0; 20];
        (forecasts[3], forecasts[5]) = (9.0, 8.0);
        let found = figures("x", &forecasts, &outcomes);
        assert!((found.top_decile_share - rounded(101.0 / 160.0)).abs() < 1e-9, "{found:?}");
        assert!(figures("x", &[], &[]).top_decile_share.abs() < 1e-9);
    }
}
