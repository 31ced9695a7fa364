//! From the spilled lines of one partition to the tables that views see: cut at `as_of`, sorted by customer, with one row an
//! order in `orders`, one a return in `returns`, and one a known customer in `customers`.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
};

use super::{open, spill_schema, staging, time_type, times};
use crate::pipeline::raw::{RawError, Table, TableSpec};

mod customers;
mod sort;
mod write;

pub(crate) use customers::{ExtraColumn, extra_columns};
use sort::{LineColumns, LineKey};
pub(crate) use write::StagedFile;
use write::TableWriter;

/// DECIMAL(38,4)
pub(crate) const MONEY: DataType = DataType::Decimal128(38, 4);

/// What one partition is derived from.
#[derive(Debug)]
pub(crate) struct Partition<'a> {
    pub(crate) number: usize,
    /// In microseconds, inclusive.
    pub(crate) as_of: i64,
    pub(crate) specs: &'a BTreeMap<Table, TableSpec>,
    pub(crate) spills: BTreeMap<Table, Vec<PathBuf>>,
    pub(crate) extras: &'a [ExtraColumn],
    pub(crate) has_created_at: bool,
    pub(crate) scratch: &'a Path,
    /// Whether the spilled lines are needed once more.
    pub(crate) keep: bool,
}

/// What became of a partition's lines, by table and fate, and the tables derived.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    pub(crate) fates: BTreeMap<(Table, &'static str), u64>,
    pub(crate) duplicates: BTreeMap<Table, u64>,
    pub(crate) tables: BTreeMap<&'static str, StagedFile>,
}

impl Derived {
    fn count(&mut self, table: Table, fate: &'static str, lines: usize) {
        *self.fates.entry((table, fate)).or_default() += lines as u64;
    }
}

/// Derives the tables of one partition, and removes its spilled lines unless they are to be kept.
pub(crate) fn derive(partition: &Partition<'_>) -> Result<Derived, RawError> {
    let mut derived = Derived::default();
    let transactions = partition.load(Table::Transactions)?;
    let interactions = partition.load(Table::Interactions)?;
    let profiles = partition.load(Table::Customers)?;
    let people = customers::People::new(&transactions, &interactions, &profiles, partition.as_of);
    partition.transactions(&transactions, &people, &mut derived)?;
    drop(transactions);
    partition.interactions(&interactions, &people, &mut derived)?;
    drop(interactions);
    customers::write(partition, &profiles, &people, &mut derived)?;
    for path in partition.spills.values().flatten().filter(|_| !partition.keep) {
        std::fs::remove_file(path).map_err(|error| staging(path, error))?;
    }
    Ok(derived)
}

