//! The command line: one subcommand each in `cli/`, and the only place where the parts are wired together.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::{
    config::Config,
    lake::Lake,
    publish::{Options, Publisher},
};

#[cfg(feature = "build")]
mod build;
#[cfg(feature = "build")]
mod demo;
mod evaluate;
mod export;
mod feast_repo;
#[cfg(feature = "build")]
mod features;
mod forget;
mod key;
mod openapi;
mod progress;
mod publish;
mod serve;
mod snapshots;
mod table;
mod terminal;
#[cfg(feature = "build")]
mod upload;
mod verify;

/// Customer features, computed once per run and served in well under a millisecond.
#[derive(Debug, Parser)]
#[command(name = "larder", version, arg_required_else_help = true)]
struct Cli {
    /// The configuration [default: larder.toml where there is one]
    #[arg(long, global = true, value_name = "FILE", env = "LARDER_CONFIG")]
    config: Option<PathBuf>,
    /// The lake, instead of the configured one
    #[arg(long, global = true, value_name = "URL")]
    lake: Option<String>,
    /// The Tair, instead of the configured one
    #[arg(long, global = true, value_name = "URL")]
    tair: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "build")]
    Demo(demo::Args),
    #[cfg(feature = "build")]
    Upload(upload::Args),
    #[cfg(feature = "build")]
    Build(build::Args),
    Evaluate(evaluate::Args),
    #[cfg(feature = "build")]
    Features(features::Args),
    Publish(publish::PublishArgs),
    Rollback(publish::RollbackArgs),
    Verify(verify::Args),
    Snapshots(snapshots::Args),
    Forget(forget::Args),
    Serve(serve::Args),
    Key(key::Args),
    Export(export::Args),
    FeastRepo(feast_repo::Args),
    Openapi(openapi::Args),
}

/// What every subcommand starts from.
#[derive(Debug)]
struct App {
    config: Config,
    #[cfg_attr(
        not(feature = "build"),
        expect(dead_code, reason = "the demo's, which has a configuration of its own")
    )]
    overrides: Overrides,
}

/// What the command line says instead of the configuration.
#[derive(Debug, Clone, Default)]
struct Overrides {
    lake: Option<String>,
    tair: Option<String>,
}

impl Overrides {
    fn apply(&self, config: &mut Config) -> anyhow::Result<()> {
        if let Some(url) = &self.lake {
            // A path on the command line starts from the current folder, not from the configuration's.
            let path = || std::path::absolute(url).map(|path| path.display().to_string());
            config.lake.url = if url.contains("://") { url.clone() } else { path()? };
        }
        if let Some(url) = &self.tair {
            config.tair.get_or_insert_default().url.clone_from(url);
        }
        Ok(())
    }
}

impl App {
    /// Opens the lake of the configuration.
    fn lake(&self) -> anyhow::Result<Lake> {
        Ok(Lake::open(&self.config.lake, &self.config.base)?)
    }

    /// A publisher into the lake and the Tair of the configuration.
    fn publisher(&self, options: Options) -> anyhow::Result<Publisher> {
        Ok(Publisher::new(self.lake()?, self.config.tair.clone(), options))
    }
}

/// Parses the command line, runs it, and returns the exit code: 0 only on success, 3 of a build that was kept and not published.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let only_prints = matches!(cli.command, Command::Openapi(_) | Command::Evaluate(_));
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough of it, `head` for one; other tools end without a word by a signal that gives this.
        Err(error) if only_prints && is_broken_pipe(&error) => ExitCode::from(141),
        Err(error) => {
            report(&error);
            #[cfg(feature = "build")]
            if error.is::<build::Implausible>() {
                return ExitCode::from(NOT_PUBLISHED);
            }
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a build that was kept and not published.
#[cfg(feature = "build")]
const NOT_PUBLISHED: u8 = 3;

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.downcast_ref().is_some_and(broken)
}

#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
fn report(error: &anyhow::Error) {
    let mut shown = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some libraries repeat their cause in their own message.
        if shown.last().is_none_or(|last: &String| !last.contains(&cause)) {
            shown.push(cause);
        }
    }
    eprintln!("error: {}", terminal::plain(&shown.join(": ")));
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let mut config = Config::load(cli.config.as_deref(), std::env::vars())?;
    let overrides = Overrides { lake: cli.lake, tair: cli.tair };
    overrides.apply(&mut config)?;
    let threads = runtime_threads(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let app = Arc::new(App { config, overrides });
    runtime.context("cannot start the runtime")?.block_on(async move {
        match cli.command {
            #[cfg(feature = "build")]
            Command::Demo(args) => Box::pin(demo::run(args, &app)).await,
            #[cfg(feature = "build")]
            Command::Upload(args) => upload::run(args, &app).await,
            #[cfg(feature = "build")]
            Command::Build(args) => build::run(args, &app).await,
            Command::Evaluate(args) => evaluate::run(args, &app).await,
            #[cfg(feature = "build")]
            Command::Features(args) => Box::pin(features::run(args, &app)).await,
            Command::Publish(args) => publish::publish(args, &app).await,
            Command::Rollback(args) => publish::rollback(args, &app).await,
            Command::Verify(args) => Box::pin(verify::run(args, &app)).await,
            Command::Snapshots(args) => snapshots::run(args, &app).await,
            Command::Forget(args) => Box::pin(forget::run(args, &app)).await,
            Command::Serve(args) => serve::run(args, &app).await,
            Command::Key(args) => key::run(&args, &app),
            Command::Export(args) => Box::pin(export::run(args, &app)).await,
            Command::FeastRepo(args) => feast_repo::run(args, &app).await,
            Command::Openapi(args) => openapi::run(args),
        }
    })
}

/// An instant on the command line.
#[cfg(feature = "build")]
fn instant(text: &str) -> Result<chrono::DateTime<chrono::Utc>, String> {
    let time = crate::snapshot::rfc3339::instant(text);
    time.ok_or_else(|| {
        "expected a time such as 2011-09-09T00:00:00Z, or a date such as 2011-09-09".to_owned()
    })
}

fn runtime_threads(config: &Config) -> usize {
    config.build.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)).max(1)
}

/// The log of a command that prints its results: warnings only, unless the configuration asks for more.
fn quiet(log: &crate::config::LogConfig) -> crate::config::LogConfig {
    let default = crate::config::LogConfig::default();
    let level = if log.level == default.level { "warn".to_owned() } else { log.level.clone() };
    crate::config::LogConfig { level, ..log.clone() }
}
