//! The command-line interface. Each subcommand has a file in `cli/`; only here are the modules wired
//! together.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use batch::RunFacts;
use clap::{Parser, Subcommand};

use crate::{
    causes::with_causes,
    config::{Config, ConfigError, LoadedConfig, Settings, env, has_password, without_passwords},
    feature::near,
    lake::Lake,
    publish::{Options, Publisher},
};

mod batch;
#[cfg(feature = "build")]
mod build;
mod config;
mod counted;
#[cfg(feature = "build")]
mod demo;
mod doctor;
mod evaluate;
mod export;
mod feast_repo;
#[cfg(feature = "build")]
mod features;
mod forget;
#[cfg(feature = "build")]
mod init;
#[cfg(feature = "build")]
mod inspect;
mod key;
mod openapi;
mod progress;
mod publish;
mod reload;
#[cfg(feature = "build")]
mod schedule;
mod serve;
mod snapshots;
mod stop_signal;
#[cfg(feature = "build")]
mod subject;
mod systemd;
mod table;
mod terminal;
mod traces;
#[cfg(feature = "build")]
mod upload;
mod verify;
#[cfg(feature = "cluster")]
mod worker;

/// Compute customer features from raw retail data and serve them over REST
#[derive(Debug, Parser)]
#[command(name = "larder", version, arg_required_else_help = true)]
struct Cli {
    /// Configuration file [default: larder.toml if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "LARDER_CONFIG")]
    config: Option<PathBuf>,
    /// URL or path of the lake, overrides `url` in `[lake]`
    #[arg(long, global = true, value_name = "URL")]
    lake: Option<String>,
    /// URL of Tair without a password, overrides `url` in `[tair]`
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
    Inspect(inspect::Args),
    #[cfg(feature = "build")]
    Init(init::Args),
    #[cfg(feature = "build")]
    Upload(upload::Args),
    #[cfg(feature = "build")]
    Build(build::Args),
    #[cfg(feature = "cluster")]
    Worker(worker::Args),
    Evaluate(evaluate::Args),
    #[cfg(feature = "build")]
    Features(features::Args),
    Publish(publish::PublishArgs),
    Rollback(publish::RollbackArgs),
    Verify(verify::Args),
    Snapshots(snapshots::Args),
    Forget(forget::Args),
    #[cfg(feature = "build")]
    Subject(subject::Args),
    Serve(serve::Args),
    Key(key::Args),
    Export(export::Args),
    FeastRepo(feast_repo::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Openapi(openapi::Args),
}

/// The configuration and overrides that every subcommand starts from.
#[derive(Debug)]
struct Setup {
    config: Config,
    /// The settings that the configuration was made of.
    settings: Settings,
    overrides: Overrides,
    /// Facts for the metrics of the run.
    facts: Arc<RunFacts>,
}

/// Command-line flags that override the configuration.
#[derive(Debug, Clone, Default)]
struct Overrides {
    lake: Option<String>,
    tair: Option<String>,
}

impl Overrides {
    /// Applies the overrides to `config`.
    fn apply(&self, config: &mut Config) -> anyhow::Result<()> {
        if let Some(url) = &self.lake {
            // A path on the command line is relative to the current folder, not to the configuration file.
            let path = || std::path::absolute(url).map(|path| path.display().to_string());
            config.lake.url = if url.contains("://") { url.clone() } else { path()? };
        }
        if let Some(url) = &self.tair {
            if has_password(url) {
                anyhow::bail!(
                    "--tair has a password, which the list of processes would show; set LARDER_TAIR_URL, or \
                     `password_file` in [tair]"
                );
            }
            config.tair.get_or_insert_default().url.clone_from(url);
        }
        Ok(())
    }
}

impl Setup {
    /// Returns the options that give another process of this program the same configuration.
    #[cfg(feature = "build")]
    fn global_arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = Vec::new();
        let config = self.config.files.main.as_ref().map(|file| file.clone().into_os_string());
        let Overrides { lake, tair } = self.overrides.clone();
        let options =
            [("--config", config), ("--lake", lake.map(Into::into)), ("--tair", tair.map(Into::into))];
        for (name, value) in options {
            arguments.extend(value.into_iter().flat_map(|value| [name.into(), value]));
        }
        arguments
    }

