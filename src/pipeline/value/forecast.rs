//! The forecast that is served: by the chosen candidates, or by a rule if there is too little data.

use serde::{Deserialize, Serialize};

use super::{
    forecaster::{Forecaster, Method},
    summary::{Summary, YEAR},
};

/// The chosen candidates, fitted to all data.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChosenModel {
    pub(super) forecaster: Forecaster,
    pub(super) value: Method,
    pub(super) orders: Method,
}

/// Expected spending and orders of a customer within a year.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Forecast {
    pub(super) spending: f64,
    pub(super) orders: f64,
    /// Whole days until the next order; `None` if an order within the year is less likely than none.
    pub(super) next: Option<f64>,
}

impl Forecast {
    /// Returns the forecast for a customer: by `model`, or without one by a rule, the customer's own rate.
    pub(super) fn of(model: Option<&ChosenModel>, one: &Summary) -> Self {
        let by_model = |model: &ChosenModel| {
            let ChosenModel { forecaster, value, orders } = model;
            let input = forecaster.input(one);
            let times = forecaster.order_times(&input);
            let next = times.map_or_else(|| usual_next(one), |times| times.median());
            Some(Self {
                spending: forecaster.spending(*value, &input)?,
                orders: forecaster.orders(*orders, &input)?,
                next: within_year(next),
            })
        };
        model.and_then(by_model).unwrap_or_else(|| Self {
            spending: one.own_rate(YEAR),
            orders: one.own_orders(YEAR),
            next: within_year(usual_next(one)),
        })
    }
}

/// Returns the days until the next order at the customer's mean interval; infinite for a single order, and
/// for a customer who is overdue.
fn usual_next(one: &Summary) -> f64 {
    if one.days < 2.0 {
        return f64::INFINITY;
    }
    let left = (one.tenure - one.recency) / (one.days - 1.0) - one.recency;
    if left > 0.0 { left } else { f64::INFINITY }
}

/// Returns `days` rounded up to whole days, if they are within a year.
pub(super) fn within_year(days: f64) -> Option<f64> {
    if days <= YEAR { Some(days.ceil().max(1.0)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_is_the_own_rate_and_the_usual_interval() {
        let one = Summary {
            orders: 4.0,
            days: 4.0,
            recency: 10.0,
            tenure: 100.0,
            net: 400.0,
            spent: [0.0, 200.0, 400.0, 400.0],
            ordered: [1.0, 3.0, 4.0, 4.0],
            window: 365.0,
        };
        let found = Forecast::of(None, &one);
        assert!((found.spending - 400.0).abs() < 1e-9 && (found.orders - 4.0).abs() < 1e-9, "{found:?}");
        // Every 30 days, and the last order was 10 days ago.
        assert_eq!(found.next, Some(20.0));
        assert_eq!(Forecast::of(None, &Summary { recency: 60.0, ..one }).next, None);
        assert_eq!(Forecast::of(None, &Summary { days: 1.0, ..one }).next, None);
        assert_eq!([0.2, 1.0, 364.5, 366.0].map(within_year), [Some(1.0), Some(1.0), Some(365.0), None]);
    }
}
