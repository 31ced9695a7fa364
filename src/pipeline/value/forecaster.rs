//! All candidates for the forecast of a customer's spending and orders, fitted to what was known at an
//! instant.

use serde::{Deserialize, Serialize};

use super::{
    accuracy::explained_deviance,
    learner::{Inputs, Learned, Learner, TrainingRows},
    order_log::CustomerOrders,
    order_times::OrderTimes,
    purchase_value::PurchaseValue,
    summary::{DAY, Outcome, Summary},
    times::{LearningTimes, learning},
};
use crate::pipeline::learning::{
    gamma_gamma::GammaGamma,
    metrics::mean,
    purchase_model::{PurchaseFits, PurchaseHistory, PurchaseModel},
};

/// Greatest number of training rows: customers, once per instant.
const MAX_ROWS: usize = 30_000;

/// A way to forecast spending, or the number of orders. Variants are ordered from simple to complex: of
/// equally good ones, the first one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Method {
    /// The spending or the orders of the last year, unchanged. Never served, since it is 0 for many different
    /// customers.
    LastYear,
    /// The customer's own rate; see [`Summary::own_rate`] and [`Summary::own_orders`].
    OwnRate,
    /// NBD, and the gamma-gamma model for spending.
    Nbd,
    /// BG/NBD, and the gamma-gamma model for spending.
    BgNbd,
    /// The learner of spending, or the learned order times.
    Boosted,
    /// The mean of `Boosted` and the purchase model that is preferred for spending.
    Blend,
}

impl Method {
    pub(super) const ALL: [Self; 6] =
        [Self::LastYear, Self::OwnRate, Self::Nbd, Self::BgNbd, Self::Boosted, Self::Blend];

    /// Returns the name in the model card.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LastYear => "last_year",
            Self::OwnRate => "own_rate",
            Self::Nbd => "nbd",
            Self::BgNbd => "bg_nbd",
            Self::Boosted => "boosted",
            Self::Blend => "blend",
        }
    }
}

/// The instant of a forecast, and the days that it looks ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForecastTime {
    /// Start of the history in microseconds since 1970.
    pub(super) start: i64,
    pub(super) at: i64,
    pub(super) days: f64,
}

/// A customer to forecast, with what the learner expects of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForecastInput {
    pub(super) summary: Summary,
    learned: Option<Learned>,
}

/// The candidates, fitted to what was known at an instant.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Forecaster {
    days: f64,
    /// Days whose outcome was learned.
    pub(super) learned: f64,
    pub(super) fits: PurchaseFits,
    pub(super) amounts: Result<GammaGamma, String>,
    /// NBD and BG/NBD with amounts.
    values: [Option<PurchaseValue>; 2],
    /// Place in `values` of the one that explains the training rows better.
    preferred: Option<usize>,
    learner: Option<Learner>,
    /// Factor that matches the sum of spending over the training rows, by method.
    scales: [f64; Method::ALL.len()],
    /// The same for orders.
    order_scales: [f64; Method::ALL.len()],
    /// Expected purchases of all customers within the days of the forecast, divided by those within the
    /// learned days.
    pub(super) stretch: f64,
    /// Instants that were learned from.
    pub(super) learned_at: Vec<i64>,
    /// Number of training rows.
    pub(super) rows: usize,
}

