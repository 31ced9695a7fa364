//! `larder key`: generates an API key.

use std::num::NonZeroU32;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat, Utc};

use super::{Setup, table};
use crate::config::{KEY_START, Scope, check_name, key_hash, parse_instant};

/// Number of random bytes in a key.
const KEY_BYTES: usize = 32;

/// Generate an API key and print its configuration entry
///
/// The key is shown only once; the configuration holds its hash. Callers send the key in the header
/// `Authorization: Bearer …` or `X-API-Key`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder key dashboard --scope features --scope metrics --rate 100")]
pub(super) struct Args {
    /// Name of the key in logs and metrics
    #[arg(value_name = "NAME")]
    name: String,
    /// Scope of the key: features, pii, match, export, metrics or admin; repeat for several [default:
    /// features]
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// Rate limit in customers per second [default: unlimited]
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Time (RFC 3339) or date from which the key is refused [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    not_after: Option<DateTime<Utc>>,
}

pub(super) fn run(args: &Args, setup: &Setup) -> anyhow::Result<()> {
    check_name(&args.name).map_err(anyhow::Error::msg)?;
    if setup.config.keys.iter().any(|key| key.name == args.name) {
        bail!(
            "the configuration already has a key `{}`; choose another name and remove the old key later",
            args.name
        );
    }
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).context("cannot read random bytes from the operating system")?;
    let key = format!("{KEY_START}{}", URL_SAFE_NO_PAD.encode(random));
    let mut scopes = if args.scope.is_empty() { vec![Scope::Features] } else { args.scope.clone() };
    scopes.sort_unstable();
    scopes.dedup();
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
    table::line(&format!(
        "API key, shown only once:\n\n{key}\n\n\
         Configuration entry, which a running service reads within seconds:\n"
    ))?;
    table::line(&format!("[[keys]]\nname = \"{}\"\nhash = \"{}\"", args.name, key_hash(key.as_bytes())))?;
    table::line(&format!("scopes = [{}]", scopes.join(", ")))?;
    if let Some(rate) = args.rate {
        table::line(&format!("rate = {rate}"))?;
    }
    if let Some(time) = args.not_after {
        table::line(&format!("not_after = \"{}\"", time.to_rfc3339_opts(SecondsFormat::Secs, true)))?;
    }
    Ok(())
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    parse_instant(text).ok_or_else(|| {
        "expected a time such as 2027-01-31T18:00:00Z, or a date such as 2027-01-31".to_owned()
    })
}
