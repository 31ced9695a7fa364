//! Encoder of a view's rows as the JSON arrays that all tiers store:
//! `[371,34,5288.63,1,5,5,"155","cant_lose"]`.
//!
//! Decimals have no trailing zeros, times are RFC 3339 with `Z`, NaN and infinity are null. Equal values give
//! equal bytes.

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
        Int64Array, ListArray, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
    },
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
    },
};
use chrono::{Datelike, NaiveDate};

/// Encoder of the values of one column.
enum Encoder<'a> {
    Boolean(&'a BooleanArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, i8),
    Text(&'a StringArray),
    Date(&'a Date32Array),
    Time(&'a TimestampMicrosecondArray),
    List(&'a ListArray, Box<Encoder<'a>>),
    Struct(&'a StructArray, Vec<(String, Encoder<'a>)>),
}

/// Encodes each row of `columns` as a JSON array. Rows for which `present` is false are null.
///
/// # Errors
/// Returns the type of a column that has no JSON form.
pub(crate) fn rows(
    columns: &[ArrayRef],
    present: impl Fn(usize) -> bool,
    rows: usize,
) -> Result<StringArray, DataType> {
    let encoders: Vec<Encoder<'_>> =
        columns.iter().map(|column| Encoder::new(column)).collect::<Result<_, _>>()?;
    let mut texts = StringBuilder::with_capacity(rows, rows * 64);
    let mut buffer = Vec::new();
    for row in 0..rows {
        if !present(row) {
            texts.append_null();
            continue;
        }
        buffer.clear();
        buffer.push(b'[');
        for (at, encoder) in encoders.iter().enumerate() {
            if at > 0 {
                buffer.push(b',');
            }
            encoder.write(row, &mut buffer);
        }
        buffer.push(b']');
        match std::str::from_utf8(&buffer) {
            Ok(text) => texts.append_value(text),
            Err(_) => texts.append_value(String::from_utf8_lossy(&buffer)),
        }
    }
    Ok(texts.finish())
}

impl<'a> Encoder<'a> {
    fn new(column: &'a dyn Array) -> Result<Self, DataType> {
        Ok(match column.data_type() {
            DataType::Boolean => Self::Boolean(column.as_boolean()),
            DataType::Int32 => Self::Int32(column.as_primitive::<Int32Type>()),
            DataType::Int64 => Self::Int64(column.as_primitive::<Int64Type>()),
            DataType::Float64 => Self::Float64(column.as_primitive::<Float64Type>()),
            DataType::Decimal128(_, scale) => Self::Decimal(column.as_primitive::<Decimal128Type>(), *scale),
            DataType::Utf8 => Self::Text(column.as_string()),
            DataType::Date32 => Self::Date(column.as_primitive::<Date32Type>()),
            DataType::Timestamp(..) => Self::Time(column.as_primitive::<TimestampMicrosecondType>()),
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                Self::List(list, Box::new(Self::new(list.values().as_ref())?))
            }
            DataType::Struct(fields) => {
                let parts = column.as_struct();
                let encoders = fields
                    .iter()
                    .zip(parts.columns())
                    .map(|(field, part)| Ok((json_text(field.name()), Self::new(part.as_ref())?)))
                    .collect::<Result<_, _>>()?;
                Self::Struct(parts, encoders)
            }
            other => return Err(other.clone()),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Boolean(values) => values.is_null(row),
            Self::Int32(values) => values.is_null(row),
            Self::Int64(values) => values.is_null(row),
            Self::Float64(values) => values.is_null(row),
            Self::Decimal(values, _) => values.is_null(row),
            Self::Text(values) => values.is_null(row),
            Self::Date(values) => values.is_null(row),
            Self::Time(values) => values.is_null(row),
            Self::List(values, _) => values.is_null(row),
            Self::Struct(values, _) => values.is_null(row),
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match self {
            Self::Boolean(values) => {
                let text: &[u8] = if values.value(row) { b"true" } else { b"false" };
                out.extend_from_slice(text);
            }
            Self::Int32(values) => integer(values.value(row).into(), out),
            Self::Int64(values) => integer(values.value(row), out),
            Self::Float64(values) => {
                // Writing to memory cannot fail. NaN and infinity become null.
                let _ = serde_json::to_writer(out, &values.value(row));
            }
            Self::Decimal(values, scale) => decimal(values.value(row), *scale, out),
            Self::Text(values) => {
                let _ = serde_json::to_writer(out, values.value(row));
            }
            Self::Date(values) => {
                out.push(b'"');
                date(i64::from(values.value(row)), out);
                out.push(b'"');
            }
            Self::Time(values) => time(values.value(row), out),
            Self::List(values, items) => {
                let offsets = values.value_offsets();
                let bounds =
                    [offsets[row], offsets[row + 1]].map(|offset| usize::try_from(offset).unwrap_or(0));
                out.push(b'[');
                for item in bounds[0]..bounds[1] {
                    if item > bounds[0] {
                        out.push(b',');
                    }
                    items.write(item, out);
                }
                out.push(b']');
            }
            Self::Struct(_, parts) => {
                out.push(b'{');
                for (at, (name, part)) in parts.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                    part.write(row, out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Returns `text` as a JSON string.
fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn integer(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a decimal: `52886300` of scale 4 is `5288.63`.
pub(crate) fn decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    let Ok(mut scale) = usize::try_from(scale) else {
        // A negative scale stands for trailing zeros.
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        return if value != 0 {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        };
    };
    let mut buffer = itoa::Buffer::new();
    let text = if let Ok(mut digits) = u64::try_from(value.unsigned_abs()) {
        while scale > 0 && digits.is_multiple_of(10) {
            digits /= 10;
            scale -= 1;
        }
        buffer.format(digits)
    } else {
        let mut digits = value.unsigned_abs();
        while scale > 0 && digits.is_multiple_of(10) {
            digits /= 10;
            scale -= 1;
        }
        buffer.format(digits)
    };
    let text = text.as_bytes();
    if value < 0 {
        out.push(b'-');
    }
    if scale == 0 {
        return out.extend_from_slice(text);
    }
    match text.len().checked_sub(scale) {
        None | Some(0) => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + scale - text.len(), b'0');
            out.extend_from_slice(text);
        }
        Some(whole) => {
            out.extend_from_slice(&text[..whole]);
            out.push(b'.');
            out.extend_from_slice(&text[whole..]);
        }
    }
}

/// Writes a time: `"2011-12-09T12:50:00Z"`, with milliseconds or microseconds if they are not zero.
fn time(micros: i64, out: &mut Vec<u8>) {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    out.push(b'"');
    date(days, out);
    out.push(b'T');
    digits(seconds / 3_600, 2, out);
    out.push(b':');
    digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    digits(seconds % 60, 2, out);
    if fraction % 1_000 != 0 {
        out.push(b'.');
        digits(fraction, 6, out);
    } else if fraction != 0 {
        out.push(b'.');
        digits(fraction / 1_000, 3, out);
    }
    out.extend_from_slice(b"Z\"");
}

/// Writes the date of a number of days since 1970.
fn date(days: i64, out: &mut Vec<u8>) {
    let date = i32::try_from(days + 719_163)
        .ok()
        .and_then(NaiveDate::from_num_days_from_ce_opt)
        .unwrap_or(NaiveDate::MIN);
    if !(0..=9_999).contains(&date.year()) {
        return out.extend_from_slice(date.to_string().as_bytes());
    }
    digits(date.year().into(), 4, out);
    out.push(b'-');
    digits(date.month().into(), 2, out);
    out.push(b'-');
    digits(date.day().into(), 2, out);
}

/// Writes `value` with leading zeros up to `width` digits.
fn digits(value: i64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value).as_bytes();
    out.resize(out.len() + width.saturating_sub(text.len()), b'0');
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn text_of_decimal(value: i128, scale: i8) -> String {
        let mut out = Vec::new();
        decimal(value, scale, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn decimals_have_no_trailing_zeros() {
        for (value, scale, text) in [
            (52_886_300, 4, "5288.63"),
            (0, 4, "0"),
            (-5, 4, "-0.0005"),
            (10_000, 4, "1"),
            (1_200, 4, "0.12"),
            (-123_456, 4, "-12.3456"),
            (7, 0, "7"),
            (7, -2, "700"),
            (100, 0, "100"),
        ] {
            assert_eq!(text_of_decimal(value, scale), text);
        }
        assert_eq!(text_of_decimal(i128::MIN, 4), "-17014118346046923173168730371588410.5728");
    }

    #[test]
    fn rows_are_json_arrays() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(371), None])),
            Arc::new(StringArray::from(vec![Some("a\"b\n"), Some("ü")])),
            Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN)])),
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_323_435_000_000_000), Some(-1)])
                    .with_timezone("UTC"),
            ),
            Arc::new(Date32Array::from(vec![Some(0), Some(-1)])),
        ];
        let texts = rows(&columns, |_| true, 2).expect("encodes");
        assert_eq!(texts.value(0), r#"[371,"a\"b\n",0.1,true,"2011-12-09T12:50:00Z","1970-01-01"]"#);
        assert_eq!(texts.value(1), r#"[null,"ü",null,null,"1969-12-31T23:59:59.999999Z","1969-12-31"]"#);
        assert!(rows(&columns, |row| row == 0, 2).expect("encodes").is_null(1));
    }
}
