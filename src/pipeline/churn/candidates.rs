//! The candidates for the churn model, all behind one face: fitted to rows, each gives log-odds.

use super::{
    inputs::{OF_FREQUENCY, OF_OVERDUE, OF_RECENCY},
    logistic::{Logistic, logit},
    measure::mean,
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

/// Rows to learn from: columns, purchases, and who churned, where that is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    pub(super) columns: Vec<Vec<f64>>,
    pub(super) histories: Vec<History>,
    pub(super) churned: Vec<bool>,
}

impl Rows {
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.columns.resize(part.columns.len(), Vec::new());
            all.columns.iter_mut().zip(&part.columns).for_each(|(column, more)| column.extend_from_slice(more));
            all.histories.extend_from_slice(&part.histories);
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
    purchases: Option<(Purchasing, f64)>,
    scale: Scale,
    pub(super) logistic: Option<Logistic>,
    pub(super) trees: Option<Trees>,
}

impl Fitted {
    /// All candidates, learned from `rows`, in the order of [`Candidate::ALL`]; of a degenerate one, nothing. The horizon is in days.
    pub(super) fn all(rows: &Rows, fits: &Fits, horizon: f64) -> Vec<Option<Self>> {
        let with = |model: Option<&Purchasing>| {
            let purchases = model.map(|model| (*model, horizon));
            let columns = with_purchases(rows, purchases);
            (purchases, Scale::of(&columns), columns)
        };
        let (purchases, scale, columns) = with(fits.best());
        let scaled = scale.apply(&columns);
        let penalty = penalty(&rows.churned);
        let logistic = Logistic::fit(&scaled, &rows.churned, penalty);
        let trees = Trees::fit(&scaled, &rows.churned);
        let fitted = |candidate: Candidate| {
            let fitted = |logistic, trees| Self { candidate, purchases, scale: scale.clone(), logistic, trees };
            Some(match candidate {
                Candidate::Logistic => fitted(Some(logistic.clone()), None),
                Candidate::Boosted => fitted(None, Some(trees.clone())),
                Candidate::Blend => fitted(Some(logistic.clone()), Some(trees.clone())),
                Candidate::Nbd | Candidate::BgNbd => {
                    let fit = if candidate == Candidate::Nbd { &fits.nbd } else { &fits.bg_nbd };
                    let (purchases, scale, _) = with(Some(fit.as_ref().ok()?));
                    // The log-odds as the model says them, and nothing else.
                    let (middle, deviation) = *scale.0.last()?;
                    let mut weights = vec![0.0; scale.0.len()];
                    *weights.last_mut()? = deviation;
                    Self {
                        candidate,
                        purchases,
                        scale,
                        logistic: Some(Logistic { intercept: middle, weights }),
                        trees: None,
                    }
                }
                Candidate::Overdue | Candidate::Recency | Candidate::Frequency => {
                    // The other columns are made to say nothing.
                    let column = candidate.only()?;
                    let one = Logistic::fit(std::slice::from_ref(&scaled[column]), &rows.churned, penalty);
                    let mut weights = vec![0.0; scaled.len()];
                    weights[column] = one.weights[0];
                    fitted(Some(Logistic { intercept: one.intercept, weights }), None)
                }
            })
        };
        Candidate::ALL.into_iter().map(fitted).collect()
    }

    /// The columns of `rows` and what the purchase model says, as learners see them.
    pub(super) fn scaled(&self, rows: &Rows) -> Vec<Vec<f64>> {
        self.scale.apply(&with_purchases(rows, self.purchases))
    }

    /// The log-odds of churn of every row.
    pub(super) fn scores(&self, rows: &Rows) -> Vec<f64> {
        let scaled = self.scaled(rows);
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

/// The columns of `rows` and one more: the log-odds of no purchase within the horizon; 0 for all where no model could be fitted.
fn with_purchases(rows: &Rows, purchases: Option<(Purchasing, f64)>) -> Vec<Vec<f64>> {
    let says = |history: &History| purchases.map_or(0.0, |(model, days)| logit(model.none_within(history, days)));
    let mut columns = rows.columns.clone();
    columns.push(rows.histories.iter().map(says).collect());
    columns
}

/// A half of a percent of the rows: enough to hold correlated columns, too little to bend what the data says.
#[expect(clippy::cast_precision_loss, reason = "a number of rows")]
fn penalty(churned: &[bool]) -> f64 {
    (churned.len() as f64 * 0.005).max(1.0)
}
