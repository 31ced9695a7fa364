//! Reads one partition of the staging as purchases, with partition-local numbers for products and countries.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};

use super::{
    LogOptions,
    numbering::Numbering,
    product_texts::ProductTexts,
    purchase::{NEVER, NONE, PartitionPurchases, Purchase},
};
use crate::pipeline::{
    exclude_patterns::ExcludePatterns,
    raw::RawError,
    staging::{StagedFile, staging},
};

/// A purchase line or return line with a price. The quantity of a return is negative.
#[derive(Debug, Clone, Copy)]
struct PricedLine {
    product: u32,
    order: u32,
    at: u32,
    quantity: i64,
}

impl PricedLine {
    fn purchase(&self, returned: u32) -> Purchase {
        let Self { product, order, at, .. } = *self;
        Purchase { product, order, at, returned }
    }
}

/// The purchases of one partition. Products and countries are numbered in the order of first appearance.
#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    pub(super) part: PartitionPurchases,
    /// Number of each product id; [`NONE`] for an excluded product.
    numbers: HashMap<String, u32>,
    /// Products by number.
    pub(super) products: Vec<ProductTexts>,
    /// Ids of excluded products.
    pub(super) excluded: BTreeSet<String>,
    pub(super) countries: Numbering,
    /// Lines of the current customer.
    lines: Vec<PricedLine>,
    /// Index of the first line of the current order id among `lines`.
    order_start: usize,
    /// Number of the current order.
    order: u32,
}

/// The columns of a batch of staged transactions.
struct TransactionColumns<'a> {
    customers: &'a StringArray,
    orders: &'a StringArray,
    products: &'a StringArray,
    quantities: Cow<'a, [i64]>,
    times: &'a [i64],
    amounts: &'a [i128],
    is_purchase: &'a BooleanArray,
    names: Option<&'a StringArray>,
    categories: Option<&'a StringArray>,
    /// Columns of `order_scope`.
    scope: Vec<&'a StringArray>,
}

/// Columns of staged transactions that purchases and orders are made of.
const COLUMNS: [&str; 9] = [
    "customer_id",
    "order_id",
    "product_id",
    "quantity",
    "ordered_at",
    "amount",
    "is_purchase",
    "product_name",
    "category",
];

impl<'a> TransactionColumns<'a> {
    /// Returns `None` if `batch` lacks a column.
    fn of(batch: &'a RecordBatch, order_scope: &[String]) -> Option<Self> {
        Some(Self {
            customers: text_column(batch, "customer_id")?,
            orders: text_column(batch, "order_id")?,
            products: text_column(batch, "product_id")?,
            quantities: quantities(batch.column_by_name("quantity")?),
            times: batch.column_by_name("ordered_at")?.as_primitive::<TimestampMicrosecondType>().values(),
            amounts: batch.column_by_name("amount")?.as_primitive::<Decimal128Type>().values(),
            is_purchase: batch.column_by_name("is_purchase")?.as_boolean(),
            names: text_column(batch, "product_name"),
            categories: text_column(batch, "category"),
            scope: order_scope.iter().map(|name| text_column(batch, name)).collect::<Option<_>>()?,
        })
    }

    /// Returns whether the line at `row` and the line `other` of the same customer have one order id, and
    /// equal values in the columns of `order_scope`.
    fn is_same_order(&self, row: usize, other: (&Self, usize)) -> bool {
        let (others, at) = other;
        let mut scopes = self.scope.iter().zip(&others.scope);
        self.orders.value(row) == others.orders.value(at)
            && scopes.all(|(texts, others)| text_at(Some(texts), row) == text_at(Some(others), at))
    }

    /// Returns the quantity at `row`, negative for a return; `None` for other lines.
    fn quantity(&self, row: usize) -> Option<i64> {
        let quantity = self.quantities[row].abs();
        // A discount has a negative amount but returns no product.
        match (self.is_purchase.value(row), self.quantities[row] < 0 && self.amounts[row] < 0) {
            (true, _) => Some(quantity),
            (false, true) => Some(-quantity),
            (false, false) => None,
        }
    }
}

/// Returns quantities as whole numbers; decimal ones in their smallest unit.
fn quantities(column: &ArrayRef) -> Cow<'_, [i64]> {
    if let Some(whole) = column.as_primitive_opt::<Int64Type>() {
        return Cow::Borrowed(whole.values());
    }
    let units = column.as_primitive::<Decimal128Type>().values();
    units.iter().map(|units| i64::try_from(*units).unwrap_or(i64::MAX)).collect()
}

pub(super) fn text_column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StringArray> {
    batch.column_by_name(name)?.as_string_opt::<i32>()
}

/// Returns the text at `row`; `None` without the column or for null.
pub(super) fn text_at(column: Option<&StringArray>, row: usize) -> Option<&str> {
    let texts = column?;
    if texts.is_valid(row) { Some(texts.value(row)) } else { None }
}

