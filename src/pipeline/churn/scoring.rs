//! Scores all customers with the selected model, or with the rule, and stages the rows of the `churn` view.

use std::path::Path;

use chrono::TimeDelta;

use super::{
    expected_value::{CutWithSpending, ExpectedValues, own_rate},
    features::{FeatureSource, FeatureTable, RECENCY, days_between_orders},
    inputs::{InputRows, Theme},
    levels::{self, HeldOutLevels},
    reasons::Reasons,
    row_scorer::{RowScorer, ScoreBuffers},
    selection::{HeldOutCut, rule},
    served_model::{Calibration, ServedModel},
    view_rows::{self, ChurnRow, to_ten_thousandths, value_at_risk},
};
use crate::{
    config::{ChurnConfig, LevelRule},
    pipeline::{
        BuildError,
        learning::{
            logistic::{logit, sigmoid},
            metrics::{mean, rounded},
        },
        parallel::parallel_map,
        view_files::ViewFiles,
    },
    snapshot::models::{RiskLevelFigures, ValueLevels},
};

/// The input of scoring.
pub(super) struct Scoring<'a> {
    pub(super) config: &'a ChurnConfig,
    /// Features at the as-of time of the build.
    pub(super) table: &'a FeatureTable,
    pub(super) sources: &'a [FeatureSource],
    /// The model; without one, the rule is used.
    pub(super) model: Option<&'a ServedModel>,
    /// The model of expected values; without one, a rule is used.
    pub(super) values: Option<&'a ExpectedValues>,
    /// The held-out cut, if one was measured.
    pub(super) held_out: Option<&'a HeldOutCut>,
    /// Training cuts whose horizon has ended.
    pub(super) cuts: &'a [CutWithSpending],
    /// Folder for the staged view.
    pub(super) scratch: &'a Path,
    pub(super) threads: usize,
}

/// The staged view, and the levels in it.
pub(super) struct Scored {
    pub(super) files: ViewFiles,
    /// The rule of expected values, if there was no model.
    pub(super) unfitted: Option<ExpectedValues>,
    pub(super) value_levels: ValueLevels,
    pub(super) risk_levels: Vec<RiskLevelFigures>,
}

impl Scoring<'_> {
    /// Scores all customers and stages the view.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) async fn run(&self) -> Result<Scored, BuildError> {
        let own: Vec<f64> = (0..self.table.len())
            .map(|row| own_rate(&self.table.raw, row, f64::from(self.config.horizon_days())))
            .collect();
        let unfitted = if self.values.is_some() { None } else { Some(ExpectedValues::unfitted(&own)) };
        let fitted = self.values.or(unfitted.as_ref());
        let expected: Vec<f64> = own
            .iter()
            .enumerate()
            .map(|(row, own)| {
                rounded(fitted.map_or(*own, |fit| fit.expected(*own, &self.table.history(row))))
            })
            .collect();
        let value_levels = ValueLevels::of(&expected);
        let scorer = CustomerScorer::new(self);
        let customers = self.table.len();
        let probabilities: Vec<f64> =
            parallel_map(self.threads, customers, ScoreBuffers::default, |buffers, row| {
                served(scorer.probability(row, buffers))
            });
        let at_risk = |row: usize| {
            value_at_risk(to_ten_thousandths(probabilities[row]), to_ten_thousandths(expected[row]))
        };
        let levels = levels::assign(self.config, &probabilities, at_risk);
        let average = mean(probabilities.iter().copied());
        let reasons = Reasons::new(self.table, self.sources, self.config.language, average);
        // The most urgent customers by value do not differ from others by their probability.
        let explained = |row: usize| match self.config.levels {
            LevelRule::Thresholds => levels[row],
            LevelRule::Top => "medium",
        };
        let files = view_rows::stage(&self.table.ids, self.scratch, self.threads, |row| ChurnRow {
            probability: to_ten_thousandths(probabilities[row]),
            risk: levels[row],
            expected_value: to_ten_thousandths(expected[row]),
            reasons: reasons.of(row, explained(row), &scorer.effects(row)),
            action: self.config.action(levels[row], value_levels.level(expected[row])).to_owned(),
        })
        .await?;
        let risk_levels = self.level_figures(&levels, &probabilities, fitted);
        Ok(Scored { files, unfitted, value_levels, risk_levels })
    }

    fn horizon(&self) -> TimeDelta {
        TimeDelta::days(self.config.horizon_days().into())
    }

    /// Returns the customers of each level, and the outcomes of such customers of the held-out cut.
    fn level_figures(
        &self,
        assigned: &[&'static str],
        probabilities: &[f64],
        values: Option<&ExpectedValues>,
    ) -> Vec<RiskLevelFigures> {
        let cut = self.held_out.and_then(|held_out| self.cuts.iter().find(|cut| cut.cut.at == held_out.at));
        let (Some(held_out), Some(cut), Some(values)) = (self.held_out, cut, values) else {
            return levels::figures(assigned, probabilities, None);
        };
        let served: Vec<f64> = held_out.probabilities.iter().copied().map(served).collect();
        let known = values.known_at(self.cuts, cut.cut.at, self.horizon());
        let at_risk = |row: usize| {
            let expected = known.expected(cut.own[row], &cut.cut.rows.histories[row]);
            value_at_risk(to_ten_thousandths(served[row]), to_ten_thousandths(expected))
        };
        let levels = levels::assign(self.config, &served, at_risk);
        let (probabilities_then, churned) = (&served, &held_out.churned);
        let held_out = HeldOutLevels { levels: &levels, probabilities: probabilities_then, churned };
        levels::figures(assigned, probabilities, Some(&held_out))
    }
}

