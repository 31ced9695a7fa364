//! Orders and returns: groups of purchase lines, and of return lines.
//!
//! An order consists of a customer's lines with one order id and equal values in the columns of
//! `order_scope`, within `order_span` of the first line. The span is needed because tills reuse receipt
//! numbers, and back orders follow months later.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{ArrayRef, Int32Array, Int64Array, StringArray},
    datatypes::{DataType, Field, Schema},
};

use super::{
    partition::PartitionInput,
    tables::DerivedTables,
    write::{BATCH, TableWriter, money_array, quantities, quantity_type},
};
use crate::pipeline::{
    raw::{RawError, Table, TableSpec, transaction::Effect},
    staging::{
        MONEY,
        guests::order_hash,
        line_columns::{LineColumns, LineKey},
        time_type, times,
    },
};

/// Microseconds of a day. Purchases in person have all lines of an order within a day.
const DAY: i64 = 86_400_000_000;

/// Names that differ between `orders` and `returns`.
struct TableNames {
    table: &'static str,
    time: &'static str,
    amount: &'static str,
}

const ORDERS: TableNames = TableNames { table: "orders", time: "ordered_at", amount: "revenue" };
const RETURNS: TableNames = TableNames { table: "returns", time: "returned_at", amount: "amount" };

/// Writer of `orders` and `returns`.
pub(super) struct Orders<'a> {
    pub(super) partition: &'a PartitionInput<'a>,
    pub(super) spec: &'a TableSpec,
    pub(super) lines: &'a LineColumns<'a>,
}

