//! What a customer is expected to spend within the horizon if they stay.
//!
//! Two candidates: the customer's own rate, drawn towards the mean as far as that was seen to help; and the
//! gamma-gamma model's worth of a purchase times the purchase model's number of them, over the probability
//! that there is one at all, for it is asked of those who stay. The better on cuts that it did not learn
//! from is taken. Arithmetic on numbers alone.

use chrono::TimeDelta;

use super::{
    choose::{Cut, LEAST_OF_A_CLASS},
    horizon::days,
    inputs::{MONETARY, SPEND_365, TENURE},
    measure::{mean, rounded},
    purchasing::{Fits, History, Purchasing},
    spending::Spending,
};
use crate::snapshot::models::{ExpectedValueModel, ValueFigures};

/// Weights of the own rate that are tried. It always counts a little, so that customers of different
/// spending do not have one value.
const OWN: [f64; 6] = [0.1, 0.2, 0.4, 0.6, 0.8, 1.0];
/// Cuts that candidates are measured on, at most.
const MEASURED: usize = 3;
/// By so much of the error the gamma-gamma model must be better.
const MARGIN: f64 = 0.005;
const OWN_RATE: &str = "own_rate";
const GAMMA_GAMMA: &str = "gamma_gamma";

/// A cut with what only the value model needs.
pub(super) struct Seen {
    pub(super) cut: Cut,
    pub(super) stayed: Stayed,
}

/// Customers who stayed: the spending that their own rate gives for the horizon, their purchases, and the
/// spending seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Stayed {
    pub(super) own: Vec<f64>,
    pub(super) histories: Vec<History>,
    pub(super) seen: Vec<f64>,
}

impl Stayed {
    fn of<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.own.extend_from_slice(&part.own);
            all.histories.extend_from_slice(&part.histories);
            all.seen.extend_from_slice(&part.seen);
        }
        all
    }
}

/// By how much the rate of all the time since the first order counts beside that of the last year: who
/// bought nothing lately is not worth the same whatever they bought before.
const LIFETIME: f64 = 0.1;

/// Returns the spending within `horizon` days at the rate of the last year, or of the time since the first
/// order where that is shorter, and, to a tenth, of all that time. What was given back was not spent: the
/// last year counts no more than all purchases less returns.
pub(super) fn own_rate(raw: &[Vec<f64>], row: usize, horizon: f64) -> f64 {
    let (all, tenure) = (raw[MONETARY][row], raw[TENURE][row]);
    let rate = |spent: f64, most: f64| {
        // Shorter than a horizon, the time since the first order says little: a first order is no rate.
        let days = tenure.clamp(horizon, horizon.max(most));
        let rate = spent.max(0.0) / if days.is_nan() { horizon } else { days };
        if rate.is_finite() { rate * horizon } else { 0.0 }
    };
    // Of a number and what is not known, the number.
    let lately = rate(raw[SPEND_365][row].min(all), 365.0);
    let ever = if all.is_nan() { lately } else { rate(all, f64::MAX) };
    (1.0 - LIFETIME) * lately + LIFETIME * ever
}

/// The own rate, drawn to the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
struct OwnRate {
    own: f64,
    scale: f64,
    mean: f64,
}

impl OwnRate {
    /// Fits the weight on `latest` and the rest on `training`.
    fn fit(training: &Stayed, latest: &Stayed) -> Self {
        let middle = mean(training.seen.iter().copied());
        let model = |own: f64| {
            let blended = mean(training.own.iter().map(|value| own * value + (1.0 - own) * middle));
            Self {
                own,
                scale: rounded(if blended > 0.0 { middle / blended } else { 1.0 }),
                mean: rounded(middle),
            }
        };
        let tried = OWN.map(|own| {
            let model = model(own);
            (model, error(latest, |row| model.expected(latest.own[row])))
        });
        let (first, others) = (tried[0], &tried[1..]);
        others.iter().fold(first, |best, one| if one.1 < best.1 { *one } else { best }).0
    }

    fn expected(self, own: f64) -> f64 {
        self.scale * (self.own * own + (1.0 - self.own) * self.mean)
    }
}

/// The gamma-gamma model on top of the purchase model.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Worth {
    purchasing: Purchasing,
    spending: Spending,
    days: f64,
    scale: f64,
}

