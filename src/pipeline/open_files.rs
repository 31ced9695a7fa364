//! How many files a build has open, and how many the system allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::raw::RawError;

/// Files that a thread has open: those that it spills lines into and derives tables into, and what it reads.
const OF_A_THREAD: u64 = 16;
/// All others: sockets of the lake, the log, temporary files of sorts that spill, Parquet files being
/// written.
const OTHERS: u64 = 128;

/// Raises the limit of open files as far as the system allows, and checks that it is enough for a build on
/// `threads` threads.
///
/// # Errors
/// [`RawError::OpenFiles`], before anything is read.
pub(super) fn check(threads: usize) -> Result<(), RawError> {
    let needed = threads as u64 * OF_A_THREAD + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| limit.maximum.is_none_or(|maximum| current < maximum)) {
        // Where it may not be raised, the check below decides.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < needed => Err(RawError::OpenFiles { needed, allowed }),
        _ => Ok(()),
    }
}
