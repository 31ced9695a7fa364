//! Readers of raw files: convert each line of CSV, JSON lines and Parquet to text fields in the order of the
//! table's columns.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use flate2::bufread::MultiGzDecoder;

use super::{
    check::RawLine,
    error::RawError,
    files::{FileFormat, RawFile},
    spec::TableSpec,
};

mod csv;
mod json;
mod parquet;
mod reader;

use reader::{FileReader, unreadable};

/// Result of reading a file.
#[derive(Debug)]
pub(crate) struct FileRead {
    /// SHA-256 of the content.
    pub(crate) sha256: String,
    /// Number of records, and of lines that belong to no record.
    pub(crate) lines: u64,
    /// Number of lines as counted by `wc -l`, including headers and empty lines. Number of rows of a Parquet
    /// file.
    pub(crate) physical_lines: u64,
}

/// Reads `file` and passes every line with its number to `sink`. Blocks, so it must be called on a blocking
/// thread of the runtime. `scratch` is a folder for temporary files.
pub(crate) fn read_file(
    file: &RawFile,
    spec: &TableSpec,
    progress: Arc<AtomicU64>,
    scratch: &Path,
    sink: &mut dyn FnMut(u64, RawLine<'_>) -> Result<(), RawError>,
) -> Result<FileRead, RawError> {
    let mut source = file.open(progress).map_err(|error| unreadable(&file.shown, 0, &error))?;
    let mut reader = FileReader { file: &file.shown, spec, lines: 0, at: 0, physical_lines: 0, sink };
    match (file.format, file.gzip) {
        (FileFormat::Parquet, _) => reader.read_parquet(&mut source, scratch)?,
        (format, false) => reader.read_text(format, &mut source)?,
        (format, true) => {
            let unpacked = MultiGzDecoder::new(BufReader::with_capacity(1 << 18, &mut source));
            reader.read_text(format, unpacked)?;
        }
    }
    let (lines, physical_lines, at) = (reader.lines, reader.physical_lines, reader.at);
    let sha256 = source.finish().map_err(|error| unreadable(&file.shown, at, &error))?;
    Ok(FileRead { sha256, lines, physical_lines })
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

impl FileReader<'_> {
    /// Reads a CSV or JSON lines file.
    fn read_text(&mut self, format: FileFormat, source: impl Read) -> Result<(), RawError> {
        // The buffer is small, so that large reads bypass it.
        let mut source = BufReader::with_capacity(1 << 12, source);
        let start = source.fill_buf().map_err(|error| unreadable(self.file, 0, &error))?;
        if let Some(why) = mislabeled(start) {
            return Err(unreadable(self.file, 0, &why));
        }
        match format {
            FileFormat::Csv => self.read_csv(source),
            _ => self.read_json(BufReader::with_capacity(1 << 18, source)),
        }
    }
}