/// Returns a probability as it is served. It is rounded before levels are assigned, so that both agree.
fn served(probability: f64) -> f64 {
    rounded(probability.clamp(0.0001, 0.9999))
}

/// Scores the customers of a table, with the effects of themes relative to the mean over customers.
struct CustomerScorer<'a> {
    table: &'a FeatureTable,
    rows: InputRows<'a>,
    model: Option<(RowScorer<'a>, Calibration)>,
    /// Mean effect of each theme over customers.
    baseline: Vec<f64>,
}

impl<'a> CustomerScorer<'a> {
    fn new(scoring: &Scoring<'a>) -> Self {
        let model = scoring.model.map(|one| (RowScorer::new(&one.fitted, one.inputs), one.calibration));
        let themes = scoring.model.map_or(Theme::ALL.len(), |model| model.inputs.themes());
        let (table, rows) = (scoring.table, InputRows::new(scoring.table));
        let mut scorer = Self { table, rows, model, baseline: vec![0.0; themes] };
        let customers = scoring.table.len();
        // A sample of about 2,000 customers is enough.
        let sampled: Vec<Vec<f64>> =
            (0..customers).step_by((customers / 2_000).max(1)).map(|row| scorer.effects(row)).collect();
        scorer.baseline = (0..themes).map(|at| mean(sampled.iter().map(|of_row| of_row[at]))).collect();
        scorer
    }

    /// Returns the log-odds of churn of the customer at `row`, and leaves the effects in `buffers`.
    fn score(&self, row: usize, buffers: &mut ScoreBuffers) -> f64 {
        buffers.effects.resize(self.baseline.len(), 0.0);
        if let Some((scorer, _)) = &self.model {
            self.rows.fill(row, &mut buffers.columns);
            return scorer.score(&self.table.history(row), buffers);
        }
        let raw = &self.table.raw;
        let log_odds = logit(rule(raw[RECENCY][row], days_between_orders(raw, row)));
        buffers.effects.fill(0.0);
        buffers.effects[Theme::Recency as usize] = log_odds;
        log_odds
    }

    /// Returns the calibrated probability of churn of the customer at `row`.
    fn probability(&self, row: usize, buffers: &mut ScoreBuffers) -> f64 {
        let score = self.score(row, buffers);
        self.model.as_ref().map_or_else(|| sigmoid(score), |(_, calibration)| calibration.probability(score))
    }

    /// Returns the calibrated effect of each theme on the log-odds, relative to the mean over customers.
    fn effects(&self, row: usize) -> Vec<f64> {
        let mut buffers = ScoreBuffers::default();
        self.score(row, &mut buffers);
        let slope = self.model.as_ref().map_or(1.0, |(_, calibration)| calibration.slope);
        buffers.effects.iter().zip(&self.baseline).map(|(effect, mean)| slope * effect - mean).collect()
    }
}
