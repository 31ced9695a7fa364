//! Measures all candidates on kept-out cutoffs, and chooses the best ones.
//!
//! The candidates of a cutoff learn only from what was known at it. The latest cutoff is kept out of the
//! choice if there are others.

use chrono::DateTime;

use super::{
    accuracy::figures,
    forecast::{ChosenModel, within_year},
    forecaster::{ForecastInput, ForecastTime, Forecaster, Method},
    learner::MIN_CLASS_SIZE,
    order_sample::OrderSample,
    summary::{DAY, Outcome, Summary, YEAR},
    times::{MIN_HISTORY, MeasuredTime, measured},
};
use crate::{
    pipeline::{
        learning::metrics::{mean, rounded},
        parallel::parallel_map,
    },
    snapshot::models::{ForecastFigures, NextOrderFigures, ValueCut},
};

/// Least number of customers at a measured cutoff.
const MIN_CUSTOMERS: usize = 200;
/// Least relative reduction of the unexplained deviance for which a more complex candidate is preferred.
const MIN_GAIN: f64 = 0.005;

/// The chosen model with its measurement, or why there is none.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) model: Option<ChosenModel>,
    pub(super) cuts: Vec<ValueCut>,
    /// Why there is too little data for a model.
    pub(super) too_little: Option<String>,
}

/// Past and future of each customer at a cutoff.
#[derive(Default)]
struct MeasuredCustomers {
    summaries: Vec<Summary>,
    outcomes: Vec<Outcome>,
}

impl MeasuredCustomers {
    fn of(sample: &OrderSample, start: i64, time: MeasuredTime) -> Self {
        let mut all = Self::default();
        for customer in &sample.customers {
            if let Some(summary) = Summary::at(&customer.events, start, time.at) {
                all.summaries.push(summary);
                all.outcomes.push(Outcome::of(&customer.events, time.at, time.at + time.days * DAY));
            }
        }
        all
    }

    /// Checks whether there are enough customers, and enough who ordered.
    fn are_enough(&self) -> bool {
        let ordered = self.outcomes.iter().filter(|outcome| outcome.next.is_finite()).count();
        self.summaries.len() >= MIN_CUSTOMERS && ordered >= MIN_CLASS_SIZE
    }

    /// Measures the candidates of `forecaster`.
    fn measure(&self, forecaster: &Forecaster, time: MeasuredTime) -> ValueCut {
        let returned = self.outcomes.iter().map(|outcome| f64::from(u8::from(outcome.next.is_finite())));
        let spent: Vec<f64> = self.outcomes.iter().map(|outcome| outcome.spent).collect();
        let orders: Vec<f64> = self.outcomes.iter().map(|outcome| outcome.orders).collect();
        let inputs: Vec<ForecastInput> = self.summaries.iter().map(|one| forecaster.input(one)).collect();
        let of_all = |forecast: &dyn Fn(&ForecastInput) -> Option<f64>| {
            inputs.iter().map(forecast).collect::<Option<Vec<f64>>>()
        };
        let candidates = Method::ALL.into_iter().filter_map(|method| {
            let forecasts = of_all(&|one| forecaster.spending(method, one))?;
            Some(figures(method.name(), &forecasts, &spent))
        });
        let of_orders = Method::ALL.into_iter().filter_map(|method| {
            let forecasts = of_all(&|one| forecaster.orders(method, one))?;
            Some(figures(method.name(), &forecasts, &orders))
        });
        ValueCut {
            at: DateTime::from_timestamp_micros(time.at).unwrap_or_default(),
            horizon_days: u32::try_from(time.days).unwrap_or(0),
            used_to_choose: true,
            customers: self.summaries.len() as u64,
            returned: rounded(mean(returned)),
            mean_spending: rounded(mean(spent.iter().copied())),
            candidates: candidates.collect(),
            orders: of_orders.collect(),
            next_order: self.next_order(forecaster, &inputs, time),
        }
    }

    /// Measures the expected dates of the next order that lie within the days of `time`.
    fn next_order(
        &self,
        forecaster: &Forecaster,
        inputs: &[ForecastInput],
        time: MeasuredTime,
    ) -> Option<NextOrderFigures> {
        let (mut dated, mut others) = (Vec::new(), Vec::new());
        for (input, outcome) in inputs.iter().zip(&self.outcomes) {
            let next = within_year(forecaster.order_times(input)?.median());
            #[expect(clippy::cast_precision_loss, reason = "days")]
            match next {
                Some(days) if days <= time.days as f64 => dated.push(outcome.next <= days),
                _ => others.push(outcome.next.is_finite()),
            }
        }
        let share = |all: &[bool]| rounded(mean(all.iter().map(|one| f64::from(u8::from(*one)))));
        Some(NextOrderFigures {
            customers: dated.len() as u64,
            ordered_by_date: share(&dated),
            others_ordered: share(&others),
        })
    }
}

