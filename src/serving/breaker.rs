//! Circuit breaker: after several failures in a row it rejects calls for a while, then admits one trial call.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Circuit breaker of a tier.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_allowed: u32,
    pause: Duration,
    created: Instant,
    failures: AtomicU32,
    /// Time until which calls are rejected, in milliseconds since `created`; 0 if the breaker is closed.
    open_until: AtomicU64,
    /// Whether a trial call is in flight.
    trial_running: AtomicBool,
}

impl Breaker {
    pub(super) fn new(failures_allowed: u32, pause: Duration) -> Self {
        Self {
            failures_allowed: failures_allowed.max(1),
            pause,
            created: Instant::now(),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            trial_running: AtomicBool::new(false),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.created).as_millis()).unwrap_or(u64::MAX)
    }

    /// Checks whether a call may be sent. After the pause one trial call may, and its outcome closes or
    /// reopens the breaker.
    pub(super) fn allows(&self, now: impl FnOnce() -> Instant) -> bool {
        match self.open_until.load(Ordering::Acquire) {
            0 => true,
            until => self.millis(now()) >= until && !self.trial_running.swap(true, Ordering::AcqRel),
        }
    }

    /// Checks whether the breaker is open.
    pub(super) fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Acquire) > 0
    }

    /// Records a successful call.
    pub(super) fn succeeded(&self) {
        // Reads before writing: usually there is nothing to reset, and shared cache lines stay clean.
        if self.failures.load(Ordering::Relaxed) > 0 || self.is_open() {
            self.failures.store(0, Ordering::Release);
            self.open_until.store(0, Ordering::Release);
            self.trial_running.store(false, Ordering::Release);
        }
    }

    /// Records a failed call. Opens the breaker after too many failures in a row.
    pub(super) fn failed(&self, now: Instant) {
        let failures = self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if failures >= self.failures_allowed {
            let pause = u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX);
            self.open_until.store(self.millis(now).saturating_add(pause).max(1), Ordering::Release);
            self.trial_running.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_breaker_and_one_success_closes_it() {
        let breaker = Breaker::new(3, Duration::from_millis(500));
        let mut now = Instant::now();
        for _ in 0..2 {
            breaker.failed(now);
        }
        breaker.succeeded();
        for _ in 0..2 {
            breaker.failed(now);
            assert!(breaker.allows(|| now));
        }
        breaker.failed(now);
        assert!(!breaker.allows(|| now) && breaker.is_open());
        now += Duration::from_millis(501);
        assert!(breaker.allows(|| now));
        assert!(!breaker.allows(|| now), "only one trial call at a time");
        breaker.failed(now);
        assert!(!breaker.allows(|| now));
        now += Duration::from_millis(501);
        assert!(breaker.allows(|| now));
        breaker.succeeded();
        assert!(breaker.allows(|| now) && breaker.allows(|| now) && !breaker.is_open());
    }
}