impl Forecaster {
    /// Fits the candidates to what was known of `customers` at the instant of `time`.
    pub(super) fn fit(customers: &[CustomerOrders], time: ForecastTime) -> Self {
        let LearningTimes { days, at: learned_at } = learning(time.start, time.at);
        let rows = training_rows(customers, time.start, &learned_at, days);
        let learned = to_days(days);
        let known = customers.iter().filter_map(|one| Summary::at(&one.events, time.start, time.at));
        let histories: Vec<PurchaseHistory> = known.map(|one| one.history()).collect();
        let fits = PurchaseFits::of(&histories);
        let amounts = GammaGamma::fit(&histories, |history| history.repeats + 1.0);
        let value = |fit: &Result<PurchaseModel, String>, days: f64| {
            Some(PurchaseValue::new(*fit.as_ref().ok()?, *amounts.as_ref().ok()?, days))
        };
        let values = |days| [value(&fits.nbd, days), value(&fits.bg_nbd, days)];
        let (near, far) = (values(learned), values(time.days));
        let purchases = fits.best().copied();
        let stretch = purchases.map_or(time.days / learned, |model| {
            let expected =
                |days| mean(histories.iter().map(|history| model.expected_with_at_most(history, days)));
            let (near, far) = (expected(learned), expected(time.days));
            if near > 0.0 { far / near } else { time.days / learned }
        });
        let preferred = preferred(&near, &rows);
        let inputs = Inputs { days: learned, purchases, value: preferred.and_then(|place| near[place]) };
        let mut fitted = Self {
            days: learned,
            learned,
            fits,
            amounts,
            learner: Learner::fit(&rows, inputs),
            values: near,
            preferred,
            scales: [1.0; Method::ALL.len()],
            order_scales: [1.0; Method::ALL.len()],
            stretch: 1.0,
            learned_at,
            rows: rows.summaries.len(),
        };
        fitted.scale(&rows);
        (fitted.days, fitted.stretch, fitted.values) = (time.days, stretch, far);
        fitted
    }

    /// Sets the factors that match the sums over `rows`.
    fn scale(&mut self, rows: &TrainingRows) {
        let inputs: Vec<ForecastInput> = rows.summaries.iter().map(|one| self.input(one)).collect();
        let factor =
            |seen: f64, expected: f64| if expected > 0.0 && seen > 0.0 { seen / expected } else { 1.0 };
        let of_rows = |expected: &dyn Fn(&ForecastInput) -> Option<f64>| {
            mean(inputs.iter().map(|one| expected(one).unwrap_or(0.0)))
        };
        let spent = mean(rows.outcomes.iter().map(|outcome| outcome.spent));
        let orders = mean(rows.outcomes.iter().map(|outcome| outcome.orders));
        for (place, method) in Method::ALL.into_iter().enumerate().skip(1) {
            self.scales[place] = factor(spent, of_rows(&|one| self.spending(method, one)));
        }
        for (place, method) in Method::ALL.into_iter().enumerate().skip(1) {
            self.order_scales[place] = factor(orders, of_rows(&|one| self.orders(method, one)));
        }
    }

    /// Prepares the forecasts of a customer.
    pub(super) fn input(&self, one: &Summary) -> ForecastInput {
        ForecastInput { summary: *one, learned: self.learner.as_ref().map(|learner| learner.learned(one)) }
    }

    /// Returns the expected spending of a customer; `None` by a degenerate candidate.
    pub(super) fn spending(&self, method: Method, one: &ForecastInput) -> Option<f64> {
        let of_purchases =
            |place: usize| self.values[place].as_ref().map(|value| value.expected(&one.summary));
        let expected = match method {
            Method::LastYear => one.summary.last_year_rate(self.days),
            Method::OwnRate => one.summary.own_rate(self.days),
            Method::Nbd => of_purchases(0)?,
            Method::BgNbd => of_purchases(1)?,
            Method::Boosted => one.learned?.spent * self.stretch,
            Method::Blend => {
                let other = [Method::Nbd, Method::BgNbd][self.preferred?];
                f64::midpoint(self.spending(Method::Boosted, one)?, self.spending(other, one)?)
            }
        };
        Some(self.scales[method as usize] * expected)
    }

    /// Returns the expected number of orders of a customer; `None` by a degenerate candidate.
    pub(super) fn orders(&self, method: Method, one: &ForecastInput) -> Option<f64> {
        let of_model = |fit: &Result<PurchaseModel, String>| {
            let history = one.summary.history();
            fit.as_ref().ok().map(|model| model.expected_with_at_most(&history, self.days))
        };
        let expected = match method {
            Method::LastYear => one.summary.last_year_orders(self.days),
            Method::OwnRate => one.summary.own_orders(self.days),
            Method::Nbd => of_model(&self.fits.nbd)?,
            Method::BgNbd => of_model(&self.fits.bg_nbd)?,
            Method::Boosted => self.learned_times(one)?.expected(self.days),
            Method::Blend => {
                let other = [Method::Nbd, Method::BgNbd][self.preferred?];
                f64::midpoint(self.orders(Method::Boosted, one)?, self.orders(other, one)?)
            }
        };
        Some(self.order_scales[method as usize] * expected)
    }

