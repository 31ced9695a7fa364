//! Selects the best candidate and calibrates it on held-out cuts in time.
//!
//! The candidates of a measured cut learn only from data that a build at that instant had: cuts whose
//! horizon, or a part of it, had ended by then. The latest cut is held out of the selection if there are
//! others, so its metrics are unbiased. Calibration, too, uses only data that was known at the cut: the slope
//! comes from measured cuts whose horizon had ended, and the level from all training rows, or from the newest
//! cut if that was better on all measured cuts, which is the only choice that the held-out cut takes part in.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{
    candidates::{Candidate, FittedCandidate, HorizonRows, TrainingData, TrainingRows, TrainingSet, fit_all},
    horizon::{days, parts},
    inputs::Inputs,
    served_model::{Calibration, ServedModel},
};
use crate::{
    pipeline::{
        learning::{
            Direction,
            logistic::{LogisticRegression, logit, sigmoid},
            metrics::{auc, bins, figures, mean, rounded, share},
            purchase_model::PurchaseFits,
        },
        parallel::parallel_map,
    },
    snapshot::models::ChurnCut,
};

/// Least number of customers of each class (churned, retained) to learn from or to measure on.
pub(super) const MIN_CLASS_SIZE: usize = 30;
/// Greatest number of cuts to measure on.
const MAX_MEASURED: usize = 3;
/// Least gain of the area under the curve for which a more complex candidate is preferred.
const MIN_GAIN: f64 = 0.001;

/// The customers of a cut (a past as-of time to learn from), with the outcome.
#[derive(Debug)]
pub(super) struct LabeledCut {
    pub(super) at: DateTime<Utc>,
    pub(super) rows: TrainingRows,
    fits: OnceLock<PurchaseFits>,
}

impl LabeledCut {
    pub(super) fn new(at: DateTime<Utc>, rows: TrainingRows) -> Self {
        Self { at, rows, fits: OnceLock::new() }
    }

    /// Returns for each row whether the customer made no purchase within `horizon`.
    fn churned(&self, horizon: TimeDelta) -> Vec<bool> {
        self.rows.churned(days(horizon))
    }

    /// Returns the purchase models, which are fitted when they are first asked for.
    pub(super) fn purchase_fits(&self) -> &PurchaseFits {
        self.fits.get_or_init(|| PurchaseFits::of(&self.rows.histories))
    }
}

/// The rows whose share of churn is the level of the probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LevelRows {
    /// All training rows: the mean over a year.
    AllCuts,
    /// The newest cut whose horizon has ended.
    NewestCut,
}

impl LevelRows {
    /// Returns the name in the model card.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AllCuts => "all_cuts",
            Self::NewestCut => "newest_cut",
        }
    }
}

/// The calibrated probabilities of the latest measured cut, and its outcomes.
#[derive(Debug)]
pub(super) struct HeldOutCut {
    pub(super) at: DateTime<Utc>,
    pub(super) probabilities: Vec<f64>,
    pub(super) churned: Vec<bool>,
}

/// The selected candidate, fitted to all cuts and calibrated.
#[derive(Debug)]
pub(super) struct SelectedModel {
    pub(super) served: ServedModel,
    /// The purchase models fitted to the latest cut.
    pub(super) fits: PurchaseFits,
    pub(super) level_rows: LevelRows,
    /// Weights of the logistic regression on all rows, for the model card of any candidate.
    pub(super) weights: Vec<f64>,
    /// Importances in the boosted trees on all rows, for the model card of any candidate.
    pub(super) importance: Vec<f64>,
    pub(super) cuts: Vec<ChurnCut>,
    pub(super) held_out: HeldOutCut,
    /// The learned parts of the horizon in days.
    pub(super) parts: Vec<u32>,
    /// Number of training rows: customers, once per cut.
    pub(super) rows: usize,
    pub(super) base_rate: f64,
}

