//! The candidate models of churn. A fitted candidate returns the log-odds of churn by row.
//!
//! Learners are fitted twice, to half of the horizon and to the whole horizon, and their log-odds are
//! averaged. More recent cuts have a known outcome for the shorter part.

use serde::{Deserialize, Serialize};

use super::inputs::{FREQUENCY_INPUT, Inputs, OVERDUE_INPUT, RECENCY_INPUT};
use crate::pipeline::{
    learning::{
        boosted_trees::{BoostedTrees, Target},
        logistic::{LogisticRegression, logit, sigmoid},
        metrics::{mean, share},
        purchase_model::{PurchaseFits, PurchaseHistory, PurchaseModel},
    },
    parallel::parallel_map,
};

/// A kind of model. Of equally good candidates, the first one is chosen: simple ones come first, and the mean
/// of two learners, which varies less from sample to sample, before the trees alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Candidate {
    /// Days since the last order relative to the customer's usual days between orders.
    Overdue,
    /// Days since the last order.
    Recency,
    /// Number of orders.
    Frequency,
    /// The NBD purchase model.
    Nbd,
    /// The BG/NBD purchase model.
    BgNbd,
    /// Logistic regression on all columns and the prediction of the purchase model.
    Logistic,
    /// The mean log-odds of logistic regression and boosted trees.
    Blend,
    /// Boosted trees on the same columns.
    Boosted,
}

impl Candidate {
    pub(super) const ALL: [Self; 8] = [
        Self::Overdue,
        Self::Recency,
        Self::Frequency,
        Self::Nbd,
        Self::BgNbd,
        Self::Logistic,
        Self::Blend,
        Self::Boosted,
    ];

    /// Returns the name in the model card.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Recency => "recency",
            Self::Frequency => "frequency",
            Self::Nbd => "nbd",
            Self::BgNbd => "bg_nbd",
            Self::Logistic => "logistic",
            Self::Boosted => "boosted",
            Self::Blend => "blend",
        }
    }

    /// Returns the only column that the candidate reads; `None` for candidates with several columns.
    fn single_column(self) -> Option<usize> {
        match self {
            Self::Overdue => Some(OVERDUE_INPUT),
            Self::Recency => Some(RECENCY_INPUT),
            Self::Frequency => Some(FREQUENCY_INPUT),
            _ => None,
        }
    }
}

/// Customers at one or more cuts, with the outcome.
#[derive(Debug, Clone, Default)]
pub(super) struct TrainingRows {
    pub(super) columns: Vec<Vec<f64>>,
    pub(super) histories: Vec<PurchaseHistory>,
    /// Days until the next purchase; infinite if no purchase was observed.
    pub(super) next: Vec<f64>,
}

impl TrainingRows {
    /// Concatenates `parts`.
    pub(super) fn concat<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.columns.resize(part.columns.len(), Vec::new());
            all.columns
                .iter_mut()
                .zip(&part.columns)
                .for_each(|(column, more)| column.extend_from_slice(more));
            all.histories.extend_from_slice(&part.histories);
            all.next.extend_from_slice(&part.next);
        }
        all
    }

    /// Returns for each row whether the customer made no purchase within `days`.
    pub(super) fn churned(&self, days: f64) -> Vec<bool> {
        self.next.iter().map(|next| *next > days).collect()
    }
}

/// Training rows with a known outcome for a part of the horizon.
#[derive(Debug)]
pub(super) struct HorizonRows {
    /// Length of the part.
    pub(super) days: f64,
    /// Rows of the cuts after which the part has ended.
    pub(super) rows: TrainingRows,
}

/// Training rows by part of the horizon, shortest part first; the last part is the whole horizon.
#[derive(Debug)]
pub(super) struct TrainingData(pub(super) Vec<HorizonRows>);

impl TrainingData {
    /// Returns the rows with a known outcome for the whole horizon.
    pub(super) fn whole(&self) -> Option<&HorizonRows> {
        self.0.last()
    }

    /// Returns the number of distinct rows. Rows of the shortest part include the rows of longer parts.
    pub(super) fn len(&self) -> usize {
        self.0.first().map_or(0, |part| part.rows.next.len())
    }
}

