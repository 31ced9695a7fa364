//! `larder inspect`: looks at files and prints the configuration that loads them.

use std::path::PathBuf;

use super::table;
use crate::pipeline::inspect;

/// Look at files and print the configuration that loads them
///
/// Reads the start of each file, without a configuration, and tells format, encoding, columns, types and the
/// likely use of each column, with reasons and doubts. The output is a valid larder.toml whose comments are
/// the report. Values are shown by their form only: letters as a or A, digits as 9.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder inspect exports/orders.csv exports/customers.xlsx")]
pub(super) struct Args {
    /// Files in any format that a build reads
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let found = tokio::task::block_in_place(|| inspect::inspect(&args.files))?;
    Ok(table::line(found.toml.trim_end())?)
}