/// A measured cut: the training data from before the cut, and the predictions of each candidate.
struct MeasuredCut<'a> {
    cut: &'a LabeledCut,
    /// The newest cut whose horizon had ended by then.
    newest: &'a LabeledCut,
    churned: Vec<bool>,
    training: &'a TrainingData,
    /// Candidates in the order of [`Candidate::ALL`]; `None` for a degenerate one.
    fitted: Vec<Option<FittedCandidate>>,
    /// Log-odds of each row by candidate.
    scores: Vec<Option<Vec<f64>>>,
}

/// Checks whether both classes have at least [`MIN_CLASS_SIZE`] customers.
fn has_both_classes(churned: &[bool]) -> bool {
    let gone = churned.iter().filter(|churned| **churned).count();
    gone.min(churned.len() - gone) >= MIN_CLASS_SIZE
}

/// Returns the training data known at `until`. Skips shorter parts of the horizon in which one class is too
/// small.
fn training_data(cuts: &[Arc<LabeledCut>], horizon: TimeDelta, until: DateTime<Utc>) -> TrainingData {
    let of_part = |part: TimeDelta| {
        let known = cuts.iter().filter(|cut| cut.at + part <= until).map(|cut| &cut.rows);
        HorizonRows { days: days(part), rows: TrainingRows::concat(known) }
    };
    let whole = days(horizon);
    let is_useful =
        |part: &HorizonRows| part.days >= whole || has_both_classes(&part.rows.churned(part.days));
    TrainingData(parts(horizon).into_iter().map(of_part).filter(is_useful).collect())
}

/// Returns the newest cut whose horizon had ended by `until`.
fn newest_ended(cuts: &[Arc<LabeledCut>], horizon: TimeDelta, until: DateTime<Utc>) -> Option<&LabeledCut> {
    cuts.iter().map(Arc::as_ref).rfind(|cut| cut.at + horizon <= until)
}

/// Returns the cuts to measure on: up to [`MAX_MEASURED`], evenly spread and including the latest. A cut can
/// be measured if its horizon had ended by `as_of` and earlier cuts have enough customers of both classes.
fn measurable(cuts: &[Arc<LabeledCut>], horizon: TimeDelta, as_of: DateTime<Utc>) -> Vec<&LabeledCut> {
    let whole = days(horizon);
    let is_measurable = |cut: &&LabeledCut| {
        let known =
            cuts.iter().filter(|one| one.at + horizon <= cut.at).flat_map(|one| one.rows.churned(whole));
        cut.at + horizon <= as_of
            && has_both_classes(&cut.rows.churned(whole))
            && has_both_classes(&known.collect::<Vec<bool>>())
    };
    let measurable: Vec<&LabeledCut> = cuts.iter().map(Arc::as_ref).filter(is_measurable).collect();
    let count = measurable.len().min(MAX_MEASURED);
    let mut chosen: Vec<usize> = (1..=count).map(|k| measurable.len() * k / count - 1).collect();
    chosen.dedup();
    chosen.into_iter().map(|place| measurable[place]).collect()
}

