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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{
        churn::{
            candidates::{HorizonRows, TrainingData, TrainingRows, TrainingSet, fit_all},
            features::{
                BASKET_VALUE, BUILT_IN, FREQUENCY, FeatureTable, GAP, MONETARY, PRODUCTS, RECENCY,
                RETURN_RATE, SPEND_30, SPEND_90, TENURE,
            },
            inputs::InputRows,
        },
        learning::purchase_model::{PurchaseFits, PurchaseModel},
    };

    /// A generator of random numbers.
    struct Dice(u64);

    impl Dice {
        /// Returns a number from 0 to 1.
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(self.0 >> 32).expect("32 bits")) / f64::from(u32::MAX)
        }
    }

    const SOURCES: usize = BUILT_IN.len() + 1;

    /// Returns random customers, with a feature of the user.
    fn random_table(dice: &mut Dice, customers: usize) -> FeatureTable {
        let mut table =
            FeatureTable { raw: vec![Vec::new(); SOURCES], horizon: 90.0, ..FeatureTable::default() };
        for number in 0..customers {
            table.ids.push(format!("{number:05}"));
            let frequency = (1.0 / (0.03 + dice.next())).floor();
            let recency = (dice.next().powi(2) * 400.0).floor();
            let span = if frequency > 1.0 { dice.next() * 600.0 } else { 0.0 };
            let spent = dice.next() * 500.0;
            table.days.push(frequency);
            for values in &mut table.raw {
                values.push(dice.next());
            }
            for (source, value) in [
                (RECENCY, recency),
                (FREQUENCY, frequency),
                (TENURE, recency + span),
                (GAP, if frequency > 1.0 { span / (frequency - 1.0) } else { f64::NAN }),
                (MONETARY, spent * frequency),
                (BASKET_VALUE, spent),
                (PRODUCTS, (frequency * 3.0 * dice.next()).ceil()),
                (SPEND_90, if recency <= 90.0 { spent } else { 0.0 }),
                (SPEND_30, if recency <= 30.0 { spent } else { 0.0 }),
                (RETURN_RATE, (dice.next() - 0.7).max(0.0)),
            ] {
                table.raw[source][number] = value;
            }
        }
        table
    }

    /// Returns outcomes against common sense: customers with many orders leave, and those who were away for
    /// long return.
    fn perverse_outcomes(table: &FeatureTable, dice: &mut Dice) -> Vec<f64> {
        let next = |row: usize| {
            let odds = table.raw[FREQUENCY][row] / 10.0 - table.raw[RECENCY][row] / 200.0
                + table.raw[SPEND_90][row] / 300.0;
            if dice.next() < 1.0 / (1.0 + (-odds).exp()) { f64::INFINITY } else { dice.next() * 90.0 }
        };
        (0..table.len()).map(next).collect()
    }

    fn candidates(table: &FeatureTable, next: Vec<f64>, monotone: bool) -> Vec<FittedCandidate> {
        let inputs = Inputs { sources: SOURCES, monotone };
        let rows =
            TrainingRows { columns: InputRows::new(table).columns(), histories: table.histories(), next };
        let part = |days: f64| HorizonRows { days, rows: TrainingRows::concat([&rows]) };
        let model = |leaving| Ok(PurchaseModel { r: 0.3, alpha: 20.0, leaving, log_likelihood: 0.0 });
        let fits = PurchaseFits { nbd: model(None), bg_nbd: model(Some((0.8, 2.4))) };
        let set = TrainingSet { data: TrainingData(vec![part(45.0), part(90.0)]), fits: &fits };
        fit_all(&[set], inputs, 2).remove(0).into_iter().flatten().collect()
    }

    fn score(scorer: &RowScorer<'_>, table: &FeatureTable, row: usize) -> (f64, Vec<f64>) {
        let mut buffers = ScoreBuffers { effects: vec![0.0; Theme::ALL.len() + 1], ..Default::default() };
        InputRows::new(table).fill(row, &mut buffers.columns);
        let score = scorer.score(&table.history(row), &mut buffers);
        (score, buffers.effects)
    }

    /// A change of a customer, and whether it must raise or lower the risk.
    type Change = (&'static str, f64, fn(&mut FeatureTable, usize, f64));

    const CHANGES: [Change; 5] = [
        ("longer silence", 1.0, |table, row, by| table.raw[RECENCY][row] += (by * 100.0).ceil()),
        ("time passes", 1.0, |table, row, by| {
            for source in [RECENCY, TENURE] {
                table.raw[source][row] += (by * 100.0).ceil();
            }
        }),
        ("more orders", -1.0, |table, row, by| {
            table.raw[FREQUENCY][row] += (by * 10.0).ceil();
            table.days[row] += (by * 10.0).ceil();
        }),
        ("more recent spending", -1.0, |table, row, by| {
            for source in [SPEND_30, SPEND_90, MONETARY] {
                table.raw[source][row] += by * 300.0;
            }
        }),
        ("more spending an order", -1.0, |table, row, by| {
            for source in [BASKET_VALUE, MONETARY] {
                table.raw[source][row] += by * 300.0;
            }
        }),
    ];

    /// Returns the changes that moved the risk in the wrong direction, by candidate.
    fn violations(monotone: bool) -> Vec<(String, &'static str)> {
        let mut dice = Dice(11);
        let table = random_table(&mut dice, 1_500);
        let next = perverse_outcomes(&table, &mut dice);
        let all = candidates(&table, next, monotone);
        assert_eq!(all.len(), 8);
        let mut found = Vec::new();
        for fitted in &all {
            let scorer = RowScorer::new(fitted, Inputs { sources: SOURCES, monotone });
            for (name, sign, change) in CHANGES {
                let worst = (0..200)
                    .map(|_| {
                        let mut one = random_table(&mut dice, 2);
                        let before = score(&scorer, &one, 0).0;
                        change(&mut one, 0, dice.next());
                        (score(&scorer, &one, 0).0 - before) * sign
                    })
                    .fold(0.0, f64::min);
                if worst < -1e-9 {
                    found.push((fitted.candidate.name().to_owned(), name));
                }
            }
        }
        found
    }

    #[test]
    fn monotone_candidates_never_move_against_common_sense() {
        assert_eq!(violations(true), []);
        let free = violations(false);
        for candidate in ["logistic", "boosted", "blend"] {
            assert!(free.iter().any(|(name, _)| name == candidate), "{candidate} learned nothing: {free:?}");
        }
    }

    #[test]
    fn effects_add_up_to_the_score() {
        let mut dice = Dice(5);
        let table = random_table(&mut dice, 800);
        let next = perverse_outcomes(&table, &mut dice);
        let rows = TrainingRows {
            columns: InputRows::new(&table).columns(),
            histories: table.histories(),
            next: next.clone(),
        };
        for fitted in candidates(&table, next, true) {
            let inputs = Inputs { sources: SOURCES, monotone: true };
            let (scorer, scores) = (RowScorer::new(&fitted, inputs), fitted.scores(&rows));
            let constant = |row: usize| {
                let (score, effects) = score(&scorer, &table, row);
                assert!((score - scores[row]).abs() < 1e-9, "{:?} {row}", fitted.candidate);
                score - effects.iter().sum::<f64>()
            };
            let first = constant(0);
            assert!((1..200).all(|row| (constant(row) - first).abs() < 1e-9), "{:?}", fitted.candidate);
        }
    }
}
