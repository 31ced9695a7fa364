//! Number of rows and sum of weights of each value of each group, for aggregates over values.
//!
//! Groups of customers come and are complete one after the other, so the counts of few groups are in memory,
//! and a value is found among those of the latest group. Only groups that come back are sorted.

use std::mem;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    datatypes::{DataType, Decimal128Type, Int64Type},
};
use datafusion::{
    common::HashMap,
    error::{DataFusionError, Result},
};

/// Greatest number of values of a group that are searched one by one.
const SEARCHED: usize = 32;
/// Number of unsorted entries that are added up at the latest.
const UNSORTED: usize = 1 << 16;
/// Number of texts of which those without an entry are forgotten at the latest.
const TEXTS: usize = 1 << 16;

/// The rows of one value in one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) group: usize,
    /// The integer, or the number of the text.
    pub(super) value: i64,
    pub(super) rows: i64,
    pub(super) weight: i128,
}

/// The values of each group.
#[derive(Debug)]
pub(super) struct GroupCounts {
    /// The texts, unless values are integers.
    pub(super) texts: Option<Texts>,
    entries: Vec<Entry>,
    /// Place of the first entry of the latest group.
    latest: usize,
    /// Places of the values of the latest group, if there are many.
    places: HashMap<i64, usize>,
    /// Whether groups are out of order.
    is_unsorted: bool,
    /// Number of entries when they were last known to be in order.
    in_order: usize,
    groups: usize,
}

/// Texts and their numbers.
#[derive(Debug, Default)]
pub(super) struct Texts {
    numbers: HashMap<String, i64>,
    texts: Vec<String>,
    /// Length of all texts in bytes.
    bytes: usize,
}

impl Texts {
    fn number(&mut self, text: &str) -> i64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        self.bytes += text.len();
        number
    }

    pub(super) fn text(&self, number: i64) -> &str {
        usize::try_from(number).ok().and_then(|number| self.texts.get(number)).map_or("", String::as_str)
    }
}

impl Entry {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.weight = self.weight.saturating_add(other.weight);
    }
}

impl GroupCounts {
    /// Creates counts without groups.
    pub(super) fn new(of_texts: bool) -> Self {
        Self {
            texts: of_texts.then(Texts::default),
            entries: Vec::new(),
            latest: 0,
            places: HashMap::default(),
            is_unsorted: false,
            in_order: 0,
            groups: 0,
        }
    }

    /// Counts each value of `values` in the group at the same place of `groups`, unless the value is null or
    /// `filter` is not true. A weight that is null or absent is 0. `total` is the number of all groups.
    pub(super) fn count(
        &mut self,
        values: &ArrayRef,
        weights: Option<&ArrayRef>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let weight = weights.map(integers).transpose()?;
        let rows = groups.iter().enumerate().filter(|(row, _)| {
            values.is_valid(*row) && filter.is_none_or(|filter| filter.is_valid(*row) && filter.value(*row))
        });
        let entries = rows.map(|(row, group)| {
            let weight = weight.as_ref().map_or(0, |weight| weight(row));
            (row, Entry { group: *group, value: 0, rows: 1, weight })
        });
        self.add(values, entries, total)
    }

    /// Adds entries, each with the value at its row of `values`. `total` is the number of all groups.
    pub(super) fn add(
        &mut self,
        values: &ArrayRef,
        entries: impl Iterator<Item = (usize, Entry)>,
        total: usize,
    ) -> Result<()> {
        self.groups = self.groups.max(total);
        if let Some(mut texts) = self.texts.take() {
            let values = values.as_string_opt::<i32>().ok_or_else(|| unexpected(values))?;
            for (row, entry) in entries {
                self.push(Entry { value: texts.number(values.value(row)), ..entry });
            }
            self.texts = Some(texts);
        } else {
            let values = values.as_primitive_opt::<Int64Type>().ok_or_else(|| unexpected(values))?;
            for (row, entry) in entries {
                self.push(Entry { value: values.value(row), ..entry });
            }
        }
        if self.is_unsorted && self.entries.len() > 2 * self.in_order + UNSORTED {
            self.sort();
        }
        Ok(())
    }