    /// Opens the configured lake.
    fn lake(&self) -> anyhow::Result<Lake> {
        Ok(Lake::open(&self.config.lake, &self.config.base)?)
    }

    /// Creates a publisher for the configured lake and Tair.
    fn publisher(&self, options: Options) -> anyhow::Result<Publisher> {
        Ok(Publisher::new(self.lake()?, self.config.tair.clone(), options))
    }
}

/// Parses and runs the command line. Returns exit code 0 on success, 3 if a build was held back, 141 if the
/// reader of the output closed the pipe and nothing else failed, else 1. Wrong arguments end the process with
/// 2.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let only_prints = match cli.command {
        Command::Openapi(_)
        | Command::Evaluate(_)
        | Command::Config(_)
        | Command::Doctor(_)
        | Command::Key(_) => true,
        #[cfg(feature = "build")]
        Command::Inspect(_) | Command::Subject(_) => true,
        _ => false,
    };
    if !only_prints {
        table::go_on_unwritten();
    }
    // A service is not its first line of output.
    let serves = matches!(cli.command, Command::Serve(_));
    let (batch, facts) = (batch::Run::start(&cli.command), Arc::<RunFacts>::default());
    let result = run(cli, &facts);
    if let Some(batch) = batch {
        batch.finish(result.as_ref().map_or_else(exit_code, |()| 0), &facts);
    }
    match result {
        // The work is done, and the metrics count it as a success: only its report is lost.
        Ok(()) => match table::unwritten().filter(|_| !serves) {
            None => ExitCode::SUCCESS,
            Some(error) if is_broken_pipe(error) => ExitCode::from(CLOSED_PIPE),
            Some(error) => {
                report(&anyhow::anyhow!("cannot write to standard output: {error}"));
                ExitCode::from(FAILED)
            }
        },
        Err(error) if only_prints && error.downcast_ref::<std::io::Error>().is_some_and(is_broken_pipe) => {
            ExitCode::from(CLOSED_PIPE)
        }
        Err(error) => {
            report(&error);
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Returns the exit code of a command that failed.
fn exit_code(error: &anyhow::Error) -> u8 {
    #[cfg(feature = "build")]
    if error.is::<build::HeldBack>() {
        return HELD_BACK;
    }
    #[cfg(not(feature = "build"))]
    let _ = error;
    FAILED
}

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of a command whose output nobody reads, as of a process that SIGPIPE ended.
const CLOSED_PIPE: u8 = 141;
/// Exit code of a build that was held back.
#[cfg(feature = "build")]
const HELD_BACK: u8 = 3;

/// Checks whether a write failed because the reader closed the pipe, as `head` does.
fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

/// Prints the error of a command line, or the help, and returns the exit code. Passwords are not repeated.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    let shown = without_passwords(&text);
    if shown == text {
        let _ = error.print();
    } else {
        terminal::report(shown.trim_end());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Prints an error with its causes to standard error.
fn report(error: &anyhow::Error) {
    terminal::report(&format!("error: {}", without_passwords(&with_causes(error.as_ref()))));
}

/// Loads the configuration, starts the runtime and runs the subcommand.
fn run(cli: Cli, facts: &Arc<RunFacts>) -> anyhow::Result<()> {
    #[cfg(feature = "build")]
    let is_first = matches!(cli.command, Command::Inspect(_) | Command::Init(_));
    #[cfg(not(feature = "build"))]
    let is_first = false;
    // These commands come before a configuration.
    let LoadedConfig { mut config, settings } = if is_first {
        LoadedConfig { config: Config::parse("", "defaults", [])?, settings: Settings::default() }
    } else {
        match Config::load_with_settings(cli.config.as_deref(), std::env::vars()).map_err(with_hint) {
            Ok(loaded) => loaded,
            Err(error) => {
                return match &cli.command {
                    Command::Doctor(args) => doctor::report_unusable(args, &error),
                    _ => Err(error),
                };
            }
        }
    };
    let overrides = Overrides { lake: cli.lake, tair: cli.tair };
    overrides.apply(&mut config)?;
    facts.set_pushgateway(config.metrics.pushgateway.clone());
    let threads = runtime_threads(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let setup = Arc::new(Setup { config, settings, overrides, facts: Arc::clone(facts) });
    let runtime = runtime.context("cannot start the async runtime")?;
    let result = runtime.block_on(async move {
        match cli.command {
            #[cfg(feature = "build")]
            Command::Demo(args) => Box::pin(demo::run(args, &setup)).await,
            #[cfg(feature = "build")]
            Command::Inspect(args) => inspect::run(&args),
            #[cfg(feature = "build")]
            Command::Init(args) => init::run(&args, cli.config.as_deref()),
            #[cfg(feature = "build")]
            Command::Upload(args) => upload::run(args, &setup).await,
            #[cfg(feature = "build")]
            Command::Build(args) => Box::pin(build::run(args, &setup)).await,
            #[cfg(feature = "cluster")]
            Command::Worker(args) => Box::pin(worker::run(args, &setup)).await,
            Command::Evaluate(args) => evaluate::run(args, &setup).await,
            #[cfg(feature = "build")]
            Command::Features(args) => Box::pin(features::run(args, &setup)).await,
            Command::Publish(args) => publish::publish(args, &setup).await,
            Command::Rollback(args) => publish::rollback(args, &setup).await,
            Command::Verify(args) => Box::pin(verify::run(args, &setup)).await,
            Command::Snapshots(args) => snapshots::run(args, &setup).await,
            Command::Forget(args) => Box::pin(forget::run(args, &setup)).await,
            #[cfg(feature = "build")]
            Command::Subject(args) => Box::pin(subject::run(args, &setup)).await,
            Command::Serve(args) => serve::run(args, &setup).await,
            Command::Key(args) => key::run(&args, &setup),
            Command::Export(args) => Box::pin(export::run(args, &setup)).await,
            Command::FeastRepo(args) => feast_repo::run(args, &setup).await,
            Command::Config(args) => config::run(&args, &setup),
            Command::Doctor(args) => Box::pin(doctor::run(&args, &setup)).await,
            Command::Openapi(args) => openapi::run(args),
        }
    });
    if result.is_err() {
        // The threads of a build that was stopped may be busy for long. Dropping the runtime waits for them.
        runtime.shutdown_background();
    }
    result
}

/// Adds the most similar variables to the error about an unknown environment variable.
fn with_hint(error: ConfigError) -> anyhow::Error {
    let ConfigError::UnknownVariable { name } = &error else { return error.into() };
    let known = env::names();
    let near = near::hint(name, known.iter().map(String::as_str));
    let all = if near.is_empty() { "; docs/configuration.md lists the variables" } else { "" };
    anyhow::anyhow!("{error}{near}{all}")
}

/// Returns the name of the machine.
#[cfg(feature = "build")]
fn host() -> String {
    let linux = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = linux.or_else(|| std::env::var("HOSTNAME").ok());
    name.as_deref().map_or("unknown", str::trim).to_owned()
}

/// Parses a time argument: RFC 3339, or a date.
#[cfg(feature = "build")]
fn instant(text: &str) -> Result<chrono::DateTime<chrono::Utc>, String> {
    let time = crate::snapshot::rfc3339::instant(text);
    time.ok_or_else(|| {
        "expected a time such as 2011-09-09T00:00:00Z, or a date such as 2011-09-09".to_owned()
    })
}

/// Returns the number of worker threads: `threads` in `[build]`, else one per core.
fn runtime_threads(config: &Config) -> usize {
    config.build.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)).max(1)
}

/// Returns the log settings of a command that prints its results: warnings only, unless a level is
/// configured.
fn quiet(log: &crate::config::LogConfig) -> crate::config::LogConfig {
    let default = crate::config::LogConfig::default();
    let level = if log.level == default.level { "warn".to_owned() } else { log.level.clone() };
    crate::config::LogConfig { level, ..log.clone() }
}
