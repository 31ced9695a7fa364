//! Scores single customers with a fitted candidate, and divides the score among themes.
//!
//! The effects of themes add up to the distance of the score from a constant. In the regression the effect of
//! a column is its term. In the trees the effects are Shapley values whose players are the themes.

use super::{
    candidates::{FittedCandidate, HorizonModel, PurchasePrediction},
    inputs::{Inputs, Theme},
};
use crate::pipeline::learning::{group_effects::GroupEffects, purchase_model::PurchaseHistory};

/// Memory that is reused from customer to customer.
#[derive(Debug, Default)]
pub(super) struct ScoreBuffers {
    /// Input columns.
    pub(super) columns: Vec<f64>,
    scaled: Vec<f64>,
    /// Effect of each theme.
    pub(super) effects: Vec<f64>,
}

/// A fitted candidate, ready to score customers one by one.
pub(super) struct RowScorer<'a> {
    parts: Vec<PartScorer<'a>>,
    themes: Vec<usize>,
}

/// A part of the horizon.
struct PartScorer<'a> {
    model: &'a HorizonModel,
    trees: Option<GroupEffects>,
}

impl<'a> RowScorer<'a> {
    pub(super) fn new(fitted: &'a FittedCandidate, inputs: Inputs) -> Self {
        let themes = inputs.theme_of_columns();
        let part = |model: &'a HorizonModel| PartScorer {
            model,
            trees: model.trees.as_ref().map(|trees| GroupEffects::of(trees, &themes)),
        };
        let parts = fitted.parts.iter().map(part).collect();
        Self { parts, themes }
    }

    /// Returns the log-odds of churn of the customer with the input columns in `buffers` and these purchases.
    /// Sets the effect of each theme, and changes the columns.
    pub(super) fn score(&self, history: &PurchaseHistory, buffers: &mut ScoreBuffers) -> f64 {
        buffers.effects.fill(0.0);
        let own = buffers.columns.len();
        let mut constant = 0.0;
        for part in &self.parts {
            buffers.columns.truncate(own);
            constant += part.add(history, &self.themes, buffers);
        }
        let count = f64::from(u32::try_from(self.parts.len()).unwrap_or(1));
        for effect in &mut buffers.effects {
            *effect /= count;
        }
        constant / count + buffers.effects.iter().sum::<f64>()
    }
}

impl PartScorer<'_> {
    /// Adds the effects of the themes, and returns the score of a customer without any effect.
    fn add(&self, history: &PurchaseHistory, themes: &[usize], buffers: &mut ScoreBuffers) -> f64 {
        let ScoreBuffers { columns, scaled, effects } = buffers;
        let model = self.model;
        let purchases = model.purchases.map_or([0.0; 2], |purchases| purchases.inputs(history));
        let learners = usize::from(model.logistic.is_some()) + usize::from(self.trees.is_some());
        if learners == 0 {
            let [quiet, _] = purchases;
            effects[Theme::Orders as usize] += quiet;
            effects[Theme::Recency as usize] += PurchasePrediction::log_odds(purchases) - quiet;
            return -model.offset;
        }
        columns.extend(purchases);
        scaled.clear();
        scaled.extend(columns.iter().enumerate().map(|(place, value)| model.scale.one(place, *value)));
        let weight = if learners == 2 { 0.5 } else { 1.0 };
        let mut constant = -model.offset;
        if let Some(logistic) = &model.logistic {
            constant += weight * logistic.intercept;
            for ((theme, value), column_weight) in themes.iter().zip(scaled.iter()).zip(&logistic.weights) {
                effects[*theme] += weight * column_weight * value;
            }
        }
        if let Some(trees) = &self.trees {
            constant += weight * trees.mean();
            trees.add(scaled, weight, effects);
        }
        constant
    }
}