/// Fits and measures the candidates at all cutoffs and fits the served model, on `threads` threads.
pub(super) fn select(sample: &OrderSample, as_of: i64, threads: usize) -> Selection {
    let none = |too_little: String| Selection { model: None, cuts: Vec::new(), too_little: Some(too_little) };
    let Some(start) = sample.start else { return none("there are no orders".to_owned()) };
    let times = measured(start, as_of);
    let Some(latest) = times.last() else {
        return none(format!(
            "the purchase history of {} days is too short to measure a forecast: at least {} days are needed",
            (as_of - start) / DAY,
            MIN_HISTORY * 3 / 2
        ));
    };
    let customers = MeasuredCustomers::of(sample, start, *latest);
    if !customers.are_enough() {
        return none(format!(
            "{} customers had an order {} days before as_of; at least {MIN_CUSTOMERS} are needed, \
             {MIN_CLASS_SIZE} of them with an order since",
            customers.summaries.len(),
            latest.days
        ));
    }
    drop(customers);
    // The last one is the served model.
    let jobs = parallel_map(
        threads,
        times.len() + 1,
        || (),
        |(), job| {
            let time = times.get(job).copied();
            let days = time.map_or(YEAR, |time| f64::from(u32::try_from(time.days).unwrap_or(0)));
            let at = time.map_or(as_of, |time| time.at);
            let customers = time.map(|time| MeasuredCustomers::of(sample, start, time));
            if customers.as_ref().is_some_and(|customers| !customers.are_enough()) {
                return (None, None);
            }
            let forecaster = Forecaster::fit(&sample.customers, ForecastTime { start, at, days });
            let cut = customers.zip(time).map(|(customers, time)| customers.measure(&forecaster, time));
            (cut, Some(forecaster))
        },
    );
    let (measured, mut fitted): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
    let mut cuts: Vec<ValueCut> = measured.into_iter().flatten().collect();
    if let [_, .., latest] = cuts.as_mut_slice() {
        latest.used_to_choose = false;
    }
    let basis: Vec<&ValueCut> = cuts.iter().filter(|cut| cut.used_to_choose).collect();
    let value = choose(&basis, |cut| &cut.candidates);
    let orders = choose(&basis, |cut| &cut.orders);
    let model = fitted.pop().flatten().zip(value.zip(orders)).map(|(forecaster, (value, orders))| {
        // A candidate that was measured may be degenerate on all data.
        let value = if forecaster.has(value, Method::OwnRate) { value } else { Method::OwnRate };
        let orders = if forecaster.has(Method::OwnRate, orders) { orders } else { Method::OwnRate };
        ChosenModel { forecaster, value, orders }
    });
    Selection { model, cuts, too_little: None }
}

/// Returns the method whose forecasts explain most deviance on `cuts`, in the mean. A simpler method, which
/// comes first, is preferred unless the best one leaves less unexplained by [`MIN_GAIN`].
fn choose(cuts: &[&ValueCut], figures: impl Fn(&ValueCut) -> &Vec<ForecastFigures>) -> Option<Method> {
    let unexplained = |method: Method| -> Option<f64> {
        let of_cut = |cut: &&ValueCut| {
            let own = figures(cut).iter().find(|figures| figures.name == method.name())?;
            Some(1.0 - own.explained_deviance)
        };
        let of_cuts: Vec<f64> = cuts.iter().map(of_cut).collect::<Option<_>>()?;
        if of_cuts.is_empty() { None } else { Some(mean(of_cuts.into_iter())) }
    };
    // The first method is never served.
    let known: Vec<(Method, f64)> =
        Method::ALL[1..].iter().filter_map(|method| Some((*method, unexplained(*method)?))).collect();
    let least = known.iter().map(|(_, unexplained)| *unexplained).fold(f64::INFINITY, f64::min);
    known.iter().find(|(_, one)| *one * (1.0 - MIN_GAIN) <= least).map(|(method, _)| *method)
}
