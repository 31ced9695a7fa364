//! Stray quotes in CSV: a `"` that stands at the start of a field and is no quote takes all lines up to the
//! next `"` for one field.
//!
//! A record of several lines is taken for such an accident where a quote is not closed at the end of its
//! field, or where one of the lines that it encloses is a whole record by itself: as many fields as the
//! header has, and typed ones that can be read.

use std::str;

use super::{
    MAX_COLUMNS, Table, TableSpec,
    check::{LineError, LineFields},
    records::{Quotes, Record, Records},
};

/// The shape that a header gives to the lines below it.
pub(super) struct RecordShape<'a> {
    pub(super) spec: &'a TableSpec,
    /// The number of columns.
    pub(super) columns: usize,
    /// Where each column of the spec stands.
    pub(super) places: &'a [Option<usize>],
}

impl RecordShape<'_> {
    /// Returns why `record`, which covers several lines, is no record of the file, if it is none.
    pub(super) fn stray_quote(&self, record: &Record<'_>) -> Option<LineError> {
        let last = record.line + record.covered - 1;
        let found = |what: &str| LineError {
            cause: format!(
                "a stray quote; double quotes within quoted fields, or set `quote = false` in [raw.{}] if the file has none",
                self.spec.table.name()
            ),
            found: format!(
                "a quote opened in this line {what}; lines {} to {last} are set aside",
                record.line
            ),
        };
        if record.quotes() != Quotes::Sound {
            return Some(found("is not closed at the end of its field"));
        }
        let lines: Vec<&[u8]> = record.lines().collect();
        let (first, rest) = lines.split_first()?;
        let class = self.id_class(first);
        // The last line ends with the quote, as the last line of an address does; it is a record only if the first one is.
        let within = if fields_if_plain(first, self.spec.delimiter) == self.columns {
            rest
        } else {
            &rest[..rest.len().saturating_sub(1)]
        };
        within.iter().any(|line| self.is_record(line, class)).then(|| found("encloses whole records"))
    }

    /// Whether `line` alone is a record of the file, as far as can be told.
    fn is_record(&self, line: &[u8], first: Option<IdClass>) -> bool {
        let mut records = Records::of(line, self.spec.delimiter);
        let Ok(Some(record)) = records.next() else { return false };
        // In a file of one column, every line is a record.
        if record.len() != self.columns || self.columns < 2 || record.quotes() != Quotes::Sound {
            return false;
        }
        let mut texts = [""; MAX_COLUMNS];
        for (text, place) in texts.iter_mut().zip(self.places) {
            let Some(place) = place else { continue };
            let Ok(field) = str::from_utf8(record.bytes(*place)) else { return false };
            *text = field;
        }
        let fields = LineFields { texts: &texts[..self.places.len()], typed: 0 };
        match self.spec.table {
            // One of the three may itself be wrong.
            Table::Transactions => self.spec.typed_fields(fields) >= 2,
            Table::Interactions => self.spec.interaction(fields).is_ok(),
            // Only the id tells a customer's line from a line of an address.
            Table::Customers => {
                let id = texts[0].trim();
                !id.is_empty()
                    && self.spec.customer(fields, &mut []).is_ok()
                    && first.is_none_or(|first| first == IdClass::of(id))
            }
        }
    }

    /// Returns what the customer's id of the record that begins with `line` looks like, where it stands
    /// before the quote.
    fn id_class(&self, line: &[u8]) -> Option<IdClass> {
        let place = (*self.places.first()?)?;
        let mut records = Records::of(line, self.spec.delimiter);
        let record = records.next().ok()??;
        let id = str::from_utf8(record.bytes(place)).ok()?.trim();
        Some(IdClass::of(id)).filter(|_| place + 1 < record.len() && !id.is_empty())
    }
}

/// Returns the number of fields of `line` if a quote that is not closed in it is a character like any other.
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

/// The look of an id.
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
