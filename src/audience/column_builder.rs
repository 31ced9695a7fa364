//! Builds a [`FeatureColumn`] from the Arrow arrays of a snapshot's parts.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};

use super::{
    bitmap::Bitmap,
    column::{ColumnKind, ColumnValues, DAY, FeatureColumn},
    lists::{Lists, ListsBuilder},
};

use crate::feature::PackedTexts;

/// A builder of a [`FeatureColumn`].
#[derive(Debug)]
pub struct ColumnBuilder {
    kind: Option<ColumnKind>,
    values: ColumnValues,
    nulls: Vec<u64>,
    rows: usize,
    /// Codes of the texts, in the order of first appearance.
    texts: HashMap<String, i64>,
    lists: ListsBuilder,
    /// Whether lists are kept; else only whether there is one.
    keeps_lists: bool,
}

impl ColumnBuilder {
    /// Creates an empty column with capacity for `customers`.
    #[must_use]
    pub fn new(customers: usize) -> Self {
        Self {
            kind: None,
            values: ColumnValues::None,
            nulls: vec![0; customers.div_ceil(64)],
            rows: 0,
            texts: HashMap::new(),
            lists: ListsBuilder::default(),
            keeps_lists: true,
        }
    }

    /// Creates an empty column that keeps of lists only whether there is one.
    #[must_use]
    pub fn without_lists(customers: usize) -> Self {
        Self { keeps_lists: false, ..Self::new(customers) }
    }

    /// Appends the values of the next customers. `absent` returns whether the customer at a row is absent
    /// from the view.
    ///
    /// # Errors
    /// Returns a description of the problem if the type of `array` differs from earlier ones or is not
    /// supported.
    pub fn push(&mut self, array: &dyn Array, absent: impl Fn(usize) -> bool) -> Result<(), String> {
        let kind = match kind_of(array.data_type())? {
            ColumnKind::List(_) if !self.keeps_lists => ColumnKind::Nested,
            kind => kind,
        };
        if *self.kind.get_or_insert_with(|| kind.clone()) != kind {
            return Err("the type differs from the type in an earlier part".to_owned());
        }
        let present = self.push_nulls(array, absent);
        self.push_values(array, &present);
        Ok(())
    }

    /// Appends the null bits of `array`. Returns for each row whether it has a value.
    fn push_nulls(&mut self, array: &dyn Array, absent: impl Fn(usize) -> bool) -> Vec<bool> {
        let begun = self.rows;
        self.rows += array.len();
        self.nulls.resize(self.rows.div_ceil(64).max(self.nulls.len()), 0);
        let floats = array.as_primitive_opt::<Float64Type>();
        let nulls = &mut self.nulls;
        let is_null = |row: usize| {
            // NaN and infinity are served as null.
            absent(row) || array.is_null(row) || floats.is_some_and(|floats| !floats.value(row).is_finite())
        };
        let mut present = Vec::with_capacity(array.len());
        for row in 0..array.len() {
            let null = is_null(row);
            present.push(!null);
            nulls[(begun + row) / 64] |= u64::from(null) << ((begun + row) % 64);
        }
        present
    }

    /// Appends the values of `array`; 0 for null.
    fn push_values(&mut self, array: &dyn Array, present: &[bool]) {
        let rows = present.iter().copied().enumerate();
        match array.data_type() {
            DataType::Int32 => self.push_primitive::<Int32Type>(array, present),
            DataType::Int64 => self.push_primitive::<Int64Type>(array, present),
            DataType::Date32 => self.push_primitive::<Date32Type>(array, present),
            DataType::Timestamp(unit, _) => match unit {
                TimeUnit::Second => self.push_primitive::<TimestampSecondType>(array, present),
                TimeUnit::Millisecond => self.push_primitive::<TimestampMillisecondType>(array, present),
                TimeUnit::Microsecond => self.push_primitive::<TimestampMicrosecondType>(array, present),
                TimeUnit::Nanosecond => self.push_primitive::<TimestampNanosecondType>(array, present),
            },
            DataType::Boolean => {
                let values = array.as_boolean();
                self.push_integers(rows.map(|(row, here)| i64::from(here && values.value(row))));
            }
            DataType::Decimal128(..) => {
                let values = array.as_primitive::<Decimal128Type>();
                self.push_decimals(rows.map(|(row, here)| if here { values.value(row) } else { 0 }));
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>();
                let more = rows.map(|(row, here)| if here { values.value(row) } else { 0.0 });
                match &mut self.values {
                    ColumnValues::Float(all) => all.extend(more),
                    none => *none = ColumnValues::Float(more.collect()),
                }
            }
            DataType::Utf8 => self.push_texts(array, present),
            DataType::List(_) if self.keeps_lists => self.lists.push(array, present),
            _ => {}
        }
    }

    fn push_primitive<T>(&mut self, array: &dyn Array, present: &[bool])
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i64>,
    {
        let values = array.as_primitive::<T>();
        let rows = present.iter().enumerate();
        self.push_integers(rows.map(|(row, here)| if *here { values.value(row).into() } else { 0 }));
    }

