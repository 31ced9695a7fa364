//! Choosing among candidates and calibrating the chosen, on cuts in time that nothing was learned from.
//!
//! For a cut, candidates learn from the cuts whose horizon had ended by then: what a build at that instant could have known. The
//! latest cut is kept out of the choice and of the calibration where there are others, so that its figures are those of a
//! stranger. The slope of the calibration comes from such cuts, its level from all training rows: a single cut's level is its
//! season's.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    candidates::{Candidate, Fitted, Rows},
    logistic::{Logistic, logit, sigmoid},
    measure::{auc, bins, figures, mean, rounded},
    purchasing::Fits,
};
use crate::snapshot::models::ChurnCut;

/// Fewer of one class than this are too few to learn from or to measure on.
pub(super) const LEAST_OF_A_CLASS: usize = 30;
/// Cuts that are measured, at most.
const MEASURED: usize = 3;
/// By so much the area under the curve must be greater for a candidate that is less simple.
const MARGIN: f64 = 0.001;

/// The customers of a cut, and what became of them.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    pub(super) at: DateTime<Utc>,
    pub(super) rows: Rows,
}

/// The chosen candidate, fitted to all cuts and calibrated.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) fitted: Fitted,
    /// The purchase models on the latest cut.
    pub(super) fits: Fits,
    pub(super) calibration: Calibration,
    /// Logistic regression and trees on all rows, for the card's weights whatever was chosen.
    pub(super) weights: Vec<f64>,
    pub(super) importance: Vec<f64>,
    pub(super) cuts: Vec<ChurnCut>,
    pub(super) rows: usize,
    pub(super) base_rate: f64,
}

/// Log-odds → log-odds: stretched by `slope`, moved by `shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Calibration {
    pub(super) slope: f64,
    pub(super) shift: f64,
}

impl Calibration {
    pub(super) fn probability(self, score: f64) -> f64 {
        sigmoid(self.slope * score + self.shift)
    }

    /// With this slope, and the shift at which the mean probability of `scores` is `share`.
    fn level(slope: f64, scores: &[f64], share: f64) -> Self {
        let (mut low, mut high) = (-20.0, 20.0);
        for _ in 0..60 {
            let shift = f64::midpoint(low, high);
            let reached = mean(scores.iter().map(|score| sigmoid(slope * score + shift)));
            if reached < share { low = shift } else { high = shift }
        }
        Self { slope, shift: f64::midpoint(low, high) }
    }
}

/// A measured cut: what was learned from before it, and the log-odds that each candidate gave.
struct Measured<'a> {
    cut: &'a Cut,
    before: Rows,
    fitted: Vec<Option<Fitted>>,
    /// Nothing for a candidate that is degenerate.
    scores: Vec<Option<Vec<f64>>>,
}

#[expect(clippy::cast_precision_loss, reason = "days")]
pub(super) fn days(horizon: TimeDelta) -> f64 {
    horizon.num_days() as f64
}

pub(super) fn share(churned: &[bool]) -> f64 {
    mean(churned.iter().map(|churned| f64::from(u8::from(*churned))))
}

fn both_classes(churned: &[bool]) -> bool {
    let gone = churned.iter().filter(|churned| **churned).count();
    gone.min(churned.len() - gone) >= LEAST_OF_A_CLASS
}

/// The cuts that something can be learned before, thinned to the number that is measured; the latest is among them.
fn measured(cuts: &[Cut], horizon: TimeDelta) -> Vec<Measured<'_>> {
    let known = |cut: &Cut| cuts.iter().filter(|c| c.at + horizon <= cut.at).map(|c| &c.rows).collect::<Vec<&Rows>>();
    let before = |cut: &Cut| Rows::of(known(cut));
    let able: Vec<(&Cut, Rows)> = cuts
        .iter()
        .map(|cut| (cut, before(cut)))
        .filter(|(cut, before)| both_classes(&cut.rows.churned) && both_classes(&before.churned))
        .collect();
    let count = able.len().min(MEASURED);
    let mut wanted: Vec<usize> = (1..=count).map(|k| able.len() * k / count - 1).collect();
    wanted.dedup();
    let chosen = able.into_iter().enumerate().filter(|(at, _)| wanted.contains(at));
    chosen
        .map(|(_, (cut, before))| {
            let fits = Fits::of(known(cut).last().map_or(&[], |rows| &rows.histories));
            let fitted = Fitted::all(&before, &fits, days(horizon));
            let scores = fitted.iter().map(|fitted| Some(fitted.as_ref()?.scores(&cut.rows))).collect();
            Measured { cut, before, fitted, scores }
        })
        .collect()
}

