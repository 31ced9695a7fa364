//! Reuse of freed memory by builds.
//!
//! A build frees and allocates large buffers all the time. The allocator gives freed memory back to the
//! system after 10 ms, and the system clears every page that it hands out anew, which takes up to a fifth of
//! the time of a build. A service frees little and keeps the allocator's default.

use std::{os::unix::process::CommandExt, process::Command};

/// Environment variable of the allocator: milliseconds after which freed memory is given back.
const DELAY: &str = "MIMALLOC_PURGE_DELAY";
/// Delay of builds, unless the variable is set.
const MILLISECONDS: &str = "300";

/// Replaces this process by one that keeps freed memory for a while: the allocator reads its settings only
/// when a process starts. Returns if the settings are there, or if the system refuses; a build is slower
/// then.
pub(super) fn restart_with_reuse() {
    let (mut arguments, program) = (std::env::args_os(), std::env::current_exe());
    if let (None, Some(name), Ok(program)) = (std::env::var_os(DELAY), arguments.next(), program) {
        let _ = Command::new(program).arg0(name).args(arguments).env(DELAY, MILLISECONDS).exec();
    }
}
