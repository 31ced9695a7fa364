//! Reader of CSV files.

use std::{borrow::Cow, io::Read};

use super::reader::{FileReader, not_utf8, unreadable};
use crate::{
    feature::trim,
    pipeline::raw::{
        check::{ExtraField, LineError, LineFields},
        error::RawError,
        header::Header,
        records::{Quotes, Record, Records},
        stray::{self, RecordShape},
        table::{MAX_COLUMNS, RawType},
    },
};

impl FileReader<'_> {
    /// Reads all records of a CSV file.
    pub(super) fn read_csv(&mut self, source: impl Read) -> Result<(), RawError> {
        let mut records = Records::new(source, self.spec.delimiter, self.spec.quote);
        let header = self.header(&mut records)?;
        let columns = Header { file: self.file, spec: self.spec, names: &header }.columns()?;
        let shape = RecordShape { spec: self.spec, columns: header.len(), places: &columns.places };
        let (file, id_column) = (self.file, self.spec.columns[0].source.as_str());
        while let Some(record) = records.next().map_err(|error| unreadable(file, self.at, &error))? {
            self.at = record.line;
            let covered = record.covered;
            if (covered > 1 || (record.is_last && record.quotes() == Quotes::Open))
                && let Some(error) = shape.stray_quote(&record)
            {
                self.bad(error, covered)?;
                continue;
            }
            if record.len() != header.len() {
                let found = format!("it has {} fields, the header {}", record.len(), header.len());
                self.bad(
                    LineError { cause: "the number of fields differs from the header".to_owned(), found },
                    covered,
                )?;
                continue;
            }
            let texts = record.texts();
            let text = |place: usize| match &texts {
                Some(texts) => texts.get(place),
                None => std::str::from_utf8(record.bytes(place)).ok(),
            };
            let (mut fields, mut is_text) = ([""; MAX_COLUMNS], true);
            for (field, place) in fields.iter_mut().zip(&columns.places) {
                let Some(place) = *place else { continue };
                match text(place) {
                    Some(text) => *field = text,
                    None => is_text = false,
                }
            }
            if fields[0].len() >= id_column.len() && trim(fields[0]) == id_column {
                let error = LineError {
                    cause: "a repeated header".to_owned(),
                    found: "found the column names".to_owned(),
                };
                self.bad(error, covered)?;
                continue;
            }
            let kept = columns.kept.iter().map(|column| {
                let text = Cow::Borrowed(text(column.place)?);
                Some(ExtraField { name: &column.name, text, kind: RawType::Text, declared: column.declared })
            });
            let kept = if columns.kept.is_empty() { Some(Vec::new()) } else { kept.collect() };
            let (true, Some(kept)) = (is_text, kept) else {
                self.bad(not_utf8("the line"), covered)?;
                continue;
            };
            self.record(LineFields { texts: &fields[..columns.places.len()], typed: 0 }, kept)?;
        }
        self.physical_lines = records.lines();
        Ok(())
    }

    /// Reads the column names from the first record.
    fn header(&self, records: &mut Records<impl Read>) -> Result<Vec<String>, RawError> {
        let Some(first) = records.next().map_err(|error| unreadable(self.file, 0, &error))? else {
            return Err(unreadable(self.file, 0, &"it is empty; expected a header"));
        };
        if let Some(why) = broken_header(&first, self.spec.delimiter) {
            return Err(unreadable(self.file, 0, &why));
        }
        let names: Vec<String> =
            (0..first.len()).map(|at| trim(&String::from_utf8_lossy(first.bytes(at))).to_owned()).collect();
        if names.iter().any(|name| name.contains('\u{fffd}')) {
            return Err(unreadable(self.file, 0, &"the header is not UTF-8; save the file as UTF-8"));
        }
        Ok(names)
    }
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
