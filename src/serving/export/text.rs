//! Exports as text lines: CSV (RFC 4180) and NDJSON, formatted from the JSON of the snapshot's rows.
//!
//! In CSV, a text that a spreadsheet would evaluate as a formula is prefixed with `'`, unless it is a number.

use std::borrow::Cow;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};

use super::{
    columns::{ExportColumn, ExportColumns, ViewColumns},
    personal::Treatment,
};
use crate::feature::elements;

/// Format of text lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFormat {
    Csv,
    Ndjson,
}

/// Formats customers as text lines.
#[derive(Debug)]
pub(super) struct LineWriter {
    format: LineFormat,
    columns: ExportColumns,
    by_view: Vec<ViewColumns>,
}

impl LineWriter {
    pub(super) fn new(format: LineFormat, columns: ExportColumns) -> Self {
        let by_view = columns.by_view();
        Self { format, columns, by_view }
    }

    /// Returns the header line; empty for NDJSON.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.format == LineFormat::Csv {
            for (at, name) in self.columns.names().iter().enumerate() {
                comma(at, &mut out);
                cell(name, &mut out);
            }
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// Appends the customer at `row` of `batch`, with its `rank`. The first column of `batch` holds the ids,
    /// the others hold the views as JSON arrays.
    pub(super) fn write(&self, batch: &RecordBatch, row: usize, rank: u32, out: &mut Vec<u8>) {
        let Some(id) = batch.column(0).as_string_opt::<i32>().map(|ids| ids.value(row)) else { return };
        let texts = batch.columns()[1..].iter().map(|column| text(column.as_string_opt(), row));
        let views: Vec<_> = texts.map(split).collect();
        match self.format {
            LineFormat::Csv => self.csv(id, rank, &views, out),
            LineFormat::Ndjson => self.ndjson(id, rank, &views, out),
        }
    }

    fn csv(&self, id: &str, rank: u32, views: &[Option<Vec<&str>>], out: &mut Vec<u8>) {
        let start = out.len();
        for (at, column) in self.columns.columns.iter().enumerate() {
            comma(at, out);
            match column {
                ExportColumn::Id => cell(id, out),
                ExportColumn::Rank => out.extend_from_slice(itoa::Buffer::new().format(rank).as_bytes()),
                ExportColumn::Feature(view, feature) => {
                    let value = views.get(*view).and_then(|values| values.as_ref()?.get(*feature).copied());
                    csv_value(value.unwrap_or("null"), self.columns.treatment(*view, *feature), out);
                }
            }
        }
        if out.len() == start {
            // Readers skip empty lines, so a lone null is written as an empty string.
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn ndjson(&self, id: &str, rank: u32, views: &[Option<Vec<&str>>], out: &mut Vec<u8>) {
        let mut next = Separators(b'{');
        if self.columns.has(ExportColumn::Rank) {
            next.write(out);
            out.extend_from_slice(b"\"rank\":");
            out.extend_from_slice(itoa::Buffer::new().format(rank).as_bytes());
        }
        if self.columns.has(ExportColumn::Id) {
            next.write(out);
            out.extend_from_slice(b"\"customer_id\":");
            json_text(id, out);
        }
        next.write(out);
        out.extend_from_slice(b"\"views\":{");
        for (at, ViewColumns { view, features }) in self.by_view.iter().enumerate() {
            comma(at, out);
            let known = &self.columns.views[*view];
            json_text(&known.name, out);
            out.push(b':');
            let Some(Some(values)) = views.get(*view) else {
                out.extend_from_slice(b"null");
                continue;
            };
            out.push(b'{');
            for (at, (feature, treatment)) in features.iter().enumerate() {
                comma(at, out);
                json_text(&known.features[*feature].name, out);
                out.push(b':');
                let json = values.get(*feature).copied().unwrap_or("null");
                match treatment {
                    Treatment::Shown => out.extend_from_slice(json.as_bytes()),
                    treatment => match treatment.apply(&unquoted(json)) {
                        Some(hash) if json != "null" => json_text(&hash, out),
                        _ => out.extend_from_slice(b"null"),
                    },
                }
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"}}\n");
    }
}

/// Appends a JSON value as a CSV cell.
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

/// Separator before the next member of a JSON object: a brace, then commas.
struct Separators(u8);

impl Separators {
    fn write(&mut self, out: &mut Vec<u8>) {
        out.push(std::mem::replace(&mut self.0, b','));
    }
}

fn text(texts: Option<&StringArray>, row: usize) -> Option<&str> {
    texts.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
}

/// Splits the JSON array of a view into its values.
fn split(text: Option<&str>) -> Option<Vec<&str>> {
    // The array is split at ASCII characters, so its parts are valid UTF-8.
    text.map(|text| {
        elements(text.as_bytes()).map(|value| std::str::from_utf8(value).unwrap_or("null")).collect()
    })
}

fn comma(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

/// Decodes a JSON string. Returns other JSON values unchanged.
fn unquoted(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        Some(_) => serde_json::from_str(json).map_or(Cow::Borrowed(json), Cow::Owned),
        None => Cow::Borrowed(json),
    }
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends a text as a CSV cell, safe from evaluation as a formula.
fn cell(text: &str, out: &mut Vec<u8>) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number(text);
    if text.is_empty() {
        // An empty cell without quotes stands for null.
        return out.extend_from_slice(b"\"\"");
    }
    if formula { quoted(&format!("'{text}"), out) } else { quoted(text, out) }
}

fn is_number(text: &str) -> bool {
    let signs = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    signs && text.parse::<f64>().is_ok()
}

/// Appends a text as a CSV cell, in quotes if necessary.
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
    fn csv_cells_are_quoted_and_formulas_escaped() {
        let cell_of = |text: &str| {
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
            assert_eq!(cell_of(text), expected, "{text:?}");
        }
    }
}
