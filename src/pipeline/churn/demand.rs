//! What a customer's products tell: whether the shop still sells them, and whether others who bought them are still about.
//!
//! A customer is known by few orders, their products by those of everybody. Sums are of integers, so that the order in which lines
//! come changes nothing; time is that of sorting the lines. Knows lines, nothing of models.

use std::collections::HashMap;

use arrow::{array::AsArray, datatypes::TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use crate::pipeline::{ViewError, query::Session};

/// Sales of all times and of late that every product is given in addition: of few sales nothing follows.
const SALES: (f64, f64) = (10.0, 1.0);
/// Buyers as active as all are that every product is given in addition.
const BUYERS: f64 = 20.0;
/// Parts of one, in which means are taken.
const PARTS: f64 = 1e6;

/// When to look, and at how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) at: DateTime<Utc>,
    pub(super) horizon: TimeDelta,
    /// The share of the lines in training sessions that these are to be like, so that additions weigh the same: 1 there.
    pub(super) share: f64,
}

/// What the products of a customer tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demand {
    /// Of the sales of the customer's products, the share within the last horizon: the geometric mean over purchase lines.
    pub(super) late_sales: f64,
    /// Of the others who bought the customer's products, the share with an order within the last half of a horizon: the mean over products.
    pub(super) active_buyers: f64,
}

/// The purchase lines of a session.
#[derive(Debug, Default)]
struct Lines {
    customers: HashMap<String, u32>,
    products: HashMap<String, u32>,
    /// By customer: the last purchase.
    last: Vec<i64>,
    /// By product: purchase lines, and those within the last horizon.
    sales: Vec<(u32, u32)>,
    /// Customer and product of every purchase line.
    pairs: Vec<(u32, u32)>,
}

/// The number of `word`, a new one where it has none.
fn number(words: &mut HashMap<String, u32>, word: &str) -> u32 {
    if let Some(number) = words.get(word) {
        return *number;
    }
    let number = u32::try_from(words.len()).unwrap_or(u32::MAX);
    words.insert(word.to_owned(), number);
    number
}

impl Lines {
    fn add(&mut self, customer: u32, product: &str, at: i64, late: i64) {
        let product = number(&mut self.products, product);
        if self.sales.len() <= product as usize {
            self.sales.resize(product as usize + 1, (0, 0));
        }
        if self.last.len() <= customer as usize {
            self.last.resize(customer as usize + 1, i64::MIN);
        }
        let sales = &mut self.sales[product as usize];
        *sales = (sales.0 + 1, sales.1 + u32::from(at > late));
        let last = &mut self.last[customer as usize];
        *last = (*last).max(at);
        self.pairs.push((customer, product));
    }

