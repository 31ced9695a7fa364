//! The memory for request bodies: what all requests may hold together.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http::Problem;

/// The bytes of all bodies that are being received or answered.
#[derive(Debug)]
pub(super) struct Bodies {
    limit: usize,
    held: AtomicUsize,
}

impl Bodies {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), held: AtomicUsize::new(0) }
    }

    /// Returns the memory of one body, of which nothing is held yet.
    pub(super) fn body(&self) -> BodyMemory<'_> {
        BodyMemory { bodies: self, held: 0 }
    }
}

/// The memory that one body holds, until dropped.
#[derive(Debug)]
pub(super) struct BodyMemory<'a> {
    bodies: &'a Bodies,
    held: usize,
}

impl BodyMemory<'_> {
    /// Holds `bytes` more, or returns a problem if all bodies would hold too much.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.bodies.held.fetch_add(bytes, Ordering::Relaxed);
        self.held += bytes;
        if before.saturating_add(bytes) <= self.bodies.limit {
            return Ok(());
        }
        Err(Problem::busy("the bodies of other requests take all memory for bodies; try again later"))
    }
}

impl Drop for BodyMemory<'_> {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_no_more_than_the_limit() {
        let bodies = Bodies::new(10);
        let (mut first, mut second) = (bodies.body(), bodies.body());
        assert!(first.hold(4).is_ok() && first.hold(4).is_ok() && second.hold(2).is_ok());
        assert!(second.hold(1).is_err());
        drop(second);
        assert!(first.hold(2).is_ok() && first.hold(1).is_err());
        drop(first);
        assert_eq!(bodies.held.load(Ordering::Relaxed), 0);
    }
}
