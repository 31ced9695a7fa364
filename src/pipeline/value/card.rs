//! The model card of the customer value, and whether the forecast can be trusted.

use super::{forecast::ChosenModel, order_sample::OrderSample, selection::Selection, summary::YEAR};
use crate::{
    pipeline::{learning::metrics::rounded, purchase_card::purchase_models},
    snapshot::{
        models::{ForecastFigures, ValueCut, ValueModel},
        rfc3339,
    },
};

/// Greatest relative error of the total on the latest cutoff of a trusted forecast.
const MAX_BIAS: f64 = 0.3;
/// Least rank correlation on the latest cutoff of a trusted forecast.
const MIN_CORRELATION: f64 = 0.2;
/// Days of the forecast.
const HORIZON: u32 = 365;

/// Findings about a forecast.
#[derive(Debug, Default)]
struct Findings {
    /// Reasons not to trust the forecast.
    reasons: Vec<String>,
    /// Limits of a forecast that can be trusted.
    caveats: Vec<String>,
}

impl Findings {
    /// Adds the findings about the latest of `cuts`.
    fn add_cuts(&mut self, model: &ChosenModel, cuts: &[ValueCut]) {
        let Some(latest) = cuts.last() else { return };
        let at = rfc3339::format(latest.at);
        let of = |name: &str| latest.candidates.iter().find(|figures| figures.name == name);
        if let (Some(own), Some(base)) = (of(model.value.name()), of("last_year")) {
            self.add_figures(&at, own, base);
        }
        if cuts.len() == 1 {
            let caveat = "only one cutoff could be measured, and the model was selected on it: its figures \
                are optimistic";
            self.caveats.push(caveat.to_owned());
        }
        if latest.horizon_days < HORIZON {
            self.caveats.push(format!(
                "the purchase history is short: the forecast could be measured over {} days only, and that \
                 for {HORIZON} days was not measured; a season that the history holds once cannot be told \
                 from a trend",
                latest.horizon_days
            ));
        }
    }

    fn add_figures(&mut self, at: &str, own: &ForecastFigures, base: &ForecastFigures) {
        if own.explained_deviance <= base.explained_deviance {
            self.reasons.push(format!(
                "on the cutoff {at} the forecast is no better than the spending of the last year (explained \
                 deviance {:.3}, {:.3})",
                own.explained_deviance, base.explained_deviance
            ));
        } else if own.mean_absolute_error >= base.mean_absolute_error {
            self.caveats.push(format!(
                "on the cutoff {at} the mean absolute error is that of the spending of the last year or \
                 greater ({:.2}, {:.2}); totals were off by {:+.0} % and {:+.0} %",
                own.mean_absolute_error,
                base.mean_absolute_error,
                own.bias * 100.0,
                base.bias * 100.0
            ));
        }
        if own.bias.abs() > MAX_BIAS {
            self.reasons.push(format!("on the cutoff {at} the total was off by {:+.0} %", own.bias * 100.0));
        }
        if own.rank_correlation < MIN_CORRELATION {
            self.reasons.push(format!(
                "on the cutoff {at} the forecast hardly ranks customers (rank correlation {:.2})",
                own.rank_correlation
            ));
        }
    }
}

/// Returns the model card.
pub(super) fn card(selection: &Selection, sample: &OrderSample) -> ValueModel {
    let Selection { model, cuts, too_little } = selection;
    let mut findings = Findings { reasons: too_little.iter().cloned().collect(), ..Findings::default() };
    if let Some(model) = model {
        findings.add_cuts(model, cuts);
    }
    let forecaster = model.as_ref().map(|model| &model.forecaster);
    let instant = |at: &i64| chrono::DateTime::from_timestamp_micros(*at).map(rfc3339::format);
    ValueModel {
        horizon_days: HORIZON,
        measured_days: cuts.last().map_or(0, |cut| cut.horizon_days),
        learned_days: forecaster.map_or(0, |one| whole(one.learned)),
        chosen: model.as_ref().map_or("rule", |model| model.value.name()).to_owned(),
        chosen_for_orders: model.as_ref().map_or("rule", |model| model.orders.name()).to_owned(),
        trusted: findings.reasons.is_empty(),
        reasons: findings.reasons,
        caveats: findings.caveats,
        training_cuts: forecaster
            .map(|one| one.learned_at.iter().filter_map(instant).collect())
            .unwrap_or_default(),
        training_rows: forecaster.map_or(0, |one| one.rows as u64),
        sampling: sample.description(),
        stretch: rounded(forecaster.map_or(1.0, |one| one.stretch)),
        purchases: forecaster.map(|one| purchase_models(&one.fits, &one.amounts)),
        cuts: cuts.clone(),
    }
}

/// Returns whole `days`, at most a year.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "days of a year")]
fn whole(days: f64) -> u32 {
    days.clamp(0.0, YEAR) as u32
}
