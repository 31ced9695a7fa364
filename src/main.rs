//! Entry point of the `larder` binary.

use std::process::ExitCode;

/// Allocator of the process. Reads allocate many small rows and some large buffers, for which the system
/// allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    larder::cli::main()
}
