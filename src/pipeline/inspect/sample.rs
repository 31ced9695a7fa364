//! Samples of files: the first records of a file as texts, and, where cheap, some of its end.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::{
    delimited::{self, TextLayout},
    encoding::{self, EncodingGuess},
    nested,
};
use crate::{
    feature::trim,
    pipeline::raw::{
        decode::Utf8Reader,
        format::{FileFormat, FileKind, Packing},
        read::{JsonForm, for_each_member, for_each_sheet, mislabeled, spool},
    },
};

/// Maximum number of records that are looked at, from the start of a file.
pub(super) const RECORDS: usize = 10_000;
/// Maximum bytes of text that are looked at, from the start of a file.
const START_BYTES: u64 = 16 << 20;
/// Bytes of text that are looked at, from the end of a file.
const END_BYTES: u64 = 1 << 18;

/// Records of a file, and how they were read.
#[derive(Debug, Default)]
pub(super) struct FileSample {
    /// Format, packing and encoding in words.
    pub(super) facts: Vec<String>,
    /// How much was looked at.
    pub(super) seen: String,
    pub(super) doubts: Vec<String>,
    pub(super) columns: Vec<String>,
    /// Whether the format has names of columns, so that no value can stand in their place.
    pub(super) has_keys: bool,
    /// Values by row and column; a missing value is empty.
    pub(super) rows: Vec<Vec<String>>,
    pub(super) settings: TextSettings,
}

/// Settings by which a text file is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TextSettings {
    pub(super) delimiter: Option<char>,
    /// Set to false for text without quotes.
    pub(super) quote: Option<bool>,
    pub(super) encoding: Option<String>,
    pub(super) skip: Option<usize>,
}

/// Reads a sample of the file at `path`, of the given kind.
pub(super) fn read(path: &Path, kind: FileKind) -> io::Result<FileSample> {
    let mut file = File::open(path)?;
    let mut sample = match kind.format {
        FileFormat::Archive => archive(&mut file)?,
        _ => content(kind, &mut file, Some(path))?,
    };
    sample.leave_out_no_data();
    Ok(sample)
}

impl FileSample {
    /// Removes copies of the header and records without values. In a small file, one of them would hide the
    /// types of all columns.
    fn leave_out_no_data(&mut self) {
        let Self { columns, rows, has_keys, doubts, .. } = self;
        let header: Vec<&str> = columns.iter().map(|name| trim(name)).collect();
        let mut copies = 0_usize;
        rows.retain(|row| {
            let is_empty = row.iter().all(|value| trim(value).is_empty());
            let is_copy =
                !*has_keys && !is_empty && row.iter().map(|value| trim(value)).eq(header.iter().copied());
            copies += usize::from(is_copy);
            !is_empty && !is_copy
        });
        if copies > 0 {
            doubts.push(format!("copies of the header within the file would be bad lines: {copies}"));
        }
    }
}