    /// Adds an entry to that of the same group and value, or appends the entry.
    #[inline]
    fn push(&mut self, new: Entry) {
        match self.entries.last() {
            Some(last) if last.group == new.group => {
                if let Some(place) = self.place(new.value) {
                    return self.entries[place].add(new);
                }
            }
            last => {
                self.is_unsorted |= last.is_some_and(|last| new.group < last.group);
                self.latest = self.entries.len();
                self.places.clear();
            }
        }
        if !self.places.is_empty() {
            self.places.insert(new.value, self.entries.len());
        }
        self.entries.push(new);
    }

    /// Returns the place of a value of the latest group.
    #[inline]
    fn place(&mut self, value: i64) -> Option<usize> {
        let latest = &self.entries[self.latest..];
        if latest.len() <= SEARCHED {
            return latest.iter().position(|entry| entry.value == value).map(|place| self.latest + place);
        }
        if self.places.is_empty() {
            let places = latest.iter().enumerate();
            self.places = places.map(|(place, entry)| (entry.value, self.latest + place)).collect();
        }
        self.places.get(&value).copied()
    }

    /// Sorts the entries by group and value, and adds up those of the same value, where necessary.
    fn sort(&mut self) {
        if mem::take(&mut self.is_unsorted) {
            self.entries.sort_unstable_by_key(|entry| (entry.group, entry.value));
            self.entries.dedup_by(|next, entry| {
                let is_same = (next.group, next.value) == (entry.group, entry.value);
                if is_same {
                    entry.add(*next);
                }
                is_same
            });
        }
        self.find_latest();
    }

    /// Finds the latest group of the entries, which are in order.
    fn find_latest(&mut self) {
        let group = self.entries.last().map(|last| last.group);
        self.places.clear();
        self.latest = self.entries.partition_point(|entry| Some(entry.group) < group);
        self.in_order = self.entries.len();
    }

    /// Removes the first `count` groups, or all, and calls `work` with the entries of each of them in turn.
    /// The numbers of the other groups fall by the number of removed groups.
    pub(super) fn take(&mut self, count: Option<usize>, mut work: impl FnMut(Option<&Texts>, &[Entry])) {
        self.sort();
        let count = count.unwrap_or(self.groups);
        let mut rest = self.entries.as_slice();
        for group in 0..count {
            let end = rest.iter().position(|entry| entry.group > group).unwrap_or(rest.len());
            let (entries, later) = rest.split_at(end);
            work(self.texts.as_ref(), entries);
            rest = later;
        }
        let left = rest.len();
        self.entries.drain(..self.entries.len() - left);
        self.entries.iter_mut().for_each(|entry| entry.group -= count);
        self.find_latest();
        self.groups -= count.min(self.groups);
        self.forget_texts();
    }

    /// Forgets texts without an entry if most have none.
    fn forget_texts(&mut self) {
        let Some(texts) = &mut self.texts else { return };
        if texts.texts.len() < TEXTS || texts.texts.len() < 2 * self.entries.len() {
            return;
        }
        self.places.clear();
        let known = mem::take(texts);
        for entry in &mut self.entries {
            entry.value = texts.number(known.text(entry.value));
        }
    }

    /// Returns the memory in use in bytes.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.texts.as_ref().map_or(0, |texts| {
            2 * (texts.bytes + texts.texts.capacity() * size_of::<String>()) + texts.numbers.capacity() * 16
        });
        let places = self.places.capacity() * size_of::<(i64, usize)>();
        self.entries.capacity() * size_of::<Entry>() + places + texts
    }
}

/// Returns a function for the integer of `array` at a row, which is 0 for null; the unscaled integer of a
/// decimal.
fn integers(array: &ArrayRef) -> Result<Box<dyn Fn(usize) -> i128 + '_>> {
    match array.data_type() {
        DataType::Decimal128(..) => {
            let array = array.as_primitive::<Decimal128Type>();
            Ok(Box::new(|row| if array.is_valid(row) { array.value(row) } else { 0 }))
        }
        DataType::Int64 => {
            let array = array.as_primitive::<Int64Type>();
            Ok(Box::new(|row| if array.is_valid(row) { array.value(row).into() } else { 0 }))
        }
        _ => Err(unexpected(array)),
    }
}

fn unexpected(array: &ArrayRef) -> DataFusionError {
    DataFusionError::Internal(format!("unexpected type {}", array.data_type()))
}
