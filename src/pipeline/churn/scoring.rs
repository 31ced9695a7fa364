//! Scores all customers with the selected model, or with the rule, and stages the rows of the `churn` view.

use std::path::Path;

use chrono::TimeDelta;

use super::{
    candidates::TrainingRows,
    expected_value::{CutWithSpending, ExpectedValues, own_rate},
    features::{BUILT_IN, COLUMNS, FeatureSource, FeatureTable, GAP, RECENCY, days_between_orders},
    metrics::{mean, rounded},
    reasons::reasons,
    selection::{SelectedModel, rule},
    view_rows::{self, ChurnRow, to_ten_thousandths},
};
use crate::{
    config::ChurnConfig,
    pipeline::{BuildError, view_files::ViewFiles},
    snapshot::models::ValueLevels,
};

/// The input of scoring.
pub(super) struct Scoring<'a> {
    pub(super) config: &'a ChurnConfig,
    /// Features at the as-of time of the build.
    pub(super) table: &'a FeatureTable,
    pub(super) sources: &'a [FeatureSource],
    /// The selected model; without one, the rule is used.
    pub(super) selected: Option<&'a SelectedModel>,
    /// Training cuts whose horizon has ended.
    pub(super) cuts: &'a [CutWithSpending],
    /// Folder for the staged view.
    pub(super) scratch: &'a Path,
    pub(super) threads: usize,
}

/// The staged view, and the models of the values in it.
pub(super) struct Scored {
    pub(super) files: ViewFiles,
    pub(super) values: ExpectedValues,
    pub(super) levels: ValueLevels,
}

impl Scoring<'_> {
    /// Scores all customers and stages the view.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) async fn run(&self) -> Result<Scored, BuildError> {
        let histories = self.table.histories();
        let own = self.own_rates();
        let values = self.expected_values(&own);
        let expected: Vec<f64> = own
            .iter()
            .zip(&histories)
            .map(|(own, history)| rounded(values.expected(*own, history)))
            .collect();
        let levels = ValueLevels::of(&expected);
        let rows = TrainingRows { columns: self.table.columns(), histories, next: Vec::new() };
        let model = self.selected.map(|selected| ScoredModel::new(selected, &rows, self.sources.len()));
        let files = view_rows::stage(&self.table.ids, self.scratch, self.threads, |row| {
            let (probability, contributions) = match &model {
                Some(model) => (model.probability(row), model.contributions(row)),
                None => self.by_rule(row),
            };
            // Rounded first, so that risk level and thresholds agree with the served probability.
            let probability = rounded(probability.clamp(0.0001, 0.9999));
            let risk = self.config.risk(probability);
            ChurnRow {
                probability: to_ten_thousandths(probability),
                risk,
                expected_value: to_ten_thousandths(expected[row]),
                reasons: reasons(self.table, self.sources, row, &contributions),
                action: self.config.action(risk, levels.level(expected[row])).to_owned(),
            }
        })
        .await?;
        Ok(Scored { files, values, levels })
    }

    /// Returns the spending of each customer at the own rate.
    fn own_rates(&self) -> Vec<f64> {
        let horizon = f64::from(self.config.horizon_days());
        (0..self.table.len()).map(|row| own_rate(&self.table.raw, row, horizon)).collect()
    }

    /// Fits the expected values if there is a model and its latest cut has customers who stayed.
    fn expected_values(&self, own: &[f64]) -> ExpectedValues {
        match self.selected {
            Some(selected) if self.cuts.last().is_some_and(|cut| !cut.retained.spent.is_empty()) => {
                let horizon = TimeDelta::days(self.config.horizon_days().into());
                ExpectedValues::fit(self.cuts, &selected.fits, horizon)
            }
            _ => ExpectedValues::unfitted(own),
        }
    }

    /// Returns probability and contributions by the rule: the days since the last order are the only reason.
    fn by_rule(&self, row: usize) -> (f64, Vec<f64>) {
        let raw = &self.table.raw;
        let probability = rule(raw[RECENCY][row], days_between_orders(raw, row));
        let mut contributions = vec![0.0; self.sources.len()];
        contributions[GAP] = probability - 0.5;
        (probability, contributions)
    }
}

/// The selected model, applied to all customers.
struct ScoredModel<'a> {
    selected: &'a SelectedModel,
    /// Log-odds by customer.
    scores: Vec<f64>,
    /// Standardized columns by part of the horizon.
    scaled: Vec<Vec<Vec<f64>>>,
    /// Number of sources.
    sources: usize,
    /// Mean contribution of each source over customers.
    baseline: Vec<f64>,
}

impl<'a> ScoredModel<'a> {
    fn new(selected: &'a SelectedModel, rows: &TrainingRows, sources: usize) -> Self {
        let (scores, scaled) = (selected.fitted.scores(rows), selected.fitted.scaled(rows));
        let mut scored = Self { selected, scores, scaled, sources, baseline: Vec::new() };
        let customers = scored.scores.len();
        // A sample of about 2,000 customers is enough.
        let sampled: Vec<Vec<f64>> =
            (0..customers).step_by((customers / 2_000).max(1)).map(|row| scored.by_source(row)).collect();
        scored.baseline = (0..sources).map(|at| mean(sampled.iter().map(|of_row| of_row[at]))).collect();
        scored
    }

    /// Returns the calibrated probability of the customer at `row`.
    fn probability(&self, row: usize) -> f64 {
        self.selected.calibration.probability(self.scores[row])
    }

    /// Returns the calibrated contribution of each source to the log-odds, relative to the mean over
    /// customers.
    fn contributions(&self, row: usize) -> Vec<f64> {
        let mut contributions = self.by_source(row);
        contributions
            .iter_mut()
            .zip(&self.baseline)
            .for_each(|(value, mean)| *value = (*value - mean) * self.selected.calibration.slope);
        contributions
    }

    /// Returns the contribution of each source to the log-odds: the sum over the columns that are derived
    /// from the source.
    fn by_source(&self, row: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.sources];
        for (column, part) in self.selected.fitted.contributions(&self.scaled, row).into_iter().enumerate() {
            sums[source_of(column, self.sources)] += part;
        }
        sums
    }
}

/// Returns the index of the source of a model column. The last column comes from the purchase model, which
/// mainly depends on the days between orders.
pub(super) fn source_of(column: usize, sources: usize) -> usize {
    let own = || BUILT_IN.len() + column - COLUMNS.len();
    COLUMNS.get(column).map_or_else(|| if own() < sources { own() } else { GAP }, |(_, source)| *source)
}
