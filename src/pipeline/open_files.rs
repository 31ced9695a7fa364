//! Limit of open files: raised and checked before a build.

use super::raw::RawError;
use crate::open_files;

/// Maximum number of open files per thread: spill files, staged tables and raw files.
const PER_THREAD: u64 = 16;
/// Maximum number of other open files: sockets of the lake, the log, spilling sorts, Parquet files being
/// written.
const OTHERS: u64 = 128;

/// Raises the limit of open files to the hard limit, and checks that it suffices for a build on `threads`
/// threads.
///
/// # Errors
/// Fails with [`RawError::OpenFiles`] if the hard limit is too low.
pub(super) fn check(threads: usize) -> Result<(), RawError> {
    let needed = threads as u64 * PER_THREAD + OTHERS;
    match open_files::raise_limit() {
        Some(allowed) if allowed < needed => Err(RawError::OpenFiles { needed, allowed }),
        _ => Ok(()),
    }
}
