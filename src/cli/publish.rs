//! `larder publish` and `larder rollback`

use anyhow::bail;

use super::{App, progress, table};
use crate::{
    publish::{Options, PublishError, Published, Publisher},
    snapshot::{SnapshotError, SnapshotId, read_current},
};

/// Make a snapshot the current one
///
/// Without a name it is the newest build; with --current the one that readers get already. Its rows and lists go into Tair, where there is one, and only what differs is written.
/// Readers change over within seconds and without a failed read. Killed at any moment it can be run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder publish 20111209T125000Z-5f0c2a9e --max-ops 20000")]
pub(super) struct PublishArgs {
    /// The snapshot, as `larder snapshots` lists it
    #[arg(conflicts_with = "current")]
    snapshot: Option<SnapshotId>,
    /// The one that is current already, for a Tair that has lost it
    #[arg(long)]
    current: bool,
    /// Publish although the current snapshot has a later `as_of`
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    into: Into,
}

/// Publish the snapshot that was current before
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder rollback")]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    into: Into,
}

/// How Tair is written to.
#[derive(Debug, clap::Args)]
struct Into {
    /// Write everything into Tair, whatever it seems to hold
    #[arg(long)]
    full: bool,
    /// Leave Tair as it is; the snapshot answers until Tair is published to again
    #[arg(long)]
    lake_only: bool,
    /// The most commands a second, for a Tair that serves meanwhile
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_ops: Option<u32>,
}

impl Into {
    fn options(&self, force: bool) -> Options {
        Options { force, full: self.full, lake_only: self.lake_only, max_ops: self.max_ops }
    }
}

pub(super) async fn publish(args: PublishArgs, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let publisher = app.publisher(args.into.options(args.force))?;
    let named = match args.snapshot {
        None if args.current => {
            Some(read_current(&app.lake()?).await?.ok_or(SnapshotError::NoCurrent)?.snapshot)
        }
        named => named,
    };
    match run(&publisher, named.as_ref()).await {
        Err(PublishError::Snapshot(error @ SnapshotError::Older { .. })) if named.is_none() => {
            bail!("{error}, --current publishes the current one again")
        }
        published => done(&published?),
    }
}

pub(super) async fn rollback(args: RollbackArgs, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let publisher = app.publisher(args.into.options(true))?;
    done(&progress::watch(publisher.progress(), publisher.rollback()).await?)
}

/// Publishes with a progress bar.
pub(super) async fn run(publisher: &Publisher, id: Option<&SnapshotId>) -> Result<Published, PublishError> {
    progress::watch(publisher.progress(), publisher.publish(id)).await
}

/// Tells what was done.
pub(super) fn done(published: &Published) -> anyhow::Result<()> {
    if let Some(written) = &published.written {
        let why = written.full_reason.map_or(String::new(), |why| format!(" (everything, since {why})"));
        let forgotten = match written.forgotten {
            0 => String::new(),
            forgotten => format!(", {} forgotten", table::count(forgotten)),
        };
        table::line(&format!(
            "Tair: {} customers written{why}, {} unchanged, {} removed{forgotten}, {} members of segments",
            table::count(written.rows),
            table::count(written.unchanged),
            table::count(written.removed),
            table::count(written.members),
        ))?;
    }
    let current = &published.current;
    Ok(table::line(&format!("published {} as number {}", current.snapshot, current.publish))?)
}
