//! Spending by a purchase model and the gamma-gamma model: the expected number of purchases times the
//! expected amount of each.
//!
//! One more purchase of a small amount lowers the mean amount, and for some parameters the product of both
//! then falls. So more purchases than those with the greatest value count as these: more orders never lower
//! the spending.

use serde::{Deserialize, Serialize};

use super::summary::Summary;
use crate::pipeline::learning::{
    gamma_gamma::GammaGamma,
    purchase_model::{PurchaseHistory, PurchaseModel},
};

/// Greatest number of purchases that is told from greater ones.
const MOST: u32 = 400;
/// Times since the first purchase, in days, for which the number of purchases with the greatest value is
/// computed.
const WATCHED: [f64; 9] = [0.0, 30.0, 90.0, 180.0, 365.0, 730.0, 1_460.0, 2_920.0, 5_840.0];

/// A purchase model with the model of amounts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct PurchaseValue {
    purchases: PurchaseModel,
    amounts: GammaGamma,
    days: f64,
    /// Number of repeated purchases with the greatest value, by [`WATCHED`].
    peaks: [f64; WATCHED.len()],
}

impl PurchaseValue {
    /// Combines both models, for the spending within `days`.
    pub(super) fn new(purchases: PurchaseModel, amounts: GammaGamma, days: f64) -> Self {
        let mut model = Self { purchases, amounts, days, peaks: [f64::from(MOST); WATCHED.len()] };
        model.peaks = WATCHED.map(|watched| {
            let value = |repeats: u32| {
                let history =
                    PurchaseHistory { repeats: f64::from(repeats), last: watched, watched, ..NOTHING };
                model.of_alive(&history, 0.0)
            };
            let mut below = value(0);
            for repeats in 1..=MOST {
                let next = value(repeats);
                if next < below {
                    return f64::from(repeats - 1);
                }
                below = next;
            }
            f64::from(MOST)
        });
        model
    }

    /// Returns the number of repeated purchases that counts. It depends on the time since the first purchase
    /// alone.
    fn counted(&self, history: &PurchaseHistory) -> f64 {
        let place = WATCHED.partition_point(|watched| *watched <= history.watched);
        let around = &self.peaks[place - 1..(place + 1).min(WATCHED.len())];
        around.iter().copied().fold(history.repeats, f64::min)
    }

    /// Returns the spending of a customer who is alive and has spent `spent`.
    fn of_alive(&self, history: &PurchaseHistory, spent: f64) -> f64 {
        let history = PurchaseHistory { repeats: self.counted(history), ..*history };
        let purchases = history.repeats + 1.0;
        self.purchases.expected_of_alive(&history, self.days)
            * self.amounts.expected(purchases, spent / purchases)
    }

    /// Returns the expected spending of a customer.
    pub(super) fn expected(&self, one: &Summary) -> f64 {
        let history = one.history();
        self.of_alive(&history, one.net.max(0.0)) * self.purchases.alive_with_at_most(&history)
    }
}

/// A customer without repeated purchases.
const NOTHING: PurchaseHistory =
    PurchaseHistory { repeats: 0.0, last: 0.0, watched: 0.0, mean_amount: f64::NAN };

#[cfg(test)]
mod tests {
    use super::*;

    const AMOUNTS: GammaGamma = GammaGamma { p: 1.8, q: 1.7, gamma: 22.0 };

    #[test]
    fn value_is_the_product_of_purchases_and_amounts_up_to_the_peak() {
        let purchases = PurchaseModel { r: 0.7, alpha: 60.0, leaving: None, log_likelihood: 0.0 };
        let value = PurchaseValue::new(purchases, AMOUNTS, 365.0);
        let one =
            Summary { orders: 3.0, days: 3.0, recency: 40.0, tenure: 200.0, net: 90.0, ..Summary::default() };
        let product = 2.7 / 260.0 * 365.0 * AMOUNTS.expected(3.0, 30.0);
        assert!((value.expected(&one) - product).abs() < 1e-9);
        assert!(value.peaks.iter().all(|peak| *peak >= f64::from(MOST)));
    }

    #[test]
    fn more_purchases_never_lower_the_value() {
        let leaving = Some((1.33, 11.4));
        let purchases = PurchaseModel { r: 0.69, alpha: 31.0, leaving, log_likelihood: 0.0 };
        let value = PurchaseValue::new(purchases, AMOUNTS, 365.0);
        assert!(value.peaks.iter().any(|peak| *peak < f64::from(MOST)), "{:?}", value.peaks);
        for tenure in [0.0, 10.0, 100.0, 300.0, 500.0, 2_000.0, 9_000.0] {
            let of = |days: u32| {
                let days = f64::from(days);
                value.expected(&Summary { orders: days, days, tenure, net: 80.0, ..Summary::default() })
            };
            for days in 1..600 {
                assert!(of(days + 1) >= of(days) * (1.0 - 1e-9), "{tenure} {days}");
            }
        }
    }
}
