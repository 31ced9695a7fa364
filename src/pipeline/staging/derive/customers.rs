//! Customers of a partition: which are known at `as_of`, since when, and with which attributes.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType},
};

use super::{
    partition::PartitionInput,
    tables::DerivedTables,
    write::{BATCH, TableWriter},
};
use crate::pipeline::{
    raw::{RawError, Table},
    staging::{
        UTC, attributes::StagedAttributes, id_ranks::IdRanks, line_schema::CUSTOMER_COLUMNS, time_type,
    },
};

/// All customers of a partition, sorted by id.
#[derive(Debug)]
pub(super) struct PartitionCustomers {
    customers: Vec<CustomerFacts>,
    /// Index into `customers` of each line's customer.
    pub(super) transaction_ranks: Vec<u32>,
    /// Index into `customers` of each line's customer.
    pub(super) interaction_ranks: Vec<u32>,
    /// Number of lines of `customers` that a later line replaced.
    replaced: usize,
}

/// Facts about one customer, who may be known at `as_of` or not.
#[derive(Debug, Default, Clone)]
struct CustomerFacts {
    id: String,
    /// Line of `customers` in force: the newest by `updated_at`, and the last of several such lines.
    profile: Option<usize>,
    created_at: Option<i64>,
    /// Time of the earliest event, also after `as_of`.
    first_event: Option<i64>,
    /// Country of the latest line until `as_of`.
    country: Option<String>,
}

impl CustomerFacts {
    /// Returns when the customer was first seen, or `None` if that is after `as_of`. `Some(None)` is a known
    /// customer without any time.
    fn first_seen(&self, as_of: i64) -> Option<Option<i64>> {
        let by_then = |time: Option<i64>| time.filter(|time| *time <= as_of);
        let times = [by_then(self.created_at), by_then(self.first_event)];
        match times.into_iter().flatten().min() {
            Some(first) => Some(Some(first)),
            None if self.profile.is_some() && self.created_at.is_none() && self.first_event.is_none() => {
                Some(None)
            }
            None => None,
        }
    }
}

impl PartitionCustomers {
    pub(super) fn new(
        transactions: &RecordBatch,
        interactions: &RecordBatch,
        profiles: &RecordBatch,
        as_of: i64,
    ) -> Self {
        let ids = |batch: &RecordBatch| batch.columns().first().map(|ids| ids.as_string::<i32>().clone());
        let batches = [ids(transactions), ids(interactions), ids(profiles)];
        let mut numbers = IdRanks::default();
        let [mut transaction_ranks, mut interaction_ranks, mut profile_ranks] =
            batches.each_ref().map(|ids| ids.as_ref().map_or_else(Vec::new, |ids| numbers.add(ids)));
        let (all, places) = numbers.sorted_by_key(|id, _| id);
        for rank in transaction_ranks.iter_mut().chain(&mut interaction_ranks).chain(&mut profile_ranks) {
            *rank = places[*rank as usize];
        }
        let mut customers: Vec<CustomerFacts> = all
            .into_iter()
            .map(|id| CustomerFacts { id: id.to_owned(), ..CustomerFacts::default() })
            .collect();
        note_events(&mut customers, transactions, 5, &transaction_ranks);
        note_events(&mut customers, interactions, 2, &interaction_ranks);
        note_countries(&mut customers, transactions, &transaction_ranks, as_of);
        let mut replaced = 0;
        if profiles.num_columns() > 0 {
            let created_at = profiles.column(1).as_primitive::<TimestampMicrosecondType>();
            let updated_at = profiles.column(3).as_primitive::<TimestampMicrosecondType>();
            let places = profiles.column(2).as_primitive::<Int64Type>().values();
            let age = |row: usize| (updated_at.is_valid(row).then(|| updated_at.value(row)), places[row]);
            for (row, rank) in profile_ranks.iter().enumerate() {
                let customer = &mut customers[*rank as usize];
                replaced += usize::from(customer.profile.is_some());
                if customer.profile.is_none_or(|other| age(other) < age(row)) {
                    customer.profile = Some(row);
                    customer.created_at = created_at.is_valid(row).then(|| created_at.value(row));
                }
            }
        }
        Self { customers, transaction_ranks, interaction_ranks, replaced }
    }

    /// Returns the largest number of lines of one customer in `transactions`, and that customer: of several,
    /// the greatest id.
    pub(super) fn largest(&self) -> Option<(u64, String)> {
        let mut lines = vec![0_u64; self.customers.len()];
        self.transaction_ranks.iter().for_each(|rank| lines[*rank as usize] += 1);
        let most = lines.iter().zip(&self.customers).max_by_key(|(lines, _)| **lines)?;
        Some((*most.0, most.1.id.clone()))
    }

    /// Returns the number of customers.
    pub(super) fn count(&self) -> usize {
        self.customers.len()
    }
}

/// Sets the first event of each customer. `time` is the index of the time column.
fn note_events(customers: &mut [CustomerFacts], batch: &RecordBatch, time: usize, ranks: &[u32]) {
    if batch.num_columns() == 0 {
        return;
    }
    let times = batch.column(time).as_primitive::<TimestampMicrosecondType>().values();
    for (rank, time) in ranks.iter().zip(times) {
        let first = &mut customers[*rank as usize].first_event;
        *first = Some(first.map_or(*time, |first| first.min(*time)));
    }
}

