//! Detection of stray quotes in CSV: a `"` at the start of an unquoted field turns all lines up to the next
//! `"` into one field.
//!
//! A record of several lines has a stray quote if a quote is not closed at the end of its field, or if one of
//! the enclosed lines is a whole record: as many fields as the header, and valid typed fields.

use std::str;

use super::{
    check::{FieldKinds, LineError, LineFields},
    records::{Quotes, Record, Records},
    spec::TableSpec,
    table::{MAX_COLUMNS, Table, transaction_column},
};

/// Expected shape of the records below a header.
pub(super) struct RecordShape<'a> {
    pub(super) spec: &'a TableSpec,
    pub(super) delimiter: u8,
    /// Number of columns of the header.
    pub(super) columns: usize,
    /// Position of each column of the spec.
    pub(super) places: &'a [Option<usize>],
}

impl RecordShape<'_> {
    /// Returns an error if `record`, which covers several lines, has a stray quote. `skipped` is the number
    /// of lines of the file before the records.
    pub(super) fn stray_quote(&self, record: &Record<'_>, skipped: u64) -> Option<LineError> {
        let first = skipped + record.line;
        let last = first + record.covered - 1;
        let found = |what: &str| LineError {
            cause: format!(
                "a stray quote; double quotes within quoted fields, or set `quote = false` in [raw.{}] if \
                 the file has none",
                self.spec.table.name()
            ),
            found: format!("a quote opened in this line {what}; lines {first} to {last} are set aside"),
        };
        if record.quotes() != Quotes::Sound {
            return Some(found("is not closed at the end of its field"));
        }
        let lines: Vec<&[u8]> = record.lines().collect();
        let (first, rest) = lines.split_first()?;
        let class = self.id_class(first);
        // The last line ends with the quote, like the last line of a quoted address. It is a record only if
        // the first line is.
        let within = if fields_if_plain(first, self.delimiter) == self.columns {
            rest
        } else {
            &rest[..rest.len().saturating_sub(1)]
        };
        within.iter().any(|line| self.is_record(line, class)).then(|| found("encloses whole records"))
    }

    /// Returns whether `line` alone seems to be a record of the file. `first` is the class of the id of the
    /// whole record.
    fn is_record(&self, line: &[u8], first: Option<IdClass>) -> bool {
        let mut records = Records::of(line, self.delimiter);
        let Ok(Some(record)) = records.next() else { return false };
        // In a file of one column, every line has the right number of fields.
        if record.len() != self.columns || self.columns < 2 || record.quotes() != Quotes::Sound {
            return false;
        }
        let mut texts = [""; MAX_COLUMNS];
        for (text, place) in texts.iter_mut().zip(self.places) {
            let Some(place) = place else { continue };
            let Ok(field) = str::from_utf8(record.bytes(*place)) else { return false };
            *text = field;
        }
        let kind = FieldKinds { typed: 0, is_total: self.is_total() };
        let fields = LineFields { texts: &texts[..self.places.len()], kind };
        match self.spec.table {
            // One of the three fields may itself be wrong.
            Table::Transactions => self.spec.valid_typed_fields(fields) >= 2,
            Table::Interactions => self.spec.check_interaction(fields).is_ok(),
            // Only the id distinguishes a customer's line from a line of an address.
            Table::Customers => {
                let id = texts[0].trim();
                !id.is_empty()
                    && self.spec.check_customer(fields, &mut []).is_ok()
                    && first.is_none_or(|first| first == IdClass::of(id))
            }
        }
    }

    /// Returns whether the records have amounts and no prices.
    fn is_total(&self) -> bool {
        self.spec.table == Table::Transactions && self.places[transaction_column::UNIT_PRICE].is_none()
    }

    /// Returns the class of the customer id of the record that begins with `line`, if the id stands before
    /// the quote.
    fn id_class(&self, line: &[u8]) -> Option<IdClass> {
        let place = (*self.places.first()?)?;
        let mut records = Records::of(line, self.delimiter);
        let record = records.next().ok()??;
        let id = str::from_utf8(record.bytes(place)).ok()?.trim();
        if place + 1 < record.len() && !id.is_empty() { Some(IdClass::of(id)) } else { None }
    }
}

/// Returns the number of fields of `line` if a quote that is not closed within the line is an ordinary
/// character.
pub(super) fn fields_if_plain(line: &[u8], delimiter: u8) -> usize {
    let (mut fields, mut at) = (1, 0);
    while at < line.len() {
        let end = |at: usize| memchr::memchr(delimiter, &line[at..]).map_or(line.len(), |length| at + length);
        let mut next = end(at);
        if line[at] == b'"' {
            let closed = |next: &usize| *next > at + 1 && line[*next - 1] == b'"';
            let mut candidate = next;
            while !closed(&candidate) && candidate < line.len() {
                candidate = end(candidate + 1);
            }
            if closed(&candidate) {
                next = candidate;
            }
        }
        fields += usize::from(next < line.len());
        at = next + 1;
    }
    fields
}

/// Class of the characters of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdClass {
    Digits,
    Word,
    Words,
}

impl IdClass {
    fn of(id: &str) -> Self {
        if id.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Digits
        } else if id.contains(char::is_whitespace) {
            Self::Words
        } else {
            Self::Word
        }
    }
}
