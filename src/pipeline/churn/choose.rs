//! Choosing among candidates and calibrating the chosen, on cuts in time that nothing was learned from.
//!
//! For a cut, candidates learn from what a build at that instant could have known: cuts whose horizon, or part of it, had ended by then. The
//! latest cut is kept out of the choice where there are others, so that its figures are those of a stranger. Calibration, too, is of
//! what was known at the cut: its slope comes from measured cuts whose horizon had ended, its level from all training rows, since a
//! single cut's level is its season's.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    candidates::{Candidate, Fitted, Lessons, Rows},
    horizon::{days, parts},
    logistic::{Logistic, logit, sigmoid},
    measure::{auc, bins, figures, mean, rounded, share},
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
    /// The parts of the horizon that were learned, in days.
    pub(super) parts: Vec<u32>,
    /// Customers, once per cut.
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
    churned: Vec<bool>,
    before: Lessons,
    fitted: Vec<Option<Fitted>>,
    /// Nothing for a candidate that is degenerate.
    scores: Vec<Option<Vec<f64>>>,
}

fn both_classes(churned: &[bool]) -> bool {
    let gone = churned.iter().filter(|churned| **churned).count();
    gone.min(churned.len() - gone) >= LEAST_OF_A_CLASS
}

/// What is known at `until`; a part of the horizon after which everybody had bought, or nobody, teaches nothing.
fn lessons(cuts: &[Cut], horizon: TimeDelta, until: DateTime<Utc>) -> Lessons {
    let (whole, of_part) = (days(horizon), |part: TimeDelta| {
        (days(part), Rows::of(cuts.iter().filter(|cut| cut.at + part <= until).map(|cut| &cut.rows)))
    });
    let teaches = |(days, rows): &(f64, Rows)| *days >= whole || both_classes(&rows.churned(*days));
    Lessons(parts(horizon).into_iter().map(of_part).filter(teaches).collect())
}

/// The latest cut whose horizon had ended by `until`, as far as purchases go.
fn fits(cuts: &[Cut], horizon: TimeDelta, until: DateTime<Utc>) -> Fits {
    let latest = cuts.iter().rfind(|cut| cut.at + horizon <= until);
    Fits::of(latest.map_or(&[], |cut| &cut.rows.histories))
}

/// Those of `cuts` that something can be learned before and whose horizon ended by `as_of`, thinned to the number that is
/// measured; the latest is among them.
fn measured(cuts: &[Cut], horizon: TimeDelta, as_of: DateTime<Utc>) -> Vec<Measured<'_>> {
    let whole = days(horizon);
    let able = |cut: &&Cut| {
        let known =
            cuts.iter().filter(|one| one.at + horizon <= cut.at).flat_map(|one| one.rows.churned(whole));
        cut.at + horizon <= as_of
            && both_classes(&cut.rows.churned(whole))
            && both_classes(&known.collect::<Vec<bool>>())
    };
    let able: Vec<&Cut> = cuts.iter().filter(able).collect();
    let count = able.len().min(MEASURED);
    let mut wanted: Vec<usize> = (1..=count).map(|k| able.len() * k / count - 1).collect();
    wanted.dedup();
    let measure = |place: usize| {
        let cut = able[place];
        let before = lessons(cuts, horizon, cut.at);
        let fitted = Fitted::all(&before, &fits(cuts, horizon, cut.at));
        let scores = fitted.iter().map(|fitted| Some(fitted.as_ref()?.scores(&cut.rows))).collect();
        Measured { cut, churned: cut.rows.churned(whole), before, fitted, scores }
    };
    wanted.into_iter().map(measure).collect()
}

