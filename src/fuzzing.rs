//! Bodies of the fuzz targets in `fuzz/`, which the tests run over the corpus. Not part of the
//! public API.
//!
//! Each target accepts arbitrary bytes and panics if a parser violates an invariant.

use crate::{audience::Expression, http, snapshot, tair};

/// A fuzz target: a check of any bytes.
pub type FuzzTarget = fn(&[u8]);

/// All fuzz targets by name.
pub const TARGETS: &[(&str, FuzzTarget)] = &[
    ("audience", audience),
    #[cfg(feature = "build")]
    ("csv_records", csv_records),
    ("cursor", http::fuzz_cursor),
    ("resp_reply", tair::fuzz_reply),
    ("row_block", snapshot::reader::fuzz_row_block),
];

/// Runs the target `name` over `data`.
///
/// # Panics
/// If there is no such target, or if the check fails.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, check) = target.unwrap_or_else(|| panic!("no fuzz target {name}"));
    check(data);
}

/// Checks that a printed audience expression is read back, and that an error points into its text.
fn audience(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Expression::parse(&text) {
        // Printing adds quotes, brackets and spaces, so a printed expression may be too long.
        Ok(expression) if expression.to_string().len() <= crate::audience::MAX_BYTES => {
            assert_eq!(Expression::parse(&expression.to_string()), Ok(expression), "{text}");
        }
        Ok(_) => {}
        Err(error) => assert!(error.position <= text.chars().count(), "{text}: {error}"),
    }
}

/// Checks that the records of a CSV file are those of the `csv` crate, whatever the size of each read.
///
/// The first byte chooses the delimiter, whether fields may be quoted, and how many bytes a read returns.
#[cfg(feature = "build")]
fn csv_records(data: &[u8]) {
    use std::io::{self, Read};

    use crate::pipeline::raw::records::Records;

    /// A reader that returns at most a number of bytes at a time.
    struct Pieces<'a> {
        rest: &'a [u8],
        most: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.most.min(buffer.len()).min(self.rest.len());
            self.rest.read(&mut buffer[..length])
        }
    }

    let Some((options, data)) = data.split_first() else { return };
    // Larder drops two byte order marks, its own and that of `csv-core`; the `csv` crate drops one.
    if data.starts_with("\u{feff}\u{feff}".as_bytes()) {
        return;
    }
    let delimiter = [b',', b';', b'\t', b'|'][usize::from(options & 3)];
    let quote = options & 4 == 0;
    let most = usize::from(options >> 3) + 1;
    let mut records = Records::new(Pieces { rest: data, most }, delimiter, quote);
    let mut found: Vec<Vec<Vec<u8>>> = Vec::new();
    while let Some(record) = records.next().expect("memory can be read") {
        found.push((0..record.len()).map(|at| record.bytes(at).to_vec()).collect());
    }
    let mut reader = csv::ReaderBuilder::new();
    reader.delimiter(delimiter).quoting(quote).has_headers(false).flexible(true);
    let expected = reader.from_reader(data).into_byte_records();
    let expected: Vec<Vec<Vec<u8>>> = expected
        .map(|record| record.expect("memory can be read").iter().map(<[u8]>::to_vec).collect())
        .collect();
    assert_eq!(found, expected);
}