/// Mean and standard deviation of each column. Standardized unknown values are 0, the mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Standardization(Vec<(f64, f64)>);

impl Standardization {
    fn of(columns: &[Vec<f64>]) -> Self {
        let moments = |column: &Vec<f64>| {
            let known = || column.iter().copied().filter(|value| value.is_finite());
            let middle = mean(known());
            let deviation = mean(known().map(|value| (value - middle).powi(2))).sqrt();
            (middle, if deviation > 1e-9 { deviation } else { 1.0 })
        };
        Self(columns.iter().map(moments).collect())
    }

    fn apply(&self, columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let scaled = columns
            .iter()
            .enumerate()
            .map(|(place, column)| column.iter().map(|value| self.one(place, *value)).collect());
        scaled.collect()
    }

    /// Returns the standardized `value` of the column at `place`.
    pub(super) fn one(&self, place: usize, value: f64) -> f64 {
        let (middle, deviation) = self.0[place];
        if value.is_finite() { (value - middle) / deviation } else { 0.0 }
    }
}

/// A fitted candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FittedCandidate {
    pub(super) candidate: Candidate,
    /// One sub-model per learned part of the horizon; their log-odds are averaged.
    pub(super) parts: Vec<HorizonModel>,
}

/// A model of one part of the horizon. Without regression and trees, the log-odds are those of the purchase
/// model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct HorizonModel {
    /// Log-odds of churn within the part minus log-odds of churn within the whole horizon; subtracted from
    /// the scores.
    pub(super) offset: f64,
    pub(super) purchases: Option<PurchasePrediction>,
    pub(super) scale: Standardization,
    pub(super) logistic: Option<LogisticRegression>,
    pub(super) trees: Option<BoostedTrees>,
}

/// A purchase model and the days for which it predicts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct PurchasePrediction {
    model: PurchaseModel,
    days: f64,
    /// Whether more purchases never raise the risk.
    monotone: bool,
}

impl PurchasePrediction {
    /// Returns the log-odds of no purchase of a customer who is alive, and the probability that the customer
    /// has left.
    pub(super) fn inputs(self, history: &PurchaseHistory) -> [f64; 2] {
        let Self { model, days, monotone } = self;
        let alive = if monotone { model.alive_with_at_most(history) } else { model.alive(history) };
        [logit(model.quiet_within(history, days)), 1.0 - alive]
    }

    /// Returns the log-odds of no purchase for these inputs.
    pub(super) fn log_odds([quiet, left]: [f64; 2]) -> f64 {
        logit(left + (1.0 - left) * sigmoid(quiet))
    }
}

impl HorizonModel {
    /// Fits a logistic regression to the column at `place` only. The weights of the other columns are 0.
    fn fit_single_column(&self, place: usize, rows: &TrainingRows, days: f64, inputs: Inputs) -> Self {
        let (scaled, churned) = (self.scaled(rows), rows.churned(days));
        let one = LogisticRegression::fit(
            std::slice::from_ref(&scaled[place]),
            &churned,
            penalty(&churned),
            &inputs.directions()[place..=place],
        );
        let mut weights = vec![0.0; scaled.len()];
        weights[place] = one.weights[0];
        let logistic = Some(LogisticRegression { intercept: one.intercept, weights });
        Self { logistic, trees: None, ..self.clone() }
    }

    /// Returns a model whose log-odds are the log-odds of the purchase model.
    fn with_purchase_model(&self, model: &PurchaseModel, days: f64, inputs: Inputs) -> Self {
        let purchases = Some(PurchasePrediction { model: *model, days, monotone: inputs.monotone });
        Self { purchases, logistic: None, trees: None, ..self.clone() }
    }

    fn scaled(&self, rows: &TrainingRows) -> Vec<Vec<f64>> {
        self.scale.apply(&with_purchases(rows, self.purchases))
    }

