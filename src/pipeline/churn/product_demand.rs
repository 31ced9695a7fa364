//! Demand for the products that a customer bought: current sales, and activity of the other buyers.
//!
//! A single customer has few orders, but each product has the orders of all its buyers. Partitions of
//! customers are read twice: to count the sales and the buyers of each product, and for the demand of each
//! customer. So memory depends on the number of products, not of lines. Sums are of integers, so the order of
//! input lines does not matter.

use std::{collections::HashMap, path::Path, sync::Arc};

use arrow::{
    array::{AsArray, Float64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};

use crate::pipeline::{
    BuildError, RawError,
    parallel::{parallel_fold, parallel_map},
    query::{ID, Session},
    staged_table::StagedTable,
    staging::{StagedFile, create, staging},
};

/// Name of the table of a session. No view can have this name.
pub(super) const TABLE: &str = "product demand";
/// Number of rows of a record batch.
const BATCH: usize = 8_192;

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

/// A purchase line of a customer.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Number of the product.
    product: u32,
    /// Microseconds since 1970.
    at: i64,
}

/// Times that counts depend on, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Recency {
    /// Sales after this instant are recent.
    late_from: i64,
    /// Customers with a purchase after this instant are active.
    active_from: i64,
}

impl Recency {
    fn of(window: DemandWindow) -> Self {
        let before = |divisor: i32| (window.at - window.horizon / divisor).timestamp_micros();
        Self { late_from: before(1), active_from: before(2) }
    }

    /// Checks whether a customer with these lines is active.
    fn is_active(self, lines: &[Line]) -> bool {
        lines.iter().any(|line| line.at > self.active_from)
    }
}

/// Purchase lines and buyers of a product.
#[derive(Debug, Clone, Copy, Default)]
struct ProductCounts {
    sales: u32,
    /// Purchase lines within the last horizon.
    late_sales: u32,
    buyers: u32,
    /// Buyers with an order within the last half of a horizon.
    active_buyers: u32,
}

/// Counts of all products.
#[derive(Debug, Default)]
struct Products {
    /// Numbers of the products by id.
    numbers: HashMap<String, u32>,
    /// Counts by number.
    counts: Vec<ProductCounts>,
}

impl Products {
    /// Returns the number of the product `id`, assigning the next free number to a new product.
    fn number(&mut self, id: &str) -> u32 {
        if let Some(number) = self.numbers.get(id) {
            return *number;
        }
        let number = u32::try_from(self.counts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(id.to_owned(), number);
        self.counts.push(ProductCounts::default());
        number
    }

    /// Adds the lines of a customer, which are sorted by product.
    fn add(&mut self, lines: &[Line], recency: Recency) {
        let active = u32::from(recency.is_active(lines));
        for same in lines.chunk_by(|a, b| a.product == b.product) {
            let counts = &mut self.counts[same[0].product as usize];
            for line in same {
                counts.sales += 1;
                counts.late_sales += u32::from(line.at > recency.late_from);
            }
            counts.buyers += 1;
            counts.active_buyers += active;
        }
    }

    /// Adds the counts of other customers.
    fn merge(&mut self, other: &Self) {
        for (id, number) in &other.numbers {
            let place = self.number(id) as usize;
            let (counts, more) = (&mut self.counts[place], other.counts[*number as usize]);
            counts.sales += more.sales;
            counts.late_sales += more.late_sales;
            counts.buyers += more.buyers;
            counts.active_buyers += more.active_buyers;
        }
    }
}

/// The demand for all products.
struct Market {
    products: Products,
    recency: Recency,
    /// Logarithm of each product's share of recent sales, in [`UNITS`].
    log_late_shares: Vec<i64>,
    /// Share of active customers among the buyers of all products.
    mean_activity: f64,
    /// See [`DemandWindow::share`].
    share: f64,
}

impl Market {
    #[expect(clippy::cast_precision_loss, reason = "numbers of buyers")]
    fn new(products: Products, recency: Recency, share: f64) -> Self {
        let sum = |of: fn(&ProductCounts) -> u32| products.counts.iter().map(|one| u64::from(of(one))).sum();
        let (buyers, active): (u64, u64) = (sum(|one| one.buyers), sum(|one| one.active_buyers));
        let log_late_share = |one: &ProductCounts| {
            let (all, late) = (f64::from(one.sales) * share, f64::from(one.late_sales) * share);
            to_units(((late + PRIOR_SALES.1) / (all + PRIOR_SALES.0)).ln())
        };
        let log_late_shares = products.counts.iter().map(log_late_share).collect();
        let mean_activity = active as f64 / buyers.max(1) as f64;
        Self { products, recency, log_late_shares, mean_activity, share }
    }

