//! Models of customers' purchases over time: BG/NBD, and NBD for customers who never leave.
//!
//! BG/NBD is from Fader, Hardie and Lee, "Counting Your Customers" the Easy Way: An Alternative to the
//! Pareto/NBD Model, Marketing Science 24 (2005). Each customer purchases at an individual rate (gamma with
//! shape r and rate α over customers). After each purchase except the first, the customer may leave for good,
//! with an individual probability (beta with a and b). NBD (Ehrenberg 1959) is the same without leaving. Both
//! are fitted by maximum likelihood. A purchase is a day with at least one order. As in the paper, the first
//! purchase starts the observation and is not counted.
//!
//! The probability of no purchase within h days is not 1 − P(alive), because an active customer may also make
//! no purchase within h. With P = P(alive | x, t, T) the probability is (1 − P) + P · ((α + T) / (α + T +
//! h))^(r + x): given that the customer is alive, the rate is gamma with r + x and α + T, and no customer
//! leaves before the next purchase.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    bfgs::maximize,
    special_functions::{digamma, hypergeometric, ln_gamma},
};

/// Greatest number of customers that a fit reads; more customers do not improve four parameters.
const MAX_CUSTOMERS: usize = 20_000;
/// Valid range of the parameters, with times in units of the mean of T. A parameter outside of it has
/// diverged.
const VALID_RANGE: (f64, f64) = (1e-3, 1e3);
/// 95 % quantile of χ² with two degrees of freedom: the likelihood ratio statistic above which two more
/// parameters are significant.
const SIGNIFICANT_GAIN: f64 = 5.99;

/// A customer's purchases up to an instant. Times are in days since the first purchase.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::pipeline) struct PurchaseHistory {
    /// Number of purchases after the first: x in the paper.
    pub(in crate::pipeline) repeats: f64,
    /// Time of the last purchase, 0 without repeats: t in the paper.
    pub(in crate::pipeline) last: f64,
    /// End of the observation: T in the paper.
    pub(in crate::pipeline) watched: f64,
    /// Mean amount of a purchase; NaN if unknown.
    pub(in crate::pipeline) mean_amount: f64,
}

/// Customers with the same purchase history.
#[derive(Debug, Clone, Copy)]
struct HistoryGroup {
    repeats: f64,
    last: f64,
    watched: f64,
    /// Number of customers.
    customers: f64,
}

/// Groups equal histories, ordered by repeats, last and watched. Samples evenly if there are more than
/// [`MAX_CUSTOMERS`].
fn groups(histories: &[PurchaseHistory]) -> Vec<HistoryGroup> {
    let mut counts: BTreeMap<(u64, u64, u64), f64> = BTreeMap::new();
    for history in histories.iter().step_by(histories.len().div_ceil(MAX_CUSTOMERS).max(1)) {
        // The bits of non-negative floating-point numbers sort like the numbers.
        let bits = [history.repeats, history.last, history.watched].map(|value| value.max(0.0).to_bits());
        *counts.entry((bits[0], bits[1], bits[2])).or_default() += 1.0;
    }
    let number = f64::from_bits;
    let group = |((repeats, last, watched), customers)| HistoryGroup {
        repeats: number(repeats),
        last: number(last),
        watched: number(watched),
        customers,
    };
    counts.into_iter().map(group).collect()
}

/// Returns the NBD log-likelihood of `groups` and its derivatives by r and α.
fn nbd(groups: &[HistoryGroup], [r, alpha]: &[f64; 2]) -> (f64, [f64; 2]) {
    let (mut sum, mut parts) = (0.0, [0.0; 2]);
    for same in groups.chunk_by(|a, b| a.repeats.total_cmp(&b.repeats).is_eq()) {
        let x = same[0].repeats;
        let (gamma, by_r) =
            (ln_gamma(r + x) - ln_gamma(*r) + r * alpha.ln(), digamma(r + x) - digamma(*r) + alpha.ln());
        for HistoryGroup { watched, customers: n, .. } in same {
            let until = alpha + watched;
            sum += n * (gamma - (r + x) * until.ln());
            parts[0] += n * (by_r - until.ln());
            parts[1] += n * (r / alpha - (r + x) / until);
        }
    }
    (sum, parts)
}

