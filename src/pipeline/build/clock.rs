//! Stopwatch for the stages of a build.

use std::time::Instant;

use crate::{snapshot::Stage, telemetry::Span};

/// Times of the stages of a build.
#[derive(Debug)]
pub(super) struct StageClock {
    /// Start of the current stage.
    since: Instant,
    pub(super) stages: Vec<Stage>,
}

impl StageClock {
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), stages: Vec::new() }
    }

    /// Ends the current stage and names it, also in the trace of the build.
    pub(super) fn lap(&mut self, name: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        Span::record(name, self.since);
        self.since = Instant::now();
        tracing::debug!(stage = name, seconds, "build stage finished");
        self.stages.push(Stage { name: name.to_owned(), seconds });
    }
}
