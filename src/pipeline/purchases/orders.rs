//! The orders of a customer with their products and categories, from the staged transactions of a partition.

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, StringArray},
    datatypes::TimestampMicrosecondType,
};

use crate::pipeline::{
    raw::RawError,
    staging::{StagedFile, staging},
};

/// Number that stands for no product or category.
pub(super) const NONE: u32 = u32::MAX;

/// A purchase line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    /// Time in microseconds since 1970.
    pub(super) at: i64,
    /// Number of the product, or [`NONE`].
    pub(super) product: u32,
    /// Number of the category, or [`NONE`].
    pub(super) category: u32,
}

/// How lines are grouped to orders.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrderRules<'a> {
    /// Columns that are part of an order's identity.
    pub(super) scope: &'a [String],
    /// Maximum time from the first to the last line of an order in microseconds.
    pub(super) span: i64,
}

/// Columns of staged transactions that tell orders, products and categories.
const COLUMNS: [&str; 6] = ["customer_id", "order_id", "product_id", "ordered_at", "is_purchase", "category"];

/// Columns of a batch of staged transactions.
struct Columns {
    customers: StringArray,
    orders: StringArray,
    products: StringArray,
    times: Vec<i64>,
    is_purchase: BooleanArray,
    categories: Option<StringArray>,
    scope: Vec<StringArray>,
}

impl Columns {
    /// Returns `None` if `batch` lacks a column.
    fn of(batch: &RecordBatch, scope: &[String]) -> Option<Self> {
        let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>().cloned();
        Some(Self {
            customers: text("customer_id")?,
            orders: text("order_id")?,
            products: text("product_id")?,
            times: batch
                .column_by_name("ordered_at")?
                .as_primitive_opt::<TimestampMicrosecondType>()?
                .values()
                .to_vec(),
            is_purchase: batch.column_by_name("is_purchase")?.as_boolean_opt()?.clone(),
            categories: text("category"),
            scope: scope.iter().map(|name| text(name)).collect::<Option<_>>()?,
        })
    }

    /// Checks whether the line at `row` and the line `at` of `other` have one customer, one order id, and
    /// equal values in the columns of the scope.
    fn is_same_order(&self, row: usize, other: &Self, at: usize) -> bool {
        let value =
            |texts: &StringArray, row: usize| texts.is_valid(row).then(|| texts.value(row).to_owned());
        let mut scopes = self.scope.iter().zip(&other.scope);
        self.orders.value(row) == other.orders.value(at)
            && self.customers.value(row) == other.customers.value(at)
            && scopes.all(|(texts, others)| value(texts, row) == value(others, at))
    }
}

/// Receiver of the orders of a partition.
pub(super) trait OrderSink {
    /// Returns the number of a product.
    fn product(&mut self, id: &str) -> u32;
    /// Returns the number of a category.
    fn category(&mut self, name: &str) -> u32;
    /// Takes the lines of an order of `customer`.
    fn order(&mut self, customer: &str, lines: &[Line]);
}

/// Reads the orders of the staged `transactions`, which are sorted by customer and order.
pub(super) fn read(
    transactions: &StagedFile,
    rules: OrderRules<'_>,
    sink: &mut impl OrderSink,
) -> Result<(), RawError> {
    let failed = |error| staging(&transactions.path, error);
    let mut lines: Vec<Line> = Vec::new();
    let mut before: Option<(Columns, usize)> = None;
    let scope = rules.scope.iter().map(String::as_str);
    for batch in transactions.open_columns(COLUMNS.into_iter().chain(scope))? {
        let Some(columns) = Columns::of(&batch.map_err(failed)?, rules.scope) else { continue };
        let count = columns.customers.len();
        for row in 0..count {
            let is_same = match (row.checked_sub(1), &before) {
                (Some(last), _) => columns.is_same_order(row, &columns, last),
                (None, Some((before, last))) => columns.is_same_order(row, before, *last),
                (None, None) => true,
            };
            if !is_same {
                let customer = match (row.checked_sub(1), &before) {
                    (None, Some((before, last))) => before.customers.value(*last),
                    (last, _) => columns.customers.value(last.unwrap_or(0)),
                };
                divide(customer, &mut lines, rules.span, sink);
            }
            if columns.is_purchase.value(row) {
                let product = match columns.products.value(row) {
                    "" => NONE,
                    id => sink.product(id),
                };
                let category = columns.categories.as_ref().filter(|texts| texts.is_valid(row));
                let category = category.map_or(NONE, |texts| sink.category(texts.value(row)));
                lines.push(Line { at: columns.times[row], product, category });
            }
        }
        if let Some(last) = count.checked_sub(1) {
            before = Some((columns, last));
        }
    }
    if let Some((columns, last)) = &before {
        divide(columns.customers.value(*last), &mut lines, rules.span, sink);
    }
    Ok(())
}

/// Passes the orders of `lines`, which have one order id, to `sink`, and clears `lines`. The lines of an
/// order lie within `span` microseconds.
fn divide(customer: &str, lines: &mut Vec<Line>, span: i64, sink: &mut impl OrderSink) {
    lines.sort_unstable();
    let mut rest = lines.as_slice();
    while let Some(first) = rest.first() {
        let end = first.at.saturating_add(span);
        let (order, later) = rest.split_at(rest.partition_point(|line| line.at <= end));
        sink.order(customer, order);
        rest = later;
    }
    lines.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Collected(Vec<(String, Vec<i64>)>);

    impl OrderSink for Collected {
        fn product(&mut self, _: &str) -> u32 {
            NONE
        }

        fn category(&mut self, _: &str) -> u32 {
            NONE
        }

        fn order(&mut self, customer: &str, lines: &[Line]) {
            self.0.push((customer.to_owned(), lines.iter().map(|line| line.at).collect()));
        }
    }

    #[test]
    fn lines_of_one_order_id_far_apart_are_several_orders() {
        let mut orders = Collected::default();
        let mut lines: Vec<Line> =
            [41, 30, 40, 52].map(|at| Line { at, product: NONE, category: NONE }).to_vec();
        divide("a", &mut lines, 10, &mut orders);
        let expected = [vec![30, 40], vec![41], vec![52]].map(|times| ("a".to_owned(), times));
        assert_eq!(orders.0, expected);
        assert!(lines.is_empty());
    }
}