impl Partition<'_> {
    fn load(&self, table: Table) -> Result<RecordBatch, RawError> {
        let Some(spec) = self.specs.get(&table) else { return Ok(RecordBatch::new_empty(Arc::new(Schema::empty()))) };
        let schema = spill_schema(spec);
        let mut batches = Vec::new();
        for path in self.spills.get(&table).into_iter().flatten() {
            for batch in open(path, None)? {
                batches.push(batch.map_err(|error| staging(path, error))?);
            }
        }
        concat_batches(&schema, &batches).map_err(|error| staging(self.scratch, error))
    }

    fn transactions(
        &self,
        lines: &RecordBatch,
        people: &customers::People,
        derived: &mut Derived,
    ) -> Result<(), RawError> {
        let lines = LineColumns::new(lines);
        let sorted = lines.sorted(&people.transaction_ranks, people.count(), self.as_of);
        derived.count(Table::Transactions, "after_as_of", lines.batch.num_rows() - sorted.len());
        let equal = sorted
            .windows(2)
            .filter(|pair| pair[0].rank == pair[1].rank && lines.compare(&pair[0], &pair[1]) == Ordering::Equal);
        derived.duplicates.insert(Table::Transactions, equal.count() as u64);
        self.write_lines(&lines, &sorted, derived)?;
        self.write_orders(&lines, &sorted, derived)
    }

    fn write_lines(&self, lines: &LineColumns<'_>, order: &[LineKey], derived: &mut Derived) -> Result<(), RawError> {
        let schema = transactions_schema(lines.batch.schema_ref());
        let mut writer = TableWriter::new(self, "transactions", schema)?;
        for rows in order.chunks(write::BATCH) {
            let rows: UInt32Array = rows.iter().map(|line| line.row).collect::<Vec<_>>().into();
            let sorted = take_record_batch(lines.batch, &rows).map_err(|error| staging(self.scratch, error))?;
            let quantities = sorted.column(3).as_primitive::<Int64Type>();
            let prices = sorted.column(4).as_primitive::<Decimal128Type>();
            let amounts = quantities.values().iter().zip(prices.values()).map(|(q, p)| i128::from(*q) * *p);
            let mut columns = sorted.columns().to_vec();
            columns.insert(5, money(amounts.collect()));
            writer.write(columns)?;
        }
        writer.finish(derived)
    }

    /// One pass over the sorted lines: a run of one customer and order id gives an order, a return, both or neither.
    fn write_orders(&self, lines: &LineColumns<'_>, order: &[LineKey], derived: &mut Derived) -> Result<(), RawError> {
        let mut purchases = Documents::default();
        let mut returns = Documents::default();
        let (mut purchase_lines, mut return_lines) = (0, 0);
        let same = |a: &LineKey, b: &LineKey| a.rank == b.rank && lines.compare_orders(a, b) == Ordering::Equal;
        for run in order.chunk_by(same) {
            let (mut bought, mut returned) = (Document::default(), Document::default());
            for line in run {
                let row = line.row as usize;
                let (quantity, price) = (lines.quantities[row], lines.prices[row]);
                let document = match (quantity.cmp(&0), price > 0) {
                    (Ordering::Greater, true) => &mut bought,
                    (Ordering::Less, true) => &mut returned,
                    _ => continue,
                };
                document.add(line, lines);
            }
            purchase_lines += bought.lines;
            return_lines += returned.lines;
            purchases.push(bought);
            returns.push(returned);
        }
        derived.count(Table::Transactions, "purchase", purchase_lines);
        derived.count(Table::Transactions, "return", return_lines);
        derived.count(Table::Transactions, "neither", order.len() - purchase_lines - return_lines);
        purchases.write(self, lines, ("orders", "ordered_at", "revenue"), derived)?;
        returns.write(self, lines, ("returns", "returned_at", "amount"), derived)
    }

    fn interactions(
        &self,
        lines: &RecordBatch,
        people: &customers::People,
        derived: &mut Derived,
    ) -> Result<(), RawError> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("customer_id", DataType::Utf8, false),
            Field::new("event", DataType::Utf8, false),
            Field::new("at", time_type(), false),
            Field::new("product_id", DataType::Utf8, true),
        ]));
        let mut writer = TableWriter::new(self, "interactions", schema)?;
        if lines.num_columns() > 0 {
            let (events, products) = (lines.column(1).as_string::<i32>(), lines.column(3).as_string::<i32>());
            let at = lines.column(2).as_primitive::<TimestampMicrosecondType>().values();
            let ranks = &people.interaction_ranks;
            let mut kept: Vec<usize> = (0..lines.num_rows()).filter(|row| at[*row] <= self.as_of).collect();
            let text = |texts: &StringArray, row: usize| texts.is_valid(row).then(|| texts.value(row).to_owned());
            kept.sort_unstable_by(|a, b| {
                (ranks[*a], at[*a], events.value(*a))
                    .cmp(&(ranks[*b], at[*b], events.value(*b)))
                    .then_with(|| text(products, *a).cmp(&text(products, *b)))
            });
            let equal = kept.windows(2).filter(|p| {
                let (a, b) = (p[0], p[1]);
                (ranks[a], at[a], events.value(a), text(products, a))
                    == (ranks[b], at[b], events.value(b), text(products, b))
            });
            derived.duplicates.insert(Table::Interactions, equal.count() as u64);
            derived.count(Table::Interactions, "after_as_of", lines.num_rows() - kept.len());
            derived.count(Table::Interactions, "kept", kept.len());
            for rows in kept.chunks(write::BATCH) {
                let rows: UInt32Array = rows.iter().map(|row| u32::try_from(*row).ok()).collect();
                let sorted = take_record_batch(lines, &rows).map_err(|error| staging(self.scratch, error))?;
                writer.write(sorted.columns().to_vec())?;
            }
        }
        writer.finish(derived)
    }
}