/// Chooses, calibrates, and fits to all that is known of `cuts` at `as_of`; they are ordered in time. Nothing where none can be measured.
pub(super) fn choose(cuts: &[Cut], horizon: TimeDelta, as_of: DateTime<Utc>) -> Option<Choice> {
    let measured = measured(cuts, horizon, as_of);
    let kept_out = usize::from(measured.len() > 1);
    let basis = &measured[..measured.len() - kept_out];
    if basis.is_empty() {
        return None;
    }
    let (lessons, fits) = (lessons(cuts, horizon, as_of), fits(cuts, horizon, as_of));
    let mut all = Fitted::all(&lessons, &fits);
    // What is degenerate anywhere is never chosen.
    let able = |place: usize| all[place].is_some() && measured.iter().all(|cut| cut.fitted[place].is_some());
    let place = best(basis, able);
    let slope = |until: DateTime<Utc>| {
        slope(measured.iter().filter(|measured| measured.cut.at + horizon <= until), place)
    };
    let described = measured
        .iter()
        .enumerate()
        .map(|(at, cut)| describe(cut, place, slope(cut.cut.at), at < basis.len()));
    let described = described.collect::<Option<Vec<ChurnCut>>>()?;
    let of = |candidate: Candidate| all.iter().flatten().find(|fitted| fitted.candidate == candidate);
    let (weights, (whole, rows)) = (of(Candidate::Logistic)?.weights(), lessons.whole()?);
    let importance = of(Candidate::Boosted)?.importance(rows);
    let fitted = all.swap_remove(place)?;
    let base_rate = share(&rows.churned(whole));
    let calibration = Calibration::level(slope(as_of), &fitted.scores(rows), base_rate);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole days")]
    let parts = lessons.0.iter().map(|(days, _)| *days as u32).collect();
    let rows = learned_from(&lessons);
    Some(Choice { fitted, fits, calibration, weights, importance, cuts: described, parts, rows, base_rate })
}

/// Rows that anything was learned from: those of the shortest part hold the others.
fn learned_from(lessons: &Lessons) -> usize {
    lessons.0.first().map_or(0, |(_, rows)| rows.next.len())
}

/// The place of the candidate whose mean area under the curve is greatest; a simpler one that is nearly as good wins.
fn best(basis: &[Measured<'_>], able: impl Fn(usize) -> bool) -> usize {
    let of = |cut: &Measured<'_>, place: usize| {
        cut.scores[place].as_ref().map_or(0.0, |scores| auc(scores, &cut.churned))
    };
    let area = |place: usize| if able(place) { mean(basis.iter().map(|cut| of(cut, place))) } else { 0.0 };
    let areas: Vec<f64> = (0..Candidate::ALL.len()).map(area).collect();
    (1..areas.len()).fold(0, |best, place| if areas[place] > areas[best] + MARGIN { place } else { best })
}

/// By how much the log-odds must be stretched to fit what was seen on `basis`, each cut with a level of its own; not at all where
/// there is none.
fn slope<'a>(basis: impl Iterator<Item = &'a Measured<'a>>, place: usize) -> f64 {
    let basis: Vec<_> = basis.collect();
    if basis.is_empty() {
        return 1.0;
    }
    let (mut columns, mut churned) = (vec![Vec::new(); basis.len()], Vec::new());
    for (number, measured) in basis.iter().enumerate() {
        let Some(scores) = &measured.scores[place] else { continue };
        columns[0].extend_from_slice(scores);
        // The first cut's level is the intercept.
        for (at, column) in columns.iter_mut().enumerate().skip(1) {
            column.extend(std::iter::repeat_n(f64::from(u8::from(at == number)), scores.len()));
        }
        churned.extend_from_slice(&measured.churned);
    }
    Logistic::fit(&columns, &churned, 1e-3).weights[0].clamp(0.5, 1.5)
}

fn describe(measured: &Measured<'_>, place: usize, slope: f64, used_to_choose: bool) -> Option<ChurnCut> {
    let churned = &measured.churned;
    let of = |scores: &[f64]| scores.iter().map(|score| sigmoid(*score)).collect::<Vec<f64>>();
    let mut candidates: Vec<_> = Candidate::ALL
        .iter()
        .zip(&measured.scores)
        .filter_map(|(candidate, scores)| Some(figures(candidate.name(), &of(scores.as_ref()?), churned)))
        .collect();
    let (whole, rows) = measured.before.whole()?;
    let learned = measured.fitted[place].as_ref()?.scores(rows);
    let calibration = Calibration::level(slope, &learned, share(&rows.churned(whole)));
    let model: Vec<f64> =
        measured.scores[place].as_ref()?.iter().map(|score| calibration.probability(*score)).collect();
    candidates.push(figures("model", &model, churned));
    Some(ChurnCut {
        at: measured.cut.at,
        used_to_choose,
        training_rows: learned_from(&measured.before) as u64,
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
