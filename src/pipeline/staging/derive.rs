//! From the spilled lines of one partition to the tables that views see: cut at `as_of`, sorted by
//! customer, with one row an order in `orders`, one a return in `returns`, and one a known customer in
//! `customers`.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, RecordBatch, StringArray, UInt32Array},
    compute::take_record_batch,
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
};

use super::{
    guests::Guests,
    spill::{self, INTERACTION_COLUMNS, SpillFile, TRANSACTION_COLUMNS},
    staging, time_type,
};
use crate::pipeline::raw::{
    RawError, Table, TableSpec,
    check::Effect,
    value::{PRICE_DIGITS, PRICE_SCALE},
};

mod customers;
mod orders;
mod sort;
mod write;

pub(crate) use customers::{ExtraColumn, extra_columns};
use orders::Orders;
use sort::{LineColumns, LineKey};
pub(crate) use write::StagedFile;
use write::TableWriter;

/// DECIMAL(38,4)
pub(crate) const MONEY: DataType = DataType::Decimal128(38, 4);
const PRICE: DataType = DataType::Decimal128(PRICE_DIGITS, PRICE_SCALE);

/// What one partition is derived from.
#[derive(Debug)]
pub(crate) struct Partition<'a> {
    pub(crate) number: usize,
    /// In microseconds, inclusive.
    pub(crate) as_of: i64,
    pub(crate) specs: &'a BTreeMap<Table, TableSpec>,
    pub(crate) spills: &'a BTreeMap<Table, Vec<SpillFile>>,
    /// Whether its lines are read; else it is empty.
    pub(crate) filled: bool,
    pub(crate) extras: &'a [ExtraColumn],
    pub(crate) has_created_at: bool,
    /// Lines without a customer, by a hash of their order.
    pub(crate) guests: &'a HashMap<u64, Guests>,
    pub(crate) scratch: &'a Path,
}

/// What became of a partition's lines, by table and fate, and the tables derived.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    pub(crate) fates: BTreeMap<(Table, &'static str), u64>,
    /// The sums of the amounts of `transactions` by fate, in ten-thousandths.
    pub(crate) amounts: BTreeMap<&'static str, i128>,
    pub(crate) duplicates: BTreeMap<Table, u64>,
    pub(crate) noticed: Noticed,
    pub(crate) tables: BTreeMap<&'static str, StagedFile>,
}

/// Observations that may point to mistakes in the raw data.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// Lines that equal a line of another file, and the sum of their amounts.
    pub(crate) overlapping: BTreeMap<Table, (u64, i128)>,
    /// The hashes of orders that have lines without a customer too.
    pub(crate) guest_orders: Vec<u64>,
    /// Items of lines that are neither purchase nor return.
    pub(crate) items_without_effect: u64,
    /// Order ids that stand for several orders, and these orders.
    pub(crate) divided_ids: u64,
    pub(crate) divided_orders: u64,
    pub(crate) orders: u64,
    /// Orders whose lines lie more than a day apart.
    pub(crate) long_orders: u64,
    /// The customer of the most lines of `transactions`.
    pub(crate) largest: Option<(u64, String)>,
}

impl Noticed {
    /// Adds what was noticed in another partition.
    pub(crate) fn add(&mut self, other: Self) {
        for (table, (lines, amount)) in other.overlapping {
            let all = self.overlapping.entry(table).or_default();
            *all = (all.0 + lines, all.1 + amount);
        }
        self.guest_orders.extend(other.guest_orders);
        self.items_without_effect += other.items_without_effect;
        self.divided_ids += other.divided_ids;
        self.divided_orders += other.divided_orders;
        self.orders += other.orders;
        self.long_orders += other.long_orders;
        self.largest = self.largest.take().max(other.largest);
    }
}

impl Derived {
    fn count(&mut self, table: Table, fate: &'static str, lines: usize) {
        *self.fates.entry((table, fate)).or_default() += lines as u64;
    }
}

