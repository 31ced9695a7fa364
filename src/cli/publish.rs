//! `larder publish` and `larder rollback`

use super::{App, table};
use crate::{
    publish,
    snapshot::{Current, SnapshotId},
};

/// Make a snapshot the current one
///
/// Without a name it is the newest build. Readers change over within seconds and without a failed read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder publish 20111209T125000Z-5f0c2a9e")]
pub(super) struct PublishArgs {
    /// The snapshot, as `larder snapshots` lists it
    snapshot: Option<SnapshotId>,
    /// Publish although the current snapshot has a later `as_of`
    #[arg(long)]
    force: bool,
}

/// Publish the snapshot that was current before
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder rollback")]
pub(super) struct RollbackArgs {}

pub(super) async fn publish(args: PublishArgs, app: &App) -> anyhow::Result<()> {
    done(&publish::publish(&app.lake()?, args.snapshot.as_ref(), args.force).await?)
}

pub(super) async fn rollback(_: RollbackArgs, app: &App) -> anyhow::Result<()> {
    done(&publish::rollback(&app.lake()?).await?)
}

fn done(current: &Current) -> anyhow::Result<()> {
    Ok(table::line(&format!("{} is the current snapshot, publish number {}", current.snapshot, current.publish))?)
}
