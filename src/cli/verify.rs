//! `larder verify`

use anyhow::bail;

use super::{App, progress, table};
use crate::publish::{Options, Report};

/// Compare Tair with the current snapshot
///
/// Counts customers, looks at every segment's lists, and compares the values of a thousand customers, or of all of them. Ends with
/// exit code 1 where anything differs. After a failover of Tair, which may lose writes, run it with --repair.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder verify --all --repair")]
pub(super) struct Args {
    /// Compare every customer and every list
    #[arg(long)]
    all: bool,
    /// Write anew what differs
    #[arg(long)]
    repair: bool,
    /// The most commands a second when repairing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_ops: Option<u32>,
}

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let publisher = app.publisher(Options { max_ops: args.max_ops, ..Options::default() })?;
    let mut report = progress::watch(publisher.progress(), publisher.verify(args.all, args.repair)).await?;
    tell(&report)?;
    if report.repaired {
        table::line("repaired; comparing again")?;
        report = progress::watch(publisher.progress(), publisher.verify(args.all, false)).await?;
        tell(&report)?;
    }
    match report.differences {
        0 => Ok(table::line(&format!("Tair holds publish {} as the snapshot has it", report.publish))?),
        1 => bail!("there is 1 difference"),
        differences => bail!("there are {} differences", table::count(differences)),
    }
}

fn tell(report: &Report) -> anyhow::Result<()> {
    table::line(&format!(
        "publish {}: {} customers in Tair, {} compared, {} segments",
        report.publish,
        table::count(report.customers),
        table::count(report.compared),
        report.segments,
    ))?;
    for difference in &report.messages {
        table::line(&format!("  {difference}"))?;
    }
    let more = report.differences.saturating_sub(report.messages.len() as u64);
    if more > 0 {
        table::line(&format!("  and {} more", table::count(more)))?;
    }
    Ok(())
}
