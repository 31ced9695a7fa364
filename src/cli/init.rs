//! `larder init`: writes a configuration.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{table, terminal};
use crate::pipeline::inspect::{self, MINIMAL_CONFIGURATION};

/// Write a larder.toml that loads files
///
/// Writes what `larder inspect` prints for the files to larder.toml, or to the file of --config, and repeats
/// the doubts. Without files, writes a minimal configuration with comments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder init exports/orders.csv exports/customers.xlsx")]
pub(super) struct Args {
    /// Files in any format that a build reads
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Overwrite an existing configuration
    #[arg(long)]
    force: bool,
}

/// Writes the configuration to `target`, or to `larder.toml`.
pub(super) fn run(args: &Args, target: Option<&Path>) -> anyhow::Result<()> {
    let target = target.unwrap_or(Path::new("larder.toml"));
    if !args.force && target.exists() {
        bail!("{} already exists; --force overwrites it", target.display());
    }
    let found = if args.files.is_empty() {
        None
    } else {
        Some(tokio::task::block_in_place(|| inspect::inspect(&args.files))?)
    };
    let text = found.as_ref().map_or(MINIMAL_CONFIGURATION, |found| found.toml.as_str());
    write(target, text, args.force)?;
    table::line(&format!("wrote {}", target.display()))?;
    let Some(found) = found else { return Ok(()) };
    for doubt in &found.doubts {
        terminal::warn(&format!("doubt: {doubt}"));
    }
    if found.is_incomplete {
        bail!("{} does not load yet: complete it as the last lines above say", target.display());
    }
    let config = match target.file_name() {
        Some(name) if target.as_os_str() == name && name == "larder.toml" => String::new(),
        _ => format!(" --config {}", target.display()),
    };
    Ok(table::line(&format!("next: larder{config} build"))?)
}

/// Writes `text` to `target`, which is not there unless `force` is set.
fn write(target: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(target).and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} already exists; --force overwrites it", target.display())
        }
        written => written.with_context(|| format!("cannot write {}", target.display())),
    }
}
