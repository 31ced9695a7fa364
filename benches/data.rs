//! Made-up raw files for `build.py`: `cargo bench --bench data -- FOLDER CUSTOMERS LINES`.
//!
//! Not a benchmark itself. It calls the generator of `larder demo` without compression, which the command does not offer.

use std::{fs, path::PathBuf};

use anyhow::Context;
use larder::demo::{Retail, generate};

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench` to what it was given.
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
