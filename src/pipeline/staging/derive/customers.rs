//! The customers of a partition: who is known at `as_of`, since when, and with which attributes.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
        RecordBatch, StringArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType},
};
use chrono::NaiveDate;

use super::{
    super::{UTC, time_type},
    Derived, Partition,
    write::{BATCH, TableWriter},
};
use crate::{
    feature::feature_name,
    pipeline::raw::{
        Kind, RawError, Table, TableSpec,
        object::{Object, Text},
        value::{self, NumberRule, PRICE_DIGITS, PRICE_SCALE},
    },
    snapshot::rfc3339,
};

/// A column of the `customers` files that Larder has no name for.
#[derive(Debug, Clone)]
pub(crate) struct ExtraColumn {
    /// The feature's name, made from the column's.
    pub(crate) name: String,
    /// The names in the files that become this one.
    sources: Vec<String>,
    kind: Kind,
    declared: bool,
}

/// The extra columns of what was seen: the declared type, or the one that all values have.
pub(crate) fn extra_columns(seen: &[(String, BTreeSet<Kind>)], spec: Option<&TableSpec>) -> Vec<ExtraColumn> {
    let mut columns: Vec<(ExtraColumn, BTreeSet<Kind>)> = Vec::new();
    for (source, kinds) in seen {
        let name = feature_name(source);
        if let Some((column, all)) = columns.iter_mut().find(|(column, _)| column.name == name) {
            column.sources.push(source.clone());
            all.extend(kinds);
        } else {
            let column =
                ExtraColumn { name, sources: vec![source.clone()], kind: Kind::Text, declared: false };
            columns.push((column, kinds.clone()));
        }
    }
    let declared = |name: &str| spec.and_then(|spec| spec.declared(name));
    let typed = |(column, kinds): (ExtraColumn, BTreeSet<Kind>)| {
        let seen: Vec<Kind> = kinds.into_iter().collect();
        let inferred = match seen.as_slice() {
            [one] => *one,
            [Kind::Integer, Kind::Number] => Kind::Number,
            // The last has most digits behind the point.
            [Kind::Integer | Kind::Decimal(_), .., last @ Kind::Decimal(_)] => *last,
            _ => Kind::Text,
        };
        let declared = declared(&column.name);
        ExtraColumn { kind: declared.unwrap_or(inferred), declared: declared.is_some(), ..column }
    };
    columns.into_iter().map(typed).collect()
}

impl ExtraColumn {
    fn data_type(&self) -> DataType {
        match self.kind {
            Kind::Text => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Number if self.declared => DataType::Decimal128(PRICE_DIGITS, PRICE_SCALE),
            Kind::Number => DataType::Float64,
            Kind::Decimal(scale) => DataType::Decimal128(38, i8::try_from(scale).unwrap_or(38)),
            Kind::Boolean => DataType::Boolean,
            Kind::Date => DataType::Date32,
            Kind::Timestamp => time_type(),
        }
    }

    /// Makes a column of `texts`, which are in the form in which attributes are staged.
    fn array(&self, texts: &[Option<Cow<'_, str>>]) -> Result<ArrayRef, RawError> {
        let texts = texts.iter().map(Option::as_deref);
        Ok(match self.data_type() {
            DataType::Int64 => Arc::new(
                self.values(texts, |text| NumberRule::TYPED.integer(text).ok())?.collect::<Int64Array>(),
            ),
            DataType::Float64 => {
                Arc::new(self.values(texts, |text| text.parse().ok())?.collect::<Float64Array>())
            }
            DataType::Boolean => {
                Arc::new(self.values(texts, |text| text.parse().ok())?.collect::<BooleanArray>())
            }
            DataType::Decimal128(digits, scale) => {
                let values = self.values(texts, |text| {
                    let value = value::decimal(text, scale.into())?;
                    (value.unsigned_abs() < 10_u128.pow(digits.into())).then_some(value)
                })?;
                Arc::new(values.collect::<Decimal128Array>().with_data_type(self.data_type()))
            }
            DataType::Date32 => {
                let days = self
                    .values(texts, |text| text.parse::<NaiveDate>().ok().map(|date| date.to_epoch_days()))?;
                Arc::new(days.collect::<Date32Array>())
            }
            DataType::Timestamp(..) => {
                let micros =
                    self.values(texts, |text| rfc3339::instant(text).map(|time| time.timestamp_micros()))?;
                Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone(UTC))
            }
            _ => Arc::new(texts.collect::<StringArray>()),
        })
    }

