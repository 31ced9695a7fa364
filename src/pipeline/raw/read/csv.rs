//! Reader of CSV files.

use std::{
    borrow::Cow,
    io::{self, BufRead, Cursor, Read},
};

use super::{
    layout::Layout,
    reader::{FileReader, not_utf8, unreadable},
};
use crate::{
    feature::trim,
    pipeline::raw::{
        check::{ExtraField, FieldKinds, LineError},
        error::RawError,
        header::Header,
        records::{Quotes, Record, Records},
        stray::{self, RecordShape},
        table::RawType,
    },
};

/// Delimiters that are tried, in this order.
pub(crate) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Maximum bytes of a line before the records.
const LONGEST_LINE: u64 = 1 << 20;

/// The start of a CSV file.
pub(crate) struct Preamble {
    /// Number of lines before the header.
    pub(crate) lines: u64,
    /// Delimiter that a line such as `sep=;` tells.
    pub(crate) delimiter: Option<u8>,
    /// The line of the header.
    pub(crate) head: Vec<u8>,
}

impl Preamble {
    /// Reads `skip` lines, a line that tells the delimiter, and the header.
    ///
    /// # Errors
    /// Fails if `source` does, and if the file has fewer lines.
    pub(crate) fn read(source: &mut impl BufRead, skip: usize) -> io::Result<Self> {
        let mut line = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            source.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
            Ok(bytes)
        };
        for _ in 0..skip {
            if line()?.is_empty() {
                let why = format!("it has fewer lines than `skip`, which is {skip}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        let (lines, head) = (skip as u64, line()?);
        match head.trim_ascii_end() {
            [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] => {
                Ok(Self { lines: lines + 1, delimiter: Some(*delimiter), head: line()? })
            }
            _ => Ok(Self { lines, delimiter: None, head }),
        }
    }
}

impl FileReader<'_> {
    /// Reads all records of a CSV file. `named` is the delimiter that the name of the file tells.
    pub(super) fn read_csv(&mut self, mut source: impl BufRead, named: Option<u8>) -> Result<(), RawError> {
        let preamble = Preamble::read(&mut source, self.spec.skip);
        let preamble = preamble.map_err(|error| unreadable(&self.file, 0, &error))?;
        let skipped = preamble.lines;
        let known = self.spec.delimiter.or(preamble.delimiter).or(named);
        let delimiter = known.unwrap_or_else(|| self.likely_delimiter(&preamble.head));
        let mut records = Records::new(Cursor::new(preamble.head).chain(source), delimiter, self.spec.quote);
        self.at = skipped;
        let mut header = self.header(&mut records, delimiter)?;
        let width = header.len();
        self.add_folder_columns(&mut header);
        let columns = Header { file: &self.file, spec: self.spec, names: &header }.columns()?;
        let layout = Layout::new(self.spec, &columns, width, self.folder_columns);
        self.note_layout(&columns);
        let kind = FieldKinds { typed: 0, is_total: layout.is_total };
        let places: Vec<Option<usize>> =
            columns.places.iter().map(|place| place.filter(|place| *place < width)).collect();
        let shape = RecordShape { spec: self.spec, delimiter, columns: width, places: &places };
        let id_column =
            layout.placed.first().filter(|(at, _)| *at == 0).map(|(_, place)| header[*place].as_str());
        let mut trailing = None;
        loop {
            let next = records.next();
            let Some(record) = next.map_err(|error| unreadable(&self.file, self.at, &error))? else { break };
            self.at = skipped + record.line;
            // Spreadsheets export rows that were cleared as delimiters alone.
            if record.is_empty() {
                continue;
            }
            let covered = record.covered;
            if (covered > 1 || (record.is_last && record.quotes() == Quotes::Open))
                && let Some(error) = shape.stray_quote(&record, skipped)
            {
                self.bad(error, covered)?;
                continue;
            }
            // Some programs end each record with a delimiter, but not the header.
            let has_empty_end = record.len() == width + 1 && record.bytes(width).is_empty();
            if record.len() != width && !(has_empty_end && *trailing.get_or_insert(has_empty_end)) {
                trailing.get_or_insert(false);
                let found = format!("it has {} fields, the header {width}", record.len());
                self.bad(
                    LineError { cause: "the number of fields differs from the header".to_owned(), found },
                    covered,
                )?;
                continue;
            }
            trailing.get_or_insert(false);
            let texts = record.texts();
            let text = |place: usize| match &texts {
                Some(texts) => texts.get(place),
                None => std::str::from_utf8(record.bytes(place)).ok(),
            };
            let (mut fields, mut is_text) = (layout.base, true);
            for (at, place) in &layout.placed {
                match text(*place) {
                    Some(text) => fields[*at] = text,
                    None => is_text = false,
                }
            }
            if id_column.is_some_and(|id| fields[0].len() >= id.len() && trim(fields[0]) == id) {
                let error = LineError {
                    cause: "a repeated header".to_owned(),
                    found: "found the column names".to_owned(),
                };
                self.bad(error, covered)?;
                continue;
            }
            let kept = columns.kept.iter().map(|column| {
                let text = match column.place.checked_sub(width) {
                    Some(folder) => &self.folder_columns[folder].1,
                    None => text(column.place)?,
                };
                let (name, text) = (column.name.as_str(), Cow::Borrowed(text));
                Some(ExtraField { name, text, kind: RawType::Text, declared: column.declared })
            });
            let kept = if columns.kept.is_empty() { Some(Vec::new()) } else { kept.collect() };
            let (true, Some(kept)) = (is_text, kept) else {
                self.bad(not_utf8("the line"), covered)?;
                continue;
            };
            self.record(&fields, kind, kept)?;
        }
        self.physical_lines += skipped + records.lines();
        Ok(())
    }

    /// Returns the delimiter with which the header `head` has the required columns.
    fn likely_delimiter(&self, head: &[u8]) -> u8 {
        let fits = |delimiter: &u8| {
            let mut records = Records::of(head, *delimiter);
            let Ok(Some(record)) = records.next() else { return false };
            let mut names = names(&record);
            self.add_folder_columns(&mut names);
            Header { file: &self.file, spec: self.spec, names: &names }.columns().is_ok()
        };
        DELIMITERS.into_iter().find(fits).unwrap_or(DELIMITERS[0])
    }

    /// Reads the column names from the first record.
    fn header(&self, records: &mut Records<impl Read>, delimiter: u8) -> Result<Vec<String>, RawError> {
        let Some(first) = records.next().map_err(|error| unreadable(&self.file, 0, &error))? else {
            return Err(unreadable(&self.file, 0, &"it is empty; expected a header"));
        };
        if let Some(why) = broken_header(&first, delimiter) {
            return Err(unreadable(&self.file, 0, &why));
        }
        let names = names(&first);
        if names.iter().any(|name| name.contains('\u{fffd}')) {
            let why = "the header is not UTF-8; save the file as UTF-8, or set `encoding`";
            return Err(unreadable(&self.file, 0, &why));
        }
        Ok(names)
    }
}

/// Returns the column names in `record`.
fn names(record: &Record<'_>) -> Vec<String> {
    (0..record.len()).map(|at| trim(&String::from_utf8_lossy(record.bytes(at))).to_owned()).collect()
}

/// Returns the reason if the quotes of a header are wrong.
fn broken_header(header: &Record<'_>, delimiter: u8) -> Option<&'static str> {
    if (header.covered > 1 || header.is_last) && header.quotes() != Quotes::Sound {
        return Some("a quote in the header is not closed at the end of its field");
    }
    let is_whole = |line: &[u8]| {
        let mut records = Records::of(line, delimiter);
        records.next().is_ok_and(|record| record.is_some_and(|record| record.len() == header.len()))
    };
    let lines: Vec<&[u8]> = header.lines().collect();
    // As for a record: the last line ends with the quote, and is a whole record only if the first line is.
    let within = match lines.split_first() {
        Some((first, rest)) if stray::fields_if_plain(first, delimiter) == header.len() => rest,
        Some((_, rest)) => &rest[..rest.len().saturating_sub(1)],
        None => &[],
    };
    let swallows = header.covered > 1 && header.len() > 1 && within.iter().any(|line| is_whole(line));
    swallows.then_some("a quote in the header encloses whole records")
}
