//! Scores all customers with the selected model, or with the rule, and stages the rows of the `churn` view.
//!
//! Partitions of customers are read three times: for what all customers have in common, for the scores by
//! which levels are assigned, and for the rows. Of each customer, memory holds the scores alone.

use std::path::Path;

use chrono::TimeDelta;

use super::{
    expected_value::{CutWithSpending, ExpectedValues, own_rate},
    feature_files::FeatureFiles,
    features::{FeatureSource, FeatureTable, RECENCY, days_between_orders},
    inputs::{DemandSums, InputRows, Theme},
    levels::{self, HeldOutLevels},
    reasons::{ReasonContext, Reasons},
    row_scorer::{RowScorer, ScoreBuffers},
    selection::{HeldOutCut, rule},
    served_model::{Calibration, ServedModel},
    typical::TypicalCustomer,
    view_rows::{self, ChurnRow, to_ten_thousandths, value_at_risk},
};
use crate::{
    config::{ChurnConfig, LevelRule},
    pipeline::{
        BuildError, RawError,
        learning::{
            logistic::{logit, sigmoid},
            metrics::{mean, rounded},
        },
        parallel::parallel_map,
        view_files::ViewFiles,
    },
    snapshot::models::{RiskLevelFigures, ValueLevels},
};

/// Greatest number of customers, roughly, from whom typical values are taken.
const TYPICAL: usize = 100_000;
/// Number of customers, roughly, from whom the mean effects of themes are taken.
const BASELINE: usize = 2_000;
/// Number of partitions that each thread reads in a round.
const PARTITIONS_PER_THREAD: usize = 4;

/// The input of scoring.
pub(super) struct Scoring<'a> {
    pub(super) config: &'a ChurnConfig,
    /// Features at the as-of time of the build.
    pub(super) features: &'a FeatureFiles,
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

/// Figures over all customers.
struct Survey {
    /// A sample of customers.
    sample: FeatureTable,
    demand: DemandSums,
    /// Sum of the own rates of all customers; see [`own_rate`].
    own_rates: f64,
}

/// The scores of customers by partition, back to back.
#[derive(Default)]
struct Scores {
    probabilities: Vec<f64>,
    expected: Vec<f64>,
    /// Index of the first customer of each partition.
    starts: Vec<usize>,
}

