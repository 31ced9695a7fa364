//! The other end of a connection.

use std::sync::Arc;

use super::pace::Pace;

/// The client of a connection, and how its requests are answered.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Whether the connection is beyond a bound, so that only probes are answered.
    pub(super) is_spare: bool,
    /// The turns of the thread that answers.
    pub(super) pace: Arc<Pace>,
}

impl Peer {
    /// Whether the connection is beyond a bound.
    pub(crate) fn is_spare(&self) -> bool {
        self.is_spare
    }

    /// Returns the peer of a connection that the current thread answers.
    pub(crate) fn new(is_spare: bool) -> Self {
        Self { is_spare, pace: Pace::of_thread() }
    }
}
