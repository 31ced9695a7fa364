//! What a purchase is worth: the gamma-gamma model of Fader, Hardie and Lee, RFM and CLV: Using Iso-Value Curves for Customer Base
//! Analysis, Journal of Marketing Research 42 (2005), as written down in Fader and Hardie, The Gamma-Gamma Model of Monetary Value
//! (2013).
//!
//! A customer's purchases vary around a mean of their own (gamma of shape p), whose rate varies over customers (gamma of shape q and
//! rate γ). So the mean seen of few purchases is drawn to that of all, and of many is believed. Fitted by maximum likelihood.

use std::collections::BTreeMap;

use super::{
    ascent::climb,
    purchasing::History,
    special::{digamma, ln_gamma},
};

/// Rows that a fit looks at, at most.
const MOST_ROWS: usize = 20_000;
/// Parameters outside of these, worth in means, have run away.
const RANGE: (f64, f64) = (1e-3, 1e3);

/// A fitted model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spending {
    pub(super) p: f64,
    pub(super) q: f64,
    pub(super) gamma: f64,
}

/// The likelihood of customers with x purchases of mean worth m (equation 1a of the note), and its derivatives.
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

impl Spending {
    /// Fits to the customers of whom a purchase with a worth is known; `purchases` says how many that worth is the mean of.
    pub(super) fn fit(histories: &[History], purchases: impl Fn(&History) -> f64) -> Result<Self, String> {
        let known = |history: &&History| history.worth > 0.0 && purchases(history) >= 1.0;
        let number = histories.iter().filter(known).count();
        let mut customers: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        let (mut all, mut count) = (0.0, 0.0);
        for history in histories.iter().filter(known).step_by(number.div_ceil(MOST_ROWS).max(1)) {
            customers.entry(purchases(history).to_bits()).or_default().push(history.worth);
            (all, count) = (all + history.worth, count + 1.0);
        }
        if customers.len() < 2 {
            return Err("too few customers bought more than once".to_owned());
        }
        let scale = all / count;
        customers.values_mut().flatten().for_each(|worth| *worth /= scale);
        let top = climb([2.0, 3.0, 2.0], |at| {
            let (sum, parts) = likelihood(&customers, at);
            (sum / count, parts.map(|part| part / count))
        });
        let [p, q, gamma] = top.at;
        if top.at.iter().any(|value| !(RANGE.0..=RANGE.1).contains(value)) {
            Err("p, q or γ ran away".to_owned())
        } else if !top.converged {
            Err("the likelihood has no maximum that could be found".to_owned())
        } else if q <= 1.0 {
            Err("q is 1 or less: the mean over customers would be without end".to_owned())
        } else {
            Ok(Self { p, q, gamma: gamma * scale })
        }
    }

    /// The worth expected of each purchase of a customer with `purchases` of the mean `worth`: equation 5 of the note.
    pub(super) fn expected(&self, purchases: f64, worth: f64) -> f64 {
        let (purchases, worth) = if worth.is_nan() { (0.0, 0.0) } else { (purchases, worth.max(0.0)) };
        self.p * (self.gamma + purchases * worth) / (self.p * purchases + self.q - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_examples_are_found_again() {
        // The note's parameters on CDNOW: all customers together spend 6.25 · 15.44 / 2.74 = 35.22; one with two repeats of a mean of
        // 22.35 is expected to spend 24.66.
        let cdnow = Spending { p: 6.25, q: 3.74, gamma: 15.44 };
        assert!((cdnow.expected(0.0, f64::NAN) - 35.22).abs() < 0.01);
        assert!((cdnow.expected(2.0, 22.35) - 24.66).abs() < 0.02, "{}", cdnow.expected(2.0, 22.35));
        assert!((cdnow.expected(1e9, 22.35) - 22.35).abs() < 1e-3);
    }

    #[test]
    fn derivatives_are_those_of_the_likelihood() {
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
    fn what_is_degenerate_is_told() {
        let same = |repeats: f64| History { repeats, last: 1.0, watched: 2.0, worth: 5.0 };
        let histories: Vec<History> = (0..200).map(|at| same(f64::from(at % 7))).collect();
        assert!(Spending::fit(&histories, |one| one.repeats + 1.0).is_err());
        assert!(Spending::fit(&[], |one| one.repeats).is_err());
    }
}