    /// Checks whether neither candidate is degenerate.
    pub(super) fn has(&self, value: Method, orders: Method) -> bool {
        let one = self.input(&Summary { orders: 1.0, days: 1.0, window: 1.0, ..Summary::default() });
        self.spending(value, &one).is_some() && self.orders(orders, &one).is_some()
    }

    /// Returns the order times of a customer: the learned ones, else those of the preferred purchase model.
    pub(super) fn order_times(&self, one: &ForecastInput) -> Option<OrderTimes> {
        let by_model = |model| OrderTimes::by_model(model, &one.summary.history());
        self.learned_times(one).or_else(|| self.fits.best().map(by_model))
    }

    fn learned_times(&self, one: &ForecastInput) -> Option<OrderTimes> {
        let (learned, model) = (one.learned?, self.fits.nbd.as_ref().ok()?);
        Some(OrderTimes::learned(model, &one.summary.history(), self.learned, learned.orders))
    }
}

/// Returns the place of the value model that explains more deviance of `rows`; of equal ones, the first.
fn preferred(values: &[Option<PurchaseValue>; 2], rows: &TrainingRows) -> Option<usize> {
    let spent: Vec<f64> = rows.outcomes.iter().map(|outcome| outcome.spent).collect();
    let explained = |value: &PurchaseValue| {
        let expected: Vec<f64> = rows.summaries.iter().map(|one| value.expected(one)).collect();
        let (all, seen) = (mean(expected.iter().copied()), mean(spent.iter().copied()));
        let scaled: Vec<f64> = expected.iter().map(|one| one * seen / all.max(1e-9)).collect();
        explained_deviance(&scaled, &spent)
    };
    let known =
        values.iter().enumerate().filter_map(|(place, value)| Some((place, explained(value.as_ref()?))));
    known.reduce(|best, one| if one.1 > best.1 { one } else { best }).map(|(place, _)| place)
}

#[expect(clippy::cast_precision_loss, reason = "days")]
fn to_days(days: i64) -> f64 {
    days as f64
}

