//! Learners and statistical models that read numbers only: they know no views, no files and no settings.
//!
//! All sums are in the order of rows, so the same rows give bit-identical models on any number of threads.

mod bfgs;
pub(super) mod boosted_trees;
pub(super) mod flat_trees;
pub(super) mod gamma_gamma;
pub(super) mod group_effects;
pub(super) mod logistic;
pub(super) mod metrics;
pub(super) mod purchase_model;
mod special_functions;

/// How a prediction may depend on a column, given all other columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Any,
    /// The prediction never falls as the column rises.
    Rising,
    /// The prediction never rises as the column rises.
    Falling,
}

impl Direction {
    /// Checks whether the prediction may change from `low` to `high` as the column rises.
    fn allows(self, low: f64, high: f64) -> bool {
        match self {
            Self::Any => true,
            Self::Rising => low <= high,
            Self::Falling => low >= high,
        }
    }
}
