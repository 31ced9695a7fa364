//! Exports as text lines: CSV (RFC 4180) and NDJSON, formatted from the JSON of the snapshot's rows.

use std::{borrow::Cow, sync::Arc};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};

use super::{
    cell::{self, CsvForm, Formulas},
    change_labels::ChangeLabels,
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
    csv: CsvForm,
    columns: ExportColumns,
    by_view: Vec<ViewColumns>,
    cells: Vec<CellColumn>,
    /// Changes by rank, for an export of changes.
    labels: Option<Arc<ChangeLabels>>,
}

/// Column of a CSV file.
#[derive(Debug)]
struct CellColumn {
    column: ExportColumn,
    /// Treatment of the values of a feature.
    treatment: Treatment,
}

impl LineWriter {
    /// Creates a writer of `columns`. CSV has the form `csv`. `labels` are the changes of an export of
    /// changes.
    pub(super) fn new(
        format: LineFormat,
        columns: ExportColumns,
        csv: CsvForm,
        labels: Option<Arc<ChangeLabels>>,
    ) -> Self {
        let by_view = columns.by_view();
        let treatment = |column: &ExportColumn| match *column {
            ExportColumn::Feature(view, feature) => columns.treatment(view, feature),
            _ => Treatment::Shown,
        };
        let cells = columns.columns.iter();
        let cells =
            cells.map(|column| CellColumn { column: *column, treatment: treatment(column) }).collect();
        Self { format, csv, columns, by_view, cells, labels }
    }

    /// Returns the header line; empty for NDJSON.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.format == LineFormat::Csv {
            if self.csv.bom {
                out.extend_from_slice("\u{feff}".as_bytes());
            }
            for (at, name) in self.columns.names().iter().enumerate() {
                comma(at, &mut out);
                cell::text_cell(name, self.csv.formulas, &mut out);
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

    fn change(&self, rank: u32) -> &'static str {
        self.labels.as_ref().map_or("", |labels| labels.change(rank))
    }

    fn absent_in(&self, rank: u32) -> Option<&'static str> {
        self.labels.as_ref()?.absent_in(rank)
    }

    fn csv(&self, id: &str, rank: u32, views: &[Option<Vec<&str>>], out: &mut Vec<u8>) {
        let start = out.len();
        for (at, CellColumn { column, treatment }) in self.cells.iter().enumerate() {
            comma(at, out);
            match column {
                // The id must stay the same, so that the file can be joined with others.
                ExportColumn::Id => cell::quoted(id, out),
                ExportColumn::Rank => out.extend_from_slice(itoa::Buffer::new().format(rank).as_bytes()),
                ExportColumn::Change => out.extend_from_slice(self.change(rank).as_bytes()),
                ExportColumn::AbsentIn => {
                    out.extend_from_slice(self.absent_in(rank).unwrap_or_default().as_bytes());
                }
                ExportColumn::Feature(view, feature) => {
                    let value = views.get(*view).and_then(|values| values.as_ref()?.get(*feature).copied());
                    csv_value(value.unwrap_or("null"), *treatment, self.csv.formulas, out);
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
        if self.columns.has(ExportColumn::Change) {
            next.write(out);
            out.extend_from_slice(b"\"change\":");
            json_text(self.change(rank), out);
        }
        if self.columns.has(ExportColumn::AbsentIn) {
            next.write(out);
            out.extend_from_slice(b"\"absent_in\":");
            match self.absent_in(rank) {
                Some(end) => json_text(end, out),
                None => out.extend_from_slice(b"null"),
            }
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
fn csv_value(json: &str, treatment: Treatment, formulas: Formulas, out: &mut Vec<u8>) {
    if json == "null" {
        return;
    }
    match (treatment, json.as_bytes().first()) {
        (Treatment::Shown, Some(b'"' | b'[' | b'{')) => cell::text_cell(&unquoted(json), formulas, out),
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
