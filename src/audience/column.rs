//! A feature of all customers in memory, as narrow as its values allow: for tests, order, sums and counts.
//!
//! Everything but binary floating point is integers: decimals without their point, times as counts of their unit, booleans, and
//! text as its place in a sorted dictionary. So one scan over integers does for all.

use std::collections::HashMap;

use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};
use chrono::{DateTime, SecondsFormat, Utc};

use super::{
    bitmap::{Bitmap, bits},
    expression::Value,
    literal::{Decimal, Literal},
};
use crate::feature::near;

/// A feature of all customers.
#[derive(Debug)]
pub struct Column {
    pub(super) kind: Kind,
    pub(super) values: Values,
    /// Those of whom it is null.
    pub nulls: Bitmap,
}

/// What the integers stand for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// The value times 10^scale.
    Decimal(u32),
    Float,
    /// Times a number of nanoseconds, since 1970 in UTC.
    Time(i128),
    Boolean,
    /// The place in the dictionary.
    Text(Dictionary),
    /// Null or not.
    Nested,
}

/// Values by customer; a null has 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    None,
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    Float(Vec<f64>),
}

/// Runs `$body` with the integers `$values` of whatever width, else `$other`.
macro_rules! integers {
    ($of:expr, $values:ident => $body:expr, $other:expr) => {
        match $of {
            Values::I8($values) => $body,
            Values::I16($values) => $body,
            Values::I32($values) => $body,
            Values::I64($values) => $body,
            Values::I128($values) => $body,
            Values::None | Values::Float(_) => $other,
        }
    };
}
pub(super) use integers;

/// An integer of any width in the widest.
pub(super) fn wide<T: Into<i128>>(integer: T) -> i128 {
    integer.into()
}

/// Distinct texts in order, one after the other in one piece.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dictionary {
    text: String,
    ends: Vec<usize>,
}

impl Dictionary {
    /// Adds a text that is greater than all before.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes it keeps in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<usize>()
    }

    /// The text at `at`.
    #[must_use]
    pub fn get(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// The place of the first that is not less than `text`, and whether it is `text`.
    #[must_use]
    pub fn search(&self, text: &str) -> (usize, bool) {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle) < text { low = middle + 1 } else { high = middle }
        }
        (low, low < self.len() && self.get(low) == text)
    }
}

impl Column {
    /// How many bytes it keeps in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::None => 0,
            Values::I8(values) => values.len(),
            Values::I16(values) => values.len() * 2,
            Values::I32(values) => values.len() * 4,
            Values::I64(values) => values.len() * 8,
            Values::I128(values) => values.len() * 16,
            Values::Float(values) => values.len() * 8,
        };
        let dictionary = match &self.kind {
            Kind::Text(dictionary) => dictionary.bytes(),
            _ => 0,
        };
        size_of::<Self>() + values + dictionary + self.nulls.len() / 8
    }

    /// The integer of `customer`, who has one.
    pub(super) fn integer(&self, customer: usize) -> i128 {
        integers!(&self.values, values => wide(values[customer]), 0)
    }

    /// The value of `customer` as JSON.
    #[must_use]
    pub fn json(&self, customer: usize) -> String {
        if self.nulls.contains(customer) {
            return "null".to_owned();
        }
        match &self.values {
            Values::Float(values) => serde_json::Value::from(values[customer]).to_string(),
            _ => self.json_of(self.integer(customer)),
        }
    }

    /// What `integer` stands for, as JSON.
    pub(super) fn json_of(&self, integer: i128) -> String {
        match &self.kind {
            Kind::Decimal(scale) => Decimal::new(integer, *scale).to_string(),
            Kind::Boolean => (integer != 0).to_string(),
            Kind::Time(unit) => {
                let nanos = integer * unit;
                let second = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0);
                let rest = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
                let time = DateTime::<Utc>::from_timestamp(second, rest).unwrap_or_default();
                let text = if *unit == DAY {
                    time.format("%Y-%m-%d").to_string()
                } else {
                    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
                };
                serde_json::Value::from(text).to_string()
            }
            Kind::Text(dictionary) => {
                let text = usize::try_from(integer).map_or("", |at| dictionary.get(at));
                serde_json::Value::from(text).to_string()
            }
            Kind::Float | Kind::Nested => "null".to_owned(),
        }
    }

    /// The number of `customer` in units of 10^-`scale`; nothing where it is null or no number.
    #[must_use]
    pub fn scaled(&self, customer: usize, scale: u32) -> Option<i128> {
        let Kind::Decimal(own) = self.kind else { return None };
        if self.nulls.contains(customer) {
            return None;
        }
        let value = self.integer(customer);
        match scale.checked_sub(own) {
            Some(up) => value.checked_mul(10_i128.checked_pow(up)?),
            None => Some(value / 10_i128.checked_pow(own - scale)?),
        }
    }

    /// The exact sum over those of `members` who have a value, and how many they are.
    #[must_use]
    pub fn sum(&self, members: &Bitmap) -> (Decimal, usize) {
        let scale = if let Kind::Decimal(scale) = self.kind { scale } else { 0 };
        let (mut sum, mut count) = (0_i128, 0);
        integers!(&self.values, values => {
            let words = members.words().iter().zip(self.nulls.words()).map(|(member, null)| member & !null);
            for (word, values) in words.zip(values.chunks(64)) {
                count += word.count_ones() as usize;
                sum += match word {
                    u64::MAX => values.iter().map(|value| wide(*value)).sum::<i128>(),
                    word => bits(word).map(|bit| wide(values[bit])).sum(),
                };
            }
        }, {});
        (Decimal::new(sum, scale), count)
    }

    /// Of the texts of `values`, by their places, those that no customer has, with what is near if the texts are few.
    #[must_use]
    pub fn absent(&self, values: &[Value]) -> Vec<(usize, Vec<String>)> {
        const FEW: usize = 1_000;
        let Kind::Text(dictionary) = &self.kind else { return Vec::new() };
        let absent = values.iter().enumerate().filter_map(|(at, value)| {
            let Literal::Text(text) = &value.literal else { return None };
            let near =
                if dictionary.len() <= FEW { near::misses(text, dictionary.iter()) } else { Vec::new() };
            (!dictionary.search(text).1).then(|| (at, near.into_iter().map(str::to_owned).collect()))
        });
        absent.collect()
    }
}