/// Selects a candidate, calibrates it, and fits it to all of `cuts`, which must be in the order of time.
/// Returns `None` if no cut can be measured.
pub(super) fn select_model(
    cuts: &[Arc<LabeledCut>],
    horizon: TimeDelta,
    as_of: DateTime<Utc>,
    inputs: Inputs,
    threads: usize,
) -> Option<SelectedModel> {
    let chosen = measurable(cuts, horizon, as_of);
    let newest_at = |until| newest_ended(cuts, horizon, until);
    let newest: Vec<&LabeledCut> = chosen.iter().filter_map(|cut| newest_at(cut.at)).collect();
    let latest = newest_at(as_of)?;
    if chosen.is_empty() {
        return None;
    }
    let until = chosen.iter().map(|cut| cut.at).chain([as_of]);
    let sets: Vec<(TrainingData, &LabeledCut)> = until
        .zip(newest.iter().copied().chain([latest]))
        .map(|(until, newest)| (training_data(cuts, horizon, until), newest))
        .collect();
    // Fitted here, so that threads do not wait for each other.
    parallel_map(
        threads,
        sets.len(),
        || (),
        |(), at| {
            sets[at].1.purchase_fits();
        },
    );
    let sets: Vec<TrainingSet<'_>> =
        sets.into_iter().map(|(data, newest)| TrainingSet { data, fits: newest.purchase_fits() }).collect();
    let mut fitted = fit_all(&sets, inputs, threads);
    let mut all = fitted.pop()?;
    let scores = parallel_map(
        threads,
        chosen.len() * Candidate::ALL.len(),
        || (),
        |(), at| {
            let (cut, place) = (at / Candidate::ALL.len(), at % Candidate::ALL.len());
            Some(fitted[cut][place].as_ref()?.scores(&chosen[cut].rows))
        },
    );
    let mut scores = scores.into_iter();
    let measure = |(((cut, newest), set), fitted)| MeasuredCut {
        cut,
        newest,
        churned: cut.churned(horizon),
        training: set,
        scores: scores.by_ref().take(Candidate::ALL.len()).collect(),
        fitted,
    };
    let measured: Vec<MeasuredCut<'_>> = chosen
        .iter()
        .copied()
        .zip(newest)
        .zip(sets.iter().map(|set| &set.data))
        .zip(fitted)
        .map(measure)
        .collect();
    let held_out = usize::from(measured.len() > 1);
    let basis = &measured[..measured.len() - held_out];
    let training = &sets.last()?.data;
    // A candidate that is degenerate on any cut is never selected.
    let is_able =
        |place: usize| all[place].is_some() && measured.iter().all(|cut| cut.fitted[place].is_some());
    let place = best_candidate(basis, is_able);
    let slope_at = |until: DateTime<Utc>| {
        let ended = measured.iter().filter(|measured| measured.cut.at + horizon <= until);
        calibration_slope(&ended.collect::<Vec<_>>(), place)
    };
    let level_rows = level_rows(&measured, place, slope_at);
    let mut described = Vec::new();
    let mut held_out = None;
    for (at, cut) in measured.iter().enumerate() {
        let probabilities = cut.probabilities(place, slope_at(cut.cut.at), level_rows)?;
        described.push(cut.describe(&probabilities, at < basis.len()));
        held_out = Some(HeldOutCut { at: cut.cut.at, probabilities, churned: cut.churned.clone() });
    }
    let fitted_as = |candidate: Candidate| all.iter().flatten().find(|fitted| fitted.candidate == candidate);
    let HorizonRows { days: whole, rows } = training.whole()?;
    let weights = fitted_as(Candidate::Logistic)?.weights();
    let importance = fitted_as(Candidate::Boosted)?.importance();
    let fitted = all.swap_remove(place)?;
    let base_rate = share(&rows.churned(*whole));
    let level_at = match level_rows {
        LevelRows::AllCuts => rows,
        LevelRows::NewestCut => &latest.rows,
    };
    let calibration = Calibration::at_level(slope_at(as_of), &fitted, level_at, *whole);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole days")]
    let parts = training.0.iter().map(|part| part.days as u32).collect();
    Some(SelectedModel {
        served: ServedModel { inputs, fitted, calibration },
        fits: latest.purchase_fits().clone(),
        level_rows,
        weights,
        importance,
        cuts: described,
        held_out: held_out?,
        parts,
        rows: training.len(),
        base_rate,
    })
}

/// Returns the index of the candidate with the greatest mean area under the curve on `basis`. A simpler
/// candidate within [`MIN_GAIN`] wins.
fn best_candidate(basis: &[MeasuredCut<'_>], is_able: impl Fn(usize) -> bool) -> usize {
    let auc_on = |cut: &MeasuredCut<'_>, place: usize| {
        cut.scores[place].as_ref().map_or(0.0, |scores| auc(scores, &cut.churned))
    };
    let mean_auc =
        |place: usize| if is_able(place) { mean(basis.iter().map(|cut| auc_on(cut, place))) } else { 0.0 };
    let areas: Vec<f64> = (0..Candidate::ALL.len()).map(mean_auc).collect();
    (1..areas.len()).fold(0, |best, place| if areas[place] > areas[best] + MIN_GAIN { place } else { best })
}

