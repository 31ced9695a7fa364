//! The layout of delimited text: delimiter, quotes, and lines before the header.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
};

use crate::{
    feature::trim,
    pipeline::raw::{
        read::{DELIMITERS, Preamble},
        records::{Quotes, Records},
    },
};

/// Bytes of a text by which its layout is told.
const LAYOUT_BYTES: usize = 1 << 20;

/// The layout of a delimited text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextLayout {
    pub(super) delimiter: u8,
    pub(super) quote: bool,
    /// Number of lines before the header, without a line such as `sep=;`.
    pub(super) skip: usize,
    /// Whether a line such as `sep=;` tells the delimiter.
    pub(super) tells_delimiter: bool,
}

/// How records fit to one another if a text is read in some way.
#[derive(Debug, Clone, Copy)]
struct LayoutFit {
    /// Most frequent number of fields.
    width: usize,
    /// Number of records of that width, with sound quotes.
    records: usize,
    /// Number of lines, or more of records that have another width.
    lines: usize,
    /// Line of the first record of that width.
    header: u64,
}

impl LayoutFit {
    #[expect(clippy::cast_precision_loss, reason = "a score needs no more digits")]
    fn score(self) -> f64 {
        let share = self.records as f64 / self.lines.max(1) as f64;
        share * share * (self.width as f64).ln()
    }
}

/// Reads `text` with a delimiter.
fn fit(text: &[u8], delimiter: u8, quote: bool) -> LayoutFit {
    let mut records = Records::new(text, delimiter, quote);
    let mut widths: BTreeMap<usize, (usize, u64)> = BTreeMap::new();
    let (mut all, mut before) = (0, None);
    while let Ok(Some(record)) = records.next() {
        // Some programs end each record with a delimiter, but not the header.
        let header = match before {
            Some((width, line)) if width + 1 == record.len() && record.bytes(width).is_empty() => line,
            _ => record.line,
        };
        // A field that goes on after its quote is no quoted field.
        let is_sound = record.quotes() != Quotes::Early;
        widths.entry(record.len()).or_insert((0, header)).0 += usize::from(is_sound);
        before = Some((record.len(), record.line));
        all += 1;
    }
    let most = widths.into_iter().max_by_key(|(_, (records, _))| *records);
    let (width, (records, header)) = most.unwrap_or((1, (0, 1)));
    LayoutFit { width, records, lines: all, header }
}

/// Returns the likely layout of `text`. `named` is the delimiter that the name of the file tells.
pub(super) fn layout(text: &[u8], named: Option<u8>) -> TextLayout {
    let text = &text[..text.len().min(LAYOUT_BYTES)];
    let told = told_delimiter(text);
    let known = told.or(named);
    let delimiters = known.map_or(DELIMITERS.to_vec(), |known| vec![known]);
    let fits = delimiters
        .into_iter()
        .flat_map(|delimiter| [true, false].map(|quote| (delimiter, quote, fit(text, delimiter, quote))));
    // The first of equal fits counts: quotes are usual.
    let mut best = (known.unwrap_or(b','), true, LayoutFit { width: 1, records: 0, lines: 0, header: 1 });
    for (delimiter, quote, found) in fits {
        let is_same_delimiter = delimiter == best.0 && found.width == best.2.width;
        let is_better =
            if is_same_delimiter { found.records > best.2.records } else { found.score() > best.2.score() };
        if is_better {
            best = (delimiter, quote, found);
        }
    }
    let (delimiter, quote, found) = best;
    let before = usize::try_from(found.header.saturating_sub(1)).unwrap_or(0);
    let tells_delimiter = told.is_some() && before > 0;
    TextLayout { delimiter, quote, skip: before - usize::from(tells_delimiter), tells_delimiter }
}

/// Returns the delimiter that one of the first lines tells.
fn told_delimiter(text: &[u8]) -> Option<u8> {
    text.split(|byte| *byte == b'\n').take(20).find_map(|line| match line.trim_ascii() {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] => Some(*delimiter),
        _ => None,
    })
}

/// Records of a delimited text.
#[derive(Debug, Default)]
pub(super) struct TextRecords {
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// Number of records with another number of fields than the header.
    pub(super) uneven: usize,
    /// Whether the text has more records.
    pub(super) has_more: bool,
}

/// Maximum number of fields that are kept.
const MOST_FIELDS: usize = 1_000_000;

/// Reads the header and at most `most` records of `text`.
pub(super) fn read(text: &[u8], layout: TextLayout, most: usize) -> std::io::Result<TextRecords> {
    let mut source = Cursor::new(text);
    let preamble = Preamble::read(&mut source, layout.skip)?;
    let mut records = Records::new(Cursor::new(preamble.head).chain(source), layout.delimiter, layout.quote);
    let mut found = TextRecords::default();
    if let Some(first) = records.next()? {
        found.header = (0..first.len()).map(|at| trim(&text_of(first.bytes(at))).to_owned()).collect();
    }
    let most = most.min(MOST_FIELDS / found.header.len().max(1));
    rows(&mut records, most, &mut found)?;
    Ok(found)
}

/// Reads the records of `text`, the end of a file, after its first line break.
pub(super) fn read_end(text: &[u8], layout: TextLayout, found: &mut TextRecords) -> std::io::Result<()> {
    let start = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
    let uneven = found.uneven;
    let most = found.rows.len() + END_ROWS;
    rows(&mut Records::new(&text[start..], layout.delimiter, layout.quote), most, found)?;
    // The end may begin within a quoted field.
    found.uneven = uneven;
    Ok(())
}

/// Maximum number of records from the end of a file.
const END_ROWS: usize = 1_000;

fn rows(records: &mut Records<impl Read>, most: usize, found: &mut TextRecords) -> std::io::Result<()> {
    let width = found.header.len();
    while let Some(record) = records.next()? {
        if found.rows.len() == most {
            found.has_more = true;
            break;
        }
        if record.len() == width || (record.len() == width + 1 && record.bytes(width).is_empty()) {
            found.rows.push((0..width).map(|at| text_of(record.bytes(at))).collect());
        } else {
            found.uneven += 1;
        }
    }
    Ok(())
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_told_by_records_of_one_width() {
        let found = |text: &str| {
            let layout = layout(text.as_bytes(), None);
            (char::from(layout.delimiter), layout.quote, layout.skip)
        };
        assert_eq!(found("a,b,c\n1,2,3\n4,\"5,6\",7\n"), (',', true, 0));
        assert_eq!(found("a;b;c\n1,5;2,25;3\n4;5;7,5\n"), (';', true, 0));
        assert_eq!(found("Report\n\nof May\na\tb\tc\n1\t2\t3\n4\t5\t7\n"), ('\t', true, 3));
        assert_eq!(found("sep=;\na;b\n1;2\n"), (';', true, 0));
        assert_eq!(found("a\tb\n1\t\"24 inch\n2\tx\n3\t\"7 inch\n4\ty\n"), ('\t', false, 0));
        assert_eq!(found("a\tb\n1\t\"24 inch\" clock\n2\tx\n"), ('\t', false, 0));
        assert_eq!(found("a,b\n1,2,\n3,4,\n"), (',', true, 0));
    }
}
