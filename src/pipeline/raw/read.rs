//! Readers of raw files: convert each line of CSV, JSON lines and Parquet to text fields in the order of the table's
//! columns.

use std::{
    borrow::Cow,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use flate2::bufread::MultiGzDecoder;
use serde_json::value::RawValue;

use super::{
    MAX_COLUMNS, RawError, RawType, TableSpec,
    check::{ExtraField, LineError, LineFields, RawLine},
    files::{FileFormat, RawFile},
    header::{Header, ObjectKeys},
    object::{JsonObject, JsonText},
    records::{Quotes, Record, Records},
    stray::{self, RecordShape},
};
use crate::feature::trim;

mod parquet;

/// Result of reading a file.
#[derive(Debug)]
pub(crate) struct FileRead {
    /// SHA-256 of the content.
    pub(crate) sha256: String,
    /// Number of records, and of lines that belong to no record.
    pub(crate) lines: u64,
    /// Number of lines as counted by `wc -l`, including headers and empty lines. Number of rows of a Parquet file.
    pub(crate) physical_lines: u64,
}

/// Reads `file` and passes every line with its number to `sink`. Blocks, so it must be called on a blocking thread of the
/// runtime. `scratch` is a folder for temporary files.
pub(crate) fn read_file(
    file: &RawFile,
    spec: &TableSpec,
    progress: Arc<AtomicU64>,
    scratch: &Path,
    sink: &mut dyn FnMut(u64, RawLine<'_>) -> Result<(), RawError>,
) -> Result<FileRead, RawError> {
    let mut source = file.open(progress).map_err(|error| unreadable(&file.shown, 0, &error))?;
    let mut reading = FileReader { file: &file.shown, spec, lines: 0, at: 0, physical_lines: 0, sink };
    match (file.format, file.gzip) {
        (FileFormat::Parquet, _) => reading.parquet(&mut source, scratch)?,
        (format, false) => reading.text(format, &mut source)?,
        (format, true) => {
            let unpacked = MultiGzDecoder::new(BufReader::with_capacity(1 << 18, &mut source));
            reading.text(format, unpacked)?;
        }
    }
    let (lines, physical_lines, at) = (reading.lines, reading.physical_lines, reading.at);
    let sha256 = source.finish().map_err(|error| unreadable(&file.shown, at, &error))?;
    Ok(FileRead { sha256, lines, physical_lines })
}

fn unreadable(file: &str, line: u64, why: &dyn std::fmt::Display) -> RawError {
    RawError::Unreadable { file: file.to_owned(), line, why: why.to_string() }
}

/// Returns the reason if the first bytes of a text file show another format.
fn mislabeled(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("its content is gzip; give it a name that ends in .gz"),
        [b'P', b'K', 3, 4, ..] => Some("its content is a ZIP archive or an Excel workbook; save it as CSV"),
        [b'P', b'A', b'R', b'1', ..] => Some("its content is Parquet; give it a name that ends in .parquet"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..] => {
            Some("its content is not UTF-8 but seems to be UTF-16; save it as UTF-8")
        }
        _ => None,
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

/// Reader of one file.
struct FileReader<'a> {
    file: &'a str,
    spec: &'a TableSpec,
    lines: u64,
    physical_lines: u64,
    /// Number of the current line.
    at: u64,
    sink: &'a mut dyn FnMut(u64, RawLine<'_>) -> Result<(), RawError>,
}

impl FileReader<'_> {
    /// Passes a record to the sink.
    fn record(&mut self, fields: LineFields<'_>, extras: Vec<ExtraField<'_>>) -> Result<(), RawError> {
        self.lines += 1;
        (self.sink)(self.at, RawLine::Record { fields, extras })
    }

    /// Passes `lines` bad lines to the sink.
    fn bad(&mut self, error: LineError, lines: u64) -> Result<(), RawError> {
        self.lines += lines;
        (self.sink)(self.at, RawLine::Bad { error, lines })
    }

    fn text(&mut self, format: FileFormat, source: impl Read) -> Result<(), RawError> {
        // The buffer is small, so that large reads bypass it.
        let mut source = BufReader::with_capacity(1 << 12, source);
        let start = source.fill_buf().map_err(|error| unreadable(self.file, 0, &error))?;
        if let Some(why) = mislabeled(start) {
            return Err(unreadable(self.file, 0, &why));
        }
        match format {
            FileFormat::Csv => self.csv(source),
            _ => self.json(BufReader::with_capacity(1 << 18, source)),
        }
    }

    fn csv(&mut self, source: impl Read) -> Result<(), RawError> {
        let mut records = Records::new(source, self.spec.delimiter, self.spec.quote);
        let Some(first) = records.next().map_err(|error| unreadable(self.file, 0, &error))? else {
            return Err(unreadable(self.file, 0, &"it is empty; expected a header"));
        };
        if let Some(why) = broken_header(&first, self.spec.delimiter) {
            return Err(unreadable(self.file, 0, &why));
        }
        let header: Vec<String> =
            (0..first.len()).map(|at| trim(&String::from_utf8_lossy(first.bytes(at))).to_owned()).collect();
        if header.iter().any(|name| name.contains('\u{fffd}')) {
            return Err(unreadable(self.file, 0, &"the header is not UTF-8; save the file as UTF-8"));
        }
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
            let Some(kept) = kept.filter(|_| is_text) else {
                self.bad(not_utf8("the line"), covered)?;
                continue;
            };
            self.record(LineFields { texts: &fields[..columns.places.len()], typed: 0 }, kept)?;
        }
        self.physical_lines = records.lines();
        Ok(())
    }

    fn json(&mut self, mut source: impl BufRead) -> Result<(), RawError> {
        let mut bytes = Vec::new();
        let mut keys = ObjectKeys::new(self.spec);
        loop {
            bytes.clear();
            match source.read_until(b'\n', &mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(unreadable(self.file, self.at, &error)),
            }
            self.at += 1;
            let Ok(text) = std::str::from_utf8(&bytes) else {
                self.bad(not_utf8("the line"), 1)?;
                continue;
            };
            let line = text.trim_start_matches('\u{feff}').trim();
            if line.is_empty() {
                continue;
            }
            match serde_json::from_str::<JsonObject<'_, &RawValue>>(line) {
                Ok(object) => self.object(&object, &mut keys)?,
                Err(_) if self.at == 1 && line.starts_with('[') => {
                    let why = "it is one JSON array; expected a JSON object on each line";
                    return Err(unreadable(self.file, 0, &why));
                }
                // The error for a value of another type quotes the value, which may be personal.
                Err(error) => {
                    let found =
                        if error.is_data() { "found another value".to_owned() } else { error.to_string() };
                    self.bad(LineError { cause: "not a JSON object".to_owned(), found }, 1)?;
                }
            }
        }
        self.physical_lines = self.at;
        keys.check(self.file)
    }

    fn object(
        &mut self,
        object: &JsonObject<'_, &RawValue>,
        keys: &mut ObjectKeys<'_>,
    ) -> Result<(), RawError> {
        keys.note(object);
        if let Some(name) = object.repeated.iter().map(|name| &*name.0).find(|name| self.spec.reads(name)) {
            // A key that is not in the configuration may be a personal value.
            let key = if self.spec.names(name) { format!("the key `{name}`") } else { "a key".to_owned() };
            let found = "found two values".to_owned();
            return self.bad(LineError { cause: format!("{key} occurs twice in one object"), found }, 1);
        }
        let mut texts: [Cow<'_, str>; MAX_COLUMNS] = [const { Cow::Borrowed("") }; MAX_COLUMNS];
        let mut typed = 0;
        for (at, (text, column)) in texts.iter_mut().zip(&self.spec.columns).enumerate() {
            match object.get(&column.source).map(|value| scalar(value)) {
                None => {}
                Some((kind, Some(found))) => {
                    let is_number = matches!(kind, RawType::Integer | RawType::Number);
                    typed |= u32::from(is_number && column.kind != RawType::Timestamp) << at;
                    *text = found;
                }
                Some((kind, None)) => {
                    let cause = format!("column `{}`: expected {}", column.source, column.kind.expected());
                    let found = if kind == RawType::Text {
                        "found a string with half of a surrogate pair"
                    } else {
                        "found a list or an object"
                    };
                    return self.bad(LineError { cause, found: found.to_owned() }, 1);
                }
            }
        }
        let mut fields = [""; MAX_COLUMNS];
        fields.iter_mut().zip(&texts).for_each(|(field, text)| *field = text);
        let Some(kept) =
            (if self.spec.keeps_extras() { attributes(self.spec, object) } else { Some(Vec::new()) })
        else {
            return self.bad(not_utf8("the line"), 1);
        };
        self.record(LineFields { texts: &fields[..self.spec.columns.len()], typed }, kept)
    }
}

