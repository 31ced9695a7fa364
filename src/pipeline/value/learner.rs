//! A learner of spending in two parts: the chance that a customer orders within a period, and the spending of
//! a customer who does. Boosted trees learn both. The second part begins with the spending by a purchase
//! model, which also tells the greatest spenders apart.

use serde::{Deserialize, Serialize};

use super::{
    purchase_value::PurchaseValue,
    summary::{Outcome, Summary},
};
use crate::pipeline::learning::{
    Direction::{self, Any, Falling, Rising},
    boosted_trees::{BoostedTrees, Target},
    flat_trees::FlatTrees,
    logistic::sigmoid,
    metrics::mean,
    purchase_model::PurchaseModel,
};

/// Least number of customers with and without an order to learn from.
pub(super) const MIN_CLASS_SIZE: usize = 30;
/// Bounds of the exponent of the spending that the learner begins with. The least one is above 0 so that
/// customers with different spending keep different values.
const EXPONENT: (f64, f64) = (0.2, 1.0);
/// Number of input columns.
const COLUMNS: usize = 17;
/// Directions in which each column may move spending. An additional order, a greater amount or a later last
/// order moves no column against its direction.
const DIRECTIONS: [Direction; COLUMNS] = [
    Falling, Rising, Rising, Rising, Rising, Rising, Rising, Rising, Rising, Rising, Rising, Rising, Rising,
    Any, Rising, Rising, Rising,
];

/// Makes the input columns of a customer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Inputs {
    /// Days of the period that is learned.
    pub(super) days: f64,
    pub(super) purchases: Option<PurchaseModel>,
    /// The purchase model with amounts that the learner begins with; without one, it begins with the own
    /// rate.
    pub(super) value: Option<PurchaseValue>,
}

impl Inputs {
    /// Returns the logarithm of the spending that the learner begins with.
    fn base(&self, one: &Summary) -> f64 {
        let spent = self.value.map_or_else(|| one.own_rate(self.days), |value| value.expected(one));
        spent.ln_1p()
    }

    /// Returns the columns of a customer.
    fn of(&self, one: &Summary) -> [f64; COLUMNS] {
        let log = |value: f64| value.max(0.0).ln_1p();
        let [spent_30, spent_90, spent_180, _] = one.spent;
        let [ordered_30, ordered_90, ordered_180, ordered_365] = one.ordered;
        let expected =
            self.purchases.map_or(0.0, |model| model.expected_with_at_most(&one.history(), self.days));
        [
            log(one.recency),
            log(one.orders),
            log(one.days),
            (one.orders / (one.tenure + 30.0)).ln(),
            log(ordered_30),
            log(ordered_90),
            log(ordered_180),
            log(ordered_365),
            log(one.net),
            log(spent_30),
            log(spent_90),
            log(spent_180),
            log(one.last_year()),
            log(one.tenure),
            log(one.tenure - one.recency),
            self.base(one),
            log(expected),
        ]
    }
}

/// Customers at one or more instants, with what they bought within the days after it.
#[derive(Debug, Default)]
pub(super) struct TrainingRows {
    pub(super) summaries: Vec<Summary>,
    pub(super) outcomes: Vec<Outcome>,
}

/// The fitted learner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Learner {
    inputs: Inputs,
    orders: FlatTrees,
    /// Constant and exponent of the spending that the learner begins with.
    base: (f64, f64),
    /// Logarithm of the spending of a customer who orders, less that by `base`.
    amounts: FlatTrees,
    /// Factor that matches the sum of spending over the training rows.
    scale: f64,
}

/// A customer's chance of an order and spending within the learned days.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learned {
    /// Probability of an order.
    pub(super) orders: f64,
    /// Expected spending.
    pub(super) spent: f64,
}

impl Learner {
    /// Fits the learner to `rows`. Returns `None` if too few of them have an order.
    pub(super) fn fit(rows: &TrainingRows, inputs: Inputs) -> Option<Self> {
        let labels: Vec<bool> = rows.outcomes.iter().map(|outcome| outcome.next.is_finite()).collect();
        let buyers: Vec<usize> = (0..labels.len()).filter(|row| labels[*row]).collect();
        if buyers.len() < MIN_CLASS_SIZE {
            return None;
        }
        let of_rows: Vec<[f64; COLUMNS]> = rows.summaries.iter().map(|one| inputs.of(one)).collect();
        let columns = |places: &mut dyn Iterator<Item = usize>| -> Vec<Vec<f64>> {
            let mut columns = vec![Vec::new(); COLUMNS];
            for place in places {
                columns.iter_mut().zip(of_rows[place]).for_each(|(column, value)| column.push(value));
            }
            columns
        };
        let orders =
            BoostedTrees::fit(&columns(&mut (0..of_rows.len())), Target::Labels(&labels), &DIRECTIONS);
        let spent: Vec<f64> = buyers.iter().map(|row| rows.outcomes[*row].spent.ln_1p()).collect();
        let begun: Vec<f64> = buyers.iter().map(|row| inputs.base(&rows.summaries[*row])).collect();
        let base = line(&begun, &spent);
        let residuals: Vec<f64> =
            begun.iter().zip(&spent).map(|(begun, spent)| spent - base.0 - base.1 * begun).collect();
        let amounts = BoostedTrees::fit(
            &columns(&mut buyers.iter().copied()),
            Target::Amounts(&residuals),
            &DIRECTIONS,
        );
        let (orders, amounts) = (FlatTrees::of(&orders), FlatTrees::of(&amounts));
        let mut learner = Self { inputs, orders, base, amounts, scale: 1.0 };
        let learned = mean(rows.summaries.iter().map(|one| learner.learned(one).spent));
        let seen = mean(rows.outcomes.iter().map(|outcome| outcome.spent));
        learner.scale = if learned > 0.0 { seen / learned } else { 1.0 };
        Some(learner)
    }

    /// Returns what is expected of a customer within the learned days.
    pub(super) fn learned(&self, one: &Summary) -> Learned {
        let columns = self.inputs.of(one);
        let orders = sigmoid(self.orders.score(&columns));
        let begun = self.base.0 + self.base.1 * self.inputs.base(one);
        let amount = (begun + self.amounts.score(&columns)).exp();
        Learned { orders, spent: self.scale * orders * amount }
    }
}

/// Returns constant and slope of the least squares line, with the slope within [`EXPONENT`].
fn line(x: &[f64], y: &[f64]) -> (f64, f64) {
    let (middle, level) = (mean(x.iter().copied()), mean(y.iter().copied()));
    let spread = mean(x.iter().map(|x| (x - middle).powi(2)));
    let common = mean(x.iter().zip(y).map(|(x, y)| (x - middle) * (y - level)));
    let slope = if spread > 0.0 { common / spread } else { 0.0 }.clamp(EXPONENT.0, EXPONENT.1);
    (level - slope * middle, slope)
}
