//! All candidates for the forecast of a customer's spending and orders, fitted to what was known at an
//! instant.

use super::{
    learner::{Inputs, Learner, TrainingRows},
    order_log::CustomerOrders,
    order_times::OrderTimes,
    purchase_value::PurchaseValue,
    summary::{DAY, Outcome, Summary, YEAR},
    times::{LearningTimes, learning},
};
use crate::pipeline::learning::{
    gamma_gamma::GammaGamma,
    metrics::mean,
    purchase_model::{PurchaseFits, PurchaseHistory, PurchaseModel},
};

/// Greatest number of training rows: customers, once per instant.
const MAX_ROWS: usize = 60_000;

/// A way to forecast spending. Variants are ordered from simple to complex: of equally good ones, the first
/// one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueMethod {
    /// The spending of the last year, unchanged. Never served, since it is 0 for many different customers.
    LastYear,
    /// The customer's own rate; see [`Summary::own_rate`].
    OwnRate,
    /// NBD and the gamma-gamma model.
    Nbd,
    /// BG/NBD and the gamma-gamma model.
    BgNbd,
    /// The learner of spending.
    Boosted,
    /// The mean of the learner and the preferred purchase model.
    Blend,
}

impl ValueMethod {
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

/// A way to forecast the number of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderMethod {
    /// The number of orders of the last year, unchanged.
    LastYear,
    /// The customer's own rate; see [`Summary::own_order_rate`].
    OwnRate,
    Nbd,
    BgNbd,
    /// The learned order times.
    Boosted,
}

impl OrderMethod {
    pub(super) const ALL: [Self; 5] = [Self::LastYear, Self::OwnRate, Self::Nbd, Self::BgNbd, Self::Boosted];

    /// Returns the name in the model card.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LastYear => "last_year",
            Self::OwnRate => "own_rate",
            Self::Nbd => "nbd",
            Self::BgNbd => "bg_nbd",
            Self::Boosted => "boosted",
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

/// The candidates, fitted to what was known at an instant.
#[derive(Debug)]
pub(super) struct Forecaster {
    days: f64,
    /// Days whose outcome was learned.
    pub(super) learned: f64,
    /// Days of the history that count for the spending of the last year.
    window: f64,
    pub(super) fits: PurchaseFits,
    pub(super) amounts: Result<GammaGamma, String>,
    /// NBD and BG/NBD with amounts.
    pub(super) values: [Result<PurchaseValue, String>; 2],
    learner: Option<Learner>,
    /// Factor that matches the sum of spending over the training rows, by method.
    scales: [f64; ValueMethod::ALL.len()],
    /// The same for orders.
    order_scales: [f64; OrderMethod::ALL.len()],
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
        let rows = training_rows(customers, &learned_at, days);
        let learned = to_days(days);
        let known = customers.iter().filter_map(|one| Summary::at(&one.events, time.at));
        let histories: Vec<PurchaseHistory> = known.map(|one| one.history()).collect();
        let fits = PurchaseFits::of(&histories);
        let amounts = GammaGamma::fit(&histories, |history| history.repeats + 1.0);
        let value = |fit: &Result<PurchaseModel, String>| {
            PurchaseValue::new(fit.clone()?, amounts.clone()?, learned.max(time.days))
        };
        let values = [value(&fits.nbd), value(&fits.bg_nbd)];
        let purchases = fits.best().copied();
        let stretch = purchases.map_or(time.days / learned, |model| {
            let expected =
                |days| mean(histories.iter().map(|history| model.expected_with_at_most(history, days)));
            let (near, far) = (expected(learned), expected(time.days));
            if near > 0.0 { far / near } else { time.days / learned }
        });
        let mut fitted = Self {
            days: learned,
            learned,
            window: to_days((time.at - time.start) / DAY).clamp(1.0, YEAR),
            fits,
            amounts,
            values,
            learner: Learner::fit(&rows, Inputs { days: learned, purchases }),
            scales: [1.0; ValueMethod::ALL.len()],
            order_scales: [1.0; OrderMethod::ALL.len()],
            stretch: 1.0,
            learned_at,
            rows: rows.summaries.len(),
        };
        fitted.scale(&rows);
        (fitted.days, fitted.stretch) = (time.days, stretch);
        fitted
    }