    /// Appends the codes of texts, assigning the next free code to a new text.
    fn push_texts(&mut self, array: &dyn Array, present: &[bool]) {
        let values = array.as_string::<i32>();
        let mut texts = std::mem::take(&mut self.texts);
        let code = |(row, here): (usize, &bool)| {
            let text = if *here { values.value(row) } else { return 0 };
            texts.get(text).copied().unwrap_or_else(|| {
                let code = i64::try_from(texts.len()).unwrap_or(i64::MAX);
                texts.insert(text.to_owned(), code);
                code
            })
        };
        let codes: Vec<i64> = present.iter().enumerate().map(code).collect();
        self.push_integers(codes.into_iter());
        self.texts = texts;
    }

    fn push_integers(&mut self, more: impl Iterator<Item = i64>) {
        match &mut self.values {
            ColumnValues::I64(all) => all.extend(more),
            none => *none = ColumnValues::I64(more.collect()),
        }
    }

    /// Appends decimals. They are kept in 64 bits until a value needs more.
    fn push_decimals(&mut self, more: impl Iterator<Item = i128>) {
        if matches!(self.values, ColumnValues::None) {
            self.values = ColumnValues::I64(Vec::new());
        }
        for value in more {
            match (&mut self.values, i64::try_from(value)) {
                (ColumnValues::I64(all), Ok(value)) => all.push(value),
                (ColumnValues::I64(all), Err(_)) => {
                    let wide = all.iter().map(|value| i128::from(*value)).chain([value]);
                    self.values = ColumnValues::I128(wide.collect());
                }
                (ColumnValues::I128(all), _) => all.push(value),
                _ => {}
            }
        }
    }

    /// Returns the column, with integers as narrow as the values allow.
    #[must_use]
    pub fn finish(mut self) -> FeatureColumn {
        let kind = match self.kind.take() {
            Some(ColumnKind::Text(_)) => ColumnKind::Text(self.sort_texts()),
            Some(ColumnKind::List(_)) => ColumnKind::List(std::mem::take(&mut self.lists).finish()),
            kind => kind.unwrap_or(ColumnKind::Nested),
        };
        let values = match self.values {
            ColumnValues::I64(values) => narrowed(values),
            values => values,
        };
        FeatureColumn { kind, values, nulls: Bitmap::from_words(self.nulls, self.rows) }
    }

    /// Sorts the texts and replaces the codes in the values by indexes into the sorted dictionary.
    fn sort_texts(&mut self) -> PackedTexts {
        let mut texts: Vec<(String, i64)> = self.texts.drain().collect();
        texts.sort_unstable();
        let mut places = vec![0; texts.len()];
        let mut dictionary = PackedTexts::default();
        for (place, (text, code)) in (0..).zip(&texts) {
            dictionary.push(text);
            if let Some(at) = usize::try_from(*code).ok().and_then(|code| places.get_mut(code)) {
                *at = place;
            }
        }
        if let ColumnValues::I64(values) = &mut self.values {
            // Null has the code 0, which is out of range if there are no texts.
            let place = |code: i64| usize::try_from(code).ok().and_then(|code| places.get(code).copied());
            for value in values {
                *value = place(*value).unwrap_or(0);
            }
        }
        dictionary
    }
}

#[cfg(test)]
impl FeatureColumn {
    /// Returns the column of `values`, one for each customer.
    pub(super) fn of_values(values: &dyn Array) -> Self {
        let mut builder = ColumnBuilder::new(values.len());
        builder.push(values, |_| false).expect("a known type");
        builder.finish()
    }
}

/// Returns the kind of values of an Arrow type.
fn kind_of(data_type: &DataType) -> Result<ColumnKind, String> {
    Ok(match data_type {
        DataType::Int32 | DataType::Int64 => ColumnKind::Decimal(0),
        DataType::Decimal128(_, scale) => {
            ColumnKind::Decimal(u32::try_from(*scale).map_err(|_| "decimals have a negative scale")?)
        }
        DataType::Float64 => ColumnKind::Float,
        DataType::Date32 => ColumnKind::Time(DAY),
        DataType::Timestamp(unit, _) => ColumnKind::Time(match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        }),
        DataType::Boolean => ColumnKind::Boolean,
        DataType::Utf8 => ColumnKind::Text(PackedTexts::default()),
        DataType::List(element) if Lists::has_kind(element.data_type()) => ColumnKind::List(Lists::default()),
        _ => ColumnKind::Nested,
    })
}

/// Returns `values` in the narrowest integer type that holds all of them.
fn narrowed(values: Vec<i64>) -> ColumnValues {
    fn all<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
        values.iter().map(|value| T::try_from(*value).ok()).collect()
    }
    all(&values)
        .map(ColumnValues::I8)
        .or_else(|| all(&values).map(ColumnValues::I16))
        .or_else(|| all(&values).map(ColumnValues::I32))
        .unwrap_or(ColumnValues::I64(values))
}