    fn scores(&self, rows: &TrainingRows) -> Vec<f64> {
        let count = rows.histories.len();
        let learned = if self.logistic.is_some() || self.trees.is_some() {
            let scaled = self.scaled(rows);
            let logistic = self.logistic.as_ref().map(|logistic| logistic.scores(&scaled, count));
            let trees = self.trees.as_ref().map(|trees| trees.scores(&scaled, count));
            mean_of_present(logistic, trees)
        } else {
            self.purchases.map(|purchases| {
                let log_odds = |history| PurchasePrediction::log_odds(purchases.inputs(history));
                rows.histories.iter().map(log_odds).collect()
            })
        };
        let mut scores = learned.unwrap_or_else(|| vec![0.0; count]);
        for score in &mut scores {
            *score -= self.offset;
        }
        scores
    }
}

/// Returns the element-wise mean of both vectors, or the vector that is present.
fn mean_of_present(one: Option<Vec<f64>>, other: Option<Vec<f64>>) -> Option<Vec<f64>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(elementwise_mean([one, other])),
        (one, other) => one.or(other),
    }
}

fn elementwise_mean(all: impl IntoIterator<Item = Vec<f64>>) -> Vec<f64> {
    let (mut sums, mut count) = (Vec::new(), 0.0);
    for one in all {
        sums.resize(one.len(), 0.0);
        sums.iter_mut().zip(one).for_each(|(sum, value)| *sum += value);
        count += 1.0;
    }
    for sum in &mut sums {
        *sum /= count;
    }
    sums
}

/// A part of the horizon with standardized columns, ready to be learned.
struct PreparedPart {
    purchases: Option<PurchasePrediction>,
    scale: Standardization,
    scaled: Vec<Vec<f64>>,
    churned: Vec<bool>,
}

impl PreparedPart {
    fn new(part: &HorizonRows, fits: &PurchaseFits, inputs: Inputs) -> Self {
        let prediction = |model: &PurchaseModel| PurchasePrediction {
            model: *model,
            days: part.days,
            monotone: inputs.monotone,
        };
        let purchases = fits.best().map(prediction);
        let columns = with_purchases(&part.rows, purchases);
        let scale = Standardization::of(&columns);
        let scaled = scale.apply(&columns);
        Self { purchases, scale, scaled, churned: part.rows.churned(part.days) }
    }
}

/// A learner, fitted.
enum Learner {
    Logistic(LogisticRegression),
    Trees(BoostedTrees),
}

/// Training data with the purchase models that were fitted to its newest cut.
pub(super) struct TrainingSet<'a> {
    pub(super) data: TrainingData,
    pub(super) fits: &'a PurchaseFits,
}