impl PartitionLog {
    /// Reads the staged customers and transactions of a partition. Leaves out the products and attributes
    /// that `options` exclude.
    ///
    /// # Errors
    /// Fails if a staged file cannot be read.
    pub(super) fn read(
        customers: &StagedFile,
        transactions: &StagedFile,
        options: LogOptions<'_>,
    ) -> Result<Self, RawError> {
        let mut log = Self::default();
        for batch in customers.open_columns(std::iter::once("customer_id").chain(options.country_column))? {
            log.add_customers(&batch.map_err(|error| staging(&customers.path, error))?, options);
        }
        let mut before = None;
        let scope = options.order_scope.iter().map(String::as_str);
        for batch in transactions.open_columns(COLUMNS.into_iter().chain(scope))? {
            let batch = batch.map_err(|error| staging(&transactions.path, error))?;
            log.add_transactions(&batch, before.as_ref(), options);
            before = Some(batch);
        }
        while log.part.ends.len() < log.part.ids.len() {
            log.end_customer(options.order_span);
        }
        Ok(log)
    }

    fn add_customers(&mut self, batch: &RecordBatch, options: LogOptions<'_>) {
        let countries = options.country_column.and_then(|name| text_column(batch, name));
        for (row, id) in batch.column(0).as_string::<i32>().iter().enumerate() {
            self.part.ids.push(id.unwrap_or_default().to_owned());
            self.part.categories.push(NONE);
            let country = text_at(countries, row);
            self.part.countries.push(country.map_or(NONE, |country| self.countries.number(country)));
        }
    }

    /// Adds the lines of `batch`, which are sorted by customer and order and continue those of `before`.
    fn add_transactions(
        &mut self,
        batch: &RecordBatch,
        before: Option<&RecordBatch>,
        options: LogOptions<'_>,
    ) {
        let Some(columns) = TransactionColumns::of(batch, options.order_scope) else { return };
        let before = before.and_then(|before| {
            Some((TransactionColumns::of(before, options.order_scope)?, before.num_rows().checked_sub(1)?))
        });
        for row in 0..batch.num_rows() {
            let customer = columns.customers.value(row);
            while self.part.ids.get(self.part.ends.len()).is_some_and(|id| id.as_str() < customer) {
                self.end_customer(options.order_span);
            }
            let is_same_order = match (row.checked_sub(1), &before) {
                (Some(last), _) => columns.is_same_order(row, (&columns, last)),
                (None, Some((before, last))) => columns.is_same_order(row, (before, *last)),
                (None, None) => true,
            };
            if !is_same_order {
                self.end_orders(options.order_span);
            }
            let Some(quantity) = columns.quantity(row) else { continue };
            if columns.products.value(row).is_empty() {
                continue;
            }
            let product = self.product_number(columns.products.value(row), options.exclude);
            if product == NONE {
                continue;
            }
            if quantity > 0 {
                let texts = &mut self.products[product as usize];
                if let Some(name) = text_at(columns.names, row) {
                    texts.names.add(name, 1);
                }
                if let Some(category) = text_at(columns.categories, row) {
                    texts.categories.add(category, 1);
                }
            }
            let at = u32::try_from(columns.times[row].div_euclid(1_000_000)).unwrap_or(0);
            self.lines.push(PricedLine { product, order: 0, at, quantity });
        }
    }

    /// Returns the number of the product `id`, or [`NONE`] if it is excluded.
    fn product_number(&mut self, id: &str, exclude: &ExcludePatterns) -> u32 {
        if let Some(number) = self.numbers.get(id) {
            return *number;
        }
        let number = if exclude.matches(id) {
            self.excluded.insert(id.to_owned());
            NONE
        } else {
            self.products.push(ProductTexts { id: id.to_owned(), ..ProductTexts::default() });
            u32::try_from(self.products.len() - 1).unwrap_or(NONE)
        };
        self.numbers.insert(id.to_owned(), number);
        number
    }

    /// Numbers the orders of the lines since the last call, which share an order id. The lines of an order
    /// lie within `span` seconds.
    fn end_orders(&mut self, span: u32) {
        let lines = &mut self.lines[self.order_start..];
        let times = || lines.iter().map(|line| line.at);
        self.order += 1;
        if times().max().zip(times().min()).is_some_and(|(latest, earliest)| latest - earliest > span) {
            lines.sort_unstable_by_key(|line| line.at);
            let mut start = lines[0].at;
            for line in lines {
                if line.at - start > span {
                    (start, self.order) = (line.at, self.order + 1);
                }
                line.order = self.order;
            }
        } else {
            for line in lines {
                line.order = self.order;
            }
        }
        self.order_start = self.lines.len();
    }

    /// Converts the lines of the current customer to purchases.
    fn end_customer(&mut self, order_span: u32) {
        self.end_orders(order_span);
        settle(&mut self.lines, &mut self.part.purchases);
        self.lines.clear();
        self.order_start = 0;
        self.part.ends.push(u32::try_from(self.part.purchases.len()).unwrap_or(u32::MAX));
    }
}

