//! When a customer orders next, and how many orders follow: a purchase model whose chance of being alive, or
//! rate, is such that the chance of an order within some days is the learned one.

use crate::pipeline::learning::purchase_model::{PurchaseHistory, PurchaseModel};

/// The order times of a customer. The chance of no order within d days is 1 − `alive` + `alive` ×
/// (`until` / (`until` + d)) ^ `shape`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OrderTimes {
    /// Probability that the customer will ever order again.
    alive: f64,
    shape: f64,
    /// α + T of the purchase model, in days.
    until: f64,
}

impl OrderTimes {
    /// Returns the order times by a purchase model alone.
    pub(super) fn by_model(model: &PurchaseModel, history: &PurchaseHistory) -> Self {
        Self {
            alive: model.alive_with_at_most(history),
            shape: model.r + history.repeats,
            until: model.alpha + history.watched,
        }
    }

    /// Returns the order times with the chance `orders` of an order within `days`. If the purchase model
    /// gives a customer who is alive a greater chance, the customer may have left; else the customer orders
    /// more often.
    pub(super) fn learned(model: &PurchaseModel, history: &PurchaseHistory, days: f64, orders: f64) -> Self {
        let times = Self { alive: 1.0, ..Self::by_model(model, history) };
        let of_model = times.order_within(days);
        let orders = orders.clamp(1e-6, 1.0 - 1e-6);
        if orders <= of_model {
            Self { alive: orders / of_model, ..times }
        } else {
            let shape = -(1.0 - orders).ln() / (days / times.until).ln_1p();
            Self { shape, ..times }
        }
    }

    /// Returns the probability of an order within `days`.
    pub(super) fn order_within(&self, days: f64) -> f64 {
        self.alive * -(-self.shape * (days / self.until).ln_1p()).exp_m1()
    }

    /// Returns the expected number of days with an order within `days` of a customer who does not leave
    /// later.
    pub(super) fn expected(&self, days: f64) -> f64 {
        self.alive * self.shape / self.until * days
    }

    /// Returns the days within which an order is as likely as not; infinite if it never is.
    pub(super) fn median(&self) -> f64 {
        let quiet = 1.0 - 0.5 / self.alive;
        if quiet <= 0.0 { f64::INFINITY } else { self.until * (-quiet.ln() / self.shape).exp_m1() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_chances_are_met_and_the_median_has_even_chances() {
        let model = PurchaseModel { r: 0.7, alpha: 65.0, leaving: None, log_likelihood: 0.0 };
        let history = PurchaseHistory { repeats: 4.0, last: 100.0, watched: 300.0, mean_amount: 20.0 };
        let own = OrderTimes::by_model(&model, &history);
        assert!((own.expected(90.0) - model.expected(&history, 90.0)).abs() < 1e-9);
        for orders in [0.05, 0.3, 0.6, 0.8, 0.99] {
            let times = OrderTimes::learned(&model, &history, 90.0, orders);
            assert!((times.order_within(90.0) - orders).abs() < 1e-9, "{orders}");
            assert!(times.expected(365.0) > 0.0);
            let median = times.median();
            if median.is_finite() {
                assert!((times.order_within(median) - 0.5).abs() < 1e-9, "{orders}");
            }
        }
        // A customer who is likely to have left has no date; one who orders often has an early one.
        assert!(OrderTimes::learned(&model, &history, 90.0, 0.05).median().is_infinite());
        let [often, seldom] = [0.9, 0.6].map(|p| OrderTimes::learned(&model, &history, 90.0, p).median());
        assert!(often < seldom && seldom < 90.0, "{often} {seldom}");
    }
}
