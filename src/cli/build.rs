//! `larder build`: builds a snapshot and publishes it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use indicatif::{HumanBytes, HumanCount};

use super::{
    Setup, batch, counted::counted, host, progress, publish, schedule::ScheduleArgs, table, terminal,
    traces::traced,
};
use crate::{
    config::Config,
    lake::Lake,
    pipeline::{self, BuildError, Built, ViewError},
    publish::{Options, PublishError, Published, Publisher},
    snapshot::{
        self, BuildOutcome, BuildRecord, BuildTrigger, Manifest, SegmentStats, SnapshotError, SnapshotId,
        TableCounts, read_current, rfc3339,
    },
    telemetry::Progress,
};

mod explain;

/// Build a snapshot from raw files and publish it
///
/// Reads the configured raw tables, runs all views, writes an immutable snapshot to the lake and makes it the
/// current snapshot. Prints what happened to every line; the counts are also in the manifest.
///
/// A build is held back, with exit code 3, if it fails a quality check: it has no customers, or customers,
/// revenue or the share of customers with a feature fell by more than half, or it breaks a rule in
/// `[quality]`. The snapshot stays in the lake and can be published by name.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent options")]
#[command(after_help = "Example:\n  larder build --as-of 2011-09-09T00:00:00Z --no-publish")]
pub(super) struct Args {
    /// As-of time: ignore all later data. RFC 3339, or a date for midnight UTC [default: the newest event]
    #[arg(long, value_name = "TIME", value_parser = super::instant)]
    as_of: Option<DateTime<Utc>>,
    /// Build without publishing
    #[arg(long)]
    no_publish: bool,
    /// Print time, rows, bytes written and peak memory of each stage, and the plan of each view
    #[arg(long)]
    explain: bool,
    /// Publish even if the current snapshot has a later as-of time or the build fails a quality check
    #[arg(long)]
    force: bool,
    /// Read unchanged raw files, too, and compare their content with the kept staging
    #[arg(long)]
    verify_raw: bool,
    /// Train all models, whatever the settings `retrain` say
    #[arg(long)]
    retrain: bool,
    #[command(flatten)]
    pub(super) metrics: batch::MetricsArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// Cause of the build
    #[arg(long, hide = true, value_parser = trigger)]
    trigger: Option<BuildTrigger>,
}

fn trigger(text: &str) -> Result<BuildTrigger, String> {
    match text {
        "every" => Ok(BuildTrigger::Every),
        "watch" => Ok(BuildTrigger::Watch),
        _ => Err("expected every or watch".to_owned()),
    }
}

impl Args {
    /// Checks whether the builds of a schedule are wanted.
    pub(super) fn is_scheduled(&self) -> bool {
        self.schedule.schedule().is_ok_and(|schedule| schedule.is_some())
    }
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    if let Some(schedule) = args.schedule.schedule()? {
        if args.as_of.is_some() {
            bail!("--as-of stands for one build, and --every and --watch for many");
        }
        let _log = crate::telemetry::start_log(&setup.config.log)?;
        let mut options = Vec::new();
        options.extend(args.no_publish.then(|| "--no-publish".into()));
        options.extend(args.explain.then(|| "--explain".into()));
        options.extend(args.force.then(|| "--force".into()));
        options.extend(args.verify_raw.then(|| "--verify-raw".into()));
        options.extend(args.retrain.then(|| "--retrain".into()));
        options
            .extend(args.metrics.file().into_iter().flat_map(|file| ["--metrics-file".into(), file.into()]));
        return schedule.with_options(options).run(setup).await;
    }
    let started_at = rfc3339::now();
    let mut snapshot = None;
    let result = once(&args, setup, &mut snapshot).await;
    let outcome = match &result {
        Ok(()) if args.no_publish => BuildOutcome::Built,
        Ok(()) => BuildOutcome::Published,
        Err(error) if error.is::<HeldBack>() => BuildOutcome::HeldBack,
        Err(_) => BuildOutcome::Failed,
    };
    let record = BuildRecord {
        started_at,
        ended_at: rfc3339::now(),
        outcome,
        trigger: args.trigger.unwrap_or(BuildTrigger::Command),
        snapshot,
        error: result.as_ref().err().map(public_message),
        host: host(),
    };
    if let Ok(lake) = setup.lake()
        && let Err(error) = record.write(&lake).await
    {
        terminal::warn(&format!("warning: the build is not recorded: {error}"));
    }
    result
}