impl Worth {
    fn fit(histories: &[History], fits: &Fits, training: &Stayed, days: f64) -> Result<Self, String> {
        let spending = Spending::fit(histories, |history| history.repeats + 1.0)?;
        let purchasing = *fits.best().ok_or_else(|| "there is no model of purchases".to_owned())?;
        let mut worth = Self { purchasing, spending, days, scale: 1.0 };
        let foretold = mean(training.histories.iter().map(|history| worth.expected(history)));
        let seen = mean(training.seen.iter().copied());
        worth.scale = rounded(if foretold > 0.0 { seen / foretold } else { 1.0 });
        Ok(worth)
    }

    fn expected(&self, history: &History) -> f64 {
        let stays = (1.0 - self.purchasing.none_within(history, self.days)).max(1e-9);
        let number = self.purchasing.expected(history, self.days) / stays;
        self.scale * number * self.spending.expected(history.repeats + 1.0, history.worth)
    }
}

/// The mean absolute error of `expected` over those who stayed.
fn error(stayed: &Stayed, expected: impl Fn(usize) -> f64) -> f64 {
    mean(stayed.seen.iter().enumerate().map(|(row, seen)| (expected(row) - seen).abs()))
}

/// The model of values, ready to serve.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) card: ExpectedValueModel,
    /// The gamma-gamma model on the latest cut, or why there is none.
    pub(super) spending: Result<Spending, String>,
    own: OwnRate,
    /// Where it was chosen.
    worth: Option<Worth>,
}

impl Values {
    /// Chooses on cuts that were not learned from, and fits to all `seen`, which are ordered in time;
    /// `fits` are of the latest.
    pub(super) fn fit(seen: &[Seen], fits: &Fits, horizon: TimeDelta) -> Self {
        let before = |at: usize| {
            seen.iter().filter(|one| one.cut.at + horizon <= seen[at].cut.at).collect::<Vec<&Seen>>()
        };
        let enough = |stayed: usize| stayed >= LEAST_OF_A_CLASS;
        let able: Vec<(usize, Vec<&Seen>)> = (0..seen.len())
            .map(|at| (at, before(at)))
            .filter(|(at, before)| {
                enough(seen[*at].stayed.seen.len()) && before.iter().any(|one| enough(one.stayed.seen.len()))
            })
            .collect();
        let wanted = able.len().saturating_sub(MEASURED);
        // Of the mean alone, the own rate, the gamma-gamma model.
        let errors: Vec<[Option<f64>; 3]> = able[wanted..]
            .iter()
            .map(|(at, before)| {
                let fits = Fits::of(histories(before));
                let (own, worth, middle) = candidates(before, &fits, days(horizon));
                let stayed = &seen[*at].stayed;
                [
                    Some(error(stayed, |_| middle)),
                    Some(error(stayed, |row| own.expected(stayed.own[row]))),
                    worth.ok().map(|worth| error(stayed, |row| worth.expected(&stayed.histories[row]))),
                ]
            })
            .collect();
        let basis = &errors[..errors.len() - usize::from(errors.len() > 1)];
        let over = |place: usize| {
            let known: Option<Vec<f64>> = basis.iter().map(|cut| cut[place]).collect();
            known.filter(|known| !known.is_empty()).map(|known| mean(known.into_iter()))
        };
        let latest = |place: usize| errors.last().and_then(|cut| cut[place]);
        let all: Vec<&Seen> = seen.iter().collect();
        let (own, worth, _) = candidates(&all, fits, days(horizon));
        let better = over(2).zip(over(1)).is_some_and(|(gamma, own)| gamma < own * (1.0 - MARGIN))
            && latest(2).is_some();
        let spending = worth.clone().map(|worth| worth.spending);
        let worth = worth.ok().filter(|_| better);
        let figures =
            [("mean", 0), (OWN_RATE, 1), (GAMMA_GAMMA, 2)].into_iter().filter_map(|(name, place)| {
                let (chosen_on, error) = (over(place)?, latest(place)?);
                Some(ValueFigures {
                    name: name.to_owned(),
                    error_to_choose: rounded(chosen_on),
                    error: rounded(error),
                })
            });
        let place = if worth.is_some() { 2 } else { 1 };
        let card = ExpectedValueModel {
            chosen: if worth.is_some() { GAMMA_GAMMA } else { OWN_RATE }.to_owned(),
            own: own.own,
            scale: worth.map_or(own.scale, |worth| worth.scale),
            mean: own.mean,
            error: rounded(latest(place).unwrap_or(0.0)),
            error_of_mean: rounded(latest(0).unwrap_or(0.0)),
            candidates: figures.collect(),
        };
        Self { card, spending, own, worth }
    }