impl Scoring<'_> {
    /// Scores all customers and stages the view.
    ///
    /// # Errors
    /// Fails if a file cannot be read or written.
    pub(super) async fn run(&self) -> Result<Scored, BuildError> {
        let survey = self.survey().await?;
        let unfitted = self.unfitted(&survey);
        let values = self.values.or(unfitted.as_ref());
        let scorer = CustomerScorer::new(self, &survey);
        let scores = self.scores(&scorer, survey.demand, values).await?;
        let Scores { probabilities, expected, starts } = &scores;
        let value_levels = ValueLevels::of(expected);
        let at_risk = |row: usize| {
            value_at_risk(to_ten_thousandths(probabilities[row]), to_ten_thousandths(expected[row]))
        };
        let levels = levels::assign(self.config, probabilities, at_risk);
        let shop = ReasonContext {
            sources: self.sources,
            language: self.config.language,
            typical: TypicalCustomer::of(&survey.sample),
            average: mean(probabilities.iter().copied()),
        };
        let stage = |partition: usize, table: &FeatureTable| {
            let (rows, reasons) = (InputRows::centered(table, survey.demand), Reasons::new(table, &shop));
            view_rows::stage(self.scratch, partition, &table.ids, |row| {
                let at = starts[partition] + row;
                // The most urgent customers by value do not differ from others by their probability.
                let explained = match self.config.levels {
                    LevelRule::Thresholds => levels[at],
                    LevelRule::Top => "medium",
                };
                ChurnRow {
                    probability: to_ten_thousandths(probabilities[at]),
                    risk: levels[at],
                    expected_value: to_ten_thousandths(expected[at]),
                    reasons: reasons.of(row, explained, &scorer.effects(&rows, row)),
                    action: self.config.action(levels[at], value_levels.level(expected[at])).to_owned(),
                }
            })
        };
        let files = self.by_partition(stage).await?;
        let risk_levels = self.level_figures(&levels, probabilities, values);
        Ok(Scored { files: view_rows::view(files), unfitted, value_levels, risk_levels })
    }

    /// Returns the results of `work` for the customers of each partition.
    async fn by_partition<T: Send>(
        &self,
        work: impl Fn(usize, &FeatureTable) -> Result<T, RawError> + Sync,
    ) -> Result<Vec<T>, BuildError> {
        let partitions = self.features.partitions();
        let mut results = Vec::with_capacity(partitions);
        // The build can be stopped between two rounds.
        let round = self.threads.max(1) * PARTITIONS_PER_THREAD;
        for start in (0..partitions).step_by(round) {
            let count = round.min(partitions - start);
            let made = parallel_map(
                self.threads,
                count,
                || (),
                |(), at| work(start + at, &self.features.read(start + at, 1)?),
            );
            results.extend(made.into_iter().collect::<Result<Vec<T>, RawError>>()?);
            tokio::task::yield_now().await;
        }
        Ok(results)
    }

    async fn survey(&self) -> Result<Survey, BuildError> {
        let one_in = (self.features.customers() / TYPICAL).max(1) as u64;
        let horizon = f64::from(self.config.horizon_days());
        let parts = self
            .by_partition(|_, table| {
                let own_rates = (0..table.len()).map(|row| own_rate(&table.raw, row, horizon)).sum();
                Ok(Survey { sample: table.sample(one_in), demand: DemandSums::of(table), own_rates })
            })
            .await?;
        let empty = Survey { sample: self.features.empty(), demand: DemandSums::default(), own_rates: 0.0 };
        Ok(parts.into_iter().fold(empty, |mut all, part| {
            all.sample.append(part.sample);
            all.demand.add(part.demand);
            all.own_rates += part.own_rates;
            all
        }))
    }

    /// Returns the rule of expected values, unless there is a model.
    #[expect(clippy::cast_precision_loss, reason = "a number of customers")]
    fn unfitted(&self, survey: &Survey) -> Option<ExpectedValues> {
        let customers = self.features.customers().max(1) as f64;
        if self.values.is_some() {
            None
        } else {
            Some(ExpectedValues::unfitted(survey.own_rates / customers))
        }
    }

    /// Returns the probabilities and the expected values.
    async fn scores(
        &self,
        scorer: &CustomerScorer<'_>,
        demand: DemandSums,
        values: Option<&ExpectedValues>,
    ) -> Result<Scores, BuildError> {
        let horizon = f64::from(self.config.horizon_days());
        let parts = self
            .by_partition(|_, table| {
                let (rows, mut buffers) = (InputRows::centered(table, demand), ScoreBuffers::default());
                let probabilities =
                    (0..table.len()).map(|row| served(scorer.probability(&rows, row, &mut buffers)));
                let expected = (0..table.len()).map(|row| {
                    let own = own_rate(&table.raw, row, horizon);
                    rounded(values.map_or(own, |fit| fit.expected(own, &table.history(row))))
                });
                Ok((probabilities.collect::<Vec<f64>>(), expected.collect::<Vec<f64>>()))
            })
            .await?;
        let mut all = Scores::default();
        for (probabilities, expected) in parts {
            all.starts.push(all.probabilities.len());
            all.probabilities.extend(probabilities);
            all.expected.extend(expected);
        }
        Ok(all)
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

/// Scores customers, with the effects of themes relative to the mean over customers.
struct CustomerScorer<'a> {
    model: Option<(RowScorer<'a>, Calibration)>,
    /// Mean effect of each theme over customers.
    baseline: Vec<f64>,
}

impl<'a> CustomerScorer<'a> {
    fn new(scoring: &Scoring<'a>, survey: &Survey) -> Self {
        let model = scoring.model.map(|one| (RowScorer::new(&one.fitted, one.inputs), one.calibration));
        let themes = scoring.model.map_or(Theme::ALL.len(), |model| model.inputs.themes());
        let mut scorer = Self { model, baseline: vec![0.0; themes] };
        let (rows, customers) = (InputRows::centered(&survey.sample, survey.demand), survey.sample.len());
        let sampled: Vec<Vec<f64>> = (0..customers)
            .step_by((customers / BASELINE).max(1))
            .map(|row| scorer.effects(&rows, row))
            .collect();
        scorer.baseline = (0..themes).map(|at| mean(sampled.iter().map(|of_row| of_row[at]))).collect();
        scorer
    }

    /// Returns the log-odds of churn of the customer at `row`, and leaves the effects in `buffers`.
    fn score(&self, rows: &InputRows<'_>, row: usize, buffers: &mut ScoreBuffers) -> f64 {
        buffers.effects.resize(self.baseline.len(), 0.0);
        if let Some((scorer, _)) = &self.model {
            rows.fill(row, &mut buffers.columns);
            return scorer.score(&rows.table.history(row), buffers);
        }
        let raw = &rows.table.raw;
        let log_odds = logit(rule(raw[RECENCY][row], days_between_orders(raw, row)));
        buffers.effects.fill(0.0);
        buffers.effects[Theme::Recency as usize] = log_odds;
        log_odds
    }

    /// Returns the calibrated probability of churn of the customer at `row`.
    fn probability(&self, rows: &InputRows<'_>, row: usize, buffers: &mut ScoreBuffers) -> f64 {
        let score = self.score(rows, row, buffers);
        self.model.as_ref().map_or_else(|| sigmoid(score), |(_, calibration)| calibration.probability(score))
    }

    /// Returns the calibrated effect of each theme on the log-odds, relative to the mean over customers.
    fn effects(&self, rows: &InputRows<'_>, row: usize) -> Vec<f64> {
        let mut buffers = ScoreBuffers::default();
        self.score(rows, row, &mut buffers);
        let slope = self.model.as_ref().map_or(1.0, |(_, calibration)| calibration.slope);
        buffers.effects.iter().zip(&self.baseline).map(|(effect, mean)| slope * effect - mean).collect()
    }
}
