//! `larder features`

use std::{path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};

use super::{App, progress, table};
use crate::{pipeline, snapshot::rfc3339, telemetry::Progress};

/// Write the views as they were at an instant into a Parquet file
///
/// Training data for models of your own: the very SQL that serves, over what was known then and nothing later. One row a
/// customer, a struct column per view, as in a snapshot's `customers`. Nothing is written to the lake.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder features --as-of 2011-09-09T00:00:00Z --out features.parquet")]
pub(super) struct Args {
    /// The instant: RFC 3339, or a date for its first moment in UTC
    #[arg(long, value_name = "TIME", value_parser = super::instant)]
    as_of: DateTime<Utc>,
    /// The file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let progress = Arc::new(Progress::default());
    let lake = app.lake()?;
    let writing = pipeline::features(&lake, &app.config, args.as_of, &args.out, &progress);
    let built = progress::watch(&progress, writing).await?;
    for warning in built.warnings() {
        table::line(&format!("warning: {warning}"))?;
    }
    Ok(table::line(&format!(
        "{}: {} customers, {} views, as of {}",
        args.out.display(),
        table::count(built.manifest.customers),
        built.manifest.views.len(),
        rfc3339::format(built.manifest.as_of)
    ))?)
}