    /// Where nothing can be fitted: half the own rate, half the mean of all.
    pub(super) fn unfitted(own: &[f64]) -> Self {
        let own = OwnRate { own: 0.5, scale: 1.0, mean: rounded(mean(own.iter().copied())) };
        let card = ExpectedValueModel {
            chosen: OWN_RATE.to_owned(),
            own: own.own,
            scale: own.scale,
            mean: own.mean,
            error: 0.0,
            error_of_mean: 0.0,
            candidates: Vec::new(),
        };
        Self { card, spending: Err("there is too little to fit it to".to_owned()), own, worth: None }
    }

    /// The spending expected of a customer with this `history`, whose own rate gives `own`.
    pub(super) fn expected(&self, own: f64, history: &History) -> f64 {
        self.worth.map_or_else(|| self.own.expected(own), |worth| worth.expected(history))
    }
}

/// The purchases as the latest of `seen` knows them: each customer once.
fn histories<'a>(seen: &[&'a Seen]) -> &'a [History] {
    seen.last().map_or(&[], |seen| &seen.cut.rows.histories)
}

/// The candidates as learned from `seen`, and the mean.
fn candidates(seen: &[&Seen], fits: &Fits, days: f64) -> (OwnRate, Result<Worth, String>, f64) {
    let training = Stayed::of(seen.iter().map(|seen| &seen.stayed));
    let empty = Stayed::default();
    let latest = seen.last().map_or(&empty, |seen| &seen.stayed);
    let worth = Worth::fit(histories(seen), fits, &training, days);
    (OwnRate::fit(&training, latest), worth, mean(training.seen.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_no_rate() {
        let mut raw = vec![vec![f64::NAN]; TENURE.max(SPEND_365).max(MONETARY) + 1];
        (raw[SPEND_365][0], raw[MONETARY][0], raw[TENURE][0]) = (77_000.0, 0.0, 300.0);
        assert!(own_rate(&raw, 0, 90.0).abs() < 1e-9);
        raw[MONETARY][0] = f64::NAN;
        assert!((own_rate(&raw, 0, 90.0) - 23_100.0).abs() < 1e-6);
        (raw[SPEND_365][0], raw[MONETARY][0]) = (300.0, 1_000.0);
        // 300 in the last 300 days, 1,000 in all.
        assert!((own_rate(&raw, 0, 90.0) - (0.9 * 90.0 + 0.1 * 300.0)).abs() < 1e-9);
        // Nothing for a year: worth what was bought before.
        (raw[SPEND_365][0], raw[MONETARY][0], raw[TENURE][0]) = (0.0, 4.83, 1_000.0);
        let little = own_rate(&raw, 0, 90.0);
        raw[MONETARY][0] = 14_595.0;
        assert!(little > 0.0 && own_rate(&raw, 0, 90.0) > 1_000.0 * little);
    }

    #[test]
    fn the_own_rate_counts_where_it_tells_and_the_mean_where_it_does_not() {
        let own: Vec<f64> = (0..100).map(|at| f64::from(at * 10)).collect();
        let telling = Stayed {
            own: own.clone(),
            seen: own.iter().map(|value| value * 2.0).collect(),
            ..Stayed::default()
        };
        let model = OwnRate::fit(&telling, &telling);
        assert!((model.own - 1.0).abs() < 1e-9 && (model.scale - 2.0).abs() < 1e-3, "{model:?}");
        let blind = Stayed { own, seen: vec![300.0; 100], ..Stayed::default() };
        let model = OwnRate::fit(&blind, &blind);
        assert!((model.own - 0.1).abs() < 1e-9, "{model:?}");
        assert!(
            (model.expected(990.0) - 300.0).abs() < 100.0 && model.expected(990.0) > model.expected(4.0),
            "{model:?}"
        );
    }
}
