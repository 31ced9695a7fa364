//! Derivation of the tables that views read from the staged lines of one partition: cut at `as_of`, sorted
//! by customer.
//!
//! `transactions` and `interactions` have a row per line, `orders` a row per order, `returns` a row per
//! return, and `customers` a row per known customer.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, AsArray, BooleanArray, Decimal128Array, RecordBatch, StringArray, UInt32Array},
    compute::take_record_batch,
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimestampMicrosecondType},
};

pub(crate) use super::{MONEY, StagedFile};
use super::{
    line_columns::{LineColumns, LineKey},
    line_schema::{INTERACTION_COLUMNS, TRANSACTION_COLUMNS},
    staging, time_type,
};
use crate::pipeline::raw::{
    RawError, Table, TableSpec,
    transaction::Effect,
    value::{PRICE_DIGITS, PRICE_SCALE},
};

mod customers;
mod extras;
mod orders;
mod partition;
mod tables;
mod write;

use customers::PartitionCustomers;
pub(crate) use extras::{ExtraColumn, extra_columns};
use orders::Orders;
pub(crate) use partition::PartitionInput;
pub(crate) use tables::{DerivedTables, Observations, add_counts};
#[cfg(feature = "cluster")]
pub(crate) use write::file_name;
use write::{BATCH, TableWriter, money_array, quantities, quantity_type};

/// Type of unit prices.
const PRICE: DataType = DataType::Decimal128(PRICE_DIGITS, PRICE_SCALE);

/// Derives the tables of one partition.
pub(crate) fn derive(partition: &PartitionInput<'_>) -> Result<DerivedTables, RawError> {
    let mut derived = DerivedTables::default();
    let transactions = partition.load(Table::Transactions)?;
    let interactions = partition.load(Table::Interactions)?;
    let profiles = partition.load(Table::Customers)?;
    let customers = PartitionCustomers::new(&transactions, &interactions, &profiles, partition.as_of);
    derived.observations.largest = customers.largest();
    partition.write_transactions(&transactions, &customers, &mut derived)?;
    drop(transactions);
    partition.write_interactions(&interactions, &customers, &mut derived)?;
    drop(interactions);
    customers::write(partition, &profiles, &customers, &mut derived)?;
    Ok(derived)
}

/// Returns the number of lines in `runs` that equal an earlier line. Calls `each` for every run of several
/// files, with a line and the number of equal lines outside the file that holds most of the run.
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

