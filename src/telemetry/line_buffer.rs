//! Buffer for log lines, so that a line does not cost a system call of its own.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use crate::private_file;

/// Number of buffered bytes that trigger a write.
const FLUSH_BYTES: usize = 64 << 10;
/// Most bytes that are kept while the log file cannot be written.
const RETAINED_BYTES: usize = 64 << 20;

/// Destination of log lines.
#[derive(Debug)]
pub(super) enum LogSink {
    Stderr,
    /// Path of a log file. The file is opened for each write, so that log rotation can move the file away.
    File(PathBuf),
}

impl LogSink {
    pub(super) fn write(&self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(lines),
            Self::File(path) => private_file::append(path)?.write_all(lines),
        }
    }
}

/// Log lines that are not yet written to their destination.
#[derive(Debug)]
pub(super) struct LineBuffer {
    sink: LogSink,
    lines: Mutex<Vec<u8>>,
}

impl LineBuffer {
    pub(super) fn new(sink: LogSink) -> Self {
        Self { sink, lines: Mutex::default() }
    }

    /// Writes all buffered lines to the destination.
    pub(super) fn write_out(&self) {
        // The lock is held while writing, so that lines stay in order.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return;
        }
        if let (Err(error), LogSink::File(path)) = (self.sink.write(&lines), &self.sink) {
            // The lines are kept until the file can be written again. If standard error fails too, the
            // warning is lost.
            let _ = writeln!(
                io::stderr(),
                "cannot write the log file {}: {error}; {} bytes buffered",
                path.display(),
                lines.len()
            );
            if lines.len() < RETAINED_BYTES {
                return;
            }
        }
        lines.clear();
    }
}

impl Write for &LineBuffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(line);
        // Only crossing a multiple of the limit counts: while the file cannot be written, not every line
        // retries the write.
        let is_full = lines.len() / FLUSH_BYTES > (lines.len() - line.len()) / FLUSH_BYTES;
        drop(lines);
        if is_full {
            self.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
