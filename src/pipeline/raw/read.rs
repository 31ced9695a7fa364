//! Reading a raw file line by line: CSV, JSON lines and Parquet become text fields in the order of the table's columns.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Schema},
};
use flate2::bufread::MultiGzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::value::RawValue;

use super::{
    Extra, Kind, Line, MAX_COLUMNS, RawError, TableSpec,
    files::{Format, RawFile},
    object::{Object, Text},
    records::Records,
};

/// What reading a file told.
#[derive(Debug)]
pub(crate) struct FileRead {
    /// SHA-256 of its content.
    pub(crate) sha256: String,
    /// Its lines of data.
    pub(crate) lines: u64,
}

/// A line break within this many lines of one broken record is taken for a quote that was never closed.
const MOST_LINES_OF_A_RECORD: usize = 1_000;

/// Reads `file` and hands every line, with its number, to `sink`. Blocks; call it outside the runtime's own threads but
/// within the runtime. `scratch` is a folder for temporary files.
pub(crate) fn read_file(
    file: &RawFile,
    spec: &TableSpec,
    progress: Arc<AtomicU64>,
    scratch: &Path,
    sink: &mut dyn FnMut(u64, Line<'_>) -> Result<(), RawError>,
) -> Result<FileRead, RawError> {
    let mut source = file.open(progress).map_err(|error| unreadable(&file.shown, 0, &error))?;
    let mut reading = Reading { file: &file.shown, spec, lines: 0, at: 0, sink };
    match (file.format, file.gzip) {
        (Format::Parquet, _) => reading.parquet(&mut source, scratch)?,
        (Format::Csv, false) => reading.csv(&mut source)?,
        (Format::Csv, true) => reading.csv(MultiGzDecoder::new(BufReader::with_capacity(1 << 18, &mut source)))?,
        (Format::Json, false) => reading.json(BufReader::with_capacity(1 << 18, &mut source))?,
        (Format::Json, true) => {
            let unpacked = MultiGzDecoder::new(BufReader::with_capacity(1 << 18, &mut source));
            reading.json(BufReader::with_capacity(1 << 18, unpacked))?;
        }
    }
    let (lines, at) = (reading.lines, reading.at);
    let sha256 = source.finish().map_err(|error| unreadable(&file.shown, at, &error))?;
    Ok(FileRead { sha256, lines })
}

fn unreadable(file: &str, line: u64, why: &dyn std::fmt::Display) -> RawError {
    RawError::Unreadable { file: file.to_owned(), line, why: why.to_string() }
}

/// A file being read.
struct Reading<'a> {
    file: &'a str,
    spec: &'a TableSpec,
    lines: u64,
    /// The line reached.
    at: u64,
    sink: &'a mut dyn FnMut(u64, Line<'_>) -> Result<(), RawError>,
}

