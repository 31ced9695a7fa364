//! The binary: parse, run, exit code.

use std::process::ExitCode;

/// Many small rows and some large buffers come and go at a time: the system's allocator spends a good part of a read on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    larder::cli::main()
}