/// Appends one purchase for each product and order of a customer. A return reduces the quantity of the latest
/// earlier purchases; a return without any is appended as a purchase that never holds.
fn settle(lines: &mut [PricedLine], purchases: &mut Vec<Purchase>) {
    lines.sort_unstable_by_key(|line| (line.product, line.at, line.order, line.quantity));
    // Purchases of the product that are not fully returned: index and remaining quantity.
    let mut open: Vec<(usize, u64)> = Vec::new();
    for of_product in lines.chunk_by(|a, b| a.product == b.product) {
        open.clear();
        let start = purchases.len();
        for line in of_product {
            let mut quantity = line.quantity.unsigned_abs();
            if line.quantity > 0 {
                match open.last_mut() {
                    Some((place, left)) if purchases[*place].order == line.order => {
                        *left = left.saturating_add(quantity);
                    }
                    _ => {
                        open.push((purchases.len(), quantity));
                        purchases.push(line.purchase(NEVER));
                    }
                }
                continue;
            }
            if purchases.len() == start {
                purchases.push(line.purchase(line.at));
            }
            while quantity > 0 {
                let Some((place, left)) = open.last_mut() else { break };
                let taken = quantity.min(*left);
                (*left, quantity) = (*left - taken, quantity - taken);
                if *left == 0 {
                    purchases[*place].returned = line.at;
                    open.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, TimestampMicrosecondArray};

    use super::{super::CustomerPurchases, *};

    #[test]
    fn order_scope_is_part_of_the_identity_of_an_order() {
        let texts = |values: &[&str]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
        let batch = |store: &[&str]| {
            let count = store.len();
            let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_000_000; count]));
            RecordBatch::try_from_iter([
                ("customer_id", texts(&vec!["a"; count])),
                ("order_id", texts(&vec!["1"; count])),
                ("product_id", texts(&vec!["p"; count])),
                ("quantity", Arc::new(Int64Array::from(vec![1; count]))),
                ("ordered_at", times),
                ("amount", Arc::new(Decimal128Array::from(vec![1_i128; count]))),
                ("is_purchase", Arc::new(BooleanArray::from(vec![true; count]))),
                ("store", texts(store)),
            ])
            .expect("a batch")
        };
        let orders = |scope: &[String]| {
            let options = LogOptions {
                exclude: &ExcludePatterns::new(&[]),
                category_column: None,
                country_column: None,
                order_scope: scope,
                order_span: 10,
                threads: 1,
            };
            let mut log = PartitionLog::default();
            log.part.ids.push("a".to_owned());
            let (first, second) = (batch(&["York", "York", "Bath"]), batch(&["Bath", "Ayr"]));
            log.add_transactions(&first, None, options);
            log.add_transactions(&second, Some(&first), options);
            log.end_orders(options.order_span);
            log.lines.iter().map(|line| line.order).collect::<Vec<_>>()
        };
        assert_eq!(orders(&[]), [1; 5]);
        assert_eq!(orders(&["store".to_owned()]), [1, 1, 2, 2, 3]);
    }

    #[test]
    fn lines_of_one_order_id_far_apart_are_several_orders() {
        let mut log = PartitionLog::default();
        let line = |at| PricedLine { product: 1, order: 0, at, quantity: 1 };
        let mut orders = |times: &[u32]| {
            log.lines.extend(times.iter().copied().map(line));
            let start = log.order_start;
            log.end_orders(10);
            log.lines[start..].iter().map(|line| (line.at, line.order)).collect::<Vec<_>>()
        };
        assert_eq!(orders(&[30, 25, 35]), [(30, 1), (25, 1), (35, 1)]);
        assert_eq!(orders(&[41, 30, 40, 52]), [(30, 2), (40, 2), (41, 3), (52, 4)]);
        assert_eq!(orders(&[7]), [(7, 5)]);
    }

    #[test]
    fn returned_purchases_hold_until_the_return() {
        let line = |product, order, at, quantity| PricedLine { product, order, at, quantity };
        let mut lines = [
            line(1, 1, 10, 5),
            line(1, 1, 10, 1),
            line(1, 2, 20, 4),
            // Returns four of the second order and one of the first.
            line(1, 3, 30, -5),
            line(2, 1, 10, 1),
            // Returns more than was purchased, and before the purchase.
            line(3, 1, 5, -9),
            line(3, 2, 10, 1),
        ];
        let mut purchases = Vec::new();
        settle(&mut lines, &mut purchases);
        let seen: Vec<_> = purchases.iter().map(|p| (p.product, p.order, p.at, p.returned)).collect();
        let expected =
            [(1, 1, 10, NEVER), (1, 2, 20, 30), (2, 1, 10, NEVER), (3, 1, 5, 5), (3, 2, 10, NEVER)];
        assert_eq!(seen, expected);
        assert!(!purchases[3].is_known() && !purchases[3].holds(5) && purchases[1].is_known());
        let customer = CustomerPurchases { id: "a", country: NONE, category: NONE, purchases: &purchases };
        let bought = |product, time| customer.had_bought(product, time);
        assert!(bought(1, 10) && bought(1, 99) && bought(3, 5) && bought(3, 9));
        assert!(!bought(1, 9) && !bought(3, 4) && !bought(4, 99) && !bought(0, 99));
        assert!(
            purchases[1].holds(20)
                && purchases[1].holds(29)
                && !purchases[1].holds(30)
                && !purchases[1].holds(19)
        );
    }
}
