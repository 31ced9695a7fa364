//! State of reading one file, which the readers of all formats share.

use std::borrow::Cow;

use super::order_fields::OrderFields;
use crate::{
    pipeline::raw::{
        check::{ExtraField, FieldKinds, LineError, LineFields, RawLine},
        error::RawError,
        header::ColumnPlaces,
        spec::TableSpec,
        table::{ColumnSpec, MAX_COLUMNS, RawType, Table, transaction_column},
    },
    snapshot::Warning,
};

/// Place of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinePlace<'a> {
    /// Name of the file, or of a file in an archive.
    pub(crate) file: &'a str,
    /// Number of the line in that file.
    pub(crate) line: u64,
    /// Number of the line among all lines that were read from the raw file.
    pub(crate) number: u64,
    /// Settings of the file.
    pub(crate) spec: &'a TableSpec,
}

/// Receiver of the lines of a file.
pub(crate) type LineSink<'a> = dyn FnMut(LinePlace<'_>, RawLine<'_>) -> Result<(), RawError> + 'a;

/// Reader of one file.
pub(super) struct FileReader<'a> {
    /// Name of the file, or of the current file in an archive.
    pub(super) file: Cow<'a, str>,
    pub(super) spec: &'a TableSpec,
    /// Columns that the folders of the file tell.
    pub(super) folder_columns: &'a [(String, String)],
    pub(super) lines: u64,
    pub(super) physical_lines: u64,
    /// Number of the current line.
    pub(super) at: u64,
    pub(super) warnings: Vec<Warning>,
    /// Whether any column has a default.
    pub(super) has_defaults: bool,
    /// Fields of the first line of the current order, if lines take them over.
    pub(super) order: OrderFields,
    pub(super) sink: &'a mut LineSink<'a>,
}

impl<'a> FileReader<'a> {
    /// Passes a record to the sink. Fields without a value get the default of their column.
    #[inline]
    pub(super) fn record(
        &mut self,
        fields: &[&str; MAX_COLUMNS],
        kind: FieldKinds,
        extras: Vec<ExtraField<'_>>,
    ) -> Result<(), RawError> {
        self.lines += 1;
        if self.has_defaults {
            self.with_defaults(fields, kind, extras)
        } else if self.spec.fills_orders {
            self.filled(fields, kind, extras)
        } else {
            self.pass(fields, kind, extras)
        }
    }

    /// Passes a line to the sink.
    #[inline]
    pub(super) fn pass(
        &mut self,
        fields: &[&str; MAX_COLUMNS],
        kind: FieldKinds,
        extras: Vec<ExtraField<'_>>,
    ) -> Result<(), RawError> {
        let place = LinePlace { file: &self.file, line: self.at, number: self.lines, spec: self.spec };
        let fields = LineFields { texts: &fields[..self.spec.columns.len()], kind };
        (self.sink)(place, RawLine::Record { fields, extras })
    }

    /// Passes a record whose empty fields get the default of their column.
    fn with_defaults(
        &mut self,
        fields: &[&str; MAX_COLUMNS],
        kind: FieldKinds,
        extras: Vec<ExtraField<'_>>,
    ) -> Result<(), RawError> {
        let spec = self.spec;
        let mut fields: [&str; MAX_COLUMNS] = *fields;
        let mut extras: Vec<ExtraField<'_>> = extras;
        for (field, column) in fields.iter_mut().zip(&spec.columns) {
            if let Some(default) = &column.default
                && field.trim().is_empty()
            {
                *field = default;
            }
        }
        add_default_attributes(spec, &mut extras);
        if spec.fills_orders { self.filled(&fields, kind, extras) } else { self.pass(&fields, kind, extras) }
    }

    /// Appends the columns that folders tell to the `names` of the file's columns, unless the file has them.
    pub(super) fn add_folder_columns(&self, names: &mut Vec<String>) {
        let own = names.len();
        for (name, _) in self.folder_columns {
            // The places of the columns are their indexes, so a column of the file keeps its place taken.
            let is_own = names[..own].contains(name);
            names.push(if is_own { String::new() } else { name.clone() });
        }
    }

    /// Returns the value that a folder tells for `column`.
    pub(super) fn folder_column(&self, column: &ColumnSpec) -> Option<&'a str> {
        let (_, value) = self.folder_columns.iter().find(|(name, _)| column.is_named(name))?;
        Some(value)
    }

    /// Returns the attributes that folders tell.
    pub(super) fn folder_attributes(&self) -> impl Iterator<Item = ExtraField<'a>> + use<'a> {
        let spec = self.spec;
        self.folder_columns.iter().flat_map(move |(folder, value)| {
            spec.kept_as(folder).map(move |name| ExtraField {
                name,
                text: Cow::Borrowed(value.as_str()),
                kind: RawType::Text,
                declared: spec.declared(name),
            })
        })
    }

    /// Warns if the lines of the file have no quantity.
    pub(super) fn note_layout(&mut self, places: &ColumnPlaces) {
        let quantity = transaction_column::QUANTITY;
        if self.spec.table == Table::Transactions
            && places.places[quantity].is_none()
            && self.spec.columns[quantity].default.is_none()
        {
            let message = format!(
                "{} has no column `{}`: each line counts as one item",
                self.file,
                self.spec.columns[quantity].label()
            );
            self.warnings.push(Warning::new("no_quantity", message));
        }
    }

    /// Passes `lines` bad lines to the sink.
    #[inline]
    pub(super) fn bad(&mut self, error: LineError, lines: u64) -> Result<(), RawError> {
        self.lines += lines;
        let place = LinePlace { file: &self.file, line: self.at, number: self.lines, spec: self.spec };
        (self.sink)(place, RawLine::Bad { error, lines })
    }
}

/// Gives attributes without a value the default of their column.
fn add_default_attributes<'a>(spec: &'a TableSpec, extras: &mut Vec<ExtraField<'a>>) {
    for column in &spec.renamed {
        let Some(default) = &column.default else { continue };
        let text = Cow::Borrowed(default.as_str());
        match extras.iter_mut().find(|extra| extra.name == column.name) {
            Some(extra) if extra.text.trim().is_empty() => (extra.text, extra.kind) = (text, RawType::Text),
            Some(_) => {}
            None => extras.push(ExtraField {
                name: &column.name,
                text,
                kind: RawType::Text,
                declared: spec.declared(&column.name),
            }),
        }
    }
}

/// Returns the error for a file that cannot be read. `line` is the last line read, or 0.
pub(super) fn unreadable(file: &str, line: u64, why: &dyn std::fmt::Display) -> RawError {
    RawError::Unreadable { file: file.to_owned(), line, why: why.to_string() }
}

/// Returns the error for a text that is not UTF-8.
pub(super) fn not_utf8(what: &str) -> LineError {
    LineError {
        cause: format!("{what} has bytes that are not UTF-8"),
        found: "save the file as UTF-8, or set `encoding`".to_owned(),
    }
}