/// Derives the tables of one partition.
pub(crate) fn derive(partition: &Partition<'_>) -> Result<Derived, RawError> {
    let mut derived = Derived::default();
    let transactions = partition.load(Table::Transactions)?;
    let interactions = partition.load(Table::Interactions)?;
    let profiles = partition.load(Table::Customers)?;
    let people = customers::People::new(&transactions, &interactions, &profiles, partition.as_of);
    derived.noticed.largest = people.largest();
    partition.transactions(&transactions, &people, &mut derived)?;
    drop(transactions);
    partition.interactions(&interactions, &people, &mut derived)?;
    drop(interactions);
    customers::write(partition, &profiles, &people, &mut derived)?;
    Ok(derived)
}

/// Looks at `runs` of equal lines: returns how many lines equal an earlier one, and calls `each` with a
/// line and how many of its equals are in other files than the file that has most of them.
fn equal_lines<'a, T: 'a>(
    runs: impl Iterator<Item = &'a [T]>,
    file: impl Fn(&T) -> i32,
    mut each: impl FnMut(&T, u64),
) -> u64 {
    let mut files: Vec<(i32, usize)> = Vec::new();
    let mut equal = 0;
    for run in runs.filter(|run| run.len() > 1) {
        equal += run.len() as u64 - 1;
        files.clear();
        for line in run {
            let file = file(line);
            match files.iter_mut().find(|(known, _)| *known == file) {
                Some((_, lines)) => *lines += 1,
                None => files.push((file, 1)),
            }
        }
        let most = files.iter().map(|(_, lines)| *lines).max().unwrap_or(0);
        if run.len() > most {
            each(&run[0], (run.len() - most) as u64);
        }
    }
    equal
}

