//! The candidates for the churn model, all behind one face: fitted to rows, each gives log-odds.
//!
//! Learners learn twice: who does not buy within the half and the whole of the horizon, and the mean of their log-odds counts. The shorter
//! the part, the newer are the cuts whose outcome is known.

use super::{
    inputs::{OF_FREQUENCY, OF_OVERDUE, OF_RECENCY},
    logistic::{Logistic, logit},
    measure::{mean, share},
    purchasing::{Fits, History, Purchasing},
    trees::Trees,
};

/// A way to tell who will not buy again. The order is that of simplicity: of equals the first is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Candidate {
    /// The time since the last order over the customer's own rhythm.
    Overdue,
    /// The time since the last order.
    Recency,
    /// The number of orders.
    Frequency,
    /// A purchase model without leaving.
    Nbd,
    /// A purchase model with leaving.
    BgNbd,
    /// Logistic regression on all columns and what the purchase model says.
    Logistic,
    /// Boosted trees on the same.
    Boosted,
    /// The mean of the log-odds of the last two.
    Blend,
}

impl Candidate {
    pub(super) const ALL: [Self; 8] = [
        Self::Overdue,
        Self::Recency,
        Self::Frequency,
        Self::Nbd,
        Self::BgNbd,
        Self::Logistic,
        Self::Boosted,
        Self::Blend,
    ];

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

    /// The columns that it learns from, where not all.
    fn only(self) -> Option<usize> {
        match self {
            Self::Overdue => Some(OF_OVERDUE),
            Self::Recency => Some(OF_RECENCY),
            Self::Frequency => Some(OF_FREQUENCY),
            _ => None,
        }
    }
}

/// Rows to learn from: columns, purchases, and after how many days the customer bought again, infinite where that was not seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    pub(super) columns: Vec<Vec<f64>>,
    pub(super) histories: Vec<History>,
    pub(super) next: Vec<f64>,
}

impl Rows {
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
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

    /// Who did not buy within `days`.
    pub(super) fn churned(&self, days: f64) -> Vec<bool> {
        self.next.iter().map(|next| *next > days).collect()
    }
}

/// What is known at an instant: for each part of the horizon, in days, the rows of the cuts after which it has ended.
#[derive(Debug)]
pub(super) struct Lessons(pub(super) Vec<(f64, Rows)>);

impl Lessons {
    /// The rows whose whole horizon is known, and the horizon.
    pub(super) fn whole(&self) -> Option<(f64, &Rows)> {
        self.0.last().map(|(days, rows)| (*days, rows))
    }
}

/// Mean and deviation of each column. What is not known becomes the mean.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale(Vec<(f64, f64)>);

impl Scale {
    fn of(columns: &[Vec<f64>]) -> Self {
        let of_column = |column: &Vec<f64>| {
            let known = || column.iter().copied().filter(|value| value.is_finite());
            let middle = mean(known());
            let deviation = mean(known().map(|value| (value - middle).powi(2))).sqrt();
            (middle, if deviation > 1e-9 { deviation } else { 1.0 })
        };
        Self(columns.iter().map(of_column).collect())
    }

    fn apply(&self, columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let scaled = columns.iter().zip(&self.0).map(|(column, (middle, deviation))| {
            let one = |value: &f64| if value.is_finite() { (value - middle) / deviation } else { 0.0 };
            column.iter().map(one).collect()
        });
        scaled.collect()
    }
}

/// A candidate that has learned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitted {
    pub(super) candidate: Candidate,
    /// Of which the mean counts.
    parts: Vec<Part>,
}

/// What was learned of one part of the horizon.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    /// By how much the log-odds of churn are greater than within the whole horizon.
    above: f64,
    purchases: Option<(Purchasing, f64)>,
    scale: Scale,
    logistic: Option<Logistic>,
    trees: Option<Trees>,
}

impl Part {
    /// Logistic regression and trees.
    fn fit(rows: &Rows, fits: &Fits, days: f64) -> Self {
        let purchases = fits.best().map(|model| (*model, days));
        let (columns, churned) = (with_purchases(rows, purchases), rows.churned(days));
        let scale = Scale::of(&columns);
        let scaled = scale.apply(&columns);
        let logistic = Some(Logistic::fit(&scaled, &churned, penalty(&churned)));
        let trees = Some(Trees::fit(&scaled, &churned));
        Self { above: 0.0, purchases, scale, logistic, trees }
    }

    /// The regression on the column at `place` alone: the other columns are made to say nothing.
    fn only(&self, place: usize, rows: &Rows, days: f64) -> Self {
        let (scaled, churned) = (self.scaled(rows), rows.churned(days));
        let one = Logistic::fit(std::slice::from_ref(&scaled[place]), &churned, penalty(&churned));
        let mut weights = vec![0.0; scaled.len()];
        weights[place] = one.weights[0];
        Self { logistic: Some(Logistic { intercept: one.intercept, weights }), trees: None, ..self.clone() }
    }

    /// The log-odds as the purchase model says them, and nothing else.
    fn purchases(model: &Purchasing, rows: &Rows, days: f64) -> Option<Self> {
        let purchases = Some((*model, days));
        let scale = Scale::of(&with_purchases(rows, purchases));
        let (middle, deviation) = *scale.0.last()?;
        let mut weights = vec![0.0; scale.0.len()];
        *weights.last_mut()? = deviation;
        let logistic = Some(Logistic { intercept: middle, weights });
        Some(Self { above: 0.0, purchases, scale, logistic, trees: None })
    }