/// Chooses, calibrates, and fits to all `cuts`, which are ordered in time; nothing where none can be measured.
pub(super) fn choose(cuts: &[Cut], horizon: TimeDelta) -> Option<Choice> {
    let measured = measured(cuts, horizon);
    let kept_out = usize::from(measured.len() > 1);
    let basis = &measured[..measured.len() - kept_out];
    if basis.is_empty() {
        return None;
    }
    let rows = Rows::of(cuts.iter().map(|cut| &cut.rows));
    let fits = Fits::of(cuts.last().map_or(&[], |cut| &cut.rows.histories));
    let mut all = Fitted::all(&rows, &fits, days(horizon));
    // What is degenerate anywhere is never chosen.
    let able = |place: usize| all[place].is_some() && measured.iter().all(|cut| cut.fitted[place].is_some());
    let place = best(basis, able);
    // With one cut only, the slope cannot be learned from one and measured on another.
    let slope = if kept_out == 1 { slope(basis, place) } else { 1.0 };
    let described = measured.iter().enumerate().map(|(at, cut)| describe(cut, place, slope, at < basis.len()));
    let described = described.collect::<Option<Vec<ChurnCut>>>()?;
    let final_slope = if kept_out == 1 { self::slope(&measured, place) } else { 1.0 };
    let of = |candidate: Candidate| all.iter().flatten().find(|fitted| fitted.candidate == candidate);
    let weights = of(Candidate::Logistic)?.logistic.clone()?.weights;
    let boosted = of(Candidate::Boosted)?;
    let importance = boosted.trees.as_ref()?.importance(&boosted.scaled(&rows), rows.churned.len());
    let fitted = all.swap_remove(place)?;
    let base_rate = share(&rows.churned);
    let calibration = Calibration::level(final_slope, &fitted.scores(&rows), base_rate);
    let rows = rows.churned.len();
    Some(Choice { fitted, fits, calibration, weights, importance, cuts: described, rows, base_rate })
}

/// The place of the candidate whose mean area under the curve is greatest; a simpler one that is nearly as good wins.
fn best(basis: &[Measured<'_>], able: impl Fn(usize) -> bool) -> usize {
    let of = |cut: &Measured<'_>, place: usize| {
        cut.scores[place].as_ref().map_or(0.0, |scores| auc(scores, &cut.cut.rows.churned))
    };
    let area = |place: usize| if able(place) { mean(basis.iter().map(|cut| of(cut, place))) } else { 0.0 };
    let areas: Vec<f64> = (0..Candidate::ALL.len()).map(area).collect();
    (1..areas.len()).fold(0, |best, place| if areas[place] > areas[best] + MARGIN { place } else { best })
}

/// By how much the log-odds must be stretched to fit what was seen, each cut with a level of its own.
fn slope(basis: &[Measured<'_>], place: usize) -> f64 {
    let (mut columns, mut churned) = (vec![Vec::new(); basis.len()], Vec::new());
    for (number, measured) in basis.iter().enumerate() {
        let Some(scores) = &measured.scores[place] else { continue };
        columns[0].extend_from_slice(scores);
        // The first cut's level is the intercept.
        for (at, column) in columns.iter_mut().enumerate().skip(1) {
            column.extend(std::iter::repeat_n(f64::from(u8::from(at == number)), scores.len()));
        }
        churned.extend_from_slice(&measured.cut.rows.churned);
    }
    Logistic::fit(&columns, &churned, 1e-3).weights[0].clamp(0.5, 1.5)
}

fn describe(measured: &Measured<'_>, place: usize, slope: f64, used_to_choose: bool) -> Option<ChurnCut> {
    let churned = &measured.cut.rows.churned;
    let of = |scores: &[f64]| scores.iter().map(|score| sigmoid(*score)).collect::<Vec<f64>>();
    let mut candidates: Vec<_> = Candidate::ALL
        .iter()
        .zip(&measured.scores)
        .filter_map(|(candidate, scores)| Some(figures(candidate.name(), &of(scores.as_ref()?), churned)))
        .collect();
    let learned = measured.fitted[place].as_ref()?.scores(&measured.before);
    let calibration = Calibration::level(slope, &learned, share(&measured.before.churned));
    let model: Vec<f64> =
        measured.scores[place].as_ref()?.iter().map(|score| calibration.probability(*score)).collect();
    candidates.push(figures("model", &model, churned));
    Some(ChurnCut {
        at: measured.cut.at,
        used_to_choose,
        training_rows: measured.before.churned.len() as u64,
        customers: churned.len() as u64,
        churned: rounded(share(churned)),
        candidates,
        bins: bins(&model, churned),
    })
}

/// The probability of the rule that serves where nothing can be learned: one half for who is as late as their own rhythm is long.
pub(super) fn rule(recency: f64, rhythm: f64) -> f64 {
    sigmoid(logit(0.5) + (recency.max(0.0) + 1.0).ln() - (rhythm + 1.0).ln())
}
