//! `larder features`: writes features at a past as-of time for model training.

use std::{path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};

use super::{Setup, counted::counted, progress, table};
use crate::{
    pipeline::{self, FeaturesFile},
    snapshot::rfc3339,
    telemetry::{self, Progress},
};

/// Write the views at a past as-of time to a Parquet file
///
/// Produces training data for your own models: the SQL of the served views over data up to the as-of time,
/// without later data. The file has one row per customer and one struct column per view, like the `customers`
/// parts of a snapshot. Nothing is written to the lake. Without --pii, personal values are null.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder features --as-of 2011-09-09T00:00:00Z --out features.parquet")]
pub(super) struct Args {
    /// As-of time: RFC 3339, or a date for midnight UTC
    #[arg(long, value_name = "TIME", value_parser = super::instant)]
    as_of: DateTime<Utc>,
    /// Output file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Include personal values
    #[arg(long)]
    pii: bool,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    let progress = Arc::new(Progress::default());
    let lake = setup.lake()?;
    let out = FeaturesFile { path: &args.out, with_personal: args.pii };
    let writing = pipeline::features(&lake, &setup.config, args.as_of, &out, &progress);
    let built = progress::watch(&progress, writing).await?;
    let personal: Vec<String> =
        built.manifest.personal().map(|(view, feature)| format!("{view}.{feature}")).collect();
    if args.pii && !personal.is_empty() {
        tracing::info!(
            target: telemetry::AUDIT,
            command = "features",
            customers = built.manifest.customers,
            as_of = rfc3339::format(built.manifest.as_of),
            shown = personal.join(","),
            out = %args.out.display(),
            "features"
        );
    }
    for warning in built.warnings() {
        table::line(&format!("warning: {warning}"))?;
    }
    if !args.pii && !personal.is_empty() {
        table::line(&format!("left out, as personal data: {}", personal.join(", ")))?;
    }
    Ok(table::line(&format!(
        "{}: {}, {}, as of {}",
        args.out.display(),
        counted(built.manifest.customers, "customer", "customers"),
        counted(built.manifest.views.len() as u64, "view", "views"),
        rfc3339::format(built.manifest.as_of)
    ))?)
}