/// Returns the error for a text that is not UTF-8.
fn not_utf8(what: &str) -> LineError {
    LineError {
        cause: format!("{what} has bytes that are not UTF-8"),
        found: "save the file as UTF-8".to_owned(),
    }
}

/// Returns the attributes of a customer's `object`, or `None` if a string has half of a surrogate pair.
fn attributes<'a>(spec: &'a TableSpec, object: &'a JsonObject<'_, &RawValue>) -> Option<Vec<ExtraField<'a>>> {
    let mut kept = Vec::with_capacity(object.members.len());
    for (JsonText(key), value) in &object.members {
        for name in spec.kept_as(key) {
            let (kind, text) = match scalar(value) {
                (RawType::Text, None) => return None,
                // Lists and objects are kept as JSON text.
                (_, None) => (RawType::Text, Cow::Borrowed(value.get())),
                (kind, Some(text)) => (kind, text),
            };
            kept.push(ExtraField { name, text, kind, declared: spec.declared(name) });
        }
    }
    Some(kept)
}

/// Returns the type and the text of a JSON value. The text of null is empty. Lists and objects, and strings that are not
/// Unicode, have no text; the type of a list or an object is not [`RawType::Text`].
fn scalar(value: &RawValue) -> (RawType, Option<Cow<'_, str>>) {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => (RawType::Text, serde_json::from_str::<JsonText<'_>>(text).ok().map(|text| text.0)),
        Some(b'n') => (RawType::Text, Some(Cow::Borrowed(""))),
        Some(b't' | b'f') => (RawType::Boolean, Some(Cow::Borrowed(text))),
        Some(b'[' | b'{') => (RawType::Number, None),
        _ if text.contains(['.', 'e', 'E']) => (RawType::Number, Some(Cow::Borrowed(text))),
        _ => (RawType::Integer, Some(Cow::Borrowed(text))),
    }
}