/// Returns the rows of `customers` at each instant of `at`, with the outcome of the `days` after it. Takes
/// customers evenly if there are too many.
fn training_rows(customers: &[CustomerOrders], start: i64, at: &[i64], days: i64) -> TrainingRows {
    let step = (customers.len() * at.len()).div_ceil(MAX_ROWS).max(1);
    let mut rows = TrainingRows::default();
    for at in at {
        for customer in customers.iter().step_by(step) {
            if let Some(summary) = Summary::at(&customer.events, start, *at) {
                rows.summaries.push(summary);
                rows.outcomes.push(Outcome::of(&customer.events, *at, at + days * DAY));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::value::order_log::OrderEvent;

    /// Days of the history of the simulated shop.
    const HISTORY: i64 = 900;
    const SERVED: [Method; 5] = [Method::OwnRate, Method::Nbd, Method::BgNbd, Method::Boosted, Method::Blend];

    /// Simulates a shop in which a customer's orders come at an individual rate until the customer leaves.
    fn shop() -> Vec<CustomerOrders> {
        let mut state = 11_u64;
        let mut dice = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(state >> 33).expect("31 bits")) / f64::from(1_u32 << 31)
        };
        let mut wait = move |mean: f64| -mean * (1.0 - dice()).ln();
        let customer = |number: usize| {
            let (gap, life, worth) = (10.0 + wait(90.0), wait(500.0), 5.0 + wait(40.0));
            let (mut at, mut events) = (wait(250.0) % 880.0, Vec::new());
            let end = (at + life).min(to_days(HISTORY));
            while at < end {
                events.push(order(at, worth * (0.3 + wait(0.7))));
                at += wait(gap);
            }
            CustomerOrders { id: format!("c{number}"), events }
        };
        (0..1_500).map(customer).collect()
    }

    #[expect(clippy::cast_possible_truncation, reason = "days and amounts")]
    fn order(day: f64, amount: f64) -> OrderEvent {
        let at = (day * to_days(DAY)) as i64;
        OrderEvent { at, amount: (amount * 10_000.0) as i128, is_return: false }
    }

    /// Returns `event` with `factor` times the amount.
    fn times(event: &OrderEvent, factor: f64) -> OrderEvent {
        let amount = to_days(i64::try_from(event.amount).expect("small")) / 1e4;
        OrderEvent { amount: order(0.0, amount * factor).amount, ..*event }
    }

    static FITTED: LazyLock<Forecaster> =
        LazyLock::new(|| Forecaster::fit(&shop(), ForecastTime { start: 0, at: HISTORY * DAY, days: 365.0 }));

    /// Returns the forecasts of the spending of a customer with `orders` by method.
    fn forecasts(orders: &[OrderEvent]) -> Vec<(Method, f64)> {
        let mut events = orders.to_vec();
        events.sort_by_key(|event| event.at);
        let input = FITTED.input(&Summary::at(&events, 0, HISTORY * DAY).expect("an order"));
        let of = |method| Some((method, FITTED.spending(method, &input)?));
        SERVED.into_iter().filter_map(of).collect()
    }

    /// Checks that no method forecasts less for `after` than for `before`.
    fn check_not_less(before: &[OrderEvent], after: &[OrderEvent]) -> Result<(), TestCaseError> {
        for ((method, less), (_, more)) in forecasts(before).into_iter().zip(forecasts(after)) {
            prop_assert!(more >= less * (1.0 - 1e-9), "{method:?}: {less} fell to {more}");
        }
        Ok(())
    }

    fn orders() -> impl Strategy<Value = Vec<OrderEvent>> {
        proptest::collection::vec((0.0..899.0, 0.5..3_000.0), 1..25)
            .prop_map(|all| all.into_iter().map(|(day, amount)| order(day, amount)).collect())
    }

    proptest! {
        #[test]
        fn another_order_never_lowers_the_spending(
            orders in orders(),
            place in 0.0..1.0,
            amount in 0.1..900.0,
        ) {
            let first = orders.iter().map(|order| order.at).min().expect("an order");
            let day = to_days(first) / to_days(DAY);
            let mut more = orders.clone();
            more.push(order(day + 1e-3 + place * (899.5 - day), amount));
            check_not_less(&orders, &more)?;
        }

        #[test]
        fn greater_amounts_and_later_orders_never_lower_the_spending(
            orders in orders(),
            chosen in any::<prop::sample::Index>(),
            factor in 1.0..20.0,
            later in 0.0..1.0,
        ) {
            let (mut greater, mut moved) = (orders.clone(), orders.clone());
            let chosen = chosen.index(orders.len());
            greater[chosen] = times(&orders[chosen], factor);
            check_not_less(&orders, &greater)?;
            // The first order stays, since it tells how long the customer is known.
            let first = (0..orders.len()).min_by_key(|place| orders[*place].at).expect("an order");
            let last = (0..orders.len()).max_by_key(|place| orders[*place].at).expect("an order");
            if first != last {
                let from = to_days(orders[last].at) / to_days(DAY);
                moved[last].at = order(from + later * (899.9 - from), 0.0).at.max(orders[last].at);
                check_not_less(&orders, &moved)?;
            }
        }

        #[test]
        fn customers_with_different_spending_have_different_values(
            orders in orders(),
            factor in 1.5..1_000.0,
        ) {
            let other: Vec<OrderEvent> = orders.iter().map(|event| times(event, factor)).collect();
            for ((method, one), (_, more)) in forecasts(&orders).into_iter().zip(forecasts(&other)) {
                prop_assert!(more > one + 1e-4, "{method:?}: {one} and {more}");
            }
        }
    }

    #[test]
    fn all_candidates_are_fitted_and_their_totals_are_plausible() {
        let customers = shop();
        let known: Vec<ForecastInput> = customers
            .iter()
            .filter_map(|one| Summary::at(&one.events, 0, HISTORY * DAY))
            .map(|one| FITTED.input(&one))
            .collect();
        let year =
            customers.iter().map(|one| Outcome::of(&one.events, (HISTORY - 365) * DAY, HISTORY * DAY).spent);
        let spent = mean(year);
        for method in SERVED {
            let found = known.iter().map(|one| FITTED.spending(method, one)).collect::<Option<Vec<f64>>>();
            let found = found.unwrap_or_else(|| panic!("{method:?}: {:?} {:?}", FITTED.values, FITTED.fits));
            let total = mean(found.into_iter());
            assert!(total > 0.4 * spent && total < 1.6 * spent, "{method:?}: {total}, last year {spent}");
        }
    }
}
