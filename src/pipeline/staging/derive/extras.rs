//! Attributes of customers: the columns of the `customers` files that Larder has no name for, and their
//! types.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::DataType,
};
use chrono::NaiveDate;

use crate::{
    feature::feature_name,
    pipeline::{
        raw::{
            RawError, RawType, Table, TableSpec,
            value::{self, NumberRule, PRICE_DIGITS, PRICE_SCALE},
        },
        staging::{UTC, time_type},
    },
    snapshot::rfc3339,
};

/// Attribute of customers: a column of the `customers` files without a meaning for Larder.
#[derive(Debug, Clone)]
pub(crate) struct ExtraColumn {
    /// Name of the feature, made from the column's name.
    pub(crate) name: String,
    /// Column names in the files that map to this name.
    pub(super) sources: Vec<String>,
    kind: RawType,
    /// Whether the type is set in `types`.
    declared: bool,
}

/// Returns the attributes for the column names and types seen in the files. The type is the declared one,
/// else the type that fits all values.
pub(crate) fn extra_columns(
    seen: &[(String, BTreeSet<RawType>)],
    spec: Option<&TableSpec>,
) -> Vec<ExtraColumn> {
    let mut columns: Vec<(ExtraColumn, BTreeSet<RawType>)> = Vec::new();
    for (source, kinds) in seen {
        let name = feature_name(source);
        if let Some((column, all)) = columns.iter_mut().find(|(column, _)| column.name == name) {
            column.sources.push(source.clone());
            all.extend(kinds);
        } else {
            let column =
                ExtraColumn { name, sources: vec![source.clone()], kind: RawType::Text, declared: false };
            columns.push((column, kinds.clone()));
        }
    }
    let declared = |name: &str| spec.and_then(|spec| spec.declared(name));
    let typed = |(column, kinds): (ExtraColumn, BTreeSet<RawType>)| {
        let seen: Vec<RawType> = kinds.into_iter().collect();
        let inferred = match seen.as_slice() {
            [single] => *single,
            [RawType::Integer, RawType::Number] => RawType::Number,
            // Types are sorted: the last has the most decimal digits.
            [RawType::Integer | RawType::Decimal(_), .., last @ RawType::Decimal(_)] => *last,
            _ => RawType::Text,
        };
        let declared = declared(&column.name);
        ExtraColumn { kind: declared.unwrap_or(inferred), declared: declared.is_some(), ..column }
    };
    columns.into_iter().map(typed).collect()
}

impl ExtraColumn {
    pub(super) fn data_type(&self) -> DataType {
        match self.kind {
            RawType::Text => DataType::Utf8,
            RawType::Integer => DataType::Int64,
            RawType::Number if self.declared => DataType::Decimal128(PRICE_DIGITS, PRICE_SCALE),
            RawType::Number => DataType::Float64,
            RawType::Decimal(scale) => DataType::Decimal128(38, i8::try_from(scale).unwrap_or(38)),
            RawType::Boolean => DataType::Boolean,
            RawType::Date => DataType::Date32,
            RawType::Timestamp => time_type(),
        }
    }

    /// Converts `texts` to a column. They are in the form in which attributes are staged.
    pub(super) fn array(&self, texts: &[Option<&str>]) -> Result<ArrayRef, RawError> {
        let texts = texts.iter().copied();
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

    /// Parses `texts`. Each one passed the checks of its file, but files may type a column in ways that no
    /// single type holds.
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
