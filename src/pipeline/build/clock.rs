//! Measurements of the stages of a build: time, rows, bytes written, peak memory.

use std::{sync::Arc, time::Instant};

use crate::{pipeline::memory_watch::MemoryWatch, snapshot::Stage, telemetry::Span};

/// Measurements of the stages of a build.
#[derive(Debug)]
pub(super) struct StageClock {
    /// Start of the current stage.
    since: Instant,
    /// Bytes that the process had written at the start of the current stage.
    written: Option<u64>,
    memory: Arc<MemoryWatch>,
    pub(super) stages: Vec<Stage>,
}

impl StageClock {
    pub(super) fn start(memory: Arc<MemoryWatch>) -> Self {
        Self { since: Instant::now(), written: written_bytes(), memory, stages: Vec::new() }
    }

    /// Ends the current stage, which produced `rows`, and names it, also in the trace of the build.
    pub(super) fn lap(&mut self, name: &str, rows: Option<u64>) {
        let seconds = self.since.elapsed().as_secs_f64();
        let written = written_bytes();
        let stage = Stage {
            name: name.to_owned(),
            seconds,
            rows,
            written_bytes: written.zip(self.written).map(|(now, before)| now.saturating_sub(before)),
            peak_memory_bytes: self.memory.take_peak(),
        };
        Span::record(name, self.since);
        (self.since, self.written) = (Instant::now(), written);
        let (written, memory) = (stage.written_bytes, stage.peak_memory_bytes);
        tracing::debug!(stage = name, seconds, rows, written, memory, "build stage finished");
        self.stages.push(stage);
    }
}

/// Returns the number of bytes that this process passed to the system to write, to files and to the network.
fn written_bytes() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/self/io").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("wchar:"))?.trim().parse().ok()
}