impl Partition<'_> {
    fn load(&self, table: Table) -> Result<RecordBatch, RawError> {
        let Some(spec) = self.specs.get(&table) else {
            return Ok(RecordBatch::new_empty(Arc::new(Schema::empty())));
        };
        let files =
            self.spills.get(&table).filter(|_| self.filled).map_or(&[] as &[SpillFile], Vec::as_slice);
        spill::load(spec, files, self.number, self.scratch)
    }

    fn transactions(
        &self,
        lines: &RecordBatch,
        people: &customers::People,
        derived: &mut Derived,
    ) -> Result<(), RawError> {
        let Some(spec) = self.specs.get(&Table::Transactions) else { return Ok(()) };
        let lines = LineColumns::new(lines, &spec.order_scope);
        let sorted = lines.sorted(&people.transaction_ranks, people.count(), self.as_of);
        derived.count(Table::Transactions, "after_as_of", lines.batch.num_rows() - sorted.len());
        let same = |a: &LineKey, b: &LineKey| a.rank == b.rank && lines.compare(a, b) == Ordering::Equal;
        let found = derived.noticed.overlapping.entry(Table::Transactions).or_default();
        let equal = equal_lines(
            sorted.chunk_by(same),
            |line| lines.files[line.row as usize],
            |line, count| {
                let row = line.row as usize;
                let (quantity, price) = (lines.quantities[row], i128::from(lines.prices[row]));
                let amount = Effect::of(quantity, price, spec.free_orders).amount(quantity, price);
                *found = (found.0 + count, found.1 + amount * i128::from(count));
            },
        );
        derived.duplicates.insert(Table::Transactions, equal);
        self.write_lines(&lines, &sorted, spec, derived)?;
        Orders { partition: self, spec, lines: &lines }.write(&sorted, derived)
    }

    fn write_lines(
        &self,
        lines: &LineColumns<'_>,
        order: &[LineKey],
        spec: &TableSpec,
        derived: &mut Derived,
    ) -> Result<(), RawError> {
        let schema = transactions_schema(lines.batch.schema_ref());
        let mut writer = TableWriter::new(self, "transactions", schema)?;
        for rows in order.chunks(write::BATCH) {
            let rows: UInt32Array = rows.iter().map(|line| line.row).collect::<Vec<_>>().into();
            let sorted =
                take_record_batch(lines.batch, &rows).map_err(|error| staging(self.scratch, error))?;
            let quantities = sorted.column(3).as_primitive::<Int64Type>().values();
            let prices: Vec<i128> = sorted
                .column(4)
                .as_primitive::<Int64Type>()
                .values()
                .iter()
                .map(|price| i128::from(*price))
                .collect();
            let effects = quantities.iter().zip(&prices).map(|(quantity, price)| {
                let effect = Effect::of(*quantity, *price, spec.free_orders);
                (effect.amount(*quantity, *price), effect == Effect::Purchase)
            });
            let (amounts, purchases): (Vec<i128>, Vec<bool>) = effects.unzip();
            let mut columns = sorted.columns()[..TRANSACTION_COLUMNS - 1].to_vec();
            columns[4] = Arc::new(Decimal128Array::from(prices).with_data_type(PRICE));
            columns.insert(5, money(amounts));
            columns.push(Arc::new(BooleanArray::from(purchases)));
            columns.extend_from_slice(&sorted.columns()[TRANSACTION_COLUMNS..]);
            writer.write(columns)?;
        }
        writer.finish(derived)
    }

    fn interactions(
        &self,
        lines: &RecordBatch,
        people: &customers::People,
        derived: &mut Derived,
    ) -> Result<(), RawError> {
        let Some(spec) = self.specs.get(&Table::Interactions) else { return Ok(()) };
        let texts = spec.texts().iter().map(|column| Field::new(&column.name, DataType::Utf8, true));
        let fields = [
            Field::new("customer_id", DataType::Utf8, false),
            Field::new("event", DataType::Utf8, false),
            Field::new("at", time_type(), false),
            Field::new("product_id", DataType::Utf8, true),
        ];
        let schema = Arc::new(Schema::new(fields.into_iter().chain(texts).collect::<Vec<_>>()));
        let mut writer = TableWriter::new(self, "interactions", schema)?;
        let at = lines.column(2).as_primitive::<TimestampMicrosecondType>().values();
        let files = lines.column(4).as_primitive::<Int32Type>().values();
        let columns = [1, 3].into_iter().chain(INTERACTION_COLUMNS..lines.num_columns());
        let texts: Vec<&StringArray> = columns.map(|place| lines.column(place).as_string::<i32>()).collect();
        let ranks = &people.interaction_ranks;
        let compare = |a: &usize, b: &usize| {
            let text = |texts: &&StringArray| {
                let value = |row: usize| texts.is_valid(row).then(|| texts.value(row));
                value(*a).cmp(&value(*b))
            };
            let texts = || texts.iter().map(text).find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
            (ranks[*a], at[*a]).cmp(&(ranks[*b], at[*b])).then_with(texts)
        };
        let mut kept: Vec<usize> = (0..lines.num_rows()).filter(|row| at[*row] <= self.as_of).collect();
        kept.sort_unstable_by(compare);
        let found = derived.noticed.overlapping.entry(Table::Interactions).or_default();
        let runs = kept.chunk_by(|a, b| compare(a, b) == Ordering::Equal);
        let equal = equal_lines(runs, |row| files[*row], |_, count| found.0 += count);
        derived.duplicates.insert(Table::Interactions, equal);
        derived.count(Table::Interactions, "after_as_of", lines.num_rows() - kept.len());
        derived.count(Table::Interactions, "kept", kept.len());
        for rows in kept.chunks(write::BATCH) {
            let rows: UInt32Array = rows.iter().map(|row| u32::try_from(*row).ok()).collect();
            let sorted = take_record_batch(lines, &rows).map_err(|error| staging(self.scratch, error))?;
            let mut columns = sorted.columns().to_vec();
            columns.remove(INTERACTION_COLUMNS - 1);
            writer.write(columns)?;
        }
        writer.finish(derived)
    }
}

/// Returns the schema of `transactions` as views see it: without the number of the file, with `amount` and
/// `is_purchase`.
fn transactions_schema(spilled: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> = spilled.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[TRANSACTION_COLUMNS - 1] = Field::new("is_purchase", DataType::Boolean, false);
    fields[4] = Field::new("unit_price", PRICE, false);
    fields.insert(5, Field::new("amount", MONEY, false));
    Arc::new(Schema::new(fields))
}

fn money(values: Vec<i128>) -> ArrayRef {
    Arc::new(Decimal128Array::from(values).with_data_type(MONEY))
}
