//! `larder publish` and `larder rollback`: change the current snapshot.

use anyhow::bail;
use indicatif::HumanCount;

use super::{Setup, batch, counted::counted, progress, table, traces::traced};
use crate::{
    publish::{Options, PublishError, Published, Publisher},
    snapshot::{SnapshotError, SnapshotId, read_current},
};

/// Publish a snapshot to Tair and make it the current snapshot
///
/// Without an argument the newest snapshot is published. If Tair is configured, rows and lists are written to
/// Tair, but only those that differ from the previous publish. Readers switch within seconds and without
/// failed reads. An interrupted publish can be run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder publish 20111209T125000Z-5f0c2a9e --max-ops 20000")]
pub(super) struct PublishArgs {
    /// Snapshot id, as listed by `larder snapshots` [default: the newest snapshot]
    #[arg(conflicts_with = "current")]
    snapshot: Option<SnapshotId>,
    /// Publish the current snapshot again, for a Tair that lost its data
    #[arg(long)]
    current: bool,
    /// Publish even if the current snapshot has a later as-of time
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    options: TairOptions,
    #[command(flatten)]
    pub(super) metrics: batch::MetricsArgs,
}

/// Publish the previous snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder rollback")]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    options: TairOptions,
}

/// Options for writing to Tair.
#[derive(Debug, clap::Args)]
struct TairOptions {
    /// Write everything to Tair, not only the differences
    #[arg(long)]
    full: bool,
    /// Do not write to Tair; reads are served from the snapshot until the next publish to Tair
    #[arg(long)]
    lake_only: bool,
    /// Rate limit in commands per second, to spare a Tair that is serving [default: unlimited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_ops: Option<u32>,
}

impl TairOptions {
    /// Returns the options of the publisher.
    fn publisher_options(&self, force: bool) -> Options {
        Options { force, full: self.full, lake_only: self.lake_only, max_ops: self.max_ops }
    }
}

pub(super) async fn publish(args: PublishArgs, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    let publisher = setup.publisher(args.options.publisher_options(args.force))?;
    let named = match args.snapshot {
        None if args.current => {
            Some(read_current(&setup.lake()?).await?.ok_or(SnapshotError::NoCurrent)?.snapshot)
        }
        named => named,
    };
    match Box::pin(traced("publish", run(&publisher, named.as_ref()))).await {
        Err(PublishError::Snapshot(error @ SnapshotError::Older { .. })) if named.is_none() => {
            bail!("{error}; --current publishes the current snapshot again")
        }
        published => done(&published?),
    }
}

pub(super) async fn rollback(args: RollbackArgs, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    let publisher = setup.publisher(args.options.publisher_options(true))?;
    let rollback = progress::watch(publisher.progress(), publisher.rollback());
    done(&Box::pin(traced("rollback", rollback)).await?)
}

/// Publishes behind a progress bar.
pub(super) async fn run(publisher: &Publisher, id: Option<&SnapshotId>) -> Result<Published, PublishError> {
    progress::watch(publisher.progress(), publisher.publish(id)).await
}

/// Prints what was published.
pub(super) fn done(published: &Published) -> anyhow::Result<()> {
    if let Some(written) = &published.written {
        let why = written.full_reason.map_or(String::new(), |why| format!(" (full publish: {why})"));
        let forgotten = match written.forgotten {
            0 => String::new(),
            forgotten => format!(", {} erased", HumanCount(forgotten)),
        };
        table::line(&format!(
            "Tair: {} written{why}, {} unchanged, {} removed{forgotten}, {}",
            counted(written.rows, "customer", "customers"),
            HumanCount(written.unchanged),
            HumanCount(written.removed),
            counted(written.members, "list member", "list members"),
        ))?;
    }
    let current = &published.current;
    Ok(table::line(&format!("published {} as publish {}", current.snapshot, current.publish))?)
}
