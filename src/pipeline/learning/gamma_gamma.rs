//! The gamma-gamma model of the amount of a purchase.
//!
//! Source: Fader, Hardie and Lee, RFM and CLV: Using Iso-Value Curves for Customer Base Analysis, Journal of
//! Marketing Research 42 (2005), in the notation of Fader and Hardie, The Gamma-Gamma Model of Monetary Value
//! (2013). The amounts of a customer's purchases are gamma distributed with shape p and an individual rate;
//! the rates are gamma distributed over customers with shape q and rate γ. The expected amount of a customer
//! with few purchases therefore shrinks toward the mean of all customers. Fitted by maximum likelihood.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    bfgs::maximize,
    purchase_model::PurchaseHistory,
    special_functions::{digamma, ln_gamma},
};

/// Greatest number of customers that a fit reads.
const MAX_CUSTOMERS: usize = 20_000;
/// Valid range of the parameters, with amounts in units of the mean. A parameter outside of it has diverged.
const VALID_RANGE: (f64, f64) = (1e-3, 1e3);

/// A fitted gamma-gamma model. Amounts are in money.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in crate::pipeline) struct GammaGamma {
    pub(in crate::pipeline) p: f64,
    pub(in crate::pipeline) q: f64,
    pub(in crate::pipeline) gamma: f64,
}

/// Returns the log-likelihood of customers with x purchases of the mean amount m (equation 1a of the note)
/// and its derivatives by p, q and γ. `customers` maps the bits of x to the mean amounts.
fn likelihood(customers: &BTreeMap<u64, Vec<f64>>, [p, q, gamma]: &[f64; 3]) -> (f64, [f64; 3]) {
    let (mut sum, mut parts) = (0.0, [0.0; 3]);
    for (x, worths) in customers {
        let x = f64::from_bits(*x);
        let functions =
            ln_gamma(p * x + q) - ln_gamma(p * x) - ln_gamma(*q) + q * gamma.ln() + p * x * x.ln();
        let (of_all, of_own, of_q) = (digamma(p * x + q), digamma(p * x), digamma(*q));
        for m in worths {
            let whole = gamma + m * x;
            sum += functions + (p * x - 1.0) * m.ln() - (p * x + q) * whole.ln();
            parts[0] += x * (of_all - of_own + (m * x).ln() - whole.ln());
            parts[1] += of_all - of_q + gamma.ln() - whole.ln();
            parts[2] += q / gamma - (p * x + q) / whole;
        }
    }
    (sum, parts)
}

impl GammaGamma {
    /// Fits the model to the customers with a known mean amount. `purchases` returns the number of purchases
    /// in that mean.
    ///
    /// # Errors
    /// Returns the reason of a degenerate fit, for the model card.
    pub(in crate::pipeline) fn fit(
        histories: &[PurchaseHistory],
        purchases: impl Fn(&PurchaseHistory) -> f64,
    ) -> Result<Self, String> {
        let known = |history: &&PurchaseHistory| history.mean_amount > 0.0 && purchases(history) >= 1.0;
        let number = histories.iter().filter(known).count();
        let mut customers: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        let (mut all, mut count) = (0.0, 0.0);
        for history in histories.iter().filter(known).step_by(number.div_ceil(MAX_CUSTOMERS).max(1)) {
            customers.entry(purchases(history).to_bits()).or_default().push(history.mean_amount);
            (all, count) = (all + history.mean_amount, count + 1.0);
        }
        if customers.len() < 2 {
            return Err("too few customers purchased more than once".to_owned());
        }
        let scale = all / count;
        customers.values_mut().flatten().for_each(|worth| *worth /= scale);
        let top = maximize([2.0, 3.0, 2.0], |at| {
            let (sum, parts) = likelihood(&customers, at);
            (sum / count, parts.map(|part| part / count))
        });
        let [p, q, gamma] = top.at;
        if top.at.iter().any(|value| !(VALID_RANGE.0..=VALID_RANGE.1).contains(value)) {
            Err("p, q or γ diverged".to_owned())
        } else if !top.converged {
            Err("the likelihood did not converge to a maximum".to_owned())
        } else if q <= 1.0 {
            Err("q is at most 1: the mean over customers is infinite".to_owned())
        } else {
            Ok(Self { p, q, gamma: gamma * scale })
        }
    }

    /// Returns the expected amount of each purchase of a customer with `purchases` purchases of the mean
    /// amount `worth` (equation 5 of the note). A NaN `worth` gives the mean over customers.
    pub(in crate::pipeline) fn expected(&self, purchases: f64, worth: f64) -> f64 {
        let (purchases, worth) = if worth.is_nan() { (0.0, 0.0) } else { (purchases, worth.max(0.0)) };
        self.p * (self.gamma + purchases * worth) / (self.p * purchases + self.q - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_amounts_match_the_examples_of_the_note() {
        // The note's parameters for CDNOW: the mean over customers is 6.25 · 15.44 / 2.74 = 35.22; a customer
        // with two repeat purchases of the mean 22.35 has the expected amount 24.66.
        let cdnow = GammaGamma { p: 6.25, q: 3.74, gamma: 15.44 };
        assert!((cdnow.expected(0.0, f64::NAN) - 35.22).abs() < 0.01);
        assert!((cdnow.expected(2.0, 22.35) - 24.66).abs() < 0.02, "{}", cdnow.expected(2.0, 22.35));
        assert!((cdnow.expected(1e9, 22.35) - 22.35).abs() < 1e-3);
    }

    #[test]
    fn derivatives_match_finite_differences() {
        let customers = BTreeMap::from([(1.0_f64.to_bits(), vec![0.5, 2.0]), (4.0_f64.to_bits(), vec![1.1])]);
        let at = [2.5, 3.5, 1.5];
        let (_, parts) = likelihood(&customers, &at);
        for (place, part) in parts.iter().enumerate() {
            let beside = |by: f64| {
                let mut there = at;
                there[place] += by;
                likelihood(&customers, &there).0
            };
            assert!(((beside(1e-5) - beside(-1e-5)) / 2e-5 - part).abs() < 1e-6, "{place}");
        }
    }

    #[test]
    fn degenerate_fits_have_a_reason() {
        let same = |repeats: f64| PurchaseHistory { repeats, last: 1.0, watched: 2.0, mean_amount: 5.0 };
        let histories: Vec<PurchaseHistory> = (0..200).map(|at| same(f64::from(at % 7))).collect();
        assert!(GammaGamma::fit(&histories, |one| one.repeats + 1.0).is_err());
        assert!(GammaGamma::fit(&[], |one| one.repeats).is_err());
    }
}