    /// Sets the factors that match the sums over `rows`.
    fn scale(&mut self, rows: &TrainingRows) {
        let factor =
            |seen: f64, expected: f64| if expected > 0.0 && seen > 0.0 { seen / expected } else { 1.0 };
        let of_rows = |expected: &dyn Fn(&Summary) -> Option<f64>| {
            mean(rows.summaries.iter().map(|one| expected(one).unwrap_or(0.0)))
        };
        let spent = mean(rows.outcomes.iter().map(|outcome| outcome.spent));
        let orders = mean(rows.outcomes.iter().map(|outcome| outcome.orders));
        for (place, method) in ValueMethod::ALL.into_iter().enumerate().skip(1) {
            self.scales[place] = factor(spent, of_rows(&|one| self.spending(method, one)));
        }
        for (place, method) in OrderMethod::ALL.into_iter().enumerate().skip(1) {
            self.order_scales[place] = factor(orders, of_rows(&|one| self.orders(method, one)));
        }
    }

    /// Returns the expected spending of a customer; `None` by a degenerate candidate.
    pub(super) fn spending(&self, method: ValueMethod, one: &Summary) -> Option<f64> {
        let of_purchases = |value: &Result<PurchaseValue, String>| {
            value.as_ref().ok().map(|value| value.expected(one, self.days))
        };
        let expected = match method {
            ValueMethod::LastYear => one.last_year() / self.window * self.days,
            ValueMethod::OwnRate => one.own_rate(self.learned) / self.learned * self.days,
            ValueMethod::Nbd => of_purchases(&self.values[0])?,
            ValueMethod::BgNbd => of_purchases(&self.values[1])?,
            ValueMethod::Boosted => self.learner.as_ref()?.learned(one).spent * self.stretch,
            ValueMethod::Blend => {
                let other = [ValueMethod::BgNbd, ValueMethod::Nbd]
                    .into_iter()
                    .find_map(|method| self.spending(method, one))?;
                f64::midpoint(self.spending(ValueMethod::Boosted, one)?, other)
            }
        };
        Some(self.scales[method as usize] * expected)
    }

    /// Returns the expected number of orders of a customer; `None` by a degenerate candidate.
    pub(super) fn orders(&self, method: OrderMethod, one: &Summary) -> Option<f64> {
        let of_model = |fit: &Result<PurchaseModel, String>| {
            fit.as_ref().ok().map(|model| model.expected_with_at_most(&one.history(), self.days))
        };
        let expected = match method {
            OrderMethod::LastYear => one.ordered[3] / self.window * self.days,
            OrderMethod::OwnRate => one.own_order_rate(self.learned) / self.learned * self.days,
            OrderMethod::Nbd => of_model(&self.fits.nbd)?,
            OrderMethod::BgNbd => of_model(&self.fits.bg_nbd)?,
            OrderMethod::Boosted => self.learned_times(one)?.expected(self.days),
        };
        Some(self.order_scales[method as usize] * expected)
    }

    /// Checks whether `method` is not degenerate.
    pub(super) fn has_value(&self, method: ValueMethod) -> bool {
        self.spending(method, &Summary { orders: 1.0, days: 1.0, ..Summary::default() }).is_some()
    }

    /// Checks whether `method` is not degenerate.
    pub(super) fn has_orders(&self, method: OrderMethod) -> bool {
        self.orders(method, &Summary { orders: 1.0, days: 1.0, ..Summary::default() }).is_some()
    }

    /// Returns the order times of a customer: the learned ones, else those of the preferred purchase model.
    pub(super) fn order_times(&self, one: &Summary) -> Option<OrderTimes> {
        let by_model = |model| OrderTimes::by_model(model, &one.history());
        self.learned_times(one).or_else(|| self.fits.best().map(by_model))
    }

    fn learned_times(&self, one: &Summary) -> Option<OrderTimes> {
        let (learner, model) = (self.learner.as_ref()?, self.fits.nbd.as_ref().ok()?);
        let orders = learner.learned(one).orders;
        Some(OrderTimes::learned(model, &one.history(), self.learned, orders))
    }
}

#[expect(clippy::cast_precision_loss, reason = "days")]
fn to_days(days: i64) -> f64 {
    days as f64
}

/// Returns the rows of `customers` at each instant of `at`, with the outcome of the `days` after it. Takes
/// customers evenly if there are too many.
fn training_rows(customers: &[CustomerOrders], at: &[i64], days: i64) -> TrainingRows {
    let step = (customers.len() * at.len()).div_ceil(MAX_ROWS).max(1);
    let mut rows = TrainingRows::default();
    for at in at {
        for customer in customers.iter().step_by(step) {
            if let Some(summary) = Summary::at(&customer.events, *at) {
                rows.summaries.push(summary);
                rows.outcomes.push(Outcome::of(&customer.events, *at, at + days * DAY));
            }
        }
    }
    rows
}
