//! Generates raw files for `build.py`: `cargo bench --bench data -- FOLDER CUSTOMERS LINES`.
//!
//! No benchmark itself: calls the generator of `larder demo` without compression, for which the command has
//! no option.

use std::{fs, path::PathBuf};

use anyhow::Context;
use larder::demo::{Retail, generate};

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench` to the arguments.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mut next =
        |what: &str| arguments.next().with_context(|| format!("no {what} given; FOLDER CUSTOMERS LINES"));
    let folder = PathBuf::from(next("folder")?);
    let retail = Retail {
        customers: next("customers")?.parse()?,
        lines: next("lines")?.parse()?,
        compress: false,
        seed: 42,
    };
    fs::create_dir_all(&folder)?;
    generate(&retail, &folder, &|_, _| {})?;
    Ok(())
}
