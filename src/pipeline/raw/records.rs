//! Reader of CSV records: `csv-core` splits the fields, and this module feeds it, counts lines and keeps the
//! text of each record.
//!
//! The grammar is that of the `csv` crate: a quote is special only at the start of a field, a doubled quote
//! within quotes stands for one quote, a record ends with `\n`, `\r` or both, and empty lines are skipped.
//! `benches/records.rs` measures the cost on top of `csv-core`. Does not depend on raw tables.

use std::{
    io::{self, Read},
    ops::Range,
};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr_iter, memchr2_iter, memchr3};

/// Bytes of the read buffer.
const BUFFER: usize = 1 << 18;
/// Maximum bytes of a record. A longer record is taken for a quote that is never closed.
const LONGEST_RECORD: usize = 64 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reader of the records of a CSV file.
pub struct Records<R> {
    source: R,
    core: Reader,
    delimiter: u8,
    quote: bool,
    buffer: Vec<u8>,
    /// Part of the buffer that is read and not yet consumed.
    rest: Range<usize>,
    ended: bool,
    /// Number of the next line.
    line: u64,
    /// Byte before the next line.
    last: u8,
    /// Fields of the current record, concatenated and without quotes.
    fields: Vec<u8>,
    /// End of each field in `fields`.
    ends: Vec<usize>,
}

/// A record of a CSV file.
#[derive(Debug)]
pub struct Record<'a> {
    /// Number of the first line of the record.
    pub(in crate::pipeline) line: u64,
    /// Number of lines of the record.
    pub(super) covered: u64,
    /// Whether the record is the last one of the file.
    pub(super) is_last: bool,
    delimiter: u8,
    quote: bool,
    raw: &'a [u8],
    fields: &'a [u8],
    ends: &'a [usize],
}

/// State of the quoted fields of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::pipeline) enum Quotes {
    /// All quotes are closed at the end of their fields.
    Sound,
    /// A field continues after its closing quote.
    Early,
    /// A quote is not closed.
    Open,
}

impl<'a> Record<'a> {
    /// Returns the number of fields.
    #[expect(clippy::len_without_is_empty, reason = "a record has at least one field")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the field at index `at`, or an empty field beyond the end.
    #[must_use]
    #[inline]
    pub fn bytes(&self, at: usize) -> &'a [u8] {
        self.fields.get(place(self.ends, at)).unwrap_or_default()
    }

    /// Returns whether all fields are empty or blanks.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.iter().all(u8::is_ascii_whitespace)
    }

    /// Returns the non-empty lines of the file that the record covers.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.raw.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty())
    }

    /// Returns the fields as texts if their concatenation is UTF-8.
    pub(super) fn texts(&self) -> Option<RecordTexts<'a>> {
        Some(RecordTexts { fields: std::str::from_utf8(self.fields).ok()?, ends: self.ends })
    }

    /// Checks whether the quoted fields are closed.
    pub(in crate::pipeline) fn quotes(&self) -> Quotes {
        if !self.quote {
            return Quotes::Sound;
        }
        let (raw, mut at, mut found) = (self.raw, 0, Quotes::Sound);
        while at < raw.len() {
            if raw[at] == b'"' {
                at += 1;
                loop {
                    let Some(length) = memchr(b'"', &raw[at..]) else { return Quotes::Open };
                    at += length + 1;
                    if raw.get(at) != Some(&b'"') {
                        break;
                    }
                    at += 1;
                }
                if raw.get(at).is_some_and(|next| *next != self.delimiter && !matches!(next, b'\r' | b'\n')) {
                    found = Quotes::Early;
                }
            }
            at +=
                memchr3(self.delimiter, b'\n', b'\r', &raw[at..]).map_or(raw.len() - at, |length| length) + 1;
        }
        found
    }
}

/// Fields of a record whose concatenation is valid UTF-8, so that only boundaries need a check per field.
#[derive(Debug)]
pub(super) struct RecordTexts<'a> {
    fields: &'a str,
    ends: &'a [usize],
}

