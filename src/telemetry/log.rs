//! The log: lines on standard error, gathered for a moment so that a line costs no system call of its own. The lines of the audit
//! may go to a file of their own.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::request;
use crate::config::{LogConfig, LogFormat};

/// The target of the lines that tell who was shown whose personal data.
pub const AUDIT: &str = "larder::audit";

/// What Larder tells in words of its own, and at most once a minute, unless the configuration names it: `fred` warns of every
/// connection that breaks, a few times a second where none holds.
const OTHERS: [&str; 1] = ["fred"];

/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// How many bytes are, at the most.
const GATHER_BYTES: usize = 64 << 10;
/// How many bytes wait for a file that cannot be written, at the most.
const WAITING_BYTES: usize = 64 << 20;

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
    /// The file of the audit cannot be written.
    #[error("cannot write {path}, the file that `audit` in [log] names")]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is a log already.
    #[error("the log is set up already")]
    Twice,
}

/// The log of this process. When it is dropped, all lines are written.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct Log(Vec<Arc<Gathered>>);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.iter().for_each(|gathered| gathered.write_out());
    }
}

/// Sends the log of this process to standard error, and the audit where `config` says.
///
/// # Errors
/// Of a filter that is none, a file that cannot be written, or a second call.
pub fn start_log(config: &LogConfig) -> Result<Log, LogError> {
    let wrong = |source| LogError::Level { level: config.level.clone(), source };
    let mut filter = EnvFilter::try_new(&config.level).map_err(wrong)?;
    // What the log leaves out, the audit does not, unless it is named.
    if !config.level.contains(AUDIT) {
        filter = filter.add_directive(format!("{AUDIT}=info").parse().map_err(wrong)?);
    }
    for other in OTHERS.iter().filter(|other| !config.level.contains(*other)) {
        if filter.max_level_hint().is_none_or(|level| level > LevelFilter::ERROR) {
            filter = filter.add_directive(format!("{other}=error").parse().map_err(wrong)?);
        }
    }
    let stderr = Arc::new(Gathered::new(Sink::Stderr));
    let mut all = vec![Arc::clone(&stderr)];
    let colours = io::IsTerminal::is_terminal(&io::stderr());
    let started = if let Some(path) = &config.audit {
        let audited = |metadata: &Metadata<'_>| metadata.target() == AUDIT;
        let sink = Sink::File(path.clone());
        sink.write(b"").map_err(|source| LogError::Audit { path: path.clone(), source })?;
        let file = Arc::new(Gathered::new(sink));
        // One filter for each: whether a line is enabled is asked of all filters, and one of them is enough.
        let audit = layer(config.format, false, &file).with_filter(LevelFilter::INFO.and(filter_fn(audited)));
        let rest = filter.and(filter_fn(move |metadata| !audited(metadata)));
        let rest = layer(config.format, colours, &stderr).with_filter(rest);
        all.push(file);
        tracing_subscriber::registry().with(vec![rest.boxed(), audit.boxed()]).try_init()
    } else {
        tracing_subscriber::registry().with(layer(config.format, colours, &stderr)).with(filter).try_init()
    };
    started.map_err(|_| LogError::Twice)?;
    request::start(&stderr, config.format);
    let log = Log(all.clone());
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(GATHER);
            for gathered in &all {
                gathered.write_out();
            }
        }
    });
    Ok(log)
}

/// Lines in the configured form.
fn layer(format: LogFormat, colours: bool, to: &Arc<Gathered>) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(Arc::clone(to));
    match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    Stderr,
    /// It is opened each time, so that it may be moved away when it is large.
    File(PathBuf),
}

impl Sink {
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(lines),
            Self::File(path) => OpenOptions::new().create(true).append(true).open(path)?.write_all(lines),
        }
    }
}

/// Lines on their way.
#[derive(Debug)]
pub(super) struct Gathered {
    sink: Sink,
    lines: Mutex<Vec<u8>>,
}

impl Gathered {
    fn new(sink: Sink) -> Self {
        Self { sink, lines: Mutex::default() }
    }

    fn write_out(&self) {
        // Held while writing, so that lines stay in order.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return;
        }
        if let (Err(error), Sink::File(path)) = (self.sink.write(&lines), &self.sink) {
            // They wait for the file to come back, and somebody should know. Where standard error is gone, there is nobody to tell.
            let _ = writeln!(
                io::stderr(),
                "cannot write {}: {error}; {} bytes wait",
                path.display(),
                lines.len()
            );
            if lines.len() < WAITING_BYTES {
                return;
            }
        }
        lines.clear();
    }
}

impl Write for &Gathered {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(line);
        // Once for each time that so many have come: a file that is not there should not be tried at each line.
        let full = lines.len() / GATHER_BYTES > (lines.len() - line.len()) / GATHER_BYTES;
        drop(lines);
        if full {
            self.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
