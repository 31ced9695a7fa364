//! How customers come and go: BG/NBD, and NBD where nobody is seen to leave.
//!
//! BG/NBD is of Fader, Hardie and Lee, "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD Model, Marketing
//! Science 24 (2005). A customer buys at a rate of their own (gamma of shape r and rate α over customers) and after each purchase but
//! the first may leave for ever, with a chance of their own (beta of a and b). NBD (Ehrenberg 1959) is the same without leaving. Both are
//! fitted by maximum likelihood. A purchase is a day with an order, and the first one begins the count, as in the paper.
//!
//! The probability of no purchase within h is not 1 − P(alive): who is alive may stay away for h all the same. With
//! P = P(alive | x, t, T) it is (1 − P) + P · ((α + T) / (α + T + h))^(r + x), for given alive the rate is gamma of r + x and α + T,
//! and before the next purchase nobody leaves. Knows nothing of views.

use std::collections::BTreeMap;

use super::{
    ascent::climb,
    special::{digamma, hypergeometric, ln_gamma},
};

/// Rows that a fit looks at, at most: more tell four numbers no better.
const MOST_ROWS: usize = 20_000;
/// Parameters outside of these, times in means of T, have run away.
const RANGE: (f64, f64) = (1e-3, 1e3);
/// Twice the gain in likelihood that chance alone gives two more parameters in one case of twenty.
const CHANCE: f64 = 5.99;

/// A customer's purchases at an instant, times in days since the first one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct History {
    /// Purchases after the first.
    pub(super) repeats: f64,
    /// When the last one was; 0 without repeats.
    pub(super) last: f64,
    /// Until when the customer was watched.
    pub(super) watched: f64,
    /// The mean worth of a purchase; NaN where it is not known.
    pub(super) worth: f64,
}

/// Equal histories together: repeats, last, watched, how many.
type Group = (f64, f64, f64, f64);

fn groups(histories: &[History]) -> Vec<Group> {
    let mut counts: BTreeMap<(u64, u64, u64), f64> = BTreeMap::new();
    for history in histories.iter().step_by(histories.len().div_ceil(MOST_ROWS).max(1)) {
        // Of numbers from 0 on, the bits have the order of the numbers.
        let bits = [history.repeats, history.last, history.watched].map(|value| value.max(0.0).to_bits());
        *counts.entry((bits[0], bits[1], bits[2])).or_default() += 1.0;
    }
    let number = f64::from_bits;
    counts.into_iter().map(|((x, t, watched), n)| (number(x), number(t), number(watched), n)).collect()
}

/// The likelihood of `groups` without leaving.
fn nbd(groups: &[Group], [r, alpha]: &[f64; 2]) -> (f64, [f64; 2]) {
    let (mut sum, mut parts) = (0.0, [0.0; 2]);
    for same in groups.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let x = same[0].0;
        let (gamma, by_r) =
            (ln_gamma(r + x) - ln_gamma(*r) + r * alpha.ln(), digamma(r + x) - digamma(*r) + alpha.ln());
        for (_, _, watched, n) in same {
            let until = alpha + watched;
            sum += n * (gamma - (r + x) * until.ln());
            parts[0] += n * (by_r - until.ln());
            parts[1] += n * (r / alpha - (r + x) / until);
        }
    }
    (sum, parts)
}