impl<'a> RecordTexts<'a> {
    /// Returns the field at index `at`, or `None` if a character spans two fields.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&'a str> {
        self.fields.get(place(self.ends, at))
    }
}

/// Counts the line breaks (LF, CRLF or CR) in `bytes`. `last` is the byte before.
fn breaks(bytes: &[u8], last: u8) -> u64 {
    let before = |at: usize| at.checked_sub(1).map_or(last, |before| bytes[before]);
    memchr2_iter(b'\n', b'\r', bytes).filter(|at| bytes[*at] == b'\r' || before(*at) != b'\r').count() as u64
}

/// Returns the range of the field at index `at` among fields that end at `ends`.
#[inline]
fn place(ends: &[usize], at: usize) -> Range<usize> {
    let end = |at: usize| ends.get(at).copied().unwrap_or(0);
    at.checked_sub(1).map_or(0, end)..end(at)
}

impl Records<io::Empty> {
    /// Reads the records of `text`.
    pub(super) fn of(text: &[u8], delimiter: u8) -> Self {
        let rest = 0..text.len();
        Self { buffer: text.to_vec(), rest, ended: true, ..Records::new(io::empty(), delimiter, true) }
    }
}

impl<R: Read> Records<R> {
    /// Reads `source`. Fields are separated by `delimiter`, and may be quoted by `"` if `quote` is set.
    pub fn new(source: R, delimiter: u8, quote: bool) -> Self {
        let core = ReaderBuilder::new().delimiter(delimiter).quoting(quote).build();
        let (buffer, fields, ends) = (Vec::new(), vec![0; 256], vec![0; 32]);
        Self {
            source,
            core,
            delimiter,
            quote,
            buffer,
            rest: 0..0,
            ended: false,
            line: 1,
            last: b'\n',
            fields,
            ends,
        }
    }

    /// Returns the number of lines read so far, as counted by `wc -l`, plus one for a last line without a
    /// line break.
    pub(super) fn lines(&self) -> u64 {
        self.core.line() - 1 + u64::from(self.last != b'\n')
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// Fails if the source does, and if a record is too long because a quote is not closed.
    #[expect(clippy::should_implement_trait, reason = "a record borrows from the reader")]
    pub fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        if self.buffer.is_empty() {
            self.fill()?;
            if self.buffer[self.rest.clone()].starts_with(BYTE_ORDER_MARK) {
                self.rest.start += BYTE_ORDER_MARK.len();
            }
        }
        let (mut read, mut written, mut fields) = (0, 0, 0);
        let lines = self.core.line();
        loop {
            // For csv-core, an empty input means the end of the file.
            if self.rest.len() == read && !self.ended {
                self.fill()?;
            }
            let input = &self.buffer[self.rest.start + read..self.rest.end];
            let (result, took, wrote, ended) =
                self.core.read_record(input, &mut self.fields[written..], &mut self.ends[fields..]);
            (read, written, fields) = (read + took, written + wrote, fields + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => {
                    let passed = &self.buffer[self.rest.start..self.rest.start + read];
                    self.last = passed.last().copied().unwrap_or(self.last);
                    self.rest.start += read;
                    return Ok(None);
                }
            }
        }
        let passed = self.rest.start..self.rest.start + read;
        self.rest.start = passed.end;
        let is_last = self.ended && self.rest.is_empty();
        let mut raw = &self.buffer[passed];
        let before = raw.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let mut newlines = self.core.line() - lines;
        if before > 0 {
            let (empty, after) = raw.split_at(before);
            self.line += breaks(empty, self.last);
            newlines -= memchr_iter(b'\n', empty).count() as u64;
            raw = after;
        }
        self.last = raw.last().copied().unwrap_or(self.last);
        // In a record without quotes, every byte belongs to a field, a delimiter or the line break at the
        // end. In other records, csv-core counts the LFs.
        let has_quotes = is_last || raw.len() != written + fields;
        let passed = match if has_quotes { memchr(b'\r', raw) } else { Some(raw.len() - 1) } {
            None => newlines,
            Some(at) if at + 1 == raw.len() && (newlines == 0 || !has_quotes) => 1,
            Some(_) => breaks(raw, b' '),
        };
        let line = self.line;
        self.line += passed;
        let end = raw;
        raw = raw.strip_suffix(b"\n").unwrap_or(raw);
        raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let covered = 1 + passed - u64::from(end.len() > raw.len());
        Ok(Some(Record {
            line,
            covered,
            is_last,
            delimiter: self.delimiter,
            quote: self.quote,
            raw,
            fields: &self.fields[..written],
            ends: &self.ends[..fields],
        }))
    }

