//! Progress of long work, shared between the task that works and the one that shows a progress bar.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

/// Progress of long work: the current stage, and the share of the stage that is done.
#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<String>,
    /// Amount of work done in the stage, in the stage's own unit: bytes or customers.
    pub done: Arc<AtomicU64>,
    /// Amount of work in the stage; 0 if unknown.
    pub total: AtomicU64,
}

impl Progress {
    /// Starts a stage with `total` units of work; 0 if the amount is unknown.
    pub fn enter(&self, stage: &str, total: u64) {
        if let Ok(mut name) = self.stage.lock() {
            stage.clone_into(&mut name);
        }
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Returns the name of the current stage.
    #[must_use]
    pub fn stage(&self) -> String {
        self.stage.lock().map(|name| name.clone()).unwrap_or_default()
    }
}
