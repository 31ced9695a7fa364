//! Bodies of the fuzz targets in `fuzz/`, which the tests run over the corpus. Not part of the
//! public API.
//!
//! Each target accepts arbitrary bytes and panics if a parser violates an invariant.

use crate::{audience::Expression, http, snapshot, tair};

#[cfg(feature = "build")]
mod csv_records;

/// A fuzz target: a check of any bytes.
pub type FuzzTarget = fn(&[u8]);

/// All fuzz targets by name.
pub const TARGETS: &[(&str, FuzzTarget)] = &[
    ("audience", audience),
    #[cfg(feature = "build")]
    ("csv_records", csv_records::csv_records),
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
