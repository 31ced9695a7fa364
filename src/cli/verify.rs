//! `larder verify`: compares Tair with the current snapshot.

use anyhow::bail;
use indicatif::HumanCount;

use super::{Setup, batch, counted::counted, progress, table};
use crate::publish::{Options, Report};

/// Compare Tair with the current snapshot
///
/// Counts customers, checks the lists of every segment, and compares the values of 1,000 customers, or of all
/// customers with --all. Exits with code 1 if anything differs. After a failover of Tair, which can lose
/// writes, run with --repair.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder verify --all --repair")]
pub(super) struct Args {
    /// Compare every customer and every list
    #[arg(long)]
    all: bool,
    /// Rewrite everything that differs
    #[arg(long)]
    repair: bool,
    /// Rate limit of the repair in commands per second [default: unlimited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_ops: Option<u32>,
    #[command(flatten)]
    pub(super) metrics: batch::MetricsArgs,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    let publisher = setup.publisher(Options { max_ops: args.max_ops, ..Options::default() })?;
    let mut report = progress::watch(publisher.progress(), publisher.verify(args.all, args.repair)).await?;
    print_report(&report)?;
    if report.repaired {
        table::line("repaired; verifying again")?;
        report = progress::watch(publisher.progress(), publisher.verify(args.all, false)).await?;
        print_report(&report)?;
    }
    match report.differences {
        0 => Ok(table::line(&format!("Tair matches the snapshot of publish {}", report.publish))?),
        1 => bail!("there is 1 difference"),
        differences => bail!("there are {} differences", HumanCount(differences)),
    }
}

/// Prints the counts and the first differences.
fn print_report(report: &Report) -> anyhow::Result<()> {
    table::line(&format!(
        "publish {}: {} in Tair, {} compared, {}",
        report.publish,
        counted(report.customers, "customer", "customers"),
        HumanCount(report.compared),
        counted(report.segments, "segment", "segments"),
    ))?;
    for difference in &report.messages {
        table::line(&format!("  {difference}"))?;
    }
    let more = report.differences.saturating_sub(report.messages.len() as u64);
    if more > 0 {
        table::line(&format!("  and {} more", HumanCount(more)))?;
    }
    Ok(())
}
