//! Check of the reader of CSV records. The fuzz target builds this file and the reader alone, without the
//! rest of the crate.

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

/// Checks that the records of a CSV file are those of the `csv` crate, whatever the size of each read.
///
/// The first byte chooses the delimiter, whether fields may be quoted, and how many bytes a read returns.
pub(crate) fn csv_records(data: &[u8]) {
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
