//! The binary: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    larder::cli::main()
}