/// Fits all candidates to each set, on `threads` threads; see [`FittedCandidate::of_parts`].
pub(super) fn fit_all(
    sets: &[TrainingSet<'_>],
    inputs: Inputs,
    threads: usize,
) -> Vec<Vec<Option<FittedCandidate>>> {
    let parts: Vec<(usize, &HorizonRows)> =
        sets.iter().enumerate().flat_map(|(at, set)| set.data.0.iter().map(move |part| (at, part))).collect();
    let prepared = parallel_map(
        threads,
        parts.len(),
        || (),
        |(), at| {
            let (set, part) = parts[at];
            PreparedPart::new(part, sets[set].fits, inputs)
        },
    );
    let directions = inputs.directions();
    // The largest jobs are the last ones; they begin first.
    let learners = parallel_map(
        threads,
        2 * prepared.len(),
        || (),
        |(), job| {
            let job = 2 * prepared.len() - 1 - job;
            let PreparedPart { scaled, churned, .. } = &prepared[job / 2];
            if job % 2 == 0 {
                Learner::Logistic(LogisticRegression::fit(scaled, churned, penalty(churned), &directions))
            } else {
                Learner::Trees(BoostedTrees::fit(scaled, Target::Labels(churned), &directions))
            }
        },
    );
    let mut learners = learners.into_iter().rev();
    let mut models: Vec<Vec<HorizonModel>> = sets.iter().map(|_| Vec::new()).collect();
    for ((set, _), PreparedPart { purchases, scale, .. }) in parts.into_iter().zip(prepared) {
        let mut model = HorizonModel { offset: 0.0, purchases, scale, logistic: None, trees: None };
        for learner in learners.by_ref().take(2) {
            match learner {
                Learner::Logistic(logistic) => model.logistic = Some(logistic),
                Learner::Trees(trees) => model.trees = Some(trees),
            }
        }
        models[set].push(model);
    }
    sets.iter().zip(models).map(|(set, models)| FittedCandidate::of_parts(set, models, inputs)).collect()
}

impl FittedCandidate {
    /// Returns all candidates, in the order of [`Candidate::ALL`]; `None` for a degenerate one. `parts` are
    /// the models of the parts of the horizon. Single-column candidates and purchase models learn only the
    /// whole horizon.
    fn of_parts(set: &TrainingSet<'_>, mut parts: Vec<HorizonModel>, inputs: Inputs) -> Vec<Option<Self>> {
        let (Some(HorizonRows { days, rows }), fits) = (set.data.whole(), set.fits) else {
            return Candidate::ALL.map(|_| None).to_vec();
        };
        let base_log_odds = |rows: &TrainingRows, days: f64| logit(share(&rows.churned(days)));
        for (model, part) in parts.iter_mut().zip(&set.data.0) {
            model.offset = base_log_odds(&part.rows, part.days) - base_log_odds(rows, *days);
        }
        let Some(whole) = parts.last() else { return Candidate::ALL.map(|_| None).to_vec() };
        let fitted = |candidate: Candidate| {
            let from_purchases = |model: &PurchaseModel| whole.with_purchase_model(model, *days, inputs);
            let parts = match candidate {
                Candidate::Logistic => {
                    parts.iter().map(|part| HorizonModel { trees: None, ..part.clone() }).collect()
                }
                Candidate::Boosted => {
                    parts.iter().map(|part| HorizonModel { logistic: None, ..part.clone() }).collect()
                }
                Candidate::Blend => parts.clone(),
                Candidate::Nbd => vec![from_purchases(fits.nbd.as_ref().ok()?)],
                Candidate::BgNbd => vec![from_purchases(fits.bg_nbd.as_ref().ok()?)],
                Candidate::Overdue | Candidate::Recency | Candidate::Frequency => {
                    vec![whole.fit_single_column(candidate.single_column()?, rows, *days, inputs)]
                }
            };
            Some(Self { candidate, parts })
        };
        Candidate::ALL.into_iter().map(fitted).collect()
    }

    /// Returns the log-odds of churn of each row.
    pub(super) fn scores(&self, rows: &TrainingRows) -> Vec<f64> {
        elementwise_mean(self.parts.iter().map(|part| part.scores(rows)))
    }

    /// Returns the weights of the logistic regression.
    pub(super) fn weights(&self) -> Vec<f64> {
        elementwise_mean(self.parts.iter().filter_map(|part| Some(part.logistic.as_ref()?.weights.clone())))
    }

    /// Returns the importance of each column in the boosted trees; see [`BoostedTrees::importance`].
    pub(super) fn importance(&self) -> Vec<f64> {
        elementwise_mean(self.parts.iter().filter_map(|part| Some(part.trees.as_ref()?.importance())))
    }
}

/// Returns the columns of `rows` and those of the purchase model; see [`PurchasePrediction::inputs`]. Without
/// a model they are 0 for all rows.
fn with_purchases(rows: &TrainingRows, purchases: Option<PurchasePrediction>) -> Vec<Vec<f64>> {
    let inputs = |history| purchases.map_or([0.0; 2], |purchases| purchases.inputs(history));
    let (quiet, left) = rows.histories.iter().map(inputs).map(|[quiet, left]| (quiet, left)).unzip();
    let mut columns = rows.columns.clone();
    columns.extend([quiet, left]);
    columns
}

/// Returns the L2 penalty: 0.5 % of the number of rows. It stabilizes correlated columns and hardly shrinks
/// the weights.
#[expect(clippy::cast_precision_loss, reason = "a number of rows")]
fn penalty(churned: &[bool]) -> f64 {
    (churned.len() as f64 * 0.005).max(1.0)
}
