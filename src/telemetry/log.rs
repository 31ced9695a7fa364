//! The log: lines on standard error, gathered for a moment so that a line costs no system call of its own.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// How many bytes are, at the most.
const GATHER_BYTES: usize = 64 << 10;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("`{level}` is no log level or filter")]
    Level {
        /// What was given.
        level: String,
        /// Why not.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is a log already.
    #[error("the log is set up already")]
    Twice,
}

/// The log of this process. When it is dropped, all lines are written.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct Log(Arc<Gathered>);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.write_out();
    }
}

/// Sends the log of this process to standard error.
///
/// # Errors
/// Of a filter that is none, or a second call.
pub fn start_log(config: &LogConfig) -> Result<Log, LogError> {
    let filter =
        EnvFilter::try_new(&config.level).map_err(|source| LogError::Level { level: config.level.clone(), source })?;
    let gathered = Arc::new(Gathered::default());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(Arc::clone(&gathered));
    let started = match config.format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|_| LogError::Twice)?;
    let log = Log(Arc::clone(&gathered));
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(GATHER);
            gathered.write_out();
        }
    });
    Ok(log)
}

/// Lines on their way to standard error.
#[derive(Debug, Default)]
struct Gathered(Mutex<Vec<u8>>);

impl Gathered {
    fn write_out(&self) {
        // Held while writing, so that lines stay in order.
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Where standard error is gone, there is nobody to tell.
        let _ = std::io::stderr().write_all(&lines);
        lines.clear();
    }
}

impl Write for &Gathered {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(line);
        let full = lines.len() >= GATHER_BYTES;
        drop(lines);
        if full {
            self.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
