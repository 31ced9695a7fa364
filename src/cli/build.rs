//! `larder build`

use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};

use super::{App, progress, publish, table};
use crate::{
    lake::Lake,
    pipeline::{self, Built},
    publish::Options,
    snapshot::{Manifest, SnapshotError, SnapshotId, TableCounts, read_current, rfc3339},
    telemetry::Progress,
};

/// Compute a snapshot from the raw data and publish it
///
/// Reads the raw tables that the configuration names, runs all views, writes an immutable snapshot into the
/// lake and makes it the current one. What became of every line is printed and kept in the manifest.
///
/// A build that is implausible beside the current snapshot (no customers; customers, revenue or the
/// share of customers with a feature down by more than half; a rule of `quality` broken) is kept and not published:
/// exit code 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder build --as-of 2011-09-09T00:00:00Z --no-publish")]
pub(super) struct Args {
    /// Build what was known at this instant: RFC 3339, or a date for its first moment in UTC [default: the
    /// newest event]
    #[arg(long, value_name = "TIME", value_parser = super::instant)]
    as_of: Option<DateTime<Utc>>,
    /// Leave the current snapshot as it is
    #[arg(long)]
    no_publish: bool,
    /// Publish although the current snapshot has a later `as_of`, or the build is implausible beside it
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let lake = app.lake()?;
    if let Some(as_of) = args.as_of.filter(|as_of| *as_of > Utc::now() && !args.no_publish) {
        // It would keep every later build from being published.
        bail!("--as-of {} is still to come", rfc3339::format(as_of));
    }
    if let (Some(as_of), false, false) = (args.as_of, args.no_publish, args.force) {
        check_as_of(&lake, as_of).await?;
    }
    let built = build(app, args.as_of).await?;
    summary(&built)?;
    if args.no_publish {
        table::line(&format!(
            "built {}; `larder publish {}` makes it the current one",
            built.manifest.id, built.manifest.id
        ))?;
        return Ok(());
    }
    if !args.force {
        check_plausible(&lake, &built.manifest, app).await?;
    }
    let publisher = app.publisher(Options { force: args.force, ..Options::default() })?;
    let published = publish::run(&publisher, Some(&built.manifest.id)).await;
    publish::done(
        &published.with_context(|| format!("snapshot {} is built, but not published", built.manifest.id))?,
    )
}

/// A snapshot that was built and is not published, since it is implausible beside the current one.
#[derive(Debug, thiserror::Error)]
#[error("snapshot {id} is built and not published: {}; if that is right, `larder publish {id}` publishes it", reasons.join("; "))]
pub(super) struct Implausible {
    id: SnapshotId,
    reasons: Vec<String>,
}

/// Compares the build with the current snapshot.
async fn check_plausible(lake: &Lake, manifest: &Manifest, app: &App) -> anyhow::Result<()> {
    let before = match read_current(lake).await? {
        Some(current) => match Manifest::read(lake, &current.snapshot).await {
            Ok(before) => Some(before),
            Err(SnapshotError::Lake(error)) => return Err(error.into()),
            // A snapshot that cannot be read any more says nothing against a new one.
            Err(_) => None,
        },
        None => None,
    };
    let reasons = manifest.implausible(before.as_ref(), &app.config.quality.rules);
    if reasons.is_empty() { Ok(()) } else { Err(Implausible { id: manifest.id.clone(), reasons }.into()) }
}

/// An `as_of` that will not be published is refused before the work, not after it.
async fn check_as_of(lake: &Lake, as_of: DateTime<Utc>) -> Result<(), SnapshotError> {
    let Some(current) = read_current(lake).await? else { return Ok(()) };
    match Manifest::read(lake, &current.snapshot).await {
        Ok(manifest) if as_of < manifest.as_of && manifest.as_of <= Utc::now() => {
            Err(SnapshotError::Older { id: current.snapshot, as_of, current: manifest.as_of })
        }
        _ => Ok(()),
    }
}

/// Builds with a progress bar.
pub(super) async fn build(app: &App, as_of: Option<DateTime<Utc>>) -> anyhow::Result<Built> {
    let progress = Arc::new(Progress::default());
    let lake = app.lake()?;
    Ok(progress::watch(&progress, pipeline::build(&lake, &app.config, as_of, &progress)).await?)
}

/// Says why lines are bad, with examples.
pub(super) fn bad_lines(counts: &TableCounts) -> anyhow::Result<()> {
    for cause in &counts.bad_causes {
        let lines = if cause.lines == 1 {
            "1 bad line".to_owned()
        } else {
            format!("{} bad lines", table::count(cause.lines))
        };
        table::line(&format!("{lines}: {}", cause.cause))?;
        for example in &cause.examples {
            table::line(&format!("  {example}"))?;
        }
    }
    Ok(())
}

/// What became of the raw data, and what the snapshot holds.
pub(super) fn summary(built: &Built) -> anyhow::Result<()> {
    let manifest = &built.manifest;
    let mut rows = Vec::new();
    for (name, counts) in &manifest.counts {
        let row = |table: &str, fate: &str, lines: u64, amount: &str| {
            vec![table.to_owned(), fate.to_owned(), table::count(lines), amount.to_owned()]
        };
        rows.push(row(name, "lines", counts.lines, ""));
        for (fate, lines) in counts.fates.iter().filter(|(_, lines)| **lines > 0) {
            rows.push(row("", fate, *lines, counts.amounts.get(fate).map_or("", String::as_str)));
        }
        if counts.duplicates > 0 {
            rows.push(row("", "(equal to another)", counts.duplicates, ""));
        }
        if counts.physical_lines != counts.lines {
            rows.push(row("", "(lines of the files, as wc -l counts)", counts.physical_lines, ""));
        }
    }
    table::print(&["table", "fate", "lines", "amount"], &rows)?;
    for source in &manifest.sources {
        if let Some(first) = &source.same_as {
            table::line(&format!("{} has the content of {first} and was read once", source.path))?;
        }
    }
    for counts in manifest.counts.values() {
        bad_lines(counts)?;
    }
    for warning in built.warnings() {
        table::line(&format!("warning: {warning}"))?;
    }
    table::line("")?;
    let rows: Vec<Vec<String>> = manifest
        .segments
        .iter()
        .map(|segment| {
            vec![
                segment.name.clone(),
                table::count(segment.size),
                format!("{:.1}", segment.share * 100.0),
                segment.revenue.clone(),
            ]
        })
        .collect();
    table::print(&["segment", "customers", "share %", "revenue"], &rows)?;
    table::line("")?;
    let seconds: f64 = manifest.stages.iter().map(|stage| stage.seconds).sum();
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    table::line(&format!(
        "snapshot {}: {} customers, {} views, as of {}, {}, built in {seconds:.1} s",
        manifest.id,
        table::count(manifest.customers),
        manifest.views.len(),
        rfc3339::format(manifest.as_of),
        table::bytes(bytes),
    ))?;
    Ok(())
}