    /// Reads `texts` as values. All were checked as lines, but several files may have typed a column in
    /// ways that no one type holds.
    fn values<'a, T>(
        &self,
        texts: impl Iterator<Item = Option<&'a str>>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<impl Iterator<Item = Option<T>>, RawError> {
        let read = |text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => read(text).map(Some).ok_or_else(|| RawError::Setting {
                table: Table::Customers.name(),
                why: format!(
                    "the column `{}` has values that {} cannot hold; set its type to text in `types`",
                    self.name,
                    self.data_type()
                ),
            }),
        };
        Ok(texts.map(read).collect::<Result<Vec<_>, _>>()?.into_iter())
    }
}

/// Everybody of a partition, sorted by id.
#[derive(Debug)]
pub(super) struct People {
    people: Vec<Person>,
    /// The place in `people` of each line's customer.
    pub(super) transaction_ranks: Vec<u32>,
    pub(super) interaction_ranks: Vec<u32>,
    /// Lines of `customers` that a later one replaced.
    replaced: usize,
}

/// A customer, known at `as_of` or not.
#[derive(Debug, Default, Clone)]
struct Person {
    id: String,
    /// The line of `customers` that holds: the newest by `updated_at`, of several the last.
    profile: Option<usize>,
    created_at: Option<i64>,
    /// The earliest event of all, after `as_of` too.
    first_event: Option<i64>,
    /// The country of the latest line until `as_of`.
    country: Option<String>,
}

impl Person {
    /// When the customer was first seen, if it was by `as_of`: `Some(None)` is known, but nobody knows
    /// since when.
    fn first_seen(&self, as_of: i64) -> Option<Option<i64>> {
        let by_then = |time: Option<i64>| time.filter(|time| *time <= as_of);
        let times = [by_then(self.created_at), by_then(self.first_event)];
        match times.into_iter().flatten().min() {
            Some(first) => Some(Some(first)),
            None => (self.profile.is_some() && self.created_at.is_none() && self.first_event.is_none())
                .then_some(None),
        }
    }
}

impl People {
    pub(super) fn new(
        transactions: &RecordBatch,
        interactions: &RecordBatch,
        profiles: &RecordBatch,
        as_of: i64,
    ) -> Self {
        let ids = |batch: &RecordBatch| batch.columns().first().map(|ids| ids.as_string::<i32>().clone());
        let batches = [ids(transactions), ids(interactions), ids(profiles)];
        let mut ranks = Ranks::default();
        let [mut transaction_ranks, mut interaction_ranks, mut profile_ranks] =
            batches.each_ref().map(|ids| ids.as_ref().map_or_else(Vec::new, |ids| ranks.add(ids)));
        let (all, places) = ranks.sorted();
        for rank in transaction_ranks.iter_mut().chain(&mut interaction_ranks).chain(&mut profile_ranks) {
            *rank = places[*rank as usize];
        }
        let mut people: Vec<Person> =
            all.into_iter().map(|id| Person { id: id.to_owned(), ..Person::default() }).collect();
        note_events(&mut people, transactions, 5, &transaction_ranks);
        note_events(&mut people, interactions, 2, &interaction_ranks);
        note_countries(&mut people, transactions, &transaction_ranks, as_of);
        let mut replaced = 0;
        if profiles.num_columns() > 0 {
            let created_at = profiles.column(1).as_primitive::<TimestampMicrosecondType>();
            let updated_at = profiles.column(4).as_primitive::<TimestampMicrosecondType>();
            let places = profiles.column(3).as_primitive::<Int64Type>().values();
            let age = |row: usize| (updated_at.is_valid(row).then(|| updated_at.value(row)), places[row]);
            for (row, rank) in profile_ranks.iter().enumerate() {
                let person = &mut people[*rank as usize];
                replaced += usize::from(person.profile.is_some());
                if person.profile.is_none_or(|other| age(other) < age(row)) {
                    person.profile = Some(row);
                    person.created_at = created_at.is_valid(row).then(|| created_at.value(row));
                }
            }
        }
        Self { people, transaction_ranks, interaction_ranks, replaced }
    }

    /// Returns the customer of the most transactions, with their number; of several the greatest id.
    pub(super) fn largest(&self) -> Option<(u64, String)> {
        let mut lines = vec![0_u64; self.people.len()];
        self.transaction_ranks.iter().for_each(|rank| lines[*rank as usize] += 1);
        let most = lines.iter().zip(&self.people).max_by_key(|(lines, _)| **lines)?;
        Some((*most.0, most.1.id.clone()))
    }

    /// Returns the number of customers.
    pub(super) fn count(&self) -> usize {
        self.people.len()
    }
}

/// Numbers for ids: first in the order of their coming, then in their own order.
#[derive(Debug, Default)]
struct Ranks<'a> {
    numbers: HashMap<&'a str, u32>,
    ids: Vec<&'a str>,
}