/// The likelihood of `groups` with leaving: equation 6 of the paper in logarithms, and its derivatives.
fn bg_nbd(groups: &[Group], [r, alpha, a, b]: &[f64; 4]) -> (f64, [f64; 4]) {
    let (mut sum, mut parts) = (0.0, [0.0; 4]);
    for same in groups.chunk_by(|one, other| one.0.total_cmp(&other.0).is_eq()) {
        let x = same[0].0;
        let gamma = ln_gamma(r + x) - ln_gamma(*r) + r * alpha.ln();
        let beta = ln_gamma(a + b) + ln_gamma(b + x) - ln_gamma(*b) - ln_gamma(a + b + x);
        let by_r = digamma(r + x) - digamma(*r) + alpha.ln();
        let by_a = digamma(a + b) - digamma(a + b + x);
        let by_b = by_a + digamma(b + x) - digamma(*b);
        for (_, last, watched, count) in same {
            let (until, until_last) = (alpha + watched, alpha + last);
            let stayed = -(r + x) * until.ln();
            // The share of the likelihood in which the customer left after the last purchase.
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

/// A fitted model of purchases. Without leaving, `leaving` is nothing, and it is NBD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Purchasing {
    pub(super) r: f64,
    pub(super) alpha: f64,
    /// a and b.
    pub(super) leaving: Option<(f64, f64)>,
    pub(super) log_likelihood: f64,
}

/// What can be said of the histories.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fits {
    pub(super) nbd: Result<Purchasing, String>,
    /// Why it is degenerate, if it is.
    pub(super) bg_nbd: Result<Purchasing, String>,
}

impl Fits {
    /// Fits both.
    pub(super) fn of(histories: &[History]) -> Self {
        let mut groups = groups(histories);
        let count: f64 = groups.iter().map(|(.., n)| n).sum();
        let repeats: f64 = groups.iter().map(|(x, .., n)| x * n).sum();
        let scale = groups.iter().map(|(_, _, watched, n)| watched * n).sum::<f64>() / count;
        if repeats == 0.0 || !scale.is_finite() || scale <= 0.0 {
            let none = || Err("nobody bought on two days".to_owned());
            return Self { nbd: none(), bg_nbd: none() };
        }
        for (_, last, watched, _) in &mut groups {
            (*last, *watched) = (*last / scale, *watched / scale);
        }
        // Times in days make the likelihood a density by days.
        let shift = repeats * scale.ln();
        let mean = |value: f64| value / count;
        let without = climb([1.0, 1.0], |at| {
            let (sum, parts) = nbd(&groups, at);
            (mean(sum), parts.map(mean))
        });
        let with = climb([without.at[0], without.at[1], 1.0, 3.0], |at| {
            let (sum, parts) = bg_nbd(&groups, at);
            (mean(sum), parts.map(mean))
        });
        let days = |[r, alpha]: [f64; 2], leaving, value: f64| Purchasing {
            r,
            alpha: alpha * scale,
            leaving,
            log_likelihood: value * count - shift,
        };
        let gain = 2.0 * count * (with.value - without.value);
        let [r, alpha, a, b] = with.at;
        let names = |values: &[(&'static str, f64)]| {
            let gone = values.iter().filter(|(_, value)| !(RANGE.0..=RANGE.1).contains(value));
            gone.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        };
        let (few, all) = (
            names(&[("r", without.at[0]), ("α", without.at[1])]),
            names(&[("r", r), ("α", alpha), ("a", a), ("b", b)]),
        );
        let nbd = if !few.is_empty() {
            Err(format!("{few} ran away"))
        } else if !without.converged {
            Err("the likelihood has no maximum that could be found".to_owned())
        } else {
            Ok(days(without.at, None, without.value))
        };
        let bg_nbd = if gain <= CHANCE || gain.is_nan() {
            Err("no customer is seen to leave: it explains the purchases no better than NBD".to_owned())
        } else if !all.is_empty() {
            Err(format!("{all} ran away"))
        } else if !with.converged {
            Err("the likelihood has no maximum that could be found".to_owned())
        } else {
            Ok(days([r, alpha], Some((a, b)), with.value))
        };
        Self { nbd, bg_nbd }
    }

    /// The one to rely on: with leaving, where that is seen.
    pub(super) fn best(&self) -> Option<&Purchasing> {
        self.bg_nbd.as_ref().or(self.nbd.as_ref()).ok()
    }
}

impl Purchasing {
    /// P(alive): the probability that the customer has not left.
    fn alive(&self, history: &History) -> f64 {
        match self.leaving {
            Some((a, b)) if history.repeats > 0.0 => {
                let x = history.repeats;
                let waited = ((self.alpha + history.watched) / (self.alpha + history.last)).ln();
                1.0 / (1.0 + (a.ln() - (b + x - 1.0).ln() + (self.r + x) * waited).exp())
            }
            _ => 1.0,
        }
    }

    /// The probability of no purchase within `days`.
    pub(super) fn none_within(&self, history: &History, days: f64) -> f64 {
        let until = self.alpha + history.watched;
        let quiet = (-(self.r + history.repeats) * (days / until).ln_1p()).exp();
        let alive = self.alive(history);
        1.0 - alive + alive * quiet
    }

    /// The number of purchases expected within `days`: equation 10 of the paper, its function transformed (15.3.3 in Abramowitz and
    /// Stegun), so that nothing overflows however many purchases there were.
    pub(super) fn expected(&self, history: &History, days: f64) -> f64 {
        let (x, until) = (history.repeats, self.alpha + history.watched);
        let Some((a, b)) = self.leaving else { return (self.r + x) / until * days };
        // At a = 1 the formula is 0 / 0; beside it, it is smooth.
        let a = if (a - 1.0).abs() < 1e-5 { 1.0 + 1e-5 } else { a };
        let z = days / (until + days);
        let series = hypergeometric(a + b - 1.0 - self.r, a - 1.0, a + b + x - 1.0, z);
        let left = 1.0 - (1.0 - z).powf(a - 1.0) * series;
        (a + b + x - 1.0) / (a - 1.0) * left * self.alive(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters that the paper found on CDNOW, in weeks.
    const CDNOW: Purchasing =
        Purchasing { r: 0.243, alpha: 4.414, leaving: Some((0.793, 2.426)), log_likelihood: 0.0 };

    fn history(repeats: f64, last: f64, watched: f64) -> History {
        History { repeats, last, watched, worth: f64::NAN }
    }

    #[test]
    fn the_papers_example_is_found_again() {
        // Fader, Hardie and Lee (2005) and their spreadsheet: the customer with x = 2, t = 30.43, T = 38.86 is expected to buy 1.226
        // times within 39 weeks.
        let one = history(2.0, 30.43, 38.86);
        assert!((CDNOW.expected(&one, 39.0) - 1.226).abs() < 1e-3, "{}", CDNOW.expected(&one, 39.0));
    }

    #[test]
    fn probability_and_expectation_agree_where_there_is_no_time_to_leave_or_buy_twice() {
        for one in [history(0.0, 0.0, 30.0), history(3.0, 10.0, 30.0), history(200.0, 29.0, 30.0)] {
            let (none, expected) = (CDNOW.none_within(&one, 1e-4), CDNOW.expected(&one, 1e-4));
            assert!((1.0 - none - expected).abs() < 1e-3 * expected, "{one:?}: {none} {expected}");
            assert!(CDNOW.none_within(&one, 5.0) < CDNOW.none_within(&one, 1.0));
        }
        let staying = Purchasing { leaving: None, ..CDNOW };
        assert!((staying.expected(&history(1.0, 5.0, 30.0), 10.0) - 1.243 / 34.414 * 10.0).abs() < 1e-12);
        // Nearly nobody leaves: the two agree.
        let hardly = Purchasing { leaving: Some((1e-6, 1.0)), ..CDNOW };
        let one = history(4.0, 20.0, 30.0);
        assert!((hardly.expected(&one, 9.0) - staying.expected(&one, 9.0)).abs() < 1e-3);
        assert!((hardly.none_within(&one, 9.0) - staying.none_within(&one, 9.0)).abs() < 1e-5);
        // Beside a = 1 and at it.
        let at = |a| Purchasing { leaving: Some((a, 2.0)), ..CDNOW }.expected(&one, 9.0);
        assert!((at(1.0) - at(1.001)).abs() < 1e-3 && (at(1.0) - at(0.999)).abs() < 1e-3);
    }

    #[test]
    fn derivatives_are_those_of_the_likelihood() {
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
    fn what_is_degenerate_is_told() {
        // Everybody buys every ten days until the end: nobody leaves.
        let steady: Vec<History> = (0..300)
            .map(|at| history(f64::from(at % 20), f64::from(at % 20 * 10), f64::from(at % 20 * 10 + 3)))
            .collect();
        let fits = Fits::of(&steady);
        assert!(
            fits.bg_nbd.clone().is_err_and(|why| why.contains("leave") || why.contains("ran away")),
            "{fits:?}"
        );
        let none = Fits::of(&[history(0.0, 0.0, 10.0); 9]);
        assert!(none.best().is_none() && none.nbd.is_err(), "{none:?}");
        assert!(Fits::of(&[]).best().is_none());
    }
}