const DAY: i128 = 86_400 * 1_000_000_000;

/// Makes a column of the arrays of its parts.
#[derive(Debug)]
pub struct ColumnBuilder {
    kind: Option<Kind>,
    values: Values,
    nulls: Vec<u64>,
    rows: usize,
    /// The texts so far, by first appearance.
    texts: HashMap<String, i64>,
}

impl ColumnBuilder {
    /// A column without values yet, for `customers`.
    #[must_use]
    pub fn new(customers: usize) -> Self {
        Self {
            kind: None,
            values: Values::None,
            nulls: vec![0; customers.div_ceil(64)],
            rows: 0,
            texts: HashMap::new(),
        }
    }

    /// Adds the values of the next customers; `absent` are absent from the view.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn push(&mut self, array: &dyn Array, absent: impl Fn(usize) -> bool) -> Result<(), String> {
        let kind = match array.data_type() {
            DataType::Int32 | DataType::Int64 => Kind::Decimal(0),
            DataType::Decimal128(_, scale) => {
                Kind::Decimal(u32::try_from(*scale).map_err(|_| "it has decimals of a negative scale")?)
            }
            DataType::Float64 => Kind::Float,
            DataType::Date32 => Kind::Time(DAY),
            DataType::Timestamp(unit, _) => Kind::Time(match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            }),
            DataType::Boolean => Kind::Boolean,
            DataType::Utf8 => Kind::Text(Dictionary::default()),
            _ => Kind::Nested,
        };
        if *self.kind.get_or_insert_with(|| kind.clone()) != kind {
            return Err("its type is another than in the part before".to_owned());
        }
        let begun = self.rows;
        self.rows += array.len();
        self.nulls.resize(self.rows.div_ceil(64).max(self.nulls.len()), 0);
        let floats = array.as_primitive_opt::<Float64Type>();
        let nulls = &mut self.nulls;
        let is_null = |row: usize| {
            // What is no number is served as null.
            absent(row) || array.is_null(row) || floats.is_some_and(|floats| !floats.value(row).is_finite())
        };
        let mut present = Vec::with_capacity(array.len());
        for row in 0..array.len() {
            let null = is_null(row);
            present.push(!null);
            nulls[(begun + row) / 64] |= u64::from(null) << ((begun + row) % 64);
        }
        let rows = present.into_iter().enumerate();
        match array.data_type() {
            DataType::Int32 => {
                let values = array.as_primitive::<Int32Type>();
                self.integers(rows.map(|(row, here)| if here { values.value(row).into() } else { 0 }));
            }
            DataType::Int64 => {
                let values = array.as_primitive::<Int64Type>();
                self.integers(rows.map(|(row, here)| if here { values.value(row) } else { 0 }));
            }
            DataType::Date32 => {
                let values = array.as_primitive::<Date32Type>();
                self.integers(rows.map(|(row, here)| if here { values.value(row).into() } else { 0 }));
            }
            DataType::Timestamp(unit, _) => {
                let values: &[i64] = match unit {
                    TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values(),
                    TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
                    TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
                    TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
                };
                self.integers(rows.map(|(row, here)| if here { values[row] } else { 0 }));
            }
            DataType::Boolean => {
                let values = array.as_boolean();
                self.integers(rows.map(|(row, here)| i64::from(here && values.value(row))));
            }
            DataType::Decimal128(..) => {
                let values = array.as_primitive::<Decimal128Type>();
                self.decimals(rows.map(|(row, here)| if here { values.value(row) } else { 0 }));
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>();
                let more = rows.map(|(row, here)| if here { values.value(row) } else { 0.0 });
                match &mut self.values {
                    Values::Float(all) => all.extend(more),
                    none => *none = Values::Float(more.collect()),
                }
            }
            DataType::Utf8 => {
                let values = array.as_string::<i32>();
                let mut texts = std::mem::take(&mut self.texts);
                let codes = rows.map(|(row, here)| {
                    let text = if here { values.value(row) } else { return 0 };
                    texts.get(text).copied().unwrap_or_else(|| {
                        let code = i64::try_from(texts.len()).unwrap_or(i64::MAX);
                        texts.insert(text.to_owned(), code);
                        code
                    })
                });
                let codes: Vec<i64> = codes.collect();
                self.integers(codes.into_iter());
                self.texts = texts;
            }
            _ => {}
        }
        Ok(())
    }

    fn integers(&mut self, more: impl Iterator<Item = i64>) {
        match &mut self.values {
            Values::I64(all) => all.extend(more),
            none => *none = Values::I64(more.collect()),
        }
    }

    /// As long as they fit, decimals are kept in 64 bits.
    fn decimals(&mut self, more: impl Iterator<Item = i128>) {
        if matches!(self.values, Values::None) {
            self.values = Values::I64(Vec::new());
        }
        for value in more {
            match (&mut self.values, i64::try_from(value)) {
                (Values::I64(all), Ok(value)) => all.push(value),
                (Values::I64(all), Err(_)) => {
                    let wide = all.iter().map(|value| i128::from(*value)).chain([value]);
                    self.values = Values::I128(wide.collect());
                }
                (Values::I128(all), _) => all.push(value),
                _ => {}
            }
        }
    }

    /// The column.
    #[must_use]
    pub fn finish(mut self) -> Column {
        let kind = match self.kind.take() {
            Some(Kind::Text(_)) => Kind::Text(self.sort_texts()),
            kind => kind.unwrap_or(Kind::Nested),
        };
        let values = match self.values {
            Values::I64(values) => narrowed(values),
            values => values,
        };
        Column { kind, values, nulls: Bitmap::from_words(self.nulls, self.rows) }
    }

    /// Sorts the texts, and gives each value the new place of its text.
    fn sort_texts(&mut self) -> Dictionary {
        let mut texts: Vec<(String, i64)> = self.texts.drain().collect();
        texts.sort_unstable();
        let mut places = vec![0; texts.len()];
        let mut dictionary = Dictionary::default();
        for (place, (text, code)) in (0..).zip(&texts) {
            dictionary.push(text);
            if let Some(at) = usize::try_from(*code).ok().and_then(|code| places.get_mut(code)) {
                *at = place;
            }
        }
        if let Values::I64(values) = &mut self.values {
            // A null has 0, which may be no text's place.
            let place = |code: i64| usize::try_from(code).ok().and_then(|code| places.get(code).copied());
            for value in values {
                *value = place(*value).unwrap_or(0);
            }
        }
        dictionary
    }
}

fn narrowed(values: Vec<i64>) -> Values {
    fn all<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
        values.iter().map(|value| T::try_from(*value).ok()).collect()
    }
    all(&values)
        .map(Values::I8)
        .or_else(|| all(&values).map(Values::I16))
        .or_else(|| all(&values).map(Values::I32))
        .unwrap_or(Values::I64(values))
}