/// Reads a sample of the first file of an archive.
fn archive(source: &mut dyn Read) -> io::Result<FileSample> {
    let (mut found, mut names) = (None, Vec::new());
    let scratch = std::env::temp_dir();
    for_each_member(source, &scratch, |name, kind, member| {
        names.push(name.to_owned());
        if found.is_none() {
            found = Some(content(kind, member, None)?);
        }
        io::Result::Ok(())
    })?;
    let mut sample = found.ok_or_else(|| invalid("the archive holds no file of a known format"))?;
    sample.facts.insert(0, format!("ZIP archive of {} files", names.len()));
    if names.len() > 1 {
        let others =
            "only the first file of the archive was looked at; the others must have the same columns";
        sample.doubts.push(others.to_owned());
    }
    Ok(sample)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads a sample of `source`. `path` is the file of the whole source.
fn content(kind: FileKind, source: &mut dyn Read, path: Option<&Path>) -> io::Result<FileSample> {
    match kind.format {
        FileFormat::Parquet => match path {
            Some(path) => parquet(File::open(path)?),
            None => parquet(spool(source, &std::env::temp_dir())?),
        },
        FileFormat::Workbook => workbook(source),
        FileFormat::Archive => Err(invalid("an archive in an archive is not read")),
        FileFormat::Csv(_) | FileFormat::Json => {
            let text = Text::read(kind, source)?;
            let path = path.filter(|_| kind.packing == Packing::None);
            let mut sample = match kind.format {
                FileFormat::Csv(named) => text.csv(named, path)?,
                _ => text.json()?,
            };
            let packing = match kind.packing {
                Packing::None => None,
                Packing::Gzip => Some("gzip"),
                Packing::Zstd => Some("Zstandard"),
                Packing::Bzip2 => Some("bzip2"),
            };
            sample.facts.extend(packing.map(str::to_owned));
            Ok(sample)
        }
    }
}

/// The start of a text file.
struct Text {
    utf8: Vec<u8>,
    encoding: EncodingGuess,
    /// Whether the start is the whole file.
    is_whole: bool,
}

impl Text {
    fn read(kind: FileKind, source: &mut dyn Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        kind.packing.unpack(source)?.take(START_BYTES).read_to_end(&mut bytes)?;
        let is_whole = (bytes.len() as u64) < START_BYTES;
        let encoding = encoding::guess(&bytes, is_whole);
        let is_utf16 = encoding.words.starts_with("UTF-16");
        if !is_utf16 && let Some(why) = mislabeled(&bytes) {
            return Err(invalid(why));
        }
        let mut utf8 = Vec::new();
        Utf8Reader::new(bytes.as_slice(), encoding.configured)?.read_to_end(&mut utf8)?;
        if !is_whole {
            utf8.truncate(memchr::memrchr(b'\n', &utf8).map_or(utf8.len(), |end| end + 1));
        }
        Ok(Self { utf8, encoding, is_whole })
    }

    /// Returns a sample with what is known of the encoding.
    fn sample(&self, format: &str) -> FileSample {
        let encoding = self.encoding.configured.map(|encoding| encoding.name().to_ascii_lowercase());
        FileSample {
            facts: vec![format.to_owned(), self.encoding.words.clone()],
            doubts: self.encoding.doubt.iter().cloned().collect(),
            settings: TextSettings { encoding, ..TextSettings::default() },
            ..FileSample::default()
        }
    }

    fn csv(&self, named: Option<u8>, path: Option<&Path>) -> io::Result<FileSample> {
        let layout = delimited::layout(&self.utf8, named);
        let mut found = delimited::read(&self.utf8, layout, RECORDS)?;
        if found.header.iter().all(String::is_empty) {
            return Err(invalid("it is empty; expected a header"));
        }
        let first = found.rows.len();
        if found.has_more || !self.is_whole {
            let end = self.end(path)?;
            delimited::read_end(&end, layout, &mut found)?;
        }
        let mut sample = self.sample("delimited text");
        sample.seen = seen(first, found.rows.len() - first, found.has_more || !self.is_whole);
        describe(layout, named, &mut sample);
        if found.uneven > 0 {
            let uneven = format!("{} records have another number of fields than the header", found.uneven);
            sample.doubts.push(format!("{uneven} and would be bad lines"));
        }
        (sample.columns, sample.rows) = (found.header, found.rows);
        Ok(sample)
    }

    /// Returns the end of the text, as UTF-8. Only the end of the start is known of a file that is packed.
    fn end(&self, path: Option<&Path>) -> io::Result<Vec<u8>> {
        let length = usize::try_from(END_BYTES).unwrap_or(usize::MAX);
        let known = self.utf8[self.utf8.len().saturating_sub(length)..].to_vec();
        let (Some(path), false) = (path, self.is_whole) else { return Ok(known) };
        if self.encoding.words.starts_with("UTF-16") {
            return Ok(known);
        }
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(END_BYTES)))?;
        let mut end = Vec::new();
        Utf8Reader::new(file, self.encoding.configured)?.read_to_end(&mut end)?;
        Ok(end)
    }

    fn json(&self) -> io::Result<FileSample> {
        let format = match JsonForm::of(&self.utf8) {
            JsonForm::Lines => "JSON lines",
            JsonForm::Documents => "JSON documents",
            JsonForm::List => "a JSON list",
        };
        let objects = nested::objects(&self.utf8, RECORDS);
        if objects.is_empty() {
            return Err(invalid("there is no JSON object at its start"));
        }
        Ok(of_objects(self.sample(format), &objects, !self.is_whole || objects.len() == RECORDS))
    }
}