/// Returns the BG/NBD log-likelihood of `groups` (equation 6 of the paper) and its derivatives by r, α, a and
/// b.
fn bg_nbd(groups: &[HistoryGroup], [r, alpha, a, b]: &[f64; 4]) -> (f64, [f64; 4]) {
    let (mut sum, mut parts) = (0.0, [0.0; 4]);
    for same in groups.chunk_by(|one, other| one.repeats.total_cmp(&other.repeats).is_eq()) {
        let x = same[0].repeats;
        let gamma = ln_gamma(r + x) - ln_gamma(*r) + r * alpha.ln();
        let beta = ln_gamma(a + b) + ln_gamma(b + x) - ln_gamma(*b) - ln_gamma(a + b + x);
        let by_r = digamma(r + x) - digamma(*r) + alpha.ln();
        let by_a = digamma(a + b) - digamma(a + b + x);
        let by_b = by_a + digamma(b + x) - digamma(*b);
        for HistoryGroup { last, watched, customers: count, .. } in same {
            let (until, until_last) = (alpha + watched, alpha + last);
            let stayed = -(r + x) * until.ln();
            // `left` is the share of the likelihood in which the customer left after the last purchase.
            let (likelihood, left) = if x > 0.0 {
                let gone = a.ln() - (b + x - 1.0).ln() - (r + x) * until_last.ln();
                let most = stayed.max(gone);
                let both = most + ((stayed - most).exp() + (gone - most).exp()).ln();
                (both, (gone - both).exp())
            } else {
                (stayed, 0.0)
            };
            sum += count * (gamma + beta + likelihood);
            parts[0] += count * (by_r - (1.0 - left) * until.ln() - left * until_last.ln());
            parts[1] += count * (r / alpha - (r + x) * ((1.0 - left) / until + left / until_last));
            if x > 0.0 {
                parts[2] += count * (by_a + left / a);
                parts[3] += count * (by_b - left / (b + x - 1.0));
            }
        }
    }
    (sum, parts)
}

/// A fitted model of purchases. Times are in days.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in crate::pipeline) struct PurchaseModel {
    pub(in crate::pipeline) r: f64,
    pub(in crate::pipeline) alpha: f64,
    /// The parameters a and b of BG/NBD; `None` for NBD.
    pub(in crate::pipeline) leaving: Option<(f64, f64)>,
    pub(in crate::pipeline) log_likelihood: f64,
}

/// The fits of both models to the same histories. The error of a degenerate fit is its reason, for the model
/// card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::pipeline) struct PurchaseFits {
    pub(in crate::pipeline) nbd: Result<PurchaseModel, String>,
    pub(in crate::pipeline) bg_nbd: Result<PurchaseModel, String>,
}

impl PurchaseFits {
    /// Fits both models to `histories`.
    pub(in crate::pipeline) fn of(histories: &[PurchaseHistory]) -> Self {
        let mut groups = groups(histories);
        let count: f64 = groups.iter().map(|group| group.customers).sum();
        let repeats: f64 = groups.iter().map(|group| group.repeats * group.customers).sum();
        let scale = groups.iter().map(|group| group.watched * group.customers).sum::<f64>() / count;
        if repeats == 0.0 || !scale.is_finite() || scale <= 0.0 {
            let none = || Err("no customer purchased on two different days".to_owned());
            return Self { nbd: none(), bg_nbd: none() };
        }
        for group in &mut groups {
            (group.last, group.watched) = (group.last / scale, group.watched / scale);
        }
        // Converts the log-likelihood to a density over times in days.
        let shift = repeats * scale.ln();
        let mean = |value: f64| value / count;
        let without = maximize([1.0, 1.0], |at| {
            let (sum, parts) = nbd(&groups, at);
            (mean(sum), parts.map(mean))
        });
        let with = maximize([without.at[0], without.at[1], 1.0, 3.0], |at| {
            let (sum, parts) = bg_nbd(&groups, at);
            (mean(sum), parts.map(mean))
        });
        let in_days = |[r, alpha]: [f64; 2], leaving, value: f64| PurchaseModel {
            r,
            alpha: alpha * scale,
            leaving,
            log_likelihood: value * count - shift,
        };
        let gain = 2.0 * count * (with.value - without.value);
        let [r, alpha, a, b] = with.at;
        let nbd = check_fit(&[("r", without.at[0]), ("α", without.at[1])], without.converged)
            .map(|()| in_days(without.at, None, without.value));
        let bg_nbd = if gain <= SIGNIFICANT_GAIN || gain.is_nan() {
            Err("no evidence that customers leave: the fit is no better than NBD".to_owned())
        } else {
            check_fit(&[("r", r), ("α", alpha), ("a", a), ("b", b)], with.converged)
                .map(|()| in_days([r, alpha], Some((a, b)), with.value))
        };
        Self { nbd, bg_nbd }
    }

    /// Returns the preferred fit: BG/NBD if it is valid, else NBD.
    pub(in crate::pipeline) fn best(&self) -> Option<&PurchaseModel> {
        self.bg_nbd.as_ref().or(self.nbd.as_ref()).ok()
    }
}

