//! The model card: metrics and parameters of the churn model, and whether its probabilities can be trusted.

use chrono::TimeDelta;

use super::{
    expected_value::CutWithSpending, features::FeatureSource, horizon::days, selection::SelectedModel,
};
use crate::{
    pipeline::learning::metrics::{rounded, share},
    snapshot::{models::ModelFeature, rfc3339},
};

/// Least area under the curve on the latest cut of a trusted model; 0.5 is chance.
const MIN_AUC: f64 = 0.6;
/// Greatest mean calibration error on the latest cut of a trusted model.
const MAX_CALIBRATION_ERROR: f64 = 0.1;
/// Greatest difference of the churn rate between training cuts without a caveat.
const MAX_RATE_CHANGE: f64 = 0.05;

/// Findings about a model for its card.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Reasons not to trust the probabilities.
    pub(super) reasons: Vec<String>,
    /// Limitations of a model that can be trusted.
    pub(super) caveats: Vec<String>,
}

impl Findings {
    /// Adds the findings about `selected`, which learned from `cuts`.
    pub(super) fn add_model(
        &mut self,
        selected: &SelectedModel,
        cuts: &[CutWithSpending],
        horizon: TimeDelta,
    ) {
        let Some(latest) = selected.cuts.last() else { return };
        if let Some(figures) = latest.candidates.iter().find(|figures| figures.name == "model") {
            let at = rfc3339::format(latest.at);
            if figures.auc < MIN_AUC {
                self.reasons.push(format!(
                    "on the cut {at} the model is hardly better than chance (AUC {:.3})",
                    figures.auc
                ));
            }
            if figures.calibration_error > MAX_CALIBRATION_ERROR {
                self.reasons.push(format!(
                    "on the cut {at} the mean calibration error is {:.3}",
                    figures.calibration_error
                ));
            }
        }
        if selected.cuts.len() == 1 {
            let caveat = "only one cut could be measured, and the model was selected on it: its metrics are \
                optimistic";
            self.caveats.push(caveat.to_owned());
        }
        let rates: Vec<f64> = cuts.iter().map(|cut| share(&cut.cut.rows.churned(days(horizon)))).collect();
        let (least, most) =
            rates.iter().fold((1.0_f64, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        if most - least > MAX_RATE_CHANGE {
            self.caveats.push(format!(
                "the churn rate varied between {least:.2} and {most:.2} over the training cuts: the level \
                 of the probabilities may be off by as much, but not their order"
            ));
        }
    }
}

/// Returns the model's columns with weight and importance, most important first.
pub(super) fn features(selected: &SelectedModel, sources: &[FeatureSource]) -> Vec<ModelFeature> {
    let inputs = selected.served.inputs;
    let feature = |column: usize| {
        let source = &sources[inputs.source(column)];
        let name = inputs.name(column).map_or_else(|| format!("log_{}", source.column), str::to_owned);
        ModelFeature {
            name,
            source: source.name(),
            weight: rounded(selected.weights[column]),
            importance: rounded(selected.importance[column]),
        }
    };
    let mut features: Vec<ModelFeature> = (0..inputs.len()).map(feature).collect();
    features.sort_by(|a, b| b.importance.total_cmp(&a.importance).then_with(|| a.name.cmp(&b.name)));
    features
}