/// Sets the country of each customer to that of the latest line. Of several lines at that time, the greatest
/// text counts.
fn note_countries(customers: &mut [CustomerFacts], transactions: &RecordBatch, ranks: &[u32], as_of: i64) {
    let Some(countries) = transactions.column_by_name("country") else { return };
    let (countries, times) = (
        countries.as_string::<i32>(),
        transactions.column(5).as_primitive::<TimestampMicrosecondType>().values(),
    );
    let mut latest: Vec<Option<(i64, &str)>> = vec![None; customers.len()];
    for (row, rank) in ranks.iter().enumerate() {
        if times[row] <= as_of && countries.is_valid(row) {
            let latest = &mut latest[*rank as usize];
            *latest = (*latest).max(Some((times[row], countries.value(row))));
        }
    }
    for (customer, latest) in customers.iter_mut().zip(latest) {
        customer.country = latest.map(|(_, country)| country.to_owned());
    }
}

/// Writes `customers`: one row for each customer known at `as_of`.
pub(super) fn write(
    partition: &PartitionInput<'_>,
    profiles: &RecordBatch,
    customers: &PartitionCustomers,
    derived: &mut DerivedTables,
) -> Result<(), RawError> {
    let known: Vec<(&CustomerFacts, Option<i64>)> = customers
        .customers
        .iter()
        .filter_map(|customer| customer.first_seen(partition.as_of).map(|first| (customer, first)))
        .collect();
    let with_profile = known.iter().filter(|(customer, _)| customer.profile.is_some()).count();
    let profiled = customers.customers.iter().filter(|customer| customer.profile.is_some()).count();
    derived.count(Table::Customers, "kept", with_profile);
    derived.count(Table::Customers, "replaced", customers.replaced);
    derived.count(Table::Customers, "after_as_of", profiled - with_profile);

    let extra = |name: &str| partition.extras.iter().any(|column| column.name == name);
    let has_country = partition
        .specs
        .get(&Table::Transactions)
        .is_some_and(|spec| spec.texts().iter().any(|c| c.name == "country"));
    let mut fields = vec![Field::new("customer_id", DataType::Utf8, false)];
    let derived_columns: Vec<&str> =
        [("country", has_country), ("created_at", partition.has_created_at), ("first_seen_at", true)]
            .into_iter()
            .filter_map(|(name, present)| (present && !extra(name)).then_some(name))
            .collect();
    for name in &derived_columns {
        fields.push(Field::new(*name, if *name == "country" { DataType::Utf8 } else { time_type() }, true));
    }
    fields.extend(partition.extras.iter().map(|column| Field::new(&column.name, column.data_type(), true)));
    let mut writer = TableWriter::new(partition, "customers", Arc::new(Schema::new(fields)))?;
    let attributes = AttributePlaces::new(partition);
    for chunk in known.chunks(BATCH) {
        let at = |times: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone(UTC))
        };
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from_iter_values(chunk.iter().map(|(customer, _)| &customer.id)))];
        for name in &derived_columns {
            columns.push(match *name {
                "country" => {
                    let countries = chunk.iter().map(|(customer, _)| customer.country.as_deref());
                    Arc::new(countries.collect::<StringArray>())
                }
                "created_at" => at(chunk.iter().map(|(customer, _)| customer.created_at).collect()),
                _ => at(chunk.iter().map(|(_, first)| *first).collect()),
            });
        }
        for (column, texts) in partition.extras.iter().zip(&attributes.texts(profiles, chunk)) {
            columns.push(column.array(texts)?);
        }
        writer.write(columns)?;
    }
    writer.finish(derived)
}

/// Places of the staged attributes among the columns of `customers`.
struct AttributePlaces<'a> {
    names: &'a [String],
    /// Index of the column by the number of the name.
    columns: Vec<Option<usize>>,
    /// Number of columns.
    count: usize,
    /// Whether several names of attributes belong to one column.
    is_shared: bool,
}

impl<'a> AttributePlaces<'a> {
    fn new(partition: &PartitionInput<'a>) -> Self {
        let (extras, names) = (partition.extras, partition.attribute_names);
        let places: HashMap<&str, usize> = extras
            .iter()
            .enumerate()
            .flat_map(|(at, column)| column.sources.iter().map(move |source| (source.as_str(), at)))
            .collect();
        let columns = names.iter().map(|name| places.get(name.as_str()).copied()).collect();
        let is_shared = extras.iter().any(|column| column.sources.len() > 1);
        Self { names, columns, count: extras.len(), is_shared }
    }

    /// Returns the texts of each column for the customers of `chunk`. If several attributes are one column,
    /// the one with the greatest name counts.
    fn texts<'b>(
        &self,
        profiles: &'b RecordBatch,
        chunk: &[(&CustomerFacts, Option<i64>)],
    ) -> Vec<Vec<Option<&'b str>>> {
        let mut columns = vec![vec![None; chunk.len()]; self.count];
        if profiles.num_columns() <= CUSTOMER_COLUMNS {
            return columns;
        }
        let staged = profiles.column(CUSTOMER_COLUMNS).as_string::<i32>();
        let mut sorted = Vec::new();
        for (row, (customer, _)) in chunk.iter().enumerate() {
            let Some(profile) = customer.profile else { continue };
            let attributes = StagedAttributes(staged.value(profile));
            let mut set = |(name, text): (usize, &'b str)| {
                if let Some(column) = self.columns.get(name).copied().flatten() {
                    columns[column][row] = Some(text);
                }
            };
            if self.is_shared {
                sorted.clear();
                sorted.extend(attributes);
                sorted.sort_by_key(|(name, _)| self.names.get(*name));
                sorted.iter().copied().for_each(&mut set);
            } else {
                attributes.for_each(&mut set);
            }
        }
        columns
    }
}