    /// What they tell of each customer, where one who bought after `active` is active.
    #[expect(clippy::cast_precision_loss, reason = "numbers of lines and customers, and millionths")]
    fn tell(mut self, active: i64, share: f64) -> HashMap<String, Demand> {
        self.pairs.sort_unstable();
        let active: Vec<bool> = self.last.iter().map(|last| *last > active).collect();
        let mut buyers = vec![(0_u32, 0_u32); self.sales.len()];
        let mut all = (0_u64, 0_u64);
        for same in self.pairs.chunk_by(|a, b| a == b) {
            let (customer, product) = same[0];
            let is_active = u32::from(active[customer as usize]);
            let of_product = &mut buyers[product as usize];
            *of_product = (of_product.0 + 1, of_product.1 + is_active);
            all = (all.0 + 1, all.1 + u64::from(is_active));
        }
        let usual = all.1 as f64 / all.0.max(1) as f64;
        let selling = |(sales, late): &(u32, u32)| {
            parts(((f64::from(*late) * share + SALES.1) / (f64::from(*sales) * share + SALES.0)).ln())
        };
        let selling: Vec<i64> = self.sales.iter().map(selling).collect();
        let mut demand = vec![(0.0, 0.0); self.last.len()];
        for of_customer in self.pairs.chunk_by(|a, b| a.0 == b.0) {
            let customer = of_customer[0].0 as usize;
            let own = u32::from(active[customer]);
            let (mut late, mut others, mut products) = (0, 0, 0_u32);
            for same in of_customer.chunk_by(|a, b| a.1 == b.1) {
                let product = same[0].1 as usize;
                late += selling[product] * i64::try_from(same.len()).unwrap_or(i64::MAX);
                let (buyers, active) = buyers[product];
                let (buyers, active) = (f64::from(buyers - 1) * share, f64::from(active - own) * share);
                others += parts((active + BUYERS * usual) / (buyers + BUYERS));
                products += 1;
            }
            demand[customer] =
                (late as f64 / of_customer.len() as f64 / PARTS, others as f64 / f64::from(products) / PARTS);
        }
        let of = |number: u32| {
            let (late, others) = demand[number as usize];
            Demand { late_sales: late.exp(), active_buyers: others }
        };
        self.customers.into_iter().map(|(id, number)| (id, of(number))).collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
fn parts(value: f64) -> i64 {
    (value * PARTS).round() as i64
}

/// Reads the purchase lines of `session`; what they tell, by customer.
pub(super) async fn demand(session: &Session, look: Look) -> Result<HashMap<String, Demand>, ViewError> {
    let back = |part: i32| (look.at - look.horizon / part).timestamp_micros();
    let (late, active) = (back(1), back(2));
    let sql = "SELECT customer_id, product_id, ordered_at FROM transactions WHERE is_purchase";
    let mut rows = session.query("churn", sql).await?;
    let mut lines = Lines::default();
    while let Some(batch) = rows.next().await {
        let batch =
            batch.map_err(|source| ViewError::Sql { view: "churn".to_owned(), source: Box::new(source) })?;
        let (ids, products) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        // The staging is sorted by customer: the next line is most often of the same one.
        let mut current: Option<(&str, u32)> = None;
        for row in 0..batch.num_rows() {
            let id = ids.value(row);
            let customer = match current {
                Some((same, customer)) if same == id => customer,
                _ => number(&mut lines.customers, id),
            };
            current = Some((id, customer));
            lines.add(customer, products.value(row), times.value(row), late);
        }
    }
    Ok(lines.tell(active, look.share))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Customer, product and time of each line; late is after 10, active after 15.
    fn told(lines: &[(&str, &str, i64)], share: f64) -> HashMap<String, Demand> {
        let mut all = Lines::default();
        for (id, product, at) in lines {
            let customer = number(&mut all.customers, id);
            all.add(customer, product, *at, 10);
        }
        all.tell(15, share)
    }

    #[test]
    fn shares_are_those_counted_by_hand() {
        let lines = [("a", "x", 1), ("a", "x", 12), ("b", "x", 3), ("b", "y", 16), ("c", "y", 2)];
        let found = told(&lines, 1.0);
        // x: 3 sales, 1 late; y: 2 and 1. Of five buyings of a product two are by b, who is active.
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
    fn the_order_of_lines_changes_nothing_and_more_of_the_same_is_scaled_away() {
        let lines = [("a", "x", 1), ("a", "y", 12), ("b", "x", 3), ("b", "y", 16), ("c", "y", 2)];
        let back: Vec<_> = lines.into_iter().rev().collect();
        assert_eq!(told(&lines, 1.0), told(&back, 1.0));
        let ids: Vec<String> =
            (0..10).flat_map(|times| ["a", "b", "c"].map(|id| format!("{id}{times}"))).collect();
        let many: Vec<_> = ids
            .iter()
            .flat_map(|id| {
                lines.iter().filter(move |line| id.starts_with(line.0)).map(move |l| (&**id, l.1, l.2))
            })
            .collect();
        let (few, many) = (told(&lines, 1.0)["a"], told(&many, 0.1)["a0"]);
        assert!((few.late_sales - many.late_sales).abs() < 1e-5, "{few:?} {many:?}");
    }
}
