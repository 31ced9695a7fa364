//! Columns of lines of `transactions`, and the sort of the lines: by customer, order, product, time, and then
//! by all other columns, so that the order is total.

use std::cmp::Ordering;

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, StringArray},
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
};

use super::line_schema::TRANSACTION_COLUMNS;
use crate::pipeline::raw::transaction::LineValue;

/// Columns of staged transactions.
pub(super) struct LineColumns<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) customers: &'a StringArray,
    pub(super) orders: &'a StringArray,
    products: &'a StringArray,
    pub(super) quantities: &'a [i64],
    /// Prices or totals in ten-thousandths.
    money: &'a [i64],
    /// Whether `money` is the total of a line.
    totals: &'a BooleanArray,
    pub(super) times: &'a [i64],
    /// Number of the file of each line. It is not part of the order.
    pub(super) files: &'a [i32],
    texts: Vec<&'a StringArray>,
    /// Columns of `order_scope`.
    pub(super) scope: Vec<&'a StringArray>,
}

/// Sort key of a line. It holds the prefixes of its texts, so that most comparisons do not read the columns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LineKey {
    order: Prefix,
    product: Prefix,
    /// Index of the customer in the partition.
    pub(super) rank: u32,
    pub(super) row: u32,
}

/// First bytes of a text and its length, as a number that sorts like the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix(u128);

impl Prefix {
    const BYTES: usize = 15;

    fn of(text: &str) -> Self {
        let (text, mut bytes) = (text.as_bytes(), [0; 16]);
        let length = text.len().min(Self::BYTES);
        bytes[..length].copy_from_slice(&text[..length]);
        // The length decides between texts that differ only in trailing NULs.
        bytes[Self::BYTES] = u8::try_from(text.len()).unwrap_or(u8::MAX).min(16);
        Self(u128::from_be_bytes(bytes))
    }

    /// Returns whether the prefix holds the whole text.
    fn is_whole(self) -> bool {
        self.0 & 0xff < 16
    }
}

impl<'a> LineColumns<'a> {
    /// Splits `batch` into columns. `scope` holds the indexes of the columns of `order_scope` among the
    /// texts.
    pub(super) fn new(batch: &'a RecordBatch, scope: &[usize]) -> Self {
        let texts: Vec<&StringArray> =
            batch.columns()[TRANSACTION_COLUMNS..].iter().map(AsArray::as_string).collect();
        Self {
            batch,
            customers: batch.column(0).as_string(),
            orders: batch.column(1).as_string(),
            products: batch.column(2).as_string(),
            quantities: batch.column(3).as_primitive::<Int64Type>().values(),
            money: batch.column(4).as_primitive::<Int64Type>().values(),
            times: batch.column(5).as_primitive::<TimestampMicrosecondType>().values(),
            files: batch.column(6).as_primitive::<Int32Type>().values(),
            totals: batch.column(7).as_boolean(),
            scope: scope.iter().map(|at| texts[*at]).collect(),
            texts,
        }
    }

    /// Returns quantity and money of the line at `row`.
    pub(super) fn value(&self, row: usize) -> LineValue {
        LineValue { quantity: self.quantities[row], money: self.money[row], is_total: self.totals.value(row) }
    }

    /// Returns the lines until `as_of`, sorted. `ranks` holds the index of each line's customer, `customers`
    /// is the number of customers.
    pub(super) fn sorted(&self, ranks: &[u32], customers: usize, as_of: i64) -> Vec<LineKey> {
        // A counting sort by customer leaves only the few lines of each customer to sort.
        let kept =
            || (0_u32..).zip(ranks).zip(self.times).filter(|(_, time)| **time <= as_of).map(|(line, _)| line);
        let mut starts = vec![0_usize; customers + 1];
        kept().for_each(|(_, rank)| starts[*rank as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut keys = vec![LineKey::default(); starts[customers]];
        let mut next = starts.clone();
        for (row, rank) in kept() {
            let place = &mut next[*rank as usize];
            let at = row as usize;
            let (order, product) = (Prefix::of(self.orders.value(at)), Prefix::of(self.products.value(at)));
            keys[*place] = LineKey { order, product, rank: *rank, row };
            *place += 1;
        }
        for bounds in starts.windows(2) {
            // The runs are sorted, and a stable sort merges them.
            keys[bounds[0]..bounds[1]].sort_by(|a, b| self.compare(a, b));
        }
        keys
    }

    /// Compares two lines of one customer. Only lines with equal values in all columns are equal.
    pub(super) fn compare(&self, a: &LineKey, b: &LineKey) -> Ordering {
        self.compare_orders(a, b).then_with(|| self.compare_products(a, b)).then_with(|| {
            let (row, other) = (a.row as usize, b.row as usize);
            (self.times[row], self.quantities[row], self.money[row], self.totals.value(row))
                .cmp(&(
                    self.times[other],
                    self.quantities[other],
                    self.money[other],
                    self.totals.value(other),
                ))
                .then_with(|| compare_texts(&self.texts, a, b))
        })
    }

    /// Compares by order id and the columns of `order_scope`.
    pub(super) fn compare_orders(&self, a: &LineKey, b: &LineKey) -> Ordering {
        compare(self.orders, (a.order, a.row), (b.order, b.row))
            .then_with(|| compare_texts(&self.scope, a, b))
    }

    /// Compares by product id.
    pub(super) fn compare_products(&self, a: &LineKey, b: &LineKey) -> Ordering {
        compare(self.products, (a.product, a.row), (b.product, b.row))
    }
}

fn compare_texts(columns: &[&StringArray], a: &LineKey, b: &LineKey) -> Ordering {
    let (a, b) = (a.row as usize, b.row as usize);
    let text = |texts: &StringArray| {
        texts.is_valid(a).cmp(&texts.is_valid(b)).then_with(|| texts.value(a).cmp(texts.value(b)))
    };
    columns.iter().map(|texts| text(texts)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare(texts: &StringArray, a: (Prefix, u32), b: (Prefix, u32)) -> Ordering {
    match a.0.cmp(&b.0) {
        Ordering::Equal if !a.0.is_whole() => texts.value(a.1 as usize).cmp(texts.value(b.1 as usize)),
        order => order,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prefixes_sort_like_their_texts(a in "[a\0ü]{0,18}", b in "[a\0ü]{0,18}") {
            let (left, right) = (Prefix::of(&a), Prefix::of(&b));
            if left != right {
                prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            } else if left.is_whole() {
                prop_assert_eq!(a, b);
            }
        }
    }
}
