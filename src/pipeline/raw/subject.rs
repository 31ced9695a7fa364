//! All raw lines of one customer, complete and unchecked: also columns that no feature uses, and lines that a
//! build sets aside.

use std::{
    error::Error,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array, RecordBatch},
    util::display::array_value_to_string,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    decode::Utf8Reader,
    error::RawError,
    files::RawFile,
    format::{FileFormat, FileKind},
    json_path::ListPath,
    read::{DELIMITERS, JsonForm, Preamble, flatten, for_each_member, for_each_sheet, spool, spool_named},
    records::Records,
    spec::TableSpec,
    table::{Table, transaction_column},
};
use crate::feature::{CustomerId, normal_id, trim};

/// A raw line of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectLine {
    /// Name of the raw table.
    pub table: &'static str,
    /// Name of the file.
    pub file: String,
    /// Number of the line, or of the row of a Parquet file, from 1.
    pub line: u64,
    /// Values by the column names of the file.
    pub record: Map<String, Value>,
}

/// Reads the lines of `id` from one file. Blocks, so it must be called on a blocking thread of the runtime.
/// `scratch` is a folder for temporary files.
///
/// # Errors
/// Fails if the file cannot be read.
pub(crate) fn lines_of(
    file: &RawFile,
    spec: &TableSpec,
    id: &CustomerId,
    scratch: &Path,
) -> Result<Vec<SubjectLine>, RawError> {
    let mut search = Search { file: file.shown.clone(), table: file.table, spec, id, found: Vec::new() };
    let mut read = || {
        let mut source = file.open(Arc::default())?;
        match &file.delta {
            Some(delta) => {
                let copy = spool_named(&mut source, scratch)?;
                search.batches(delta.rows(copy.path()).map_err(io::Error::other)?)
            }
            None => search.kind(file.kind, &mut source, scratch),
        }
    };
    read().map_err(|error| RawError::Unreadable {
        file: file.shown.clone(),
        line: 0,
        why: error.to_string(),
    })?;
    Ok(search.found)
}

/// The order of the last line with a customer id.
#[derive(Debug, Default)]
struct LastOrder {
    order: String,
    is_wanted: bool,
}

/// Search of one file.
struct Search<'a> {
    /// Name of the file, or of a file in an archive.
    file: String,
    table: Table,
    spec: &'a TableSpec,
    id: &'a CustomerId,
    found: Vec<SubjectLine>,
}