    /// Moves the unconsumed bytes to the front, and reads until the buffer is full or the source ends.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.rest.clone(), 0);
        self.rest = 0..self.rest.len();
        if self.rest.len() == self.buffer.len() {
            if self.buffer.len() >= LONGEST_RECORD {
                let why = format!(
                    "a quote opened at line {} or shortly after is not closed within {} MiB; set `quote = \
                     false` for files without quotes",
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reader that returns a few bytes at a time.
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
        fn records_equal_those_of_the_csv_crate(
            text in r#"(a|ü|"|,|\n|\r|\r\n|"",|,"){0,24}"#,
            step in 1_usize..9,
        ) {
            let found: Vec<_> = read(text.as_bytes(), step).into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(found, by_csv(text.as_bytes()));
        }
    }

    #[test]
    fn line_numbers_are_those_of_record_starts() {
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
    fn records_continue_across_buffer_ends() {
        // Line lengths that divide the buffer size, and lengths that do not.
        for length in [64, 61, 4_096, 100_000] {
            let line =
                [vec![b'a'; length / 2], b",".to_vec(), vec![b'b'; length - length / 2 - 2], b"\n".to_vec()]
                    .concat();
            let text = line.repeat(5 * BUFFER / length);
            let mut records = Records::new(Slow(&text, 10_007), b',', true);
            let mut found = 0_u64;
            while let Some(record) = records.next().expect("reads") {
                found += 1;
                assert_eq!((record.line, record.len(), record.bytes(0).len()), (found, 2, length / 2));
            }
            assert_eq!(
                (usize::try_from(found), records.lines()),
                (Ok(5 * BUFFER / length), found),
                "lines of {length}"
            );
        }
    }

    #[test]
    fn line_count_equals_wc() {
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
    fn quotes_are_special_only_at_field_starts() {
        let fields = |text: &str, quote| -> Vec<Vec<u8>> {
            let mut records = Records::new(text.as_bytes(), b'\t', quote);
            let record = records.next().expect("reads").expect("a record");
            (0..record.len()).map(|at| record.bytes(at).to_vec()).collect()
        };
        assert_eq!(
            fields("1\t\"24 inch\t\"x\"\n", false),
            [b"1".to_vec(), b"\"24 inch".to_vec(), b"\"x\"".to_vec()]
        );
        let quotes = |text: &str| {
            Records::new(text.as_bytes(), b',', true).next().expect("reads").expect("a record").quotes()
        };
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
    fn invalid_utf8_fields_have_no_text() {
        let mut records = Records::new(b"\xc3\xbc,\"a\"\"b\"\n\xff,b\n".as_slice(), b',', true);
        let record = records.next().expect("reads").expect("a record");
        let texts = record.texts().expect("UTF-8");
        assert_eq!((texts.get(0), texts.get(1)), (Some("ü"), Some("a\"b")));
        assert!(records.next().expect("reads").expect("a record").texts().is_none());
        // One character, split across two fields.
        let mut records = Records::new(b"\xc3,\xbc\n".as_slice(), b',', true);
        let texts =
            records.next().expect("reads").expect("a record").texts().expect("valid UTF-8 as a whole");
        assert_eq!((texts.get(0), texts.get(1)), (None, None));
    }
}