impl PartitionInput<'_> {
    /// Writes `transactions`, `orders` and `returns`.
    fn write_transactions(
        &self,
        lines: &RecordBatch,
        customers: &PartitionCustomers,
        derived: &mut DerivedTables,
    ) -> Result<(), RawError> {
        let Some(spec) = self.specs.get(&Table::Transactions) else { return Ok(()) };
        let lines = LineColumns::new(lines, &spec.order_scope);
        let sorted = lines.sorted(&customers.transaction_ranks, customers.count(), self.as_of);
        derived.count(Table::Transactions, "after_as_of", lines.batch.num_rows() - sorted.len());
        let same = |a: &LineKey, b: &LineKey| a.rank == b.rank && lines.compare(a, b) == Ordering::Equal;
        let found = derived.observations.overlapping.entry(Table::Transactions).or_default();
        let equal = equal_lines(
            sorted.chunk_by(same),
            |line| lines.files[line.row as usize],
            |line, count| {
                let (_, amount) = spec.effect(lines.value(line.row as usize));
                *found = (found.0 + count, found.1 + amount * i128::from(count));
            },
        );
        derived.duplicates.insert(Table::Transactions, equal);
        self.write_lines(&lines, &sorted, spec, derived)?;
        Orders { partition: self, spec, lines: &lines }.write(&sorted, derived)
    }

    /// Writes the rows of `transactions`, in the order of `order`.
    fn write_lines(
        &self,
        lines: &LineColumns<'_>,
        order: &[LineKey],
        spec: &TableSpec,
        derived: &mut DerivedTables,
    ) -> Result<(), RawError> {
        let schema = transactions_schema(lines.batch.schema_ref(), spec);
        let mut writer = TableWriter::new(self, "transactions", schema)?;
        for rows in order.chunks(BATCH) {
            let rows: UInt32Array = rows.iter().map(|line| line.row).collect::<Vec<_>>().into();
            let sorted =
                take_record_batch(lines.batch, &rows).map_err(|error| staging(self.scratch, error))?;
            let sorted_lines = LineColumns::new(&sorted, &[]);
            let values = || (0..sorted.num_rows()).map(|row| sorted_lines.value(row));
            let (amounts, purchases): (Vec<i128>, Vec<bool>) = values()
                .map(|value| {
                    let (effect, amount) = spec.effect(value);
                    (amount, effect == Effect::Purchase)
                })
                .unzip();
            let prices: Decimal128Array = values().map(|value| spec.unit_price(value)).collect();
            let mut columns = sorted.columns()[..TRANSACTION_COLUMNS - 2].to_vec();
            if spec.decimal_quantities {
                columns[3] = quantities(spec, values().map(|value| value.quantity.into()));
            }
            columns[4] = Arc::new(prices.with_data_type(PRICE));
            columns.insert(5, money_array(amounts));
            columns.push(Arc::new(BooleanArray::from(purchases)));
            columns.extend_from_slice(&sorted.columns()[TRANSACTION_COLUMNS..]);
            writer.write(columns)?;
        }
        writer.finish(derived)
    }

    /// Writes `interactions`, sorted by customer, time and then all texts.
    fn write_interactions(
        &self,
        lines: &RecordBatch,
        customers: &PartitionCustomers,
        derived: &mut DerivedTables,
    ) -> Result<(), RawError> {
        let Some(spec) = self.specs.get(&Table::Interactions) else { return Ok(()) };
        let text_fields = spec.texts().iter().map(|column| Field::new(&column.name, DataType::Utf8, true));
        let fields = [
            Field::new("customer_id", DataType::Utf8, false),
            Field::new("event", DataType::Utf8, false),
            Field::new("at", time_type(), false),
            Field::new("product_id", DataType::Utf8, true),
        ];
        let schema = Arc::new(Schema::new(fields.into_iter().chain(text_fields).collect::<Vec<_>>()));
        let mut writer = TableWriter::new(self, "interactions", schema)?;
        let at = lines.column(2).as_primitive::<TimestampMicrosecondType>().values();
        let files = lines.column(4).as_primitive::<Int32Type>().values();
        let columns = [1, 3].into_iter().chain(INTERACTION_COLUMNS..lines.num_columns());
        let texts: Vec<&StringArray> = columns.map(|place| lines.column(place).as_string::<i32>()).collect();
        let ranks = &customers.interaction_ranks;
        let compare = |a: &usize, b: &usize| {
            let text = |texts: &&StringArray| {
                let value = |row: usize| texts.is_valid(row).then(|| texts.value(row));
                value(*a).cmp(&value(*b))
            };
            let by_texts = || texts.iter().map(text).find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
            (ranks[*a], at[*a]).cmp(&(ranks[*b], at[*b])).then_with(by_texts)
        };
        let mut kept: Vec<usize> = (0..lines.num_rows()).filter(|row| at[*row] <= self.as_of).collect();
        kept.sort_unstable_by(compare);
        let found = derived.observations.overlapping.entry(Table::Interactions).or_default();
        let runs = kept.chunk_by(|a, b| compare(a, b) == Ordering::Equal);
        let equal = equal_lines(runs, |row| files[*row], |_, count| found.0 += count);
        derived.duplicates.insert(Table::Interactions, equal);
        derived.count(Table::Interactions, "after_as_of", lines.num_rows() - kept.len());
        derived.count(Table::Interactions, "kept", kept.len());
        for rows in kept.chunks(BATCH) {
            let rows: UInt32Array = rows.iter().map(|row| u32::try_from(*row).ok()).collect();
            let sorted = take_record_batch(lines, &rows).map_err(|error| staging(self.scratch, error))?;
            let mut columns = sorted.columns().to_vec();
            columns.remove(INTERACTION_COLUMNS - 1);
            writer.write(columns)?;
        }
        writer.finish(derived)
    }
}

/// Returns the schema of `transactions` as views see the table: with price, amount and `is_purchase`.
fn transactions_schema(staged: &Schema, spec: &TableSpec) -> SchemaRef {
    let mut fields: Vec<Field> =
        staged.fields()[..TRANSACTION_COLUMNS - 2].iter().map(|field| field.as_ref().clone()).collect();
    fields[3] = Field::new("quantity", quantity_type(spec), false);
    // The price of a line with a total and no quantity is unknown.
    fields[4] = Field::new("unit_price", PRICE, true);
    fields.insert(5, Field::new("amount", MONEY, false));
    fields.push(Field::new("is_purchase", DataType::Boolean, false));
    fields.extend(staged.fields()[TRANSACTION_COLUMNS..].iter().map(|field| field.as_ref().clone()));
    Arc::new(Schema::new(fields))
}
