//! `larder worker`: works for a build on another machine.

use super::{Setup, host, traces::traced};
use crate::{
    config::parse_bytes,
    pipeline::{self, cluster::WorkerOptions},
};

/// Work for a build on another machine
///
/// Connects to a build that runs with `engine = "cluster"` in `[build]`, works on the raw files and
/// partitions that the build has for it, and ends when the build has no more work. A worker needs the same
/// binary, the same `[raw]` and `[views]` sections, the same `exclude` in `[recommendations]`, and access to
/// the same lake, with the right to write to `staged/`. Beyond loopback both sides need `[build.tls]`. A
/// worker listens on no port. Workers may come and go while a build runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder worker --build 10.0.0.5:7070 --slots 8 --memory 16GiB")]
pub(super) struct Args {
    /// Address that the build listens on, as host:port
    #[arg(long, value_name = "ADDRESS")]
    build: String,
    /// Number of raw files or partitions to work on at a time [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
    /// Limit of the worker's memory [default: that of a build]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<u64>,
    /// Wait for the next build when a build has ended
    #[arg(long)]
    stay: bool,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&setup.config.log)?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let options = WorkerOptions {
        build: args.build,
        slots: args.slots.map_or_else(cores, usize::from),
        memory: args.memory.unwrap_or(setup.config.build.memory_limit),
        stay: args.stay,
        name: host(),
    };
    let lake = setup.lake()?;
    Ok(Box::pin(traced("worker", pipeline::work(&setup.config, lake, options))).await?)
}