fn seen(first: usize, last: usize, has_more: bool) -> String {
    match (last, has_more) {
        (0, false) => format!("looked at all {first} records"),
        (0, true) => format!("looked at the first {first} records"),
        (last, _) => format!("looked at the first {first} records and {last} near the end"),
    }
}

/// Notes the settings of `layout`.
fn describe(layout: TextLayout, named: Option<u8>, sample: &mut FileSample) {
    let delimiter = char::from(layout.delimiter);
    let shown = if delimiter == '\t' { "tabs".to_owned() } else { format!("`{delimiter}`") };
    let quotes = if layout.quote { "" } else { ", without quotes" };
    sample.facts.push(format!("fields separated by {shown}{quotes}"));
    if layout.skip > 0 {
        sample.facts.push(format!("{} lines before the header", layout.skip));
        sample.settings.skip = Some(layout.skip);
    }
    if layout.tells_delimiter {
        sample.facts.push("a line `sep=` before the header".to_owned());
    } else if named != Some(layout.delimiter) && delimiter != ',' {
        sample.settings.delimiter = Some(delimiter);
    }
    if !layout.quote {
        sample.settings.quote = Some(false);
    }
}

/// Completes `sample` with the rows of `objects`.
fn of_objects(mut sample: FileSample, objects: &[Value], has_more: bool) -> FileSample {
    let found = nested::rows(objects, RECORDS);
    sample.seen = seen(objects.len(), 0, has_more);
    if let Some(list) = &found.list {
        sample.facts.push(format!("a line for each element of `{list}`"));
    }
    (sample.columns, sample.rows) = (found.columns, found.rows);
    sample.has_keys = true;
    sample
}

/// Reads the first rows of a Parquet file as JSON objects.
fn parquet(file: File) -> io::Result<FileSample> {
    let failed = |error: &dyn std::fmt::Display| invalid(&format!("it is not a Parquet file: {error}"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(&error))?;
    let all = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let reader = builder.with_limit(RECORDS).build().map_err(|error| failed(&error))?;
    let mut text = Vec::new();
    let options = arrow_json::writer::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = options.build::<_, arrow_json::writer::LineDelimited>(&mut text);
    for batch in reader {
        let batch = batch.map_err(|error| failed(&error))?;
        writer.write(&batch).map_err(|error| failed(&error))?;
    }
    writer.finish().map_err(|error| failed(&error))?;
    drop(writer);
    let sample = FileSample { facts: vec!["Parquet".to_owned()], ..FileSample::default() };
    Ok(of_objects(sample, &nested::objects(&text, RECORDS), all > RECORDS))
}

/// Reads the first sheet of a workbook.
fn workbook(source: &mut dyn Read) -> io::Result<FileSample> {
    let mut sample = FileSample { facts: vec!["workbook".to_owned()], ..FileSample::default() };
    let mut others = 0;
    for_each_sheet(source, &std::env::temp_dir(), 2 * RECORDS, |_, rows| {
        if !sample.columns.is_empty() {
            others += usize::from(!rows.is_empty());
            return;
        }
        // Titles above the header have fewer cells.
        let width = rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        let is_header =
            |cells: &[String]| cells.len() * 2 > width && cells.iter().all(|cell| !cell.is_empty());
        let start = rows.iter().take(50).position(|(_, cells)| is_header(cells)).unwrap_or(0);
        let mut rows = rows.into_iter().skip(start);
        let Some((number, header)) = rows.next() else { return };
        if number > 1 && start > 0 {
            sample.facts.push(format!("{} rows before the header", number - 1));
            sample.settings.skip = usize::try_from(number - 1).ok();
        }
        let width = header.len();
        let row = |(_, mut cells): (u64, Vec<String>)| {
            cells.resize(width, String::new());
            cells
        };
        sample.rows = rows.take(RECORDS).map(row).collect();
        sample.columns = header.iter().map(|name| name.trim().to_owned()).collect();
    })?;
    if sample.columns.is_empty() {
        return Err(invalid("it is empty; expected a header"));
    }
    sample.seen = seen(sample.rows.len(), 0, sample.rows.len() == RECORDS);
    if others > 0 {
        let words = format!("{others} more sheets were not looked at; those with the same header are read");
        sample.doubts.push(words);
    }
    Ok(sample)
}