/// Returns why a fit is degenerate: parameters outside of [`VALID_RANGE`], or no convergence.
fn check_fit(parameters: &[(&str, f64)], converged: bool) -> Result<(), String> {
    let is_valid = |value: f64| (VALID_RANGE.0..=VALID_RANGE.1).contains(&value);
    let diverged: Vec<&str> =
        parameters.iter().filter(|(_, value)| !is_valid(*value)).map(|(name, _)| *name).collect();
    if !diverged.is_empty() {
        Err(format!("{} diverged", diverged.join(", ")))
    } else if !converged {
        Err("the likelihood did not converge to a maximum".to_owned())
    } else {
        Ok(())
    }
}

impl PurchaseModel {
    /// Returns P(alive): the probability that the customer has not left. Equation 8 of the paper for BG/NBD;
    /// 1 for NBD.
    pub(in crate::pipeline) fn alive(&self, history: &PurchaseHistory) -> f64 {
        match self.leaving {
            Some((a, b)) if history.repeats > 0.0 => {
                let x = history.repeats;
                let waited = ((self.alpha + history.watched) / (self.alpha + history.last)).ln();
                1.0 / (1.0 + (a.ln() - (b + x - 1.0).ln() + (self.r + x) * waited).exp())
            }
            _ => 1.0,
        }
    }

    /// Returns the greatest P(alive) of a customer with this last purchase and at most as many purchases.
    ///
    /// P(alive) itself falls with the number of purchases if the last one is long ago.
    pub(in crate::pipeline) fn alive_with_at_most(&self, history: &PurchaseHistory) -> f64 {
        let Some((_, b)) = self.leaving else { return 1.0 };
        let waited = ((self.alpha + history.watched) / (self.alpha + history.last)).ln();
        let repeats = history.repeats.max(1.0);
        // The zero of the derivative of P(alive) by the number of purchases.
        let best = (1.0 / waited + 1.0 - b).clamp(1.0, repeats);
        let with = |repeats: f64| self.alive(&PurchaseHistory { repeats, ..*history });
        with(best.floor()).max(with(best.ceil().min(repeats)))
    }

    /// Returns the probability that a customer who is alive makes no purchase within `days`.
    pub(in crate::pipeline) fn quiet_within(&self, history: &PurchaseHistory, days: f64) -> f64 {
        let until = self.alpha + history.watched;
        (-(self.r + history.repeats) * (days / until).ln_1p()).exp()
    }

    /// Returns the probability of no purchase within `days`.
    pub(in crate::pipeline) fn none_within(&self, history: &PurchaseHistory, days: f64) -> f64 {
        let alive = self.alive(history);
        1.0 - alive + alive * self.quiet_within(history, days)
    }

    /// Returns the expected number of purchases within `days`: equation 10 of the paper.
    pub(in crate::pipeline) fn expected(&self, history: &PurchaseHistory, days: f64) -> f64 {
        self.expected_of_alive(history, days) * self.alive(history)
    }

    /// Returns the expected number of purchases within `days` that never falls with the number of purchases;
    /// see [`PurchaseModel::alive_with_at_most`].
    pub(in crate::pipeline) fn expected_with_at_most(&self, history: &PurchaseHistory, days: f64) -> f64 {
        self.expected_of_alive(history, days) * self.alive_with_at_most(history)
    }