fn transactions_schema(spilled: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> = spilled.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.insert(5, Field::new("amount", MONEY, false));
    Arc::new(Schema::new(fields))
}

fn money(values: Vec<i128>) -> ArrayRef {
    Arc::new(Decimal128Array::from(values).with_data_type(MONEY))
}

/// The purchase lines, or the return lines, of one order id.
#[derive(Debug, Default)]
struct Document {
    lines: usize,
    first: usize,
    last: Option<LineKey>,
    at: i64,
    items: i64,
    products: i64,
    amount: i128,
}

impl Document {
    fn add(&mut self, line: &LineKey, lines: &LineColumns<'_>) {
        let row = line.row as usize;
        if self.lines == 0 {
            (self.first, self.at) = (row, lines.times[row]);
        }
        if self.last.is_none_or(|last| lines.compare_products(&last, line) != Ordering::Equal) {
            self.products += 1;
        }
        self.lines += 1;
        self.last = Some(*line);
        self.at = self.at.min(lines.times[row]);
        let quantity = lines.quantities[row];
        self.items = self.items.saturating_add(quantity.saturating_abs());
        self.amount += i128::from(quantity).abs() * lines.prices[row];
    }
}

/// Orders or returns, in the order of the lines.
#[derive(Debug, Default)]
struct Documents(Vec<Document>);

impl Documents {
    fn push(&mut self, document: Document) {
        if document.lines > 0 {
            self.0.push(document);
        }
    }

    fn write(
        self,
        partition: &Partition<'_>,
        lines: &LineColumns<'_>,
        (table, time, amount): (&'static str, &str, &str),
        derived: &mut Derived,
    ) -> Result<(), RawError> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("customer_id", DataType::Utf8, false),
            Field::new("order_id", DataType::Utf8, false),
            Field::new(time, time_type(), false),
            Field::new("weekday", DataType::Int32, false),
            Field::new("hour", DataType::Int32, false),
            Field::new("items", DataType::Int64, false),
            Field::new("products", DataType::Int64, false),
            Field::new(amount, MONEY, false),
        ]));
        let rule = partition.specs.get(&Table::Transactions).map(|spec| &spec.times);
        let mut writer = TableWriter::new(partition, table, schema)?;
        for documents in self.0.chunks(write::BATCH) {
            let text = |texts: &StringArray| -> ArrayRef {
                Arc::new(StringArray::from_iter_values(documents.iter().map(|document| texts.value(document.first))))
            };
            let clock = |at: i64| rule.map_or((1, 0), |rule| rule.weekday_and_hour(at));
            let (weekdays, hours): (Vec<i32>, Vec<i32>) = documents.iter().map(|document| clock(document.at)).unzip();
            writer.write(vec![
                text(lines.customers),
                text(lines.orders),
                Arc::new(times(documents.iter().map(|document| document.at).collect())),
                Arc::new(Int32Array::from(weekdays)),
                Arc::new(Int32Array::from(hours)),
                Arc::new(Int64Array::from_iter_values(documents.iter().map(|document| document.items))),
                Arc::new(Int64Array::from_iter_values(documents.iter().map(|document| document.products))),
                money(documents.iter().map(|document| document.amount).collect()),
            ])?;
        }
        writer.finish(derived)
    }
}
