//! Demand for the products that a customer bought: current sales, and activity of the other buyers.
//!
//! A single customer has few orders, but each product has the orders of all its buyers. Sums are of integers,
//! so the order of input lines does not matter. The running time is that of sorting the purchase lines.

use std::collections::HashMap;

use arrow::{array::AsArray, datatypes::TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use crate::pipeline::{ViewError, query::Session};

/// Prior number of sales, and of recent sales, that is added to each product, so that few sales are no
/// evidence.
const PRIOR_SALES: (f64, f64) = (10.0, 1.0);
/// Prior number of buyers with average activity that is added to each product.
const PRIOR_BUYERS: f64 = 20.0;
/// Units per 1.0 of the fixed-point numbers in which means are taken.
const UNITS: f64 = 1e6;

/// The instant at which demand is measured, and the scale of the measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct DemandWindow {
    pub(super) at: DateTime<Utc>,
    pub(super) horizon: TimeDelta,
    /// Share of the lines in training sessions relative to this session, so that priors have the same weight;
    /// 1 in training.
    pub(super) share: f64,
}

/// Demand for the products of a customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProductDemand {
    /// Share of a product's sales within the last horizon: the geometric mean over the customer's purchase
    /// lines.
    pub(super) late_sales: f64,
    /// Share of a product's other buyers with an order within the last half of a horizon: the mean over the
    /// customer's products.
    pub(super) active_buyers: f64,
}

/// The purchase lines of a session.
#[derive(Debug, Default)]
struct PurchaseLines {
    customers: HashMap<String, u32>,
    products: HashMap<String, u32>,
    /// Time of the last purchase, by customer.
    last: Vec<i64>,
    /// Sales by product.
    sales: Vec<Sales>,
    /// Customer and product of each purchase line.
    pairs: Vec<(u32, u32)>,
}

/// Number of purchase lines of a product.
#[derive(Debug, Clone, Copy, Default)]
struct Sales {
    all: u32,
    /// Purchase lines within the last horizon.
    late: u32,
}

/// Number of buyers of a product.
#[derive(Debug, Clone, Copy, Default)]
struct Buyers {
    all: u32,
    /// Buyers with an order within the last half of a horizon.
    active: u32,
}

/// Returns the number of `text`, assigning the next free number to a new text.
fn number(texts: &mut HashMap<String, u32>, text: &str) -> u32 {
    if let Some(number) = texts.get(text) {
        return *number;
    }
    let number = u32::try_from(texts.len()).unwrap_or(u32::MAX);
    texts.insert(text.to_owned(), number);
    number
}

impl PurchaseLines {
    /// Adds a line at the time `at`; lines after `late_from` are recent sales.
    fn add(&mut self, customer: u32, product: &str, at: i64, late_from: i64) {
        let product = number(&mut self.products, product);
        if self.sales.len() <= product as usize {
            self.sales.resize(product as usize + 1, Sales::default());
        }
        if self.last.len() <= customer as usize {
            self.last.resize(customer as usize + 1, i64::MIN);
        }
        let sales = &mut self.sales[product as usize];
        sales.all += 1;
        sales.late += u32::from(at > late_from);
        let last = &mut self.last[customer as usize];
        *last = (*last).max(at);
        self.pairs.push((customer, product));
    }

    /// Returns the demand by customer. Customers with a purchase after `active_from` are active.
    #[expect(clippy::cast_precision_loss, reason = "numbers of lines and customers, and millionths")]
    fn demand(mut self, active_from: i64, share: f64) -> HashMap<String, ProductDemand> {
        self.pairs.sort_unstable();
        let active: Vec<bool> = self.last.iter().map(|last| *last > active_from).collect();
        let buyers = self.buyers(&active);
        let all_buyers: u64 = buyers.iter().map(|buyers| u64::from(buyers.all)).sum();
        let all_active: u64 = buyers.iter().map(|buyers| u64::from(buyers.active)).sum();
        let mean_activity = all_active as f64 / all_buyers.max(1) as f64;
        let log_late_share = |Sales { all, late }: &Sales| {
            let (all, late) = (f64::from(*all) * share, f64::from(*late) * share);
            to_units(((late + PRIOR_SALES.1) / (all + PRIOR_SALES.0)).ln())
        };
        let log_late_shares: Vec<i64> = self.sales.iter().map(log_late_share).collect();
        let mut demand = vec![ProductDemand { late_sales: 1.0, active_buyers: 0.0 }; self.last.len()];
        for of_customer in self.pairs.chunk_by(|a, b| a.0 == b.0) {
            let customer = of_customer[0].0 as usize;
            let own = u32::from(active[customer]);
            let (mut late, mut others, mut products) = (0, 0, 0_u32);
            for same in of_customer.chunk_by(|a, b| a.1 == b.1) {
                let product = same[0].1 as usize;
                late += log_late_shares[product] * i64::try_from(same.len()).unwrap_or(i64::MAX);
                // Excludes the customer.
                let Buyers { all, active } = buyers[product];
                let (all, active) = (f64::from(all - 1) * share, f64::from(active - own) * share);
                others += to_units((active + PRIOR_BUYERS * mean_activity) / (all + PRIOR_BUYERS));
                products += 1;
            }
            demand[customer] = ProductDemand {
                late_sales: (late as f64 / of_customer.len() as f64 / UNITS).exp(),
                active_buyers: others as f64 / f64::from(products) / UNITS,
            };
        }
        self.customers.into_iter().map(|(id, number)| (id, demand[number as usize])).collect()
    }

