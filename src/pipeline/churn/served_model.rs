//! The model that scores customers: a fitted candidate with its calibration.

use serde::{Deserialize, Serialize};

use super::{
    candidates::{FittedCandidate, TrainingRows},
    inputs::Inputs,
};
use crate::pipeline::learning::{
    logistic::sigmoid,
    metrics::{mean, share},
};

/// Everything that scoring needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ServedModel {
    pub(super) inputs: Inputs,
    pub(super) fitted: FittedCandidate,
    pub(super) calibration: Calibration,
}

/// Platt scaling of log-odds: `slope` × log-odds + `shift`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Calibration {
    pub(super) slope: f64,
    pub(super) shift: f64,
}

impl Calibration {
    /// Returns the calibrated probability for the log-odds `score`.
    pub(super) fn probability(self, score: f64) -> f64 {
        sigmoid(self.slope * score + self.shift)
    }

    /// Returns the calibration with `slope` and the shift at which the mean probability of `scores` is
    /// `share`, found by bisection.
    fn with_mean(slope: f64, scores: &[f64], share: f64) -> Self {
        let (mut low, mut high) = (-20.0, 20.0);
        for _ in 0..60 {
            let shift = f64::midpoint(low, high);
            let reached = mean(scores.iter().map(|score| sigmoid(slope * score + shift)));
            if reached < share { low = shift } else { high = shift }
        }
        Self { slope, shift: f64::midpoint(low, high) }
    }

    /// Returns the calibration with `slope` at which the mean probability of `rows` is their share of churn.
    pub(super) fn at_level(slope: f64, fitted: &FittedCandidate, rows: &TrainingRows, days: f64) -> Self {
        Self::with_mean(slope, &fitted.scores(rows), share(&rows.churned(days)))
    }
}
