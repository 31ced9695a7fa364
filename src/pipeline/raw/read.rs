//! Readers of raw files: convert each line of every format to text fields in the order of the table's
//! columns.

use std::{
    borrow::Cow,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    decode::Utf8Reader,
    error::RawError,
    files::RawFile,
    format::{FileFormat, FileKind},
    spec::TableSpec,
};
use crate::snapshot::Warning;

mod archive;
mod csv;
mod fill;
mod flat;
mod json;
mod layout;
mod order_fields;
mod parquet;
mod reader;
mod workbook;

pub(crate) use archive::{for_each_member, spool, spool_named};
pub(crate) use csv::{DELIMITERS, Preamble};
pub(crate) use flat::flatten;
pub(crate) use json::JsonForm;
use order_fields::OrderFields;
use reader::{FileReader, unreadable};
pub(crate) use reader::{LinePlace, LineSink};
pub(crate) use workbook::for_each_sheet;

/// Result of reading a file.
#[derive(Debug)]
pub(crate) struct FileRead {
    /// SHA-256 of the content.
    pub(crate) sha256: String,
    /// Number of records, and of lines that belong to no record.
    pub(crate) lines: u64,
    /// Number of lines as counted by `wc -l`, including headers and empty lines. Number of rows of a Parquet
    /// file, a workbook or a JSON list.
    pub(crate) physical_lines: u64,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads `file` and passes every line with its place to `sink`. Blocks, so it must be called on a blocking
/// thread of the runtime. `scratch` is a folder for temporary files.
pub(crate) fn read_file(
    file: &RawFile,
    spec: &TableSpec,
    progress: Arc<AtomicU64>,
    scratch: &Path,
    sink: &mut LineSink<'_>,
) -> Result<FileRead, RawError> {
    let mut source = file.open(progress).map_err(|error| unreadable(&file.shown, 0, &error))?;
    let mut reader = FileReader {
        file: Cow::Borrowed(&file.shown),
        spec: spec.of_file(&file.shown),
        folder_columns: &file.folder_columns,
        lines: 0,
        at: 0,
        physical_lines: 0,
        warnings: Vec::new(),
        has_defaults: false,
        order: OrderFields::default(),
        sink,
    };
    reader.begin();
    match &file.delta {
        Some(delta) => reader.read_delta(delta, &mut source, scratch)?,
        None => reader.read_kind(file.kind, &mut source, scratch)?,
    }
    let (lines, physical_lines, at, warnings) =
        (reader.lines, reader.physical_lines, reader.at, reader.warnings);
    let sha256 = source.finish().map_err(|error| unreadable(&file.shown, at, &error))?;
    Ok(FileRead { sha256, lines, physical_lines, warnings })
}

/// Returns the reason if the first bytes of a text file show another format.
pub(crate) fn mislabeled(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("its content is gzip; give it a name that ends in .gz"),
        [b'P', b'K', 3, 4, ..] => {
            Some("its content is a ZIP archive or a workbook; give it a name that ends in .zip or .xlsx")
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("its content is Zstandard; give it a name that ends in .zst"),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', ..] => {
            Some("its content is bzip2; give it a name that ends in .bz2")
        }
        [b'P', b'A', b'R', b'1', ..] => Some("its content is Parquet; give it a name that ends in .parquet"),
        // With a byte order mark, neither of the first bytes is 0.
        [_, 0, ..] | [0, _, ..] => {
            Some("its content seems to be UTF-16; set `encoding` to \"utf-16le\" or \"utf-16be\"")
        }
        _ => None,
    }
}

impl FileReader<'_> {
    /// Begins a file: the whole raw file, or one in an archive.
    fn begin(&mut self) {
        let columns = self.spec.columns.iter().chain(&self.spec.renamed);
        self.has_defaults = columns.into_iter().any(|column| column.default.is_some());
        (self.at, self.order) = (0, OrderFields::default());
    }

    /// Reads the content `source` of a file of the given kind.
    fn read_kind(&mut self, kind: FileKind, source: &mut dyn Read, scratch: &Path) -> Result<(), RawError> {
        match kind.format {
            FileFormat::Parquet => self.read_parquet(source, scratch),
            FileFormat::Workbook => self.read_workbook(source, scratch),
            FileFormat::Archive => self.read_archive(source, scratch),
            FileFormat::Csv(_) | FileFormat::Json => {
                let unpacked = kind.packing.unpack(source);
                let unpacked = unpacked.map_err(|error| unreadable(&self.file, 0, &error))?;
                self.read_text(kind.format, unpacked)
            }
        }
    }

    /// Reads a CSV or JSON file.
    fn read_text(&mut self, format: FileFormat, source: impl Read) -> Result<(), RawError> {
        let wrong = |error: std::io::Error| unreadable(&self.file, 0, &error);
        // The buffer is small, so that large reads bypass it.
        let mut source = BufReader::with_capacity(1 << 12, source);
        let start = source.fill_buf().map_err(wrong)?;
        if self.spec.encoding.is_none()
            && let Some(why) = mislabeled(start)
        {
            return Err(unreadable(&self.file, 0, &why));
        }
        let decoded = Utf8Reader::new(source, self.spec.encoding).map_err(wrong)?;
        match format {
            FileFormat::Csv(delimiter) => {
                self.read_csv(BufReader::with_capacity(1 << 12, decoded), delimiter)
            }
            _ => self.read_json(BufReader::with_capacity(1 << 18, decoded)),
        }
    }
}