impl<'a> Ranks<'a> {
    /// The number of each id. Lines of one customer mostly follow each other, so a look at the last one
    /// saves the search.
    fn add(&mut self, ids: &'a StringArray) -> Vec<u32> {
        let mut last = ("", u32::MAX);
        let numbers = (0..ids.len()).map(|row| {
            let id = ids.value(row);
            if last.1 == u32::MAX || last.0 != id {
                let next = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
                let number = *self.numbers.entry(id).or_insert(next);
                if number == next {
                    self.ids.push(id);
                }
                last = (id, number);
            }
            last.1
        });
        numbers.collect()
    }

    /// The sorted ids, and the place of each number among them.
    fn sorted(self) -> (Vec<&'a str>, Vec<u32>) {
        let mut order: Vec<usize> = (0..self.ids.len()).collect();
        order.sort_unstable_by_key(|number| self.ids[*number]);
        let mut places = vec![0; order.len()];
        for (place, number) in (0_u32..).zip(&order) {
            places[*number] = place;
        }
        (order.into_iter().map(|number| self.ids[number]).collect(), places)
    }
}

fn note_events(people: &mut [Person], batch: &RecordBatch, time: usize, ranks: &[u32]) {
    if batch.num_columns() == 0 {
        return;
    }
    let times = batch.column(time).as_primitive::<TimestampMicrosecondType>().values();
    for (rank, time) in ranks.iter().zip(times) {
        let first = &mut people[*rank as usize].first_event;
        *first = Some(first.map_or(*time, |first| first.min(*time)));
    }
}

/// The country of the latest line; of several then, the greatest text.
fn note_countries(people: &mut [Person], transactions: &RecordBatch, ranks: &[u32], as_of: i64) {
    let Some(countries) = transactions.column_by_name("country") else { return };
    let (countries, times) = (
        countries.as_string::<i32>(),
        transactions.column(5).as_primitive::<TimestampMicrosecondType>().values(),
    );
    let mut latest: Vec<Option<(i64, &str)>> = vec![None; people.len()];
    for (row, rank) in ranks.iter().enumerate() {
        if times[row] <= as_of && countries.is_valid(row) {
            let latest = &mut latest[*rank as usize];
            *latest = (*latest).max(Some((times[row], countries.value(row))));
        }
    }
    for (person, latest) in people.iter_mut().zip(latest) {
        person.country = latest.map(|(_, country)| country.to_owned());
    }
}

/// Writes `customers`: one row for each customer known at `as_of`.
pub(super) fn write(
    partition: &Partition<'_>,
    profiles: &RecordBatch,
    people: &People,
    derived: &mut Derived,
) -> Result<(), RawError> {
    let known: Vec<(&Person, Option<i64>)> = people
        .people
        .iter()
        .filter_map(|person| person.first_seen(partition.as_of).map(|first| (person, first)))
        .collect();
    let with_profile = known.iter().filter(|(person, _)| person.profile.is_some()).count();
    let profiled = people.people.iter().filter(|person| person.profile.is_some()).count();
    derived.count(Table::Customers, "kept", with_profile);
    derived.count(Table::Customers, "replaced", people.replaced);
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
    for chunk in known.chunks(BATCH) {
        let at = |times: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone(UTC))
        };
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from_iter_values(chunk.iter().map(|(person, _)| &person.id)))];
        for name in &derived_columns {
            columns.push(match *name {
                "country" => {
                    let countries = chunk.iter().map(|(person, _)| person.country.as_deref());
                    Arc::new(countries.collect::<StringArray>())
                }
                "created_at" => at(chunk.iter().map(|(person, _)| person.created_at).collect()),
                _ => at(chunk.iter().map(|(_, first)| *first).collect()),
            });
        }
        let attributes = attributes(partition.extras, profiles, chunk);
        for (column, texts) in partition.extras.iter().zip(&attributes) {
            columns.push(column.array(texts)?);
        }
        writer.write(columns)?;
    }
    writer.finish(derived)
}

/// The texts of each extra column for the people of `chunk`.
fn attributes<'a>(
    extras: &[ExtraColumn],
    profiles: &'a RecordBatch,
    chunk: &[(&Person, Option<i64>)],
) -> Vec<Vec<Option<Cow<'a, str>>>> {
    let mut columns = vec![vec![None; chunk.len()]; extras.len()];
    if extras.is_empty() || profiles.num_columns() == 0 {
        return columns;
    }
    let objects = profiles.column(2).as_string::<i32>();
    let places: HashMap<&str, usize> = extras
        .iter()
        .enumerate()
        .flat_map(|(at, column)| column.sources.iter().map(move |source| (source.as_str(), at)))
        .collect();
    for (row, (person, _)) in chunk.iter().enumerate() {
        let Some(profile) = person.profile else { continue };
        let Ok(Object { members, .. }) = serde_json::from_str::<Object<'_, Text<'_>>>(objects.value(profile))
        else {
            continue;
        };
        for (name, text) in members {
            if let Some(at) = places.get(&*name.0) {
                columns[*at][row] = Some(text.0);
            }
        }
    }
    columns
}
