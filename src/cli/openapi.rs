//! `larder openapi`: prints the OpenAPI document.

use super::table;
use crate::http::openapi;

/// Print the OpenAPI document of the built-in views
///
/// A running service serves the document with the views of its snapshot at /openapi.json.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder openapi > openapi.json")]
pub(super) struct Args {}

pub(super) fn run(_: Args) -> anyhow::Result<()> {
    Ok(table::line(openapi::COMMITTED.trim_end())?)
}
