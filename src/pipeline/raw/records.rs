//! CSV records: `csv-core` finds the fields, and this file feeds it, counts lines and keeps the text of
//! each record.
//!
//! The grammar is that of the `csv` crate: a quote counts at the start of a field only, a doubled one in
//! quotes is one, a record ends with `\n`, `\r` or both, empty lines are none. `benches/records.rs`
//! measures what is added to `csv-core`. Knows no tables.

use std::{
    io::{self, Read},
    ops::Range,
};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr_iter, memchr2_iter, memchr3};

/// How much is read at a time.
const BUFFER: usize = 1 << 18;
/// A record longer than this is taken for a quote that was never closed.
const LONGEST_RECORD: usize = 64 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the records of a CSV file.
pub struct Records<R> {
    source: R,
    core: Reader,
    delimiter: u8,
    quote: bool,
    buffer: Vec<u8>,
    /// The part of the buffer that is read and not yet passed.
    rest: Range<usize>,
    ended: bool,
    /// The line that is next, and the byte before it.
    line: u64,
    last: u8,
    /// The fields of the record, one after the other, without their quotes.
    fields: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

/// A record of a file.
#[derive(Debug)]
pub struct Record<'a> {
    /// The line that it starts on.
    pub(super) line: u64,
    /// The number of lines of the file that it covers.
    pub(super) covered: u64,
    /// Whether nothing follows.
    pub(super) is_last: bool,
    delimiter: u8,
    quote: bool,
    raw: &'a [u8],
    fields: &'a [u8],
    ends: &'a [usize],
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

impl<'a> Record<'a> {
    /// Returns the number of its fields.
    #[expect(clippy::len_without_is_empty, reason = "a record has a field at least")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the field `at`; an empty one beyond the end.
    #[must_use]
    #[inline]
    pub fn bytes(&self, at: usize) -> &'a [u8] {
        self.fields.get(place(self.ends, at)).unwrap_or_default()
    }

    /// Returns the lines of the file that the record covers, without empty ones.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.raw.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty())
    }

    /// Returns the fields as texts, if all together are UTF-8.
    pub(super) fn texts(&self) -> Option<RecordTexts<'a>> {
        Some(RecordTexts { fields: std::str::from_utf8(self.fields).ok()?, ends: self.ends })
    }

    /// Says how its quoted fields end.
    pub(super) fn quotes(&self) -> Quotes {
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

/// The fields of a record that is UTF-8, which is looked at once for all of them.
#[derive(Debug)]
pub(super) struct RecordTexts<'a> {
    fields: &'a str,
    ends: &'a [usize],
}

impl<'a> RecordTexts<'a> {
    /// Returns the field `at`; nothing where a character begins in one field and ends in the next.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&'a str> {
        self.fields.get(place(self.ends, at))
    }
}

/// Counts the line breaks in `bytes`, which `last` comes before: LF, CRLF or CR.
fn breaks(bytes: &[u8], last: u8) -> u64 {
    let before = |at: usize| at.checked_sub(1).map_or(last, |before| bytes[before]);
    memchr2_iter(b'\n', b'\r', bytes).filter(|at| bytes[*at] == b'\r' || before(*at) != b'\r').count() as u64
}

/// Returns the place of the field `at` among fields that end at `ends`.
#[inline]
fn place(ends: &[usize], at: usize) -> Range<usize> {
    let end = |at: usize| ends.get(at).copied().unwrap_or(0);
    at.checked_sub(1).map_or(0, end)..end(at)
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

    /// Returns the number of lines passed so far, as `wc -l` counts them, and one more for a last line
    /// without a line break.
    pub(super) fn lines(&self) -> u64 {
        self.core.line() - 1 + u64::from(self.last != b'\n')
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
        let (mut read, mut written, mut fields) = (0, 0, 0);
        let lines = self.core.line();
        loop {
            // An empty input tells csv-core that the file ends.
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
        // Every byte of a record without quotes is a field's, a delimiter or the line break at the end. Of others
        // csv-core has counted the LF.
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

    /// Reads until the buffer is full or the source at its end; the part that is not yet passed moves to
    /// the front first.
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
    fn records_go_on_where_a_buffer_ends() {
        // Lines whose ends are those of the buffer, and lines whose ends are not.
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
    fn fields_are_texts_if_all_are() {
        let mut records = Records::new(b"\xc3\xbc,\"a\"\"b\"\n\xff,b\n".as_slice(), b',', true);
        let record = records.next().expect("reads").expect("a record");
        let texts = record.texts().expect("UTF-8");
        assert_eq!((texts.get(0), texts.get(1)), (Some("ü"), Some("a\"b")));
        assert!(records.next().expect("reads").expect("a record").texts().is_none());
        // The halves of one character.
        let mut records = Records::new(b"\xc3,\xbc\n".as_slice(), b',', true);
        let texts = records.next().expect("reads").expect("a record").texts().expect("together they are one");
        assert_eq!((texts.get(0), texts.get(1)), (None, None));
    }
}
