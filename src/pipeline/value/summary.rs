//! The past of a customer up to an instant, and the outcome of a period after it.

use super::order_log::OrderEvent;
use crate::pipeline::learning::purchase_model::PurchaseHistory;

/// Microseconds of a day.
pub(super) const DAY: i64 = 86_400_000_000;
/// Days of a year, the period of the forecast.
pub(super) const YEAR: f64 = 365.0;
/// Periods up to the instant in which spending and orders are counted, in days.
pub(super) const WINDOWS: [i64; 4] = [30, 90, 180, 365];
/// Weight of the spending rate since the first order in the own rate; the rate of the last year has the rest.
/// Customers without recent orders thus keep a value that depends on earlier spending.
const LIFETIME_WEIGHT: f64 = 0.1;

/// Orders of a customer up to an instant. Times are in whole days before the instant, amounts in money.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Summary {
    pub(super) orders: f64,
    /// Number of days (UTC) with an order.
    pub(super) days: f64,
    /// Days since the last order.
    pub(super) recency: f64,
    /// Days since the first order.
    pub(super) tenure: f64,
    /// All orders less returns.
    pub(super) net: f64,
    /// Orders less returns by [`WINDOWS`].
    pub(super) spent: [f64; WINDOWS.len()],
    /// Number of orders by [`WINDOWS`].
    pub(super) ordered: [f64; WINDOWS.len()],
    /// Days of the last year that the history of the shop covers: 365, or fewer in a short history.
    pub(super) window: f64,
}

/// Returns `units`, in ten-thousandths, as money.
#[expect(clippy::cast_precision_loss, reason = "amounts of money")]
fn money(units: i128) -> f64 {
    units as f64 / 10_000.0
}

/// Returns the whole days of `micros`.
#[expect(clippy::cast_precision_loss, reason = "days")]
fn whole_days(micros: i64) -> f64 {
    (micros / DAY) as f64
}

impl Summary {
    /// Summarizes the `events` up to `at`, which are in the order of time. The history of the shop begins at
    /// `start`. Returns `None` without an order.
    pub(super) fn at(events: &[OrderEvent], start: i64, at: i64) -> Option<Self> {
        let known = &events[..events.partition_point(|event| event.at <= at)];
        let orders = || known.iter().filter(|event| !event.is_return);
        let (first, last) = (orders().next()?.at, orders().next_back()?.at);
        let mut summary = Self {
            recency: whole_days(at - last),
            tenure: whole_days(at - first),
            net: money(known.iter().map(signed).sum()),
            window: whole_days(at - start).clamp(1.0, YEAR),
            ..Self::default()
        };
        let mut day = None;
        for order in orders() {
            let of_order = Some(order.at.div_euclid(DAY));
            summary.orders += 1.0;
            summary.days += f64::from(u8::from(of_order != day));
            day = of_order;
        }
        for (place, days) in WINDOWS.into_iter().enumerate() {
            let recent = &known[known.partition_point(|event| event.at <= at - days * DAY)..];
            summary.spent[place] = money(recent.iter().map(signed).sum());
            summary.ordered[place] = recent.iter().filter(|event| !event.is_return).map(|_| 1.0).sum::<f64>();
        }
        Some(summary)
    }

    /// Returns the spending of the last 365 days less returns, at most that of all time; at least 0.
    pub(super) fn last_year(&self) -> f64 {
        self.spent[WINDOWS.len() - 1].min(self.net).max(0.0)
    }

    /// Returns the spending within `days` at the rate of the last year; 0 for customers who left before.
    pub(super) fn last_year_rate(&self, days: f64) -> f64 {
        self.last_year() / self.window * days
    }

    /// Returns the spending within `days` at the customer's own rate: 0.9 × the rate of the last year + 0.1 ×
    /// the rate since the first order. A time since the first order below a year counts as a year, since a
    /// single recent order is no rate.
    pub(super) fn own_rate(&self, days: f64) -> f64 {
        let lifetime = self.net.max(0.0) / self.tenure.max(self.window);
        (1.0 - LIFETIME_WEIGHT) * self.last_year_rate(days) + LIFETIME_WEIGHT * lifetime * days
    }

    /// Returns the number of orders within `days` at the rate of the last year.
    pub(super) fn last_year_orders(&self, days: f64) -> f64 {
        self.ordered[WINDOWS.len() - 1] / self.window * days
    }