    /// Returns the demand for the products of a customer with `lines`, which are sorted by product and not
    /// empty.
    #[expect(clippy::cast_precision_loss, reason = "numbers of lines, and millionths")]
    fn demand(&self, lines: &[Line]) -> ProductDemand {
        let own = u32::from(self.recency.is_active(lines));
        let (mut late, mut others, mut products) = (0, 0, 0_u32);
        for same in lines.chunk_by(|a, b| a.product == b.product) {
            let product = same[0].product as usize;
            late += self.log_late_shares[product] * i64::try_from(same.len()).unwrap_or(i64::MAX);
            // Excludes the customer.
            let ProductCounts { buyers, active_buyers, .. } = self.products.counts[product];
            let all = f64::from(buyers - 1) * self.share;
            let active = f64::from(active_buyers - own) * self.share;
            others += to_units((active + PRIOR_BUYERS * self.mean_activity) / (all + PRIOR_BUYERS));
            products += 1;
        }
        ProductDemand {
            late_sales: (late as f64 / lines.len() as f64 / UNITS).exp(),
            active_buyers: others as f64 / f64::from(products) / UNITS,
        }
    }
}

/// Converts `value` to a fixed-point number.
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
fn to_units(value: f64) -> i64 {
    (value * UNITS).round() as i64
}

/// Reads the purchase lines of a partition of `transactions`, and calls `work` with the id of each customer
/// and the lines sorted by product. `number` returns the number of a product. Both get `state`.
fn read_customers<S>(
    file: &StagedFile,
    state: &mut S,
    number: impl Fn(&mut S, &str) -> u32,
    mut work: impl FnMut(&mut S, &str, &[Line]),
) -> Result<(), RawError> {
    let (mut id, mut lines) = (String::new(), Vec::new());
    let mut end = |state: &mut S, id: &str, lines: &mut Vec<Line>| {
        if !lines.is_empty() {
            lines.sort_unstable_by_key(|line| line.product);
            work(state, id, lines);
            lines.clear();
        }
    };
    for batch in file.open_columns([ID, "product_id", "ordered_at", "is_purchase"])? {
        let batch = batch.map_err(|error| staging(&file.path, error))?;
        let column =
            |name| batch.column_by_name(name).ok_or_else(|| staging(&file.path, format!("no column {name}")));
        let (ids, products) = (column(ID)?.as_string::<i32>(), column("product_id")?.as_string::<i32>());
        let times = column("ordered_at")?.as_primitive::<TimestampMicrosecondType>();
        let is_purchase = column("is_purchase")?.as_boolean();
        for row in (0..batch.num_rows()).filter(|row| is_purchase.value(*row)) {
            if ids.value(row) != id {
                end(state, &id, &mut lines);
                ids.value(row).clone_into(&mut id);
            }
            lines.push(Line { product: number(state, products.value(row)), at: times.value(row) });
        }
    }
    end(state, &id, &mut lines);
    Ok(())
}

/// Counts the sales and buyers of all products.
fn count(files: &[StagedFile], recency: Recency, threads: usize) -> Result<Products, RawError> {
    let empty = || (Products::default(), Ok(()));
    let counted = parallel_fold(threads, files.len(), empty, |(products, result), partition| {
        if result.is_ok() {
            *result = read_customers(&files[partition], products, Products::number, |products, _, lines| {
                products.add(lines, recency);
            });
        }
    });
    let mut all = Products::default();
    for (products, result) in counted {
        result?;
        all.merge(&products);
    }
    Ok(all)
}

fn schema() -> SchemaRef {
    let number = |name| Field::new(name, DataType::Float64, false);
    Arc::new(Schema::new(vec![
        Field::new(ID, DataType::Utf8, false),
        number("late_sales"),
        number("active_buyers"),
    ]))
}

/// Writes the demand of each customer of a partition to `path`, sorted by id.
fn stage_partition(transactions: &StagedFile, market: &Market, path: &Path) -> Result<StagedFile, RawError> {
    let schema = schema();
    let mut writer = create(path, &schema)?;
    let mut staged = StagedFile { path: path.to_path_buf(), schema: Arc::clone(&schema), rows: 0 };
    let mut found: Vec<(String, ProductDemand)> = Vec::new();
    let number = |_: &mut _, id: &str| market.products.numbers.get(id).copied().unwrap_or_default();
    read_customers(transactions, &mut found, number, |found, id, lines| {
        found.push((id.to_owned(), market.demand(lines)));
    })?;
    for rows in found.chunks(BATCH) {
        let values = |of: fn(&ProductDemand) -> f64| -> Float64Array {
            rows.iter().map(|(_, demand)| of(demand)).collect::<Vec<f64>>().into()
        };
        let ids = StringArray::from_iter_values(rows.iter().map(|(id, _)| id));
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(ids),
            Arc::new(values(|demand| demand.late_sales)),
            Arc::new(values(|demand| demand.active_buyers)),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
        batch.and_then(|batch| writer.write(&batch)).map_err(|error| staging(path, error))?;
        staged.rows += rows.len();
    }
    writer.finish().map_err(|error| staging(path, error))?;
    Ok(staged)
}

/// Computes the demand of all customers with a purchase, and registers the table [`TABLE`] in `session`.
///
/// # Errors
/// Fails if the staging cannot be read or written.
pub(super) async fn register(
    session: &Session,
    window: DemandWindow,
    threads: usize,
) -> Result<(), BuildError> {
    let (transactions, folder) = (session.staged("transactions"), session.scratch().to_path_buf());
    let staged = tokio::task::spawn_blocking(move || -> Result<Vec<StagedFile>, RawError> {
        let recency = Recency::of(window);
        let market = Market::new(count(&transactions, recency, threads)?, recency, window.share);
        let stage = |partition: usize| {
            let path = folder.join(format!("product-demand-{partition}.arrow"));
            stage_partition(&transactions[partition], &market, &path)
        };
        parallel_map(threads, transactions.len(), || (), |(), at| stage(at)).into_iter().collect()
    });
    session.register(TABLE, StagedTable::partitioned(staged.await??))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the demand for lines of customer, product and time. Sales after 10 are recent, customers after
    /// 15 active.
    fn demand_of(lines: &[(&str, &str, i64)], share: f64) -> HashMap<String, ProductDemand> {
        let (mut halves, recency) = ([0, 1].map(|_| Products::default()), RECENCY);
        let ids: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.0).collect();
        let of_customer = |products: &mut Products, id: &str| {
            let own = lines.iter().filter(|line| line.0 == id);
            let mut own: Vec<Line> =
                own.map(|(_, product, at)| Line { product: products.number(product), at: *at }).collect();
            own.sort_unstable_by_key(|line| line.product);
            own
        };
        for (number, id) in ids.iter().enumerate() {
            let products = &mut halves[number % 2];
            let own = of_customer(products, id);
            products.add(&own, recency);
        }
        let [mut all, other] = halves;
        all.merge(&other);
        let own: Vec<Vec<Line>> = ids.iter().map(|id| of_customer(&mut all, id)).collect();
        let market = Market::new(all, recency, share);
        ids.into_iter().zip(own).map(|(id, own)| (id.to_owned(), market.demand(&own))).collect()
    }

    const RECENCY: Recency = Recency { late_from: 10, active_from: 15 };

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