    /// Counts the buyers by product. The pairs must be sorted.
    fn buyers(&self, active: &[bool]) -> Vec<Buyers> {
        let mut buyers = vec![Buyers::default(); self.sales.len()];
        for same in self.pairs.chunk_by(|a, b| a == b) {
            let (customer, product) = same[0];
            let buyers = &mut buyers[product as usize];
            buyers.all += 1;
            buyers.active += u32::from(active[customer as usize]);
        }
        buyers
    }
}

/// Converts `value` to a fixed-point number.
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
fn to_units(value: f64) -> i64 {
    (value * UNITS).round() as i64
}

/// Reads the purchase lines of `session` and returns the demand by customer id.
pub(super) async fn demand(
    session: &Session,
    window: DemandWindow,
) -> Result<HashMap<String, ProductDemand>, ViewError> {
    let before = |divisor: i32| (window.at - window.horizon / divisor).timestamp_micros();
    let (late_from, active_from) = (before(1), before(2));
    let sql = "SELECT customer_id, product_id, ordered_at FROM transactions WHERE is_purchase";
    let mut rows = session.query("churn", sql).await?;
    let mut lines = PurchaseLines::default();
    while let Some(batch) = rows.next().await {
        let batch =
            batch.map_err(|source| ViewError::Sql { view: "churn".to_owned(), source: Box::new(source) })?;
        let (ids, products) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        // The staging is sorted by customer, so consecutive lines mostly have the same customer.
        let mut current: Option<(&str, u32)> = None;
        for row in 0..batch.num_rows() {
            let id = ids.value(row);
            let customer = match current {
                Some((same, customer)) if same == id => customer,
                _ => number(&mut lines.customers, id),
            };
            current = Some((id, customer));
            lines.add(customer, products.value(row), times.value(row), late_from);
        }
    }
    Ok(lines.demand(active_from, window.share))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the demand for lines of customer, product and time. Sales after 10 are recent, customers after
    /// 15 active.
    fn demand_of(lines: &[(&str, &str, i64)], share: f64) -> HashMap<String, ProductDemand> {
        let mut all = PurchaseLines::default();
        for (id, product, at) in lines {
            let customer = number(&mut all.customers, id);
            all.add(customer, product, *at, 10);
        }
        all.demand(15, share)
    }

    #[test]
    fn shares_match_manual_counts() {
        let lines = [("a", "x", 1), ("a", "x", 12), ("b", "x", 3), ("b", "y", 16), ("c", "y", 2)];
        let found = demand_of(&lines, 1.0);
        // Product x has 3 sales, 1 of them recent; y has 2 and 1. Customer b, the only active one, is 2 of
        // the 4 buyers.
        let (x, y) = ((1.0_f64 + 1.0) / (3.0 + 10.0), (1.0_f64 + 1.0) / (2.0 + 10.0));
        let usual = 20.0 * 2.0 / 4.0;
        let near = |id: &str, late: f64, others: f64| {
            let found = found[id];
            assert!((found.late_sales - late).abs() < 1e-5, "{id}: {found:?}, {late}");
            assert!((found.active_buyers - others).abs() < 1e-5, "{id}: {found:?}, {others}");
        };
        near("a", x, (1.0 + usual) / 21.0);
        near("b", (x * y).sqrt(), usual / 21.0);
        near("c", y, (1.0 + usual) / 21.0);
    }

    #[test]
    fn demand_is_independent_of_line_order_and_sample_size() {
        let lines = [("a", "x", 1), ("a", "y", 12), ("b", "x", 3), ("b", "y", 16), ("c", "y", 2)];
        let back: Vec<_> = lines.into_iter().rev().collect();
        assert_eq!(demand_of(&lines, 1.0), demand_of(&back, 1.0));
        let ids: Vec<String> =
            (0..10).flat_map(|times| ["a", "b", "c"].map(|id| format!("{id}{times}"))).collect();
        let many: Vec<_> = ids
            .iter()
            .flat_map(|id| {
                lines.iter().filter(move |line| id.starts_with(line.0)).map(move |l| (&**id, l.1, l.2))
            })
            .collect();
        let (few, many) = (demand_of(&lines, 1.0)["a"], demand_of(&many, 0.1)["a0"]);
        assert!((few.late_sales - many.late_sales).abs() < 1e-5, "{few:?} {many:?}");
    }
}