    /// Returns the number of orders within `days` at the customer's own rate; see [`Summary::own_rate`].
    pub(super) fn own_orders(&self, days: f64) -> f64 {
        let lifetime = self.orders / self.tenure.max(self.window);
        (1.0 - LIFETIME_WEIGHT) * self.last_year_orders(days) + LIFETIME_WEIGHT * lifetime * days
    }

    /// Returns the days with an order as the purchase models read them.
    pub(super) fn history(&self) -> PurchaseHistory {
        let repeats = self.days - 1.0;
        PurchaseHistory {
            repeats,
            last: if repeats > 0.0 { self.tenure - self.recency } else { 0.0 },
            watched: self.tenure,
            mean_amount: self.net.max(0.0) / self.days,
        }
    }
}

/// Returns the amount of `event`, negative for a return.
pub(super) fn signed(event: &OrderEvent) -> i128 {
    if event.is_return { -event.amount } else { event.amount }
}

/// Orders of a customer within a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    /// Orders less returns, at least 0.
    pub(super) spent: f64,
    pub(super) orders: f64,
    /// Days until the first order; infinite without one.
    pub(super) next: f64,
}

impl Outcome {
    /// Returns the outcome of the period after `from` and up to `to`.
    pub(super) fn of(events: &[OrderEvent], from: i64, to: i64) -> Self {
        let start = events.partition_point(|event| event.at <= from);
        let end = events.partition_point(|event| event.at <= to);
        let within = &events[start..end.max(start)];
        let orders = || within.iter().filter(|event| !event.is_return);
        #[expect(clippy::cast_precision_loss, reason = "days")]
        let days = |event: &OrderEvent| (event.at - from) as f64 / DAY as f64;
        Self {
            spent: money(within.iter().map(signed).sum()).max(0.0),
            orders: orders().map(|_| 1.0).sum(),
            next: orders().next().map_or(f64::INFINITY, days),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(day: i64, amount: i128, is_return: bool) -> OrderEvent {
        OrderEvent { at: day * DAY + 1, amount: amount * 10_000, is_return }
    }

    #[test]
    fn summary_and_outcome_match_manual_counts() {
        let events = [
            event(0, 100, false),
            event(10, 50, false),
            event(10, 30, false),
            event(12, 20, true),
            event(400, 70, false),
            event(410, 5, true),
        ];
        let before = Summary::at(&events, 0, 100 * DAY).expect("an order");
        assert_eq!((before.orders, before.days, before.recency, before.tenure), (3.0, 2.0, 89.0, 99.0));
        assert_eq!((before.net, before.spent), (160.0, [0.0, 60.0, 160.0, 160.0]));
        assert_eq!(before.ordered.map(|orders| orders.to_string()), ["0", "2", "3", "3"]);
        assert_eq!(Summary::at(&events, 0, 0), None);
        let history = before.history();
        assert_eq!((history.repeats, history.last, history.watched), (1.0, 10.0, 99.0));
        assert!((history.mean_amount - 80.0).abs() < 1e-9);
        let after = Outcome::of(&events, 100 * DAY, 420 * DAY);
        assert_eq!((after.spent, after.orders), (65.0, 1.0));
        assert!((after.next - 300.0).abs() < 1e-3);
        let nothing = Outcome::of(&events, 100 * DAY, 200 * DAY);
        assert_eq!((nothing.spent, nothing.orders, nothing.next), (0.0, 0.0, f64::INFINITY));
    }

    #[test]
    fn own_rate_depends_on_the_last_year_and_a_little_on_earlier_spending() {
        let one = Summary {
            tenure: 730.0,
            net: 1_000.0,
            spent: [0.0, 0.0, 0.0, 200.0],
            window: 365.0,
            ..Summary::default()
        };
        assert!((one.own_rate(365.0) - (0.9 * 200.0 + 0.1 * 500.0)).abs() < 1e-9);
        let gone = Summary { spent: [0.0; 4], ..one };
        assert!((gone.own_rate(365.0) - 50.0).abs() < 1e-9);
        // A single order of a new customer is no rate, and what was returned does not count.
        let new = Summary { tenure: 3.0, net: 90.0, spent: [90.0; 4], window: 180.0, ..Summary::default() };
        assert!((new.own_rate(90.0) - 45.0).abs() < 1e-9);
        assert!(Summary { net: -5.0, ..new }.own_rate(90.0).abs() < 1e-9);
    }
}