/// Returns the rows to take the level from: the newest cut if that gives a lower log loss on each of the
/// `measured` cuts, else all cuts, since the level of a single cut is seasonal.
fn level_rows(
    measured: &[MeasuredCut<'_>],
    place: usize,
    slope_at: impl Fn(DateTime<Utc>) -> f64,
) -> LevelRows {
    let loss = |cut: &MeasuredCut<'_>, rows: LevelRows| {
        let probabilities = cut.probabilities(place, slope_at(cut.cut.at), rows)?;
        Some(figures("", &probabilities, &cut.churned).log_loss)
    };
    let is_better = |cut: &MeasuredCut<'_>| {
        let losses = loss(cut, LevelRows::NewestCut).zip(loss(cut, LevelRows::AllCuts));
        losses.is_some_and(|(newest, all)| newest < all)
    };
    if measured.len() > 1 && measured.iter().all(is_better) {
        LevelRows::NewestCut
    } else {
        LevelRows::AllCuts
    }
}

/// Returns the calibration slope of the candidate at `place`, fitted by logistic regression on the cuts of
/// `basis` with one intercept per cut; 1 if there is no cut.
fn calibration_slope(basis: &[&MeasuredCut<'_>], place: usize) -> f64 {
    if basis.is_empty() {
        return 1.0;
    }
    let (mut columns, mut churned) = (vec![Vec::new(); basis.len()], Vec::new());
    for (number, measured) in basis.iter().enumerate() {
        let Some(scores) = &measured.scores[place] else { continue };
        columns[0].extend_from_slice(scores);
        // Indicator columns of all cuts but the first, whose level is the intercept.
        for (at, column) in columns.iter_mut().enumerate().skip(1) {
            column.extend(std::iter::repeat_n(f64::from(u8::from(at == number)), scores.len()));
        }
        churned.extend_from_slice(&measured.churned);
    }
    LogisticRegression::fit(&columns, &churned, 1e-3, &vec![Direction::Any; basis.len()]).weights[0]
        .clamp(0.5, 1.5)
}

impl MeasuredCut<'_> {
    /// Returns the probabilities by the candidate at `place`, calibrated with `slope` and the level of
    /// `level_rows`.
    fn probabilities(&self, place: usize, slope: f64, level_rows: LevelRows) -> Option<Vec<f64>> {
        let HorizonRows { days: whole, rows } = self.training.whole()?;
        let rows = match level_rows {
            LevelRows::AllCuts => rows,
            LevelRows::NewestCut => &self.newest.rows,
        };
        let calibration = Calibration::at_level(slope, self.fitted[place].as_ref()?, rows, *whole);
        let scores = self.scores[place].as_ref()?;
        Some(scores.iter().map(|score| calibration.probability(*score)).collect())
    }

    /// Returns the model card's entry: the metrics of all candidates, and of the calibrated model with these
    /// `probabilities`.
    fn describe(&self, probabilities: &[f64], used_to_choose: bool) -> ChurnCut {
        let churned = &self.churned;
        let candidate_figures = |(candidate, scores): (&Candidate, &Option<Vec<f64>>)| {
            let probabilities: Vec<f64> = scores.as_ref()?.iter().map(|score| sigmoid(*score)).collect();
            Some(figures(candidate.name(), &probabilities, churned))
        };
        let mut candidates: Vec<_> =
            Candidate::ALL.iter().zip(&self.scores).filter_map(candidate_figures).collect();
        candidates.push(figures("model", probabilities, churned));
        ChurnCut {
            at: self.cut.at,
            used_to_choose,
            training_rows: self.training.len() as u64,
            customers: churned.len() as u64,
            churned: rounded(share(churned)),
            candidates,
            bins: bins(probabilities, churned),
        }
    }
}

/// Returns the probability of the rule that is used without a model: (recency + 1) / (recency + 1 + gap + 1)
/// in days, 0.5 for a customer whose last order is as long ago as the usual days between orders.
pub(super) fn rule(recency: f64, days_between_orders: f64) -> f64 {
    sigmoid(logit(0.5) + (recency.max(0.0) + 1.0).ln() - (days_between_orders + 1.0).ln())
}