/// Returns the message of an error without customer ids, for callers of the API.
fn public_message(error: &anyhow::Error) -> String {
    match error.downcast_ref::<BuildError>() {
        Some(BuildError::View(ViewError::DuplicateId { view, .. })) => {
            format!("view {view}: there is more than one row for a customer")
        }
        _ => format!("{error:#}"),
    }
}

/// Builds a snapshot, and publishes the snapshot unless `args` say otherwise. Sets `snapshot` to the id.
async fn once(args: &Args, setup: &Setup, snapshot: &mut Option<SnapshotId>) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    Box::pin(traced("build", build_and_publish(args, setup, snapshot))).await
}

async fn build_and_publish(
    args: &Args,
    setup: &Setup,
    snapshot: &mut Option<SnapshotId>,
) -> anyhow::Result<()> {
    let lake = setup.lake()?;
    if let Some(as_of) = args.as_of
        && !args.no_publish
    {
        if as_of > Utc::now() {
            // Once published, the snapshot would keep every later build from being published.
            bail!("--as-of {} is in the future", rfc3339::format(as_of));
        }
        if !args.force {
            check_as_of(&lake, as_of).await?;
        }
    }
    let mut config = setup.config.clone();
    config.build.verify_raw |= args.verify_raw;
    if args.retrain {
        config.churn.retrain = Duration::ZERO;
        config.recommendations.retrain = Duration::ZERO;
    }
    let built = build(setup, &config, args.as_of).await?;
    setup.facts.built(&built.manifest);
    *snapshot = Some(built.manifest.id.clone());
    summary(&built)?;
    if args.explain {
        explain::print(&built)?;
    }
    if args.no_publish {
        table::line(&format!(
            "built {}; run `larder publish {}` to publish it",
            built.manifest.id, built.manifest.id
        ))?;
        return Ok(());
    }
    if !args.force {
        check_quality(&lake, &built.manifest, setup).await.inspect_err(|error| {
            if error.is::<HeldBack>() {
                setup.facts.rejected();
            }
        })?;
    }
    let publisher = setup.publisher(Options { force: args.force, ..Options::default() })?;
    let publishing = publish_replaced(&publisher, &lake, &built.manifest.id);
    let published = Box::pin(setup.facts.stage("publish", publishing)).await;
    publish::done(
        &published.with_context(|| format!("snapshot {} is built but not published", built.manifest.id))?,
    )
}

/// Publishes the snapshot `id`, or the snapshot that replaced it if `larder forget` ran since the build.
async fn publish_replaced(
    publisher: &Publisher,
    lake: &Lake,
    id: &SnapshotId,
) -> Result<Published, PublishError> {
    let mut id = id.clone();
    loop {
        match publish::run(publisher, Some(&id)).await {
            Err(PublishError::Snapshot(SnapshotError::Unknown { id: gone })) if gone == id => {
                let all = snapshot::list(lake).await?;
                let new = all.into_iter().find(|manifest| manifest.rewritten_from.as_ref() == Some(&id));
                id = new.map(|manifest| manifest.id).ok_or(SnapshotError::Unknown { id: gone })?;
            }
            published => return published,
        }
    }
}

/// A build that was held back because it failed a quality check against the current snapshot.
#[derive(Debug, thiserror::Error)]
#[error(
    "snapshot {id} is built but held back: {}; to publish it all the same, run `larder publish {id}`",
    reasons.join("; ")
)]
pub(super) struct HeldBack {
    id: SnapshotId,
    reasons: Vec<String>,
}

/// Checks the build against the current snapshot and the configured rules.
async fn check_quality(lake: &Lake, manifest: &Manifest, setup: &Setup) -> anyhow::Result<()> {
    let before = match read_current(lake).await? {
        Some(current) => match Manifest::read(lake, &current.snapshot).await {
            Ok(before) => Some(before),
            Err(SnapshotError::Lake(error)) => return Err(error.into()),
            // A damaged current snapshot must not block a new build.
            Err(_) => None,
        },
        None => None,
    };
    let reasons = manifest.implausible(before.as_ref(), &setup.config.quality.rules);
    if reasons.is_empty() { Ok(()) } else { Err(HeldBack { id: manifest.id.clone(), reasons }.into()) }
}