    /// Returns the expected number of purchases within `days` of a customer who is alive: equation 10 of the
    /// paper, with the hypergeometric function transformed by Abramowitz and Stegun 15.3.3 so that large
    /// numbers of purchases do not overflow.
    pub(in crate::pipeline) fn expected_of_alive(&self, history: &PurchaseHistory, days: f64) -> f64 {
        let (x, until) = (history.repeats, self.alpha + history.watched);
        let Some((a, b)) = self.leaving else { return (self.r + x) / until * days };
        // At a = 1 the formula is 0 / 0; it is continuous there, so a nearby value is used.
        let a = if (a - 1.0).abs() < 1e-5 { 1.0 + 1e-5 } else { a };
        let z = days / (until + days);
        let series = hypergeometric(a + b - 1.0 - self.r, a - 1.0, a + b + x - 1.0, z);
        let left = 1.0 - (1.0 - z).powf(a - 1.0) * series;
        (a + b + x - 1.0) / (a - 1.0) * left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's estimates for the CDNOW data; times are in weeks.
    const CDNOW: PurchaseModel =
        PurchaseModel { r: 0.243, alpha: 4.414, leaving: Some((0.793, 2.426)), log_likelihood: 0.0 };

    fn history(repeats: f64, last: f64, watched: f64) -> PurchaseHistory {
        PurchaseHistory { repeats, last, watched, mean_amount: f64::NAN }
    }

    #[test]
    fn expected_purchases_match_the_example_of_the_paper() {
        // Fader, Hardie and Lee (2005) and their spreadsheet: a customer with x = 2, t = 30.43, T = 38.86 has
        // 1.226 expected purchases within 39 weeks.
        let one = history(2.0, 30.43, 38.86);
        assert!((CDNOW.expected(&one, 39.0) - 1.226).abs() < 1e-3, "{}", CDNOW.expected(&one, 39.0));
    }

    #[test]
    fn probability_and_expectation_agree_for_short_horizons() {
        for one in [history(0.0, 0.0, 30.0), history(3.0, 10.0, 30.0), history(200.0, 29.0, 30.0)] {
            let (none, expected) = (CDNOW.none_within(&one, 1e-4), CDNOW.expected(&one, 1e-4));
            assert!((1.0 - none - expected).abs() < 1e-3 * expected, "{one:?}: {none} {expected}");
            assert!(CDNOW.none_within(&one, 5.0) < CDNOW.none_within(&one, 1.0));
        }
        let staying = PurchaseModel { leaving: None, ..CDNOW };
        assert!((staying.expected(&history(1.0, 5.0, 30.0), 10.0) - 1.243 / 34.414 * 10.0).abs() < 1e-12);
        // With a tiny probability of leaving, BG/NBD agrees with NBD.
        let hardly = PurchaseModel { leaving: Some((1e-6, 1.0)), ..CDNOW };
        let one = history(4.0, 20.0, 30.0);
        assert!((hardly.expected(&one, 9.0) - staying.expected(&one, 9.0)).abs() < 1e-3);
        assert!((hardly.none_within(&one, 9.0) - staying.none_within(&one, 9.0)).abs() < 1e-5);
        // The value at a = 1 is continuous.
        let at = |a| PurchaseModel { leaving: Some((a, 2.0)), ..CDNOW }.expected(&one, 9.0);
        assert!((at(1.0) - at(1.001)).abs() < 1e-3 && (at(1.0) - at(0.999)).abs() < 1e-3);
    }

    #[test]
    fn more_purchases_never_lower_the_greatest_chance_of_being_alive() {
        for (last, watched) in [(0.0, 0.0), (10.0, 12.0), (20.0, 60.0), (59.0, 60.0), (5.0, 300.0)] {
            let alive = |repeats: u32| {
                let one = history(f64::from(repeats), last, watched);
                (CDNOW.alive_with_at_most(&one), if repeats == 0 { 0.0 } else { CDNOW.alive(&one) })
            };
            let mut greatest = 0.0_f64;
            for repeats in 0..200 {
                let (found, exact) = alive(repeats);
                greatest = greatest.max(exact);
                assert!(repeats == 0 || (found - greatest).abs() < 1e-12, "{last} {watched} {repeats}");
            }
            assert!((alive(0).0 - alive(1).0).abs() < 1e-12);
        }
    }

    #[test]
    fn derivatives_match_finite_differences() {
        let groups = groups(&[history(0.0, 0.0, 3.0), history(2.0, 1.0, 4.0), history(5.0, 3.5, 4.0)]);
        let at = [0.6, 1.3, 0.8, 2.0];
        let (_, parts) = bg_nbd(&groups, &at);
        for (place, part) in parts.iter().enumerate() {
            let beside = |by: f64| {
                let mut there = at;
                there[place] += by;
                bg_nbd(&groups, &there).0
            };
            assert!(((beside(1e-5) - beside(-1e-5)) / 2e-5 - part).abs() < 1e-6, "{place}");
        }
        let (_, parts) = nbd(&groups, &[0.6, 1.3]);
        let beside = |r: f64, alpha: f64| nbd(&groups, &[0.6 + r, 1.3 + alpha]).0;
        assert!(((beside(1e-5, 0.0) - beside(-1e-5, 0.0)) / 2e-5 - parts[0]).abs() < 1e-6);
        assert!(((beside(0.0, 1e-5) - beside(0.0, -1e-5)) / 2e-5 - parts[1]).abs() < 1e-6);
    }

    #[test]
    fn degenerate_fits_have_a_reason() {
        // All customers purchase every ten days until the end, so no customer leaves.
        let steady: Vec<PurchaseHistory> = (0..300)
            .map(|at| history(f64::from(at % 20), f64::from(at % 20 * 10), f64::from(at % 20 * 10 + 3)))
            .collect();
        let fits = PurchaseFits::of(&steady);
        assert!(
            fits.bg_nbd.clone().is_err_and(|why| why.contains("leave") || why.contains("diverged")),
            "{fits:?}"
        );
        let none = PurchaseFits::of(&[history(0.0, 0.0, 10.0); 9]);
        assert!(none.best().is_none() && none.nbd.is_err(), "{none:?}");
        assert!(PurchaseFits::of(&[]).best().is_none());
    }
}
