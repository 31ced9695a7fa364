//! Spending by a purchase model and the gamma-gamma model: the expected number of purchases times the
//! expected amount of each.

use super::summary::Summary;
use crate::pipeline::learning::{
    gamma_gamma::GammaGamma,
    purchase_model::{PurchaseHistory, PurchaseModel},
};

/// Greatest number of purchases for which [`PurchaseValue::new`] checks that more of them are worth more.
const CHECKED: u32 = 400;

/// A purchase model with the model of amounts.
#[derive(Debug, Clone, Copy)]
pub(super) struct PurchaseValue {
    purchases: PurchaseModel,
    amounts: GammaGamma,
}

impl PurchaseValue {
    /// Combines both models. A customer with one more purchase of a small amount has a lower mean amount, so
    /// there are parameters for which more purchases lower the value.
    ///
    /// # Errors
    /// Returns the reason if the parameters are such.
    pub(super) fn new(purchases: PurchaseModel, amounts: GammaGamma, days: f64) -> Result<Self, String> {
        let model = Self { purchases, amounts };
        for watched in [0.0, 30.0, 90.0, 365.0, 1_000.0] {
            let value = |repeats: u32| {
                let history =
                    PurchaseHistory { repeats: f64::from(repeats), last: watched, watched, mean_amount: 0.0 };
                model.of_alive(&history, days)
            };
            let mut below = value(0);
            for repeats in 1..CHECKED {
                let next = value(repeats);
                if next < below * (1.0 - 1e-9) {
                    return Err("more purchases would lower the value".to_owned());
                }
                below = next;
            }
        }
        Ok(model)
    }

    /// Returns the spending within `days` of a customer who is alive.
    fn of_alive(&self, history: &PurchaseHistory, days: f64) -> f64 {
        let amount = self.amounts.expected(history.repeats + 1.0, history.mean_amount);
        self.purchases.expected_of_alive(history, days) * amount
    }

    /// Returns the expected spending of a customer within `days`.
    pub(super) fn expected(&self, one: &Summary, days: f64) -> f64 {
        let history = one.history();
        self.of_alive(&history, days) * self.purchases.alive_with_at_most(&history)
    }
}
