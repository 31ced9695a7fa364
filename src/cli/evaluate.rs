//! `larder evaluate`: prints the model cards of a snapshot.

mod churn;
mod purchase_models;
mod recommendations;
mod value;

use super::{Setup, table};
use crate::snapshot::{Manifest, SnapshotError, SnapshotId, read_current, rfc3339};

/// Show the quality metrics of the models in a snapshot
///
/// Prints the card of each model as tables: metrics of all candidates on held-out data, calibration and lift,
/// features, and reasons not to trust the model. The build measured them; they are also in the manifest and
/// at /v1/models/.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder evaluate")]
pub(super) struct Args {
    /// Snapshot id [default: the current snapshot]
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<SnapshotId>,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let lake = setup.lake()?;
    let id = match args.snapshot {
        Some(id) => id,
        None => read_current(&lake).await?.ok_or(SnapshotError::NoCurrent)?.snapshot,
    };
    let manifest = Manifest::read(&lake, &id).await?;
    table::line(&format!("snapshot {id}, as of {}", rfc3339::format(manifest.as_of)))?;
    match &manifest.models.churn {
        Some(card) => churn::churn(card)?,
        None => table::line("the snapshot has no churn model")?,
    }
    match &manifest.models.value {
        Some(card) => value::value(card)?,
        None => table::line("the snapshot has no value model")?,
    }
    match &manifest.models.recommendations {
        Some(card) => recommendations::recommendations(card),
        None => Ok(table::line("the snapshot has no recommendations model")?),
    }
}

/// Prints why a model is not to be trusted, and its caveats.
fn findings(reasons: &[String], caveats: &[String]) -> std::io::Result<()> {
    for reason in reasons {
        table::line(&format!("  not trusted: {reason}"))?;
    }
    for caveat in caveats {
        table::line(&format!("  caveat: {caveat}"))?;
    }
    Ok(())
}
