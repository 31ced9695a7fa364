//! The candidates for the churn model, all behind one face: fitted to rows, each gives log-odds.

use super::{
    inputs::{OF_FREQUENCY, OF_OVERDUE, OF_RECENCY},
    logistic::Logistic,
    measure::mean,
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
    /// Logistic regression on all columns.
    Logistic,
    /// Boosted trees on all columns.
    Boosted,
    /// The mean of the log-odds of the last two.
    Blend,
}

impl Candidate {
    pub(super) const ALL: [Self; 6] =
        [Self::Overdue, Self::Recency, Self::Frequency, Self::Logistic, Self::Boosted, Self::Blend];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Recency => "recency",
            Self::Frequency => "frequency",
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

/// Rows to learn from: columns, and who churned.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    pub(super) columns: Vec<Vec<f64>>,
    pub(super) churned: Vec<bool>,
}

impl Rows {
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.columns.resize(part.columns.len(), Vec::new());
            all.columns.iter_mut().zip(&part.columns).for_each(|(column, more)| column.extend_from_slice(more));
            all.churned.extend_from_slice(&part.churned);
        }
        all
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

    pub(super) fn apply(&self, columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
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
    pub(super) scale: Scale,
    pub(super) logistic: Option<Logistic>,
    pub(super) trees: Option<Trees>,
}

impl Fitted {
    /// All candidates, learned from `rows`, in the order of [`Candidate::ALL`].
    pub(super) fn all(rows: &Rows) -> Vec<Self> {
        let scale = Scale::of(&rows.columns);
        let scaled = scale.apply(&rows.columns);
        let logistic = Logistic::fit(&scaled, &rows.churned, penalty(&rows.churned));
        let trees = Trees::fit(&scaled, &rows.churned);
        let fitted = |candidate: Candidate| {
            let (logistic, trees) = match candidate {
                Candidate::Logistic => (Some(logistic.clone()), None),
                Candidate::Boosted => (None, Some(trees.clone())),
                Candidate::Blend => (Some(logistic.clone()), Some(trees.clone())),
                Candidate::Overdue | Candidate::Recency | Candidate::Frequency => {
                    // The other columns are made to say nothing.
                    let only: Vec<Vec<f64>> =
                        candidate.only().map(|column| scaled[column].clone()).into_iter().collect();
                    let one = Logistic::fit(&only, &rows.churned, penalty(&rows.churned));
                    let mut weights = vec![0.0; rows.columns.len()];
                    if let Some(column) = candidate.only() {
                        weights[column] = one.weights[0];
                    }
                    (Some(Logistic { intercept: one.intercept, weights }), None)
                }
            };
            Self { candidate, scale: scale.clone(), logistic, trees }
        };
        Candidate::ALL.into_iter().map(fitted).collect()
    }

    /// The log-odds of churn of every row.
    pub(super) fn scores(&self, columns: &[Vec<f64>]) -> Vec<f64> {
        let scaled = self.scale.apply(columns);
        let rows = scaled.first().map_or(0, Vec::len);
        let logistic = self.logistic.as_ref().map(|logistic| logistic.scores(&scaled, rows));
        let trees = self.trees.as_ref().map(|trees| trees.scores(&scaled, rows));
        match (logistic, trees) {
            (Some(a), Some(b)) => a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect(),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => vec![0.0; rows],
        }
    }

    /// What each column adds to the log-odds of `row` of the `scaled` columns.
    pub(super) fn contributions(&self, scaled: &[Vec<f64>], row: usize) -> Vec<f64> {
        let logistic = self.logistic.as_ref().map(|logistic| {
            logistic.weights.iter().zip(scaled).map(|(weight, column)| weight * column[row]).collect::<Vec<f64>>()
        });
        let trees = self.trees.as_ref().map(|trees| trees.contributions(scaled, row));
        match (logistic, trees) {
            (Some(a), Some(b)) => a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect(),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => vec![0.0; scaled.len()],
        }
    }
}

/// A half of a percent of the rows: enough to hold correlated columns, too little to bend what the data says.
#[expect(clippy::cast_precision_loss, reason = "a number of rows")]
fn penalty(churned: &[bool]) -> f64 {
    (churned.len() as f64 * 0.005).max(1.0)
}
