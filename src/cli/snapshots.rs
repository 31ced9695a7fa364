//! `larder snapshots`: lists and prunes snapshots.

use indicatif::{HumanBytes, HumanCount};

use super::{Setup, batch, counted::counted, table};
use crate::{
    publish::Options,
    snapshot::{SnapshotId, list, prune, read_current, rfc3339, staged},
};

/// List the snapshots in the lake and remove old ones
///
/// The current snapshot, the previous one and snapshots that were current within the last hour are never
/// removed. Folders left by killed builds are removed after one day, and so is the kept staging of raw files
/// that the newest build did not use.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder snapshots --keep 14")]
pub(super) struct Args {
    /// Keep the N newest snapshots and remove the others
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    #[command(flatten)]
    pub(super) metrics: batch::MetricsArgs,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let lake = setup.lake()?;
    if let Some(keep) = args.keep {
        let protected = setup.publisher(Options::default())?.in_flight().await?;
        let pruned = prune(&lake, Some(keep.max(1)), &protected).await?;
        for id in pruned.snapshots {
            table::line(&format!("removed {id}"))?;
        }
        for name in pruned.abandoned {
            table::line(&format!("removed {name}, left by an interrupted build"))?;
        }
        for folder in pruned.staged {
            table::line(&format!("removed the staging {folder}, which no raw file needs"))?;
        }
    }
    let current = read_current(&lake).await?;
    let role = |id: &SnapshotId| match &current {
        Some(current) if current.snapshot == *id => "current",
        Some(current) if current.previous.as_ref() == Some(id) => "previous",
        _ => "",
    };
    let rows: Vec<Vec<String>> = list(&lake)
        .await?
        .iter()
        .map(|manifest| {
            vec![
                manifest.id.to_string(),
                rfc3339::format(manifest.as_of),
                rfc3339::format(manifest.created_at),
                HumanCount(manifest.customers).to_string(),
                HumanBytes(manifest.files.iter().map(|file| file.bytes).sum()).to_string(),
                manifest.fingerprint.chars().take(12).collect(),
                role(&manifest.id).to_owned(),
            ]
        })
        .collect();
    table::print(&["snapshot", "as of", "built at", "customers", "size", "fingerprint", ""], &rows)?;
    let staged = staged::size(&lake).await?;
    setup.facts.staged(staged.bytes);
    Ok(table::line(&format!(
        "kept staging: {}, {}",
        counted(staged.files, "raw file", "raw files"),
        HumanBytes(staged.bytes)
    ))?)
}
