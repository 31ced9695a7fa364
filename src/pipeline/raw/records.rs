//! CSV records, cut where delimiters and line breaks stand, without copying what is not quoted.
//!
//! The grammar is that of the `csv` crate: a quote counts at the start of a field only, a doubled one in quotes is one, a
//! record ends with `\n`, `\r` or both, empty lines are none. `benches/records.rs` compares both. Knows no tables.

use std::{
    io::{self, Read},
    ops::Range,
};

use memchr::{memchr, memchr_iter, memchr2, memchr3};

/// How much is read at a time.
const BUFFER: usize = 1 << 18;
/// A record longer than this is taken for a quote that was never closed.
const LONGEST_RECORD: usize = 64 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the records of a CSV file.
pub struct Records<R> {
    source: R,
    delimiter: u8,
    /// Whether `"` quotes fields.
    quote: bool,
    buffer: Vec<u8>,
    /// What of the buffer is read and not yet passed.
    rest: Range<usize>,
    ended: bool,
    /// The line reached.
    line: u64,
    fields: Vec<Field>,
    /// The text of quoted fields, without their quotes.
    unquoted: Vec<u8>,
    quotes: Quotes,
    /// The last byte that was passed.
    last: u8,
}

/// Where a field stands: in the record, or in what was unquoted.
#[derive(Debug, Clone)]
struct Field {
    place: Range<usize>,
    quoted: bool,
}

/// How the quoted fields of a record end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quotes {
    /// With their quotes.
    Sound,
    /// One goes on behind its closing quote.
    Early,
    /// One is never closed.
    Open,
}

/// A record of a file.
#[derive(Debug)]
pub struct Record<'a> {
    /// The line that it starts on.
    pub(super) line: u64,
    pub(super) quotes: Quotes,
    raw: &'a [u8],
    unquoted: &'a [u8],
    fields: &'a [Field],
}

impl<'a> Record<'a> {
    /// Returns the number of its fields.
    #[expect(clippy::len_without_is_empty, reason = "a record has a field at least")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Returns the field `at`; an empty one beyond the end.
    #[must_use]
    pub fn bytes(&self, at: usize) -> &'a [u8] {
        let Some(field) = self.fields.get(at) else { return &[] };
        &(if field.quoted { self.unquoted } else { self.raw })[field.place.clone()]
    }

    /// Returns the number of lines of the file that the record covers.
    pub(super) fn covered(&self) -> u64 {
        let breaks = memchr_iter(b'\n', self.unquoted).count() as u64;
        // A quote that is never closed takes the last line break of the file too.
        1 + breaks - u64::from(self.raw.ends_with(b"\n"))
    }

    /// Returns the lines of the file that the record covers.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Returns the fields as texts, if all are UTF-8.
    pub(super) fn texts(&self) -> Option<Texts<'a>> {
        let raw = std::str::from_utf8(self.raw).ok()?;
        Some(Texts { raw, unquoted: std::str::from_utf8(self.unquoted).ok()?, fields: self.fields })
    }
}

/// The fields of a record that is UTF-8, which is looked at once for all of them.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    raw: &'a str,
    unquoted: &'a str,
    fields: &'a [Field],
}

impl<'a> Texts<'a> {
    /// The field `at`; an empty one beyond the end.
    pub(super) fn get(&self, at: usize) -> &'a str {
        let Some(field) = self.fields.get(at) else { return "" };
        (if field.quoted { self.unquoted } else { self.raw }).get(field.place.clone()).unwrap_or_default()
    }
}

impl Records<io::Empty> {
    /// Reads the records of `text` alone.
    pub(super) fn of(text: &[u8], delimiter: u8) -> Self {
        let rest = 0..text.len();
        Self { buffer: text.to_vec(), rest, ended: true, ..Records::new(io::empty(), delimiter, true) }
    }
}

impl<R: Read> Records<R> {
    /// Reads `source`, whose fields `delimiter` separates and, with `quote`, `"` may quote.
    pub fn new(source: R, delimiter: u8, quote: bool) -> Self {
        Self {
            source,
            delimiter,
            quote,
            buffer: Vec::new(),
            rest: 0..0,
            ended: false,
            line: 1,
            fields: Vec::new(),
            unquoted: Vec::new(),
            quotes: Quotes::Sound,
            last: b'\n',
        }
    }

