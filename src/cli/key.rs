//! `larder key`

use std::num::NonZeroU32;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{App, table};
use crate::{
    config::{KEY_START, Scope, check_name, digest},
    snapshot::hex,
};

/// Random bytes of a key.
const KEY_BYTES: usize = 32;

/// Make a key, and show it this once with the lines for the configuration
///
/// Larder itself keeps only the key's hash. Callers send the key as `Authorization: Bearer …` or as `X-API-Key`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder key dashboard --scope features --scope metrics --rate 100")]
pub(super) struct Args {
    /// What the key is called in logs and metrics
    #[arg(value_name = "NAME")]
    name: String,
    /// What its holder may do: features, pii, export, metrics, admin; again for each [default: features]
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// Requests a second, at most
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
}

pub(super) fn run(args: &Args, app: &App) -> anyhow::Result<()> {
    check_name(&args.name).map_err(anyhow::Error::msg)?;
    if app.config.keys.iter().any(|key| key.name == args.name) {
        bail!(
            "the configuration has a key `{}` already; take another name, and remove the old one later",
            args.name
        );
    }
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).context("the operating system has no randomness to give")?;
    let key = format!("{KEY_START}{}", URL_SAFE_NO_PAD.encode(random));
    let mut scopes = if args.scope.is_empty() { vec![Scope::Features] } else { args.scope.clone() };
    scopes.sort_unstable();
    scopes.dedup();
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
    table::line(&format!(
        "The key, which is shown this once:\n\n{key}\n\nFor the configuration; `serve` reads it at its start:\n"
    ))?;
    table::line(&format!(
        "[[keys]]\nname = \"{}\"\nhash = \"sha256:{}\"",
        args.name,
        hex(&digest(key.as_bytes()))
    ))?;
    table::line(&format!("scopes = [{}]", scopes.join(", ")))?;
    if let Some(rate) = args.rate {
        table::line(&format!("rate = {rate}"))?;
    }
    Ok(())
}
