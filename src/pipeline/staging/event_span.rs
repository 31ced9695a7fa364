//! Numbers of events by span of time.

use serde::{Deserialize, Serialize};

/// Events of a span of time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct EventSpan {
    /// Number of events.
    pub(crate) events: u64,
    /// Time of the earliest event, in microseconds.
    pub(crate) first: i64,
    /// Time of the latest event, in microseconds.
    pub(crate) last: i64,
}

impl Default for EventSpan {
    fn default() -> Self {
        Self { events: 0, first: i64::MAX, last: i64::MIN }
    }
}

impl EventSpan {
    pub(super) fn add(&mut self, other: Self) {
        self.events += other.events;
        (self.first, self.last) = (self.first.min(other.first), self.last.max(other.last));
    }
}
