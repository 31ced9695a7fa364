//! `larder openapi`

use super::table;
use crate::http::openapi;

/// Print the OpenAPI document with the built-in views
///
/// A running service has its own at /openapi.json, with the views of its snapshot.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder openapi > openapi.json")]
pub(super) struct Args {}

pub(super) fn run(_: Args) -> anyhow::Result<()> {
    Ok(table::line(openapi::COMMITTED.trim_end())?)
}
