//! Customers as lines of text: CSV (RFC 4180) and NDJSON, from the JSON that every tier stores.
//!
//! A text that a spreadsheet would take for a formula gets a `'` before it in CSV, unless it is a number.

use std::borrow::Cow;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};

use super::{
    columns::{Column, Columns, OfView},
    personal::Treatment,
};
use crate::feature::elements;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Csv,
    Ndjson,
}

/// Writes lines.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    columns: Columns,
    by_view: Vec<OfView>,
}

impl Lines {
    pub(super) fn new(form: Form, columns: Columns) -> Self {
        let by_view = columns.by_view();
        Self { form, columns, by_view }
    }

    /// What comes before all lines.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.form == Form::Csv {
            for (at, name) in self.columns.names().iter().enumerate() {
                comma(at, &mut out);
                cell(name, &mut out);
            }
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// Appends the customer at `row` of `batch`, who has `rank`: the ids are its first column, the views' texts the others.
    pub(super) fn write(&self, batch: &RecordBatch, row: usize, rank: u32, out: &mut Vec<u8>) {
        let Some(id) = batch.column(0).as_string_opt::<i32>().map(|ids| ids.value(row)) else { return };
        let texts = batch.columns()[1..].iter().map(|column| text(column.as_string_opt(), row));
        match self.form {
            Form::Csv => self.csv(id, rank, &texts.map(split).collect::<Vec<_>>(), out),
            Form::Ndjson => self.ndjson(id, rank, &texts.map(split).collect::<Vec<_>>(), out),
        }
    }

    fn csv(&self, id: &str, rank: u32, views: &[Option<Vec<&str>>], out: &mut Vec<u8>) {
        let start = out.len();
        for (at, column) in self.columns.columns.iter().enumerate() {
            comma(at, out);
            match column {
                Column::Id => cell(id, out),
                Column::Rank => out.extend_from_slice(itoa::Buffer::new().format(rank).as_bytes()),
                Column::Feature(view, place) => {
                    let value = views.get(*view).and_then(|values| values.as_ref()?.get(*place).copied());
                    csv_value(value.unwrap_or("null"), self.columns.treatment(*view, *place), out);
                }
            }
        }
        if out.len() == start {
            // Readers skip an empty line; a lone null must not be one.
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn ndjson(&self, id: &str, rank: u32, views: &[Option<Vec<&str>>], out: &mut Vec<u8>) {
        let mut next = Separators(b'{');
        if self.columns.has(Column::Rank) {
            next.write(out);
            out.extend_from_slice(b"\"rank\":");
            out.extend_from_slice(itoa::Buffer::new().format(rank).as_bytes());
        }
        if self.columns.has(Column::Id) {
            next.write(out);
            out.extend_from_slice(b"\"customer_id\":");
            json_text(id, out);
        }
        next.write(out);
        out.extend_from_slice(b"\"views\":{");
        for (at, OfView { view, features }) in self.by_view.iter().enumerate() {
            comma(at, out);
            let known = &self.columns.views[*view];
            json_text(&known.name, out);
            out.push(b':');
            let Some(Some(values)) = views.get(*view) else {
                out.extend_from_slice(b"null");
                continue;
            };
            out.push(b'{');
            for (at, (place, treatment)) in features.iter().enumerate() {
                comma(at, out);
                json_text(&known.features[*place].name, out);
                out.push(b':');
                let json = values.get(*place).copied().unwrap_or("null");
                match treatment {
                    Treatment::Shown => out.extend_from_slice(json.as_bytes()),
                    treatment => match treatment.apply(&unquoted(json)).filter(|_| json != "null") {
                        Some(hash) => json_text(&hash, out),
                        None => out.extend_from_slice(b"null"),
                    },
                }
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"}}\n");
    }
}

/// A value as a cell.
fn csv_value(json: &str, treatment: Treatment, out: &mut Vec<u8>) {
    if json == "null" {
        return;
    }
    match (treatment, json.as_bytes().first()) {
        (Treatment::Shown, Some(b'"')) => cell(&unquoted(json), out),
        (Treatment::Shown, Some(b'[' | b'{')) => quoted(json, out),
        (Treatment::Shown, _) => out.extend_from_slice(json.as_bytes()),
        (treatment, _) => {
            if let Some(hash) = treatment.apply(&unquoted(json)) {
                out.extend_from_slice(hash.as_bytes());
            }
        }
    }
}

/// What stands before the members of a JSON object: a brace, and then commas.
struct Separators(u8);

impl Separators {
    fn write(&mut self, out: &mut Vec<u8>) {
        out.push(std::mem::replace(&mut self.0, b','));
    }
}

fn text(texts: Option<&StringArray>, row: usize) -> Option<&str> {
    texts.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
}

/// The values of a view, of which the text is a JSON array.
fn split(text: Option<&str>) -> Option<Vec<&str>> {
    // The array is cut at ASCII signs, so its parts are texts too.
    text.map(|text| {
        elements(text.as_bytes()).map(|value| std::str::from_utf8(value).unwrap_or("null")).collect()
    })
}

fn comma(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

/// The text that a JSON text is, or the JSON of any other value.
fn unquoted(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        Some(_) => serde_json::from_str(json).map_or(Cow::Borrowed(json), Cow::Owned),
        None => Cow::Borrowed(json),
    }
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    // Into memory it cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// A text as a cell.
fn cell(text: &str, out: &mut Vec<u8>) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number(text);
    if text.is_empty() {
        // Nothing at all is null.
        return out.extend_from_slice(b"\"\"");
    }
    if formula { quoted(&format!("'{text}"), out) } else { quoted(text, out) }
}

fn is_number(text: &str) -> bool {
    let signs = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    signs && text.parse::<f64>().is_ok()
}

/// In quotes where it must be.
fn quoted(text: &str, out: &mut Vec<u8>) {
    if !text.contains([',', '"', '\r', '\n']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_are_no_formulas() {
        let of = |text: &str| {
            let mut out = Vec::new();
            cell(text, &mut out);
            String::from_utf8(out).expect("text")
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+cmd", "'+cmd"),
            ("-2+3", "'-2+3"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("-5.25", "-5.25"),
            ("+4915112345", "+4915112345"),
            ("-1e5", "-1e5"),
            ("-inf", "'-inf"),
            ("-", "'-"),
        ] {
            assert_eq!(of(text), expected, "{text:?}");
        }
    }
}