impl Reading<'_> {
    fn line(&mut self, line: Line<'_>) -> Result<(), RawError> {
        self.lines += 1;
        (self.sink)(self.at, line)
    }

    fn csv(&mut self, source: impl Read) -> Result<(), RawError> {
        let mut records = Records::new(source, self.spec.delimiter);
        let Some(first) = records.next().map_err(|error| unreadable(self.file, 0, &error))? else {
            return Err(unreadable(self.file, 0, &"it is empty, not even a header"));
        };
        let header: Vec<String> =
            (0..first.len()).map(|at| String::from_utf8_lossy(first.bytes(at)).trim().to_owned()).collect();
        let places = self.places(&header)?;
        let extras: Vec<usize> = self.extras(&header, &places);
        let file = self.file;
        while let Some(record) = records.next().map_err(|error| unreadable(file, self.at, &error))? {
            self.at = record.line;
            if record.len() != header.len() {
                if record.line_breaks() > MOST_LINES_OF_A_RECORD {
                    let why = format!("a quote opened at line {} or shortly after is never closed", self.at);
                    return Err(unreadable(self.file, self.at, &why));
                }
                let (found, expected) = (record.len(), header.len());
                self.line(Line::Bad(format!("it has {found} fields, the header {expected}")))?;
                continue;
            }
            let mut fields = [""; MAX_COLUMNS];
            let mut valid = true;
            let texts = record.texts();
            for (field, place) in fields.iter_mut().zip(&places) {
                let Some(place) = place else { continue };
                match &texts {
                    Some(texts) => *field = texts.get(*place),
                    None => match std::str::from_utf8(record.bytes(*place)) {
                        Ok(text) => *field = text,
                        Err(_) => valid = false,
                    },
                }
            }
            if !valid {
                self.line(Line::Bad("it is not UTF-8".to_owned()))?;
                continue;
            }
            let kept: Vec<Extra<'_>> = extras
                .iter()
                .map(|place| Extra {
                    name: &header[*place],
                    text: String::from_utf8_lossy(record.bytes(*place)),
                    kind: Kind::Text,
                })
                .collect();
            self.line(Line::Record { fields: &fields[..places.len()], extras: &kept })?;
        }
        Ok(())
    }

    /// Where each of the spec's columns stands in `header`.
    fn places(&self, header: &[String]) -> Result<Vec<Option<usize>>, RawError> {
        let place = |column: &super::Column| match header.iter().position(|name| *name == column.source) {
            None if column.required => Err(RawError::MissingColumn {
                file: self.file.to_owned(),
                table: self.spec.table.name(),
                column: column.name.clone(),
                source_name: column.source.clone(),
                found: header.join(", "),
            }),
            place => Ok(place),
        };
        self.spec.columns.iter().map(place).collect()
    }

    /// Where the columns stand that are kept without being named.
    fn extras(&self, header: &[String], places: &[Option<usize>]) -> Vec<usize> {
        if !self.spec.keeps_extras() {
            return Vec::new();
        }
        (0..header.len()).filter(|at| !places.contains(&Some(*at)) && !header[*at].is_empty()).collect()
    }

    fn json(&mut self, mut source: impl BufRead) -> Result<(), RawError> {
        let mut text = String::new();
        loop {
            text.clear();
            match source.read_line(&mut text) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(unreadable(self.file, self.at, &error)),
            }
            self.at += 1;
            let line = text.trim_start_matches('\u{feff}').trim();
            if line.is_empty() {
                continue;
            }
            match serde_json::from_str::<Object<'_, &RawValue>>(line) {
                Ok(object) => self.object(&object)?,
                Err(_) if self.at == 1 && line.starts_with('[') => {
                    return Err(unreadable(
                        self.file,
                        0,
                        &"it holds one JSON array; expected a JSON object on each line",
                    ));
                }
                // What another kind of value is, the error would quote.
                Err(error) if error.is_data() => self.line(Line::Bad("it is no JSON object".to_owned()))?,
                Err(error) => self.line(Line::Bad(format!("it is no JSON object: {error}")))?,
            }
        }
    }

    fn object(&mut self, object: &Object<'_, &RawValue>) -> Result<(), RawError> {
        let mut texts: [Cow<'_, str>; MAX_COLUMNS] = [const { Cow::Borrowed("") }; MAX_COLUMNS];
        for (text, column) in texts.iter_mut().zip(&self.spec.columns) {
            match object.get(&column.source).map(|value| scalar(value)) {
                None => {}
                Some((_, Some(found))) => *text = found,
                Some((_, None)) => {
                    let why = format!(
                        "column `{}`: expected {}, found a list or an object",
                        column.source,
                        column.kind.expected()
                    );
                    return self.line(Line::Bad(why));
                }
            }
        }
        let mut fields = [""; MAX_COLUMNS];
        fields.iter_mut().zip(&texts).for_each(|(field, text)| *field = text);
        let kept: Vec<Extra<'_>> = object
            .0
            .iter()
            .filter(|(Text(name), _)| {
                self.spec.keeps_extras() && !self.spec.columns.iter().any(|column| column.source == *name)
            })
            .map(|(Text(name), value)| {
                let (kind, text) = scalar(value);
                Extra { name, text: text.unwrap_or(Cow::Borrowed(value.get())), kind }
            })
            .collect();
        self.line(Line::Record { fields: &fields[..self.spec.columns.len()], extras: &kept })
    }

    fn parquet(&mut self, source: &mut impl Read, scratch: &Path) -> Result<(), RawError> {
        let mut spooled = || -> io::Result<File> {
            let mut spool = tempfile::tempfile_in(scratch)?;
            io::copy(source, &mut spool)?;
            spool.rewind()?;
            Ok(spool)
        };
        let spooled = spooled().map_err(|error| unreadable(self.file, 0, &error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(spooled)
            .map_err(|error| unreadable(self.file, 0, &format!("it is no Parquet file: {error}")))?;
        let schema = builder.schema().clone();
        let header: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let places = self.places(&header)?;
        self.check_types(&schema, &places)?;
        let extras = self.extras(&header, &places);
        let (file, mut reader) = (self.file, builder.build().map_err(|error| unreadable(self.file, 0, &error))?);
        while let Some(batch) = reader.next().transpose().map_err(|error| unreadable(file, self.at, &error))? {
            self.batch(&batch, &places, &extras)?;
        }
        Ok(())
    }

    /// Every column as text; Parquet's own types are exact in it.
    fn batch(&mut self, batch: &RecordBatch, places: &[Option<usize>], extras: &[usize]) -> Result<(), RawError> {
        let text = |place: usize| -> Result<StringArray, RawError> {
            let texts = cast(batch.column(place), &DataType::Utf8)
                .map_err(|_| self.column_type(batch.schema_ref(), place, "a plain value"))?;
            Ok(texts.as_string::<i32>().clone())
        };
        let columns: Vec<Option<StringArray>> =
            places.iter().map(|place| place.map(text).transpose()).collect::<Result<_, _>>()?;
        let kept: Vec<(&str, Kind, StringArray)> = extras
            .iter()
            .map(|place| {
                let field = batch.schema_ref().field(*place);
                Ok((field.name().as_str(), kind(field.data_type()), text(*place)?))
            })
            .collect::<Result<_, RawError>>()?;
        for row in 0..batch.num_rows() {
            self.at += 1;
            let mut fields = [""; MAX_COLUMNS];
            for (field, column) in fields.iter_mut().zip(&columns) {
                *field = column.as_ref().filter(|column| column.is_valid(row)).map_or("", |column| column.value(row));
            }
            let extras: Vec<Extra<'_>> = kept
                .iter()
                .filter(|(_, _, texts)| texts.is_valid(row))
                .map(|(name, kind, texts)| Extra { name, text: Cow::Borrowed(texts.value(row)), kind: *kind })
                .collect();
            self.line(Line::Record { fields: &fields[..places.len()], extras: &extras })?;
        }
        Ok(())
    }

    fn check_types(&self, schema: &Schema, places: &[Option<usize>]) -> Result<(), RawError> {
        for (column, place) in self.spec.columns.iter().zip(places) {
            let Some(place) = *place else { continue };
            let found = kind(schema.field(place).data_type());
            let nested = schema.field(place).data_type().is_nested();
            let fits = match column.kind {
                Kind::Text => !nested,
                Kind::Integer | Kind::Number => matches!(found, Kind::Integer | Kind::Number | Kind::Text) && !nested,
                _ => matches!(found, Kind::Date | Kind::Timestamp | Kind::Integer | Kind::Text) && !nested,
            };
            if !fits {
                return Err(self.column_type(schema, place, column.kind.expected()));
            }
        }
        Ok(())
    }

    fn column_type(&self, schema: &Schema, place: usize, expected: &'static str) -> RawError {
        let field = schema.field(place);
        RawError::ColumnType {
            file: self.file.to_owned(),
            column: field.name().clone(),
            expected,
            found: field.data_type().to_string(),
        }
    }
}

/// The kind of a JSON value and its text: empty for null, nothing for a list or an object.
fn scalar(value: &RawValue) -> (Kind, Option<Cow<'_, str>>) {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => (Kind::Text, serde_json::from_str::<Text<'_>>(text).ok().map(|text| text.0)),
        Some(b'n') => (Kind::Text, Some(Cow::Borrowed(""))),
        Some(b't' | b'f') => (Kind::Boolean, Some(Cow::Borrowed(text))),
        Some(b'[' | b'{') => (Kind::Text, None),
        _ if text.contains(['.', 'e', 'E']) => (Kind::Number, Some(Cow::Borrowed(text))),
        _ => (Kind::Integer, Some(Cow::Borrowed(text))),
    }
}

fn kind(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Boolean => Kind::Boolean,
        DataType::Date32 | DataType::Date64 => Kind::Date,
        DataType::Timestamp(..) => Kind::Timestamp,
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale)
            if *scale <= 0 =>
        {
            Kind::Integer
        }
        DataType::Dictionary(_, value) => kind(value),
        other if other.is_integer() => Kind::Integer,
        other if other.is_numeric() => Kind::Number,
        _ => Kind::Text,
    }
}