    /// Returns the number of lines passed so far, as `wc -l` counts them, and one more for a last line without a line break.
    pub(super) fn lines(&self) -> u64 {
        self.line - 1 + u64::from(self.last != b'\n')
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// Of the source, and of a quote that is not closed for too long.
    #[expect(clippy::should_implement_trait, reason = "a record borrows from the reader")]
    pub fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        if self.buffer.is_empty() {
            self.fill()?;
            if self.buffer[self.rest.clone()].starts_with(BYTE_ORDER_MARK) {
                self.rest.start += BYTE_ORDER_MARK.len();
            }
        }
        let length = loop {
            self.skip_empty_lines();
            if let Some(length) = self.split() {
                break length;
            }
            if self.ended {
                return Ok(None);
            }
            self.fill()?;
        };
        let (start, line) = (self.rest.start, self.line);
        self.rest.start += length;
        // Its own end is among the empty lines before the next one.
        self.line += memchr_iter(b'\n', &self.unquoted).count() as u64;
        let raw = &self.buffer[start..start + length];
        self.last = raw.last().copied().unwrap_or(self.last);
        Ok(Some(Record { line, quotes: self.quotes, raw, unquoted: &self.unquoted, fields: &self.fields }))
    }

    /// Reads until the buffer is full or the source at its end; what is left over moves to the front first.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.rest.clone(), 0);
        self.rest = 0..self.rest.len();
        if self.rest.len() == self.buffer.len() {
            if self.buffer.len() >= LONGEST_RECORD {
                let why = format!(
                    "a quote opened at line {} or shortly after is not closed within {} MiB; set `quote = false` for files \
                     without quotes",
                    self.line,
                    LONGEST_RECORD >> 20
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            self.buffer.resize((self.buffer.len() * 2).max(BUFFER), 0);
        }
        while self.rest.end < self.buffer.len() && !self.ended {
            match self.source.read(&mut self.buffer[self.rest.end..]) {
                Ok(0) => self.ended = true,
                Ok(length) => self.rest.end += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn skip_empty_lines(&mut self) {
        while let Some(byte @ (b'\n' | b'\r')) = self.buffer[self.rest.clone()].first() {
            self.line += u64::from(*byte == b'\n');
            self.last = *byte;
            self.rest.start += 1;
        }
    }

    /// Finds the fields of the record at the start of what is left, and its length without the line break; nothing where its
    /// end is not read yet, or where nothing is left.
    fn split(&mut self) -> Option<usize> {
        let rest = &self.buffer[self.rest.clone()];
        self.fields.clear();
        self.unquoted.clear();
        self.quotes = Quotes::Sound;
        let length = match memchr(b'\n', rest) {
            Some(length) => length,
            None if self.ended && !rest.is_empty() => rest.len(),
            None if self.ended => return None,
            // Perhaps one that `\r` ends.
            None => return self.split_quoted(),
        };
        let line = &rest[..length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if if self.quote { memchr2(b'"', b'\r', line) } else { memchr(b'\r', line) }.is_some() {
            return self.split_quoted();
        }
        let mut start = 0;
        for end in memchr_iter(self.delimiter, line) {
            self.fields.push(Field { place: start..end, quoted: false });
            start = end + 1;
        }
        self.fields.push(Field { place: start..line.len(), quoted: false });
        Some(line.len())
    }

    /// The same, by the whole grammar.
    fn split_quoted(&mut self) -> Option<usize> {
        let rest = &self.buffer[self.rest.clone()];
        let more = !self.ended;
        let mut at = 0;
        self.quotes = Quotes::Sound;
        loop {
            let (start, from, quoted) = (at, self.unquoted.len(), self.quote && rest.get(at) == Some(&b'"'));
            if quoted {
                at += 1;
                loop {
                    let Some(length) = memchr(b'"', &rest[at..]) else {
                        self.unquoted.extend_from_slice(&rest[at..]);
                        at = rest.len();
                        self.quotes = Quotes::Open;
                        break;
                    };
                    self.unquoted.extend_from_slice(&rest[at..at + length]);
                    at += length + 1;
                    if rest.get(at) != Some(&b'"') {
                        break;
                    }
                    self.unquoted.push(b'"');
                    at += 1;
                }
            }
            let length = memchr3(self.delimiter, b'\n', b'\r', &rest[at..]);
            if length.is_none() && more {
                return None;
            }
            let end = length.map_or(rest.len(), |length| at + length);
            if quoted {
                // What stands between a closing quote and the next delimiter belongs to the field.
                if end > at {
                    self.quotes = self.quotes.max(Quotes::Early);
                }
                self.unquoted.extend_from_slice(&rest[at..end]);
                self.fields.push(Field { place: from..self.unquoted.len(), quoted });
            } else {
                self.fields.push(Field { place: start..end, quoted });
            }
            if rest.get(end) != Some(&self.delimiter) {
                return Some(end);
            }
            at = end + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len()).min(self.0.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn read(text: &[u8], step: usize) -> Vec<(u64, Vec<Vec<u8>>)> {
        let mut records = Records::new(Slow(text, step), b',', true);
        let mut all = Vec::new();
        while let Some(record) = records.next().expect("reads") {
            all.push((record.line, (0..record.len()).map(|at| record.bytes(at).to_vec()).collect()));
        }
        all
    }

    fn by_csv(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        let records = reader.into_byte_records().map(|record| record.expect("reads"));
        records.map(|record| record.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    proptest! {
        #[test]
        fn records_are_those_of_the_csv_crate(text in r#"(a|ü|"|,|\n|\r|\r\n|"",|,"){0,24}"#, step in 1_usize..9) {
            let found: Vec<_> = read(text.as_bytes(), step).into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(found, by_csv(text.as_bytes()));
        }
    }

    #[test]
    fn lines_are_counted_where_records_start() {
        let text = b"\xef\xbb\xbfa,b\r\n\r\n1,\"x\ny\"\n\n2,z";
        let lines: Vec<u64> = read(text, 3).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3, 6]);
        assert_eq!(read(text, 3)[0].1[0], b"a");
        let long = [b"\"".as_slice(), &vec![b'a'; BUFFER * 3], b"\",b\nc,d\n"].concat();
        assert_eq!(
            read(&long, 10_000).iter().map(|(line, fields)| (*line, fields.len())).collect::<Vec<_>>(),
            [(1, 2), (2, 2)]
        );
    }

    #[test]
    fn lines_are_counted_as_wc_counts_them() {
        for (text, lines) in [
            ("a,b\n1,2\n", 2),
            ("a,b\n1,2", 2),
            ("a,b\r\n\r\n1,\"x\ny\"\r\n", 4),
            ("a,b\n1,\"x\ny", 3),
            ("a,b\n\n\n", 3),
            ("\n", 1),
            ("", 0),
        ] {
            let mut records = Records::new(text.as_bytes(), b',', true);
            while records.next().expect("reads").is_some() {}
            assert_eq!(records.lines(), lines, "{text:?}");
        }
    }

    #[test]
    fn a_quote_counts_only_where_it_may() {
        let fields = |text: &str, quote| -> Vec<Vec<u8>> {
            let mut records = Records::new(text.as_bytes(), b'\t', quote);
            let record = records.next().expect("reads").expect("a record");
            (0..record.len()).map(|at| record.bytes(at).to_vec()).collect()
        };
        assert_eq!(fields("1\t\"24 inch\t\"x\"\n", false), [b"1".to_vec(), b"\"24 inch".to_vec(), b"\"x\"".to_vec()]);
        let quotes =
            |text: &str| Records::new(text.as_bytes(), b',', true).next().expect("reads").expect("a record").quotes;
        for (text, found) in [
            ("a,\"b", Quotes::Open),
            ("a,\"b\"c,d", Quotes::Early),
            ("a,\"b\nc,\"d\"", Quotes::Early),
            ("a,\"b\",c", Quotes::Sound),
            ("a,5\" plate,c", Quotes::Sound),
            ("a,\"b\"\"\"\n", Quotes::Sound),
        ] {
            assert_eq!(quotes(text), found, "{text}");
        }
    }

    #[test]
    fn fields_are_texts_if_all_are() {
        let mut records = Records::new(b"\xc3\xbc,\"a\"\"b\"\n\xff,b\n".as_slice(), b',', true);
        let record = records.next().expect("reads").expect("a record");
        let texts = record.texts().expect("UTF-8");
        assert_eq!((texts.get(0), texts.get(1), texts.get(2)), ("ü", "a\"b", ""));
        assert!(records.next().expect("reads").expect("a record").texts().is_none());
    }
}