    fn scaled(&self, rows: &Rows) -> Vec<Vec<f64>> {
        self.scale.apply(&with_purchases(rows, self.purchases))
    }

    fn scores(&self, scaled: &[Vec<f64>]) -> Vec<f64> {
        let rows = scaled.first().map_or(0, Vec::len);
        let logistic = self.logistic.as_ref().map(|logistic| logistic.scores(scaled, rows));
        let trees = self.trees.as_ref().map(|trees| trees.scores(scaled, rows));
        let mut scores = either(logistic, trees).unwrap_or_else(|| vec![0.0; rows]);
        for score in &mut scores {
            *score -= self.above;
        }
        scores
    }

    fn contributions(&self, scaled: &[Vec<f64>], row: usize) -> Vec<f64> {
        let logistic = self.logistic.as_ref().map(|logistic| {
            logistic
                .weights
                .iter()
                .zip(scaled)
                .map(|(weight, column)| weight * column[row])
                .collect::<Vec<f64>>()
        });
        let trees = self.trees.as_ref().map(|trees| trees.contributions(scaled, row));
        either(logistic, trees).unwrap_or_else(|| vec![0.0; scaled.len()])
    }
}

/// The mean of two, or the one there is.
fn either(one: Option<Vec<f64>>, other: Option<Vec<f64>>) -> Option<Vec<f64>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(mean_of([one, other])),
        (one, other) => one.or(other),
    }
}

/// The mean, place by place.
fn mean_of(all: impl IntoIterator<Item = Vec<f64>>) -> Vec<f64> {
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

impl Fitted {
    /// All candidates, learned from `lessons`, in the order of [`Candidate::ALL`]; of a degenerate one, nothing. Rules and purchase
    /// models go by the whole horizon alone.
    pub(super) fn all(lessons: &Lessons, fits: &Fits) -> Vec<Option<Self>> {
        let Some((days, rows)) = lessons.whole() else { return Candidate::ALL.map(|_| None).to_vec() };
        let usual = |rows: &Rows, days: f64| logit(share(&rows.churned(days)));
        let fit = |(part, of_part): &(f64, Rows)| {
            let above = usual(of_part, *part) - usual(rows, days);
            Part { above, ..Part::fit(of_part, fits, *part) }
        };
        let parts: Vec<Part> = lessons.0.iter().map(fit).collect();
        let Some(whole) = parts.last() else { return Candidate::ALL.map(|_| None).to_vec() };
        let fitted = |candidate: Candidate| {
            let parts = match candidate {
                Candidate::Logistic => {
                    parts.iter().map(|part| Part { trees: None, ..part.clone() }).collect()
                }
                Candidate::Boosted => {
                    parts.iter().map(|part| Part { logistic: None, ..part.clone() }).collect()
                }
                Candidate::Blend => parts.clone(),
                Candidate::Nbd => vec![Part::purchases(fits.nbd.as_ref().ok()?, rows, days)?],
                Candidate::BgNbd => vec![Part::purchases(fits.bg_nbd.as_ref().ok()?, rows, days)?],
                Candidate::Overdue | Candidate::Recency | Candidate::Frequency => {
                    vec![whole.only(candidate.only()?, rows, days)]
                }
            };
            Some(Self { candidate, parts })
        };
        Candidate::ALL.into_iter().map(fitted).collect()
    }

    /// The columns of `rows` and what the purchase model says, as the learners of each part see them.
    pub(super) fn scaled(&self, rows: &Rows) -> Vec<Vec<Vec<f64>>> {
        self.parts.iter().map(|part| part.scaled(rows)).collect()
    }

    /// The log-odds of churn of every row.
    pub(super) fn scores(&self, rows: &Rows) -> Vec<f64> {
        mean_of(self.parts.iter().map(|part| part.scores(&part.scaled(rows))))
    }

    /// What each column adds to the log-odds of `row` of the `scaled` columns.
    pub(super) fn contributions(&self, scaled: &[Vec<Vec<f64>>], row: usize) -> Vec<f64> {
        mean_of(self.parts.iter().zip(scaled).map(|(part, scaled)| part.contributions(scaled, row)))
    }

    /// The weights of the regression.
    pub(super) fn weights(&self) -> Vec<f64> {
        mean_of(self.parts.iter().filter_map(|part| Some(part.logistic.as_ref()?.weights.clone())))
    }

    /// How much of the change that all splits make each column has, by size.
    pub(super) fn importance(&self, rows: &Rows) -> Vec<f64> {
        let of = |part: &Part| Some(part.trees.as_ref()?.importance(&part.scaled(rows), rows.next.len()));
        mean_of(self.parts.iter().filter_map(of))
    }
}

/// The columns of `rows` and one more: the log-odds of no purchase within the horizon; 0 for all where no model could be fitted.
fn with_purchases(rows: &Rows, purchases: Option<(Purchasing, f64)>) -> Vec<Vec<f64>> {
    let says =
        |history: &History| purchases.map_or(0.0, |(model, days)| logit(model.none_within(history, days)));
    let mut columns = rows.columns.clone();
    columns.push(rows.histories.iter().map(says).collect());
    columns
}

/// A half of a percent of the rows: enough to hold correlated columns, too little to bend what the data says.
#[expect(clippy::cast_precision_loss, reason = "a number of rows")]
fn penalty(churned: &[bool]) -> f64 {
    (churned.len() as f64 * 0.005).max(1.0)
}