/// Rejects an as-of time before the current one up front, since the build could not be published.
async fn check_as_of(lake: &Lake, as_of: DateTime<Utc>) -> Result<(), SnapshotError> {
    let Some(current) = read_current(lake).await? else { return Ok(()) };
    match Manifest::read(lake, &current.snapshot).await {
        Ok(manifest) if as_of < manifest.as_of && manifest.as_of <= Utc::now() => {
            Err(SnapshotError::Older { id: current.snapshot, as_of, current: manifest.as_of })
        }
        _ => Ok(()),
    }
}

/// Builds a snapshot behind a progress bar.
pub(super) async fn build(
    setup: &Setup,
    config: &Config,
    as_of: Option<DateTime<Utc>>,
) -> anyhow::Result<Built> {
    let progress = Arc::new(Progress::default());
    let lake = setup.lake()?;
    Ok(progress::watch(&progress, pipeline::build(&lake, config, as_of, &progress)).await?)
}

/// Prints the causes of bad lines with examples.
pub(super) fn bad_lines(counts: &TableCounts) -> anyhow::Result<()> {
    for cause in &counts.bad_causes {
        let lines = counted(cause.lines, "bad line", "bad lines");
        table::line(&format!("{lines}: {}", cause.cause))?;
        for example in &cause.examples {
            table::line(&format!("  {example}"))?;
        }
    }
    Ok(())
}

/// Prints what happened to the raw lines, and the segments and size of the snapshot.
pub(super) fn summary(built: &Built) -> anyhow::Result<()> {
    let manifest = &built.manifest;
    line_counts(manifest)?;
    for source in &manifest.sources {
        if let Some(first) = &source.same_as {
            table::line(&format!("{} has the same content as {first} and was read once", source.path))?;
        }
    }
    for counts in manifest.counts.values() {
        bad_lines(counts)?;
    }
    for warning in built.warnings() {
        table::line(&format!("warning: {warning}"))?;
    }
    table::line("")?;
    segments(manifest)?;
    table::line("")?;
    let seconds: f64 = manifest.stages.iter().map(|stage| stage.seconds).sum();
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    table::line(&format!(
        "snapshot {}: {}, {}, as of {}, {}, built in {seconds:.1} s",
        manifest.id,
        counted(manifest.customers, "customer", "customers"),
        counted(manifest.views.len() as u64, "view", "views"),
        rfc3339::format(manifest.as_of),
        HumanBytes(bytes),
    ))?;
    Ok(())
}

/// Prints the lines of each raw table by fate.
fn line_counts(manifest: &Manifest) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for (name, counts) in &manifest.counts {
        let row = |table: &str, fate: &str, lines: u64, amount: &str| {
            vec![table.to_owned(), fate.to_owned(), HumanCount(lines).to_string(), amount.to_owned()]
        };
        rows.push(row(name, "lines", counts.lines, ""));
        for (fate, lines) in counts.fates.iter().filter(|(_, lines)| **lines > 0) {
            rows.push(row("", fate, *lines, counts.amounts.get(fate).map_or("", String::as_str)));
        }
        if counts.duplicates > 0 {
            // They have a fate like all lines, so that this number is a part of those above.
            rows.push(row("", "(equal to an earlier line, and counted above)", counts.duplicates, ""));
        }
        if counts.physical_lines != counts.lines {
            rows.push(row("", "(lines in the files, as wc -l counts)", counts.physical_lines, ""));
        }
    }
    Ok(table::print(&["table", "fate", "lines", "amount"], &rows)?)
}

/// Prints the segments with size and revenue.
fn segments(manifest: &Manifest) -> anyhow::Result<()> {
    let row = |segment: &SegmentStats| {
        vec![
            segment.name.clone(),
            HumanCount(segment.size).to_string(),
            format!("{:.1}", segment.share * 100.0),
            segment.revenue.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = manifest.segments.iter().map(row).collect();
    Ok(table::print(&["segment", "customers", "share %", "revenue"], &rows)?)
}