impl Orders<'_> {
    /// Writes `orders` and `returns` in one pass over the lines in `order`.
    pub(super) fn write(&self, order: &[LineKey], derived: &mut DerivedTables) -> Result<(), RawError> {
        let (mut purchases, mut returns) = (Vec::new(), Vec::new());
        let same =
            |a: &LineKey, b: &LineKey| a.rank == b.rank && self.lines.compare_orders(a, b) == Ordering::Equal;
        let (mut bought, mut returned) = (Vec::new(), Vec::new());
        let mut sums = [(0_usize, 0_i128); Effect::FATES.len()];
        for run in order.chunk_by(same) {
            let mut found = [0; Effect::FATES.len()];
            for line in run {
                let (effect, amount) = self.effect(line);
                found[effect as usize] += 1;
                let (lines, sum) = &mut sums[effect as usize];
                (*lines, *sum) = (*lines + 1, *sum + amount);
            }
            // Most runs have purchases only and need no split.
            let (bought, returned) = if found[Effect::Purchase as usize] == run.len() {
                (run, &[] as &[LineKey])
            } else {
                self.split(run, &mut bought, &mut returned, derived);
                (bought.as_slice(), returned.as_slice())
            };
            let orders = self.divide(bought, &mut purchases);
            if orders > 1 {
                derived.observations.divided_ids += 1;
                derived.observations.divided_orders += orders;
            }
            self.divide(returned, &mut returns);
            self.note_guests(&run[0], derived);
        }
        for ((effect, fate), (lines, amount)) in Effect::FATES.into_iter().zip(sums) {
            derived.count(Table::Transactions, fate, lines);
            if lines > 0 && effect != Effect::Neither {
                *derived.amounts.entry(fate.into()).or_default() += amount;
            }
        }
        derived.observations.orders += purchases.len() as u64;
        derived.observations.long_orders +=
            purchases.iter().filter(|order| order.last_at - order.at > DAY).count() as u64;
        self.write_table(&purchases, &ORDERS, derived)?;
        self.write_table(&returns, &RETURNS, derived)
    }

    /// Returns the effect and the amount of `line`.
    fn effect(&self, line: &LineKey) -> (Effect, i128) {
        self.spec.effect(self.lines.value(line.row as usize))
    }

    /// Splits the lines of `run` into purchases, and returns and reductions.
    fn split(
        &self,
        run: &[LineKey],
        bought: &mut Vec<LineKey>,
        returned: &mut Vec<LineKey>,
        derived: &mut DerivedTables,
    ) {
        bought.clear();
        returned.clear();
        for line in run {
            match self.effect(line).0 {
                Effect::Purchase => bought.push(*line),
                Effect::Return | Effect::Reduction => returned.push(*line),
                Effect::Neither => {
                    let items = self.lines.quantities[line.row as usize].unsigned_abs();
                    derived.observations.items_without_effect += items / self.spec.quantity_unit();
                }
            }
        }
    }

    /// Divides `lines` of one order id by `order_span`, adds the documents and returns their number.
    fn divide(&self, lines: &[LineKey], documents: &mut Vec<Document>) -> u64 {
        let Some((first, rest)) = lines.split_first() else { return 0 };
        let time = |line: &LineKey| self.lines.times[line.row as usize];
        let (mut earliest, mut latest) = (time(first), time(first));
        for at in rest.iter().map(time) {
            (earliest, latest) = (earliest.min(at), latest.max(at));
        }
        if latest - earliest <= self.spec.order_span {
            documents.push(self.document(lines));
            return 1;
        }
        let mut lines = lines.to_vec();
        lines.sort_by_key(time);
        let (mut rest, mut count) = (lines.as_mut_slice(), 0);
        while !rest.is_empty() {
            let end = time(&rest[0]).saturating_add(self.spec.order_span);
            let (document, later) = rest.split_at_mut(rest.partition_point(|line| time(line) <= end));
            document.sort_by(|a, b| self.lines.compare(a, b));
            documents.push(self.document(document));
            (rest, count) = (later, count + 1);
        }
        count
    }

    /// Sums `lines`, which are sorted by product, to one document.
    fn document(&self, lines: &[LineKey]) -> Document {
        let mut document =
            Document { first: lines[0].row as usize, at: i64::MAX, last_at: i64::MIN, ..Document::default() };
        let other = |pair: &[LineKey]| self.lines.compare_products(&pair[0], &pair[1]) != Ordering::Equal;
        document.products =
            1 + i64::try_from(lines.windows(2).filter(|pair| other(pair)).count()).unwrap_or(i64::MAX);
        for line in lines {
            let row = line.row as usize;
            let quantity = self.lines.quantities[row].abs();
            document.at = document.at.min(self.lines.times[row]);
            document.last_at = document.last_at.max(self.lines.times[row]);
            document.items += i128::from(quantity);
            document.amount += self.spec.magnitude(self.lines.value(row));
        }
        document
    }

    /// Notes the order of `line` if it also has guest lines.
    fn note_guests(&self, line: &LineKey, derived: &mut DerivedTables) {
        if self.partition.guests.is_empty() {
            return;
        }
        let row = line.row as usize;
        let order =
            order_hash(self.lines.orders.value(row), self.lines.scope.iter().map(|texts| texts.value(row)));
        if self.partition.guests.contains_key(&order) {
            derived.observations.guest_orders.push(order);
        }
    }

    fn write_table(
        &self,
        documents: &[Document],
        names: &TableNames,
        derived: &mut DerivedTables,
    ) -> Result<(), RawError> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("customer_id", DataType::Utf8, false),
            Field::new("order_id", DataType::Utf8, false),
            Field::new(names.time, time_type(), false),
            Field::new("last_line_at", time_type(), false),
            Field::new("weekday", DataType::Int32, false),
            Field::new("hour", DataType::Int32, false),
            Field::new("items", quantity_type(self.spec), false),
            Field::new("products", DataType::Int64, false),
            Field::new(names.amount, MONEY, false),
        ]));
        let mut writer = TableWriter::new(self.partition, names.table, schema)?;
        for documents in documents.chunks(BATCH) {
            let text = |texts: &StringArray| -> ArrayRef {
                Arc::new(StringArray::from_iter_values(
                    documents.iter().map(|document| texts.value(document.first)),
                ))
            };
            let clock = |document: &Document| self.spec.times.weekday_and_hour(document.at);
            let (weekdays, hours): (Vec<i32>, Vec<i32>) = documents.iter().map(clock).unzip();
            writer.write(vec![
                text(self.lines.customers),
                text(self.lines.orders),
                Arc::new(times(documents.iter().map(|document| document.at).collect())),
                Arc::new(times(documents.iter().map(|document| document.last_at).collect())),
                Arc::new(Int32Array::from(weekdays)),
                Arc::new(Int32Array::from(hours)),
                quantities(self.spec, documents.iter().map(|document| document.items)),
                Arc::new(Int64Array::from_iter_values(documents.iter().map(|document| document.products))),
                money_array(documents.iter().map(|document| document.amount).collect()),
            ])?;
        }
        writer.finish(derived)
    }
}

/// An order or a return.
#[derive(Debug, Default)]
struct Document {
    /// Row of one of its lines.
    first: usize,
    /// Time of the first line, in microseconds.
    at: i64,
    /// Time of the last line, in microseconds.
    last_at: i64,
    items: i128,
    /// Number of distinct products.
    products: i64,
    /// Sum of the amounts, in ten-thousandths.
    amount: i128,
}
