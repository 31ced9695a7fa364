//! Set-up of the log: buffered lines on standard error, and audit lines optionally in a separate file.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{
    access_log,
    ecs::EcsFormat,
    line_buffer::{LineBuffer, LogSink},
    log_filter::LogFilter,
};
use crate::config::{LogConfig, LogFormat};

/// Log target of the audit lines, which record the access to personal data.
pub const AUDIT: &str = "larder::audit";

/// Dependencies whose warnings are hidden unless the configured filter names them. `fred` warns of every lost
/// connection, several times a second during an outage; Larder logs these faults itself, at most once a
/// minute.
const QUIET_DEPENDENCIES: [&str; 2] = ["fred", "ballista"];

/// Time for which lines are buffered.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// Filter of the running log; empty until the log is started.
static FILTER: OnceLock<LogFilter> = OnceLock::new();

/// Error while setting up the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The configured level is not valid.
    #[error("`{level}` is not a log level or filter")]
    Level {
        /// Configured level.
        level: String,
        /// Error of the filter's parser.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The audit log file cannot be written.
    #[error("cannot write the audit log {path} (`audit` in [log])")]
    Audit {
        /// Configured path.
        path: PathBuf,
        /// Error of the file system.
        source: io::Error,
    },
    /// The log was started before.
    #[error("the log is already set up")]
    Twice,
}

/// Log of the process. Dropping it writes all buffered lines.
#[derive(Debug)]
#[must_use = "the last lines are written when the log is dropped"]
pub struct Log(Vec<Arc<LineBuffer>>);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.iter().for_each(|buffer| buffer.write_out());
    }
}

/// Starts the log of the process. Lines go to standard error, audit lines to the file that `config` names, if
/// any.
///
/// # Errors
/// [`LogError`] if the level is not valid, the audit log cannot be written, or the log was started before.
pub fn start_log(config: &LogConfig) -> Result<Log, LogError> {
    let filter = LogFilter::new(filter(config)?);
    let stderr = Arc::new(LineBuffer::new(LogSink::Stderr));
    let mut buffers = vec![Arc::clone(&stderr)];
    let colors = io::IsTerminal::is_terminal(&io::stderr());
    let started = if let Some(path) = &config.audit {
        let is_audit = |metadata: &Metadata<'_>| metadata.target() == AUDIT;
        let sink = LogSink::File(path.clone());
        sink.write(b"").map_err(|source| LogError::Audit { path: path.clone(), source })?;
        let file = Arc::new(LineBuffer::new(sink));
        // Each layer has its own filter. A line is enabled if any of the filters enables it.
        let audit =
            layer(config.format, false, &file).with_filter(LevelFilter::INFO.and(filter_fn(is_audit)));
        let not_audit = filter.clone().and(filter_fn(move |metadata| !is_audit(metadata)));
        let rest = layer(config.format, colors, &stderr).with_filter(not_audit);
        buffers.push(file);
        tracing_subscriber::registry().with(vec![rest.boxed(), audit.boxed()]).try_init()
    } else {
        let all = layer(config.format, colors, &stderr).with_filter(filter.clone());
        tracing_subscriber::registry().with(all).try_init()
    };
    started.map_err(|_| LogError::Twice)?;
    access_log::start(&stderr, config);
    // The log is started once.
    let _ = FILTER.set(filter);
    let log = Log(buffers.clone());
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(FLUSH_INTERVAL);
            for buffer in &buffers {
                buffer.write_out();
            }
        }
    });
    Ok(log)
}

/// Changes level, filter and share of requests of the running log to those of `config`. Other settings need a
/// restart.
///
/// # Errors
/// [`LogError::Level`]; then nothing changes.
pub fn reload_log(config: &LogConfig) -> Result<(), LogError> {
    let found = filter(config)?;
    if let Some(filter) = FILTER.get() {
        filter.replace(found);
    }
    access_log::set_share(config.requests);
    Ok(())
}

/// Returns the filter of `config`.
fn filter(config: &LogConfig) -> Result<EnvFilter, LogError> {
    let invalid = |source| LogError::Level { level: config.level.clone(), source };
    let mut filter = EnvFilter::try_new(&config.level).map_err(invalid)?;
    // Audit lines are logged whatever the level, unless the filter names their target.
    if !config.level.contains(AUDIT) {
        filter = filter.add_directive(format!("{AUDIT}=info").parse().map_err(invalid)?);
    }
    for dependency in QUIET_DEPENDENCIES {
        let warns = filter.max_level_hint().is_none_or(|level| level > LevelFilter::ERROR);
        if warns && !config.level.contains(dependency) {
            filter = filter.add_directive(format!("{dependency}=error").parse().map_err(invalid)?);
        }
    }
    Ok(filter)
}

/// Returns a layer that writes lines in the configured format.
fn layer(format: LogFormat, colors: bool, to: &Arc<LineBuffer>) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_ansi(colors).with_writer(Arc::clone(to));
    match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Ecs => lines.event_format(EcsFormat).boxed(),
    }
}
