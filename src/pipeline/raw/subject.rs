//! All raw lines of one customer, complete and unchecked: also columns that no feature uses, and lines that a
//! build sets aside.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
    sync::Arc,
};

use arrow::{array::Array, util::display::array_value_to_string};
use flate2::bufread::MultiGzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    error::RawError,
    files::{FileFormat, RawFile},
    records::Records,
    spec::TableSpec,
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
    let mut search = Search { file, spec, id, found: Vec::new() };
    let mut read = || -> io::Result<()> {
        let mut source = file.open(Arc::default())?;
        match (file.format, file.gzip) {
            (FileFormat::Parquet, _) => search.parquet(&mut source, scratch),
            (format, false) => search.text(format, source),
            (format, true) => search.text(format, MultiGzDecoder::new(BufReader::new(source))),
        }
    };
    read().map_err(|error| RawError::Unreadable {
        file: file.shown.clone(),
        line: 0,
        why: error.to_string(),
    })?;
    Ok(search.found)
}

/// Search of one file.
struct Search<'a> {
    file: &'a RawFile,
    spec: &'a TableSpec,
    id: &'a CustomerId,
    found: Vec<SubjectLine>,
}

impl Search<'_> {
    fn text(&mut self, format: FileFormat, source: impl Read) -> io::Result<()> {
        if format == FileFormat::Csv { self.csv(source) } else { self.json(BufReader::new(source)) }
    }

    fn csv(&mut self, source: impl Read) -> io::Result<()> {
        let mut records = Records::new(source, self.spec.delimiter, self.spec.quote);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Some(header) = records.next()? else { return Ok(()) };
        let header: Vec<String> =
            (0..header.len()).map(|at| trim(&text(header.bytes(at))).to_owned()).collect();
        let Some(id) = header.iter().position(|name| *name == self.id_column()) else { return Ok(()) };
        while let Some(record) = records.next()? {
            if !self.is_wanted(&String::from_utf8_lossy(record.bytes(id))) {
                continue;
            }
            let values = (0..record.len()).map(|at| {
                let name = header.get(at).cloned().unwrap_or_else(|| format!("field {}", at + 1));
                (name, Value::from(text(record.bytes(at))))
            });
            let (line, values) = (record.line, values.collect());
            self.add(line, values);
        }
        Ok(())
    }

    fn json(&mut self, mut source: impl BufRead) -> io::Result<()> {
        let (mut bytes, mut line) = (Vec::new(), 0);
        while source.read_until(b'\n', &mut bytes)? > 0 {
            line += 1;
            let text = String::from_utf8_lossy(&bytes);
            let object = serde_json::from_str(text.trim_start_matches('\u{feff}').trim());
            if let Ok(Value::Object(record)) = object
                && self.names_customer(&record)
            {
                self.add(line, record);
            }
            bytes.clear();
        }
        Ok(())
    }

    fn names_customer(&self, record: &Map<String, Value>) -> bool {
        match record.get(self.id_column()) {
            Some(Value::String(id)) => self.is_wanted(id),
            Some(Value::Number(id)) => self.is_wanted(&id.to_string()),
            _ => false,
        }
    }

    fn parquet(&mut self, source: &mut impl Read, scratch: &Path) -> io::Result<()> {
        let mut copy: File = tempfile::tempfile_in(scratch)?;
        io::copy(source, &mut copy)?;
        copy.rewind()?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(copy).map_err(io::Error::other)?;
        let mut line = 0;
        for batch in builder.build().map_err(io::Error::other)? {
            let batch = batch.map_err(io::Error::other)?;
            let ids = batch.column_by_name(self.id_column());
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
        let (table, file) = (self.file.table.name(), self.file.shown.clone());
        self.found.push(SubjectLine { table, file, line, record });
    }

    /// Returns the name of the column with the customer id.
    fn id_column(&self) -> &str {
        &self.spec.columns[0].source
    }

    fn is_wanted(&self, id: &str) -> bool {
        normal_id(id).is_ok_and(|id| id == self.id.as_str())
    }
}