impl Search<'_> {
    fn kind(&mut self, kind: FileKind, source: &mut dyn Read, scratch: &Path) -> io::Result<()> {
        let spec = self.spec.of_file(&self.file);
        match kind.format {
            FileFormat::Parquet => self.parquet(source, scratch),
            FileFormat::Workbook => self.workbook(source, scratch),
            FileFormat::Archive => {
                let archive = self.file.clone();
                for_each_member(source, scratch, |name, kind, member| {
                    self.file = format!("{archive}/{name}");
                    self.kind(kind, member, scratch)
                })
                .map(drop)
            }
            FileFormat::Csv(named) => {
                let text = Utf8Reader::new(kind.packing.unpack(source)?, spec.encoding)?;
                self.csv(spec, BufReader::new(text), named)
            }
            FileFormat::Json => {
                let text = Utf8Reader::new(kind.packing.unpack(source)?, spec.encoding)?;
                self.json(BufReader::new(text))
            }
        }
    }

    fn csv(&mut self, spec: &TableSpec, mut source: impl BufRead, named: Option<u8>) -> io::Result<()> {
        let preamble = Preamble::read(&mut source, spec.skip)?;
        let known = spec.delimiter.or(preamble.delimiter).or(named);
        let delimiter = known.unwrap_or_else(|| self.likely_delimiter(&preamble.head));
        let mut records = Records::new(Cursor::new(preamble.head).chain(source), delimiter, spec.quote);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Some(header) = records.next()? else { return Ok(()) };
        let header: Vec<String> =
            (0..header.len()).map(|at| trim(&text(header.bytes(at))).to_owned()).collect();
        let Some(id) = header.iter().position(|name| self.is_id(name)) else { return Ok(()) };
        let order = header.iter().position(|name| self.is_order(name));
        let mut last = LastOrder::default();
        while let Some(record) = records.next()? {
            let field = |at: Option<usize>| {
                String::from_utf8_lossy(at.filter(|at| *at < record.len()).map_or(&[], |at| record.bytes(at)))
            };
            if !self.is_wanted_line(&field(Some(id)), &field(order), &mut last) {
                continue;
            }
            let values = (0..record.len()).map(|at| {
                let name = header.get(at).cloned().unwrap_or_else(|| format!("field {}", at + 1));
                (name, Value::from(text(record.bytes(at))))
            });
            let (line, values) = (preamble.lines + record.line, values.collect());
            self.add(line, values);
        }
        Ok(())
    }

    /// Returns the delimiter with which the header `head` has the customer id.
    fn likely_delimiter(&self, head: &[u8]) -> u8 {
        let fits = |delimiter: &u8| {
            let mut records = Records::of(head, *delimiter);
            let Ok(Some(record)) = records.next() else { return false };
            (0..record.len()).any(|at| self.is_id(trim(&String::from_utf8_lossy(record.bytes(at)))))
        };
        DELIMITERS.into_iter().find(fits).unwrap_or(DELIMITERS[0])
    }

    fn workbook(&mut self, source: &mut dyn Read, scratch: &Path) -> io::Result<()> {
        let file = self.file.clone();
        for_each_sheet(source, scratch, usize::MAX, |sheet, rows| {
            self.file = format!("{file}, sheet {sheet}");
            let mut header: Option<(Vec<String>, usize)> = None;
            let mut last = LastOrder::default();
            for (line, cells) in rows {
                let Some((names, id)) = &header else {
                    let place = cells.iter().position(|name| self.is_id(trim(name)));
                    header = place.map(|place| (cells, place));
                    continue;
                };
                let order = names.iter().position(|name| self.is_order(trim(name)));
                let cell = |at: Option<usize>| at.and_then(|at| cells.get(at)).map_or("", String::as_str);
                if self.is_wanted_line(cell(Some(*id)), cell(order), &mut last) {
                    let name =
                        |at: usize| names.get(at).cloned().unwrap_or_else(|| format!("field {}", at + 1));
                    let values =
                        cells.into_iter().enumerate().map(|(at, text)| (name(at), Value::from(text)));
                    let values = values.collect();
                    self.add(line, values);
                }
            }
        })
    }

    fn json(&mut self, mut source: impl BufRead) -> io::Result<()> {
        let form = JsonForm::of(source.fill_buf()?);
        let mut line = 0;
        if form == JsonForm::Lines {
            let mut bytes = Vec::new();
            while source.read_until(b'\n', &mut bytes)? > 0 {
                line += 1;
                let text = String::from_utf8_lossy(&bytes);
                if let Ok(value) = serde_json::from_str(text.trim_start_matches('\u{feff}').trim()) {
                    self.json_value(line, value);
                }
                bytes.clear();
            }
            return Ok(());
        }
        for value in serde_json::Deserializer::from_reader(source).into_iter::<Value>() {
            let values = match value? {
                Value::Array(values) => values,
                value => vec![value],
            };
            for value in values {
                line += 1;
                self.json_value(line, value);
            }
        }
        Ok(())
    }

    /// Adds the object `value` if it names the customer; of a list of customers within, the customer's
    /// objects.
    fn json_value(&mut self, line: u64, value: Value) {
        let Value::Object(record) = value else { return };
        let sources = self.spec.columns[0].sources.clone();
        for source in &sources {
            let keys: Vec<&str> = source.split("[]").collect();
            let (lists, path) = keys.split_at(keys.len() - 1);
            let mut objects = vec![&record];
            for list in lists {
                let lists = objects.into_iter().filter_map(|object| at_path(object, list)?.as_array());
                objects = lists.flatten().filter_map(Value::as_object).collect();
            }
            let wanted: Vec<Map<String, Value>> = objects
                .into_iter()
                .filter(|object| match at_path(object, path[0]) {
                    Some(Value::String(id)) => self.is_wanted(id),
                    Some(Value::Number(id)) => self.is_wanted(&id.to_string()),
                    _ => false,
                })
                .cloned()
                .collect();
            for record in wanted {
                self.add(line, record);
            }
        }
    }

    fn parquet(&mut self, source: &mut dyn Read, scratch: &Path) -> io::Result<()> {
        let copy = spool(source, scratch)?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(copy).map_err(io::Error::other)?;
        self.batches(builder.build().map_err(io::Error::other)?)
    }

    fn batches<E>(&mut self, batches: impl Iterator<Item = Result<RecordBatch, E>>) -> io::Result<()>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let spec = self.spec.of_file(&self.file).clone();
        let lists = ListPath::new(&spec).map_err(io::Error::other)?;
        let mut line = 0;
        for batch in batches {
            let batch = batch.map_err(io::Error::other)?;
            let batch = flatten(&batch, &spec, &lists, &[]).map_err(io::Error::other)?;
            let schema = batch.schema();
            let place = schema.fields().iter().position(|field| self.is_id(field.name()));
            let ids = place.map(|place| batch.column(place));
            for row in 0..batch.num_rows() {
                line += 1;
                let Some(ids) = ids else { continue };
                if !self.is_wanted(&array_value_to_string(ids, row).map_err(io::Error::other)?) {
                    continue;
                }
                let mut record = Map::new();
                for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                    let value = if column.is_null(row) {
                        Value::Null
                    } else {
                        array_value_to_string(column, row).map_err(io::Error::other)?.into()
                    };
                    record.insert(field.name().clone(), value);
                }
                self.add(line, record);
            }
        }
        Ok(())
    }

    fn add(&mut self, line: u64, record: Map<String, Value>) {
        let (table, file) = (self.table.name(), self.file.clone());
        self.found.push(SubjectLine { table, file, line, record });
    }

    /// Returns whether the column `name` has the customer id.
    fn is_id(&self, name: &str) -> bool {
        self.spec.of_file(&self.file).columns[0].is_named(name)
    }

    /// Returns whether the column `name` has the order id, if lines take over the fields of their order.
    fn is_order(&self, name: &str) -> bool {
        let spec = self.spec.of_file(&self.file);
        spec.fills_orders && spec.columns[transaction_column::ORDER].is_named(name)
    }

    /// Returns whether a line is the customer's: by its id, or by the id on the first line of its order.
    fn is_wanted_line(&self, id: &str, order: &str, last: &mut LastOrder) -> bool {
        let order = order.trim();
        if !(id.trim().is_empty() && !order.is_empty() && last.order == order) {
            *last = LastOrder { order: order.to_owned(), is_wanted: self.is_wanted(id) };
        }
        last.is_wanted
    }

    fn is_wanted(&self, id: &str) -> bool {
        normal_id(id).is_ok_and(|id| id == self.id.as_str())
    }
}

/// Returns the value at the keys of `path`, which are separated by points.
fn at_path<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let path = path.trim_matches('.');
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    at_path(object.get(first)?.as_object()?, rest)
}
