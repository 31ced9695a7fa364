//! Reads one partition of the staging as purchases, with partition-local numbers for products and countries.

use std::collections::{BTreeSet, HashMap};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, StringArray},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};

use super::{
    super::exclude_patterns::ExcludePatterns,
    LogOptions,
    category_signals::CategorySignals,
    numbering::Numbering,
    product_texts::ProductTexts,
    purchase::{NEVER, NONE, PartitionPurchases, Purchase},
};
use crate::pipeline::{
    raw::RawError,
    staging::{derive::StagedFile, open, staging},
};

/// A purchase line or return line with a price. The quantity of a return is negative.
#[derive(Debug, Clone, Copy)]
struct PricedLine {
    product: u32,
    order: u32,
    at: u32,
    quantity: i64,
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
    pub(super) signals: CategorySignals,
    /// Lines of the current customer.
    lines: Vec<PricedLine>,
    /// Id and number of the current order.
    last_order: String,
    order: u32,
}

/// The columns of a batch of staged transactions.
struct TransactionColumns<'a> {
    customers: &'a StringArray,
    orders: &'a StringArray,
    products: &'a StringArray,
    quantities: &'a [i64],
    times: &'a [i64],
    amounts: &'a [i128],
    is_purchase: &'a BooleanArray,
    names: Option<&'a StringArray>,
    categories: Option<&'a StringArray>,
}

impl<'a> TransactionColumns<'a> {
    /// Returns `None` if `batch` lacks a column.
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let text = |at: usize| batch.column(at).as_string::<i32>();
        Some(Self {
            customers: text(0),
            orders: text(1),
            products: text(2),
            quantities: batch.column(3).as_primitive::<Int64Type>().values(),
            times: batch.column_by_name("ordered_at")?.as_primitive::<TimestampMicrosecondType>().values(),
            amounts: batch.column_by_name("amount")?.as_primitive::<Decimal128Type>().values(),
            is_purchase: batch.column_by_name("is_purchase")?.as_boolean(),
            names: text_column(batch, "product_name"),
            categories: text_column(batch, "category"),
        })
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

fn text_column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StringArray> {
    batch.column_by_name(name)?.as_string_opt::<i32>()
}

/// Returns the text at `row`; `None` without the column or for null.
fn text_at(column: Option<&StringArray>, row: usize) -> Option<&str> {
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
        for batch in open(&customers.path, None)? {
            log.add_customers(&batch.map_err(|error| staging(&customers.path, error))?, options);
        }
        for batch in open(&transactions.path, None)? {
            let batch = batch.map_err(|error| staging(&transactions.path, error))?;
            log.add_transactions(&batch, options.exclude);
        }
        while log.part.ends.len() < log.part.ids.len() {
            log.end_customer();
        }
        Ok(log)
    }

    /// Reads the staged interactions of the partition, which are sorted by customer and time.
    ///
    /// # Errors
    /// Fails if the staged file cannot be read.
    pub(super) fn read_interactions(&mut self, interactions: &StagedFile) -> Result<(), RawError> {
        let mut place = 0;
        for batch in open(&interactions.path, None)? {
            let batch = batch.map_err(|error| staging(&interactions.path, error))?;
            let columns = text_column(&batch, "customer_id").zip(text_column(&batch, "product_id"));
            let Some((customers, products)) = columns else { continue };
            for row in (0..batch.num_rows()).filter(|row| products.is_valid(*row)) {
                while self.part.ids.get(place).is_some_and(|id| id.as_str() < customers.value(row)) {
                    place += 1;
                }
                if self.part.ids.get(place).is_some_and(|id| id == customers.value(row)) {
                    self.signals.add_interaction(place, products.value(row));
                }
            }
        }
        Ok(())
    }

    fn add_customers(&mut self, batch: &RecordBatch, options: LogOptions<'_>) {
        let column = |name: Option<&str>| text_column(batch, name?);
        let (countries, categories) = (column(options.country_column), column(options.category_column));
        for (row, id) in batch.column(0).as_string::<i32>().iter().enumerate() {
            self.part.ids.push(id.unwrap_or_default().to_owned());
            self.signals.add_customer(text_at(categories, row));
            let country = text_at(countries, row);
            self.part.countries.push(country.map_or(NONE, |country| self.countries.number(country)));
        }
    }

    /// Adds lines, which are sorted by customer and order.
    fn add_transactions(&mut self, batch: &RecordBatch, exclude: &ExcludePatterns) {
        let Some(columns) = TransactionColumns::of(batch) else { return };
        for row in 0..batch.num_rows() {
            let customer = columns.customers.value(row);
            while self.part.ids.get(self.part.ends.len()).is_some_and(|id| id.as_str() < customer) {
                self.end_customer();
            }
            if self.last_order != columns.orders.value(row) {
                columns.orders.value(row).clone_into(&mut self.last_order);
                self.order += 1;
            }
            let Some(quantity) = columns.quantity(row) else { continue };
            if columns.products.value(row).is_empty() {
                continue;
            }
            let product = self.product_number(columns.products.value(row), exclude);
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
            self.lines.push(PricedLine { product, order: self.order, at, quantity });
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

    /// Converts the lines of the current customer to purchases.
    fn end_customer(&mut self) {
        settle(&mut self.lines, &mut self.part.purchases);
        self.lines.clear();
        self.part.ends.push(self.part.purchases.len());
    }
}

/// Appends one purchase for each product and order of a customer. A return reduces the quantity of the latest
/// earlier purchases.
fn settle(lines: &mut [PricedLine], purchases: &mut Vec<Purchase>) {
    lines.sort_unstable_by_key(|line| (line.product, line.at, line.order, line.quantity));
    // Purchases of the product that are not fully returned: index and remaining quantity.
    let mut open: Vec<(usize, u64)> = Vec::new();
    for of_product in lines.chunk_by(|a, b| a.product == b.product) {
        open.clear();
        for line in of_product {
            let mut quantity = line.quantity.unsigned_abs();
            if line.quantity > 0 {
                match open.last_mut() {
                    Some((place, left)) if purchases[*place].order == line.order => {
                        *left = left.saturating_add(quantity);
                    }
                    _ => {
                        open.push((purchases.len(), quantity));
                        let PricedLine { product, order, at, .. } = *line;
                        purchases.push(Purchase { product, order, at, returned: NEVER });
                    }
                }
                continue;
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
    use super::*;

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
        assert_eq!(seen, [(1, 1, 10, NEVER), (1, 2, 20, 30), (2, 1, 10, NEVER), (3, 2, 10, NEVER)]);
        assert!(
            purchases[1].holds(20)
                && purchases[1].holds(29)
                && !purchases[1].holds(30)
                && !purchases[1].holds(19)
        );
    }
}
