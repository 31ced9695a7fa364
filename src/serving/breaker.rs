//! A circuit breaker: after some failures in a row the tier is left alone for a while, then one call tries it.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Lets calls through, or not.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_allowed: u32,
    pause: Duration,
    begun: Instant,
    failures: AtomicU32,
    /// Until when nothing is let through, in milliseconds since `begun`; 0 where everything is.
    open_until: AtomicU64,
    trying: AtomicBool,
}

impl Breaker {
    pub(super) fn new(failures_allowed: u32, pause: Duration) -> Self {
        Self {
            failures_allowed: failures_allowed.max(1),
            pause,
            begun: Instant::now(),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            trying: AtomicBool::new(false),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a call may go. After the pause one may, whose end decides about the others.
    pub(super) fn allows(&self, now: impl FnOnce() -> Instant) -> bool {
        match self.open_until.load(Ordering::Acquire) {
            0 => true,
            until => self.millis(now()) >= until && !self.trying.swap(true, Ordering::AcqRel),
        }
    }

    /// Whether calls are kept back.
    pub(super) fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Acquire) > 0
    }

    pub(super) fn succeeded(&self) {
        // Nearly always nothing has to be written.
        if self.failures.load(Ordering::Relaxed) > 0 || self.is_open() {
            self.failures.store(0, Ordering::Release);
            self.open_until.store(0, Ordering::Release);
            self.trying.store(false, Ordering::Release);
        }
    }

    pub(super) fn failed(&self, now: Instant) {
        let failures = self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if failures >= self.failures_allowed {
            let pause = u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX);
            self.open_until.store(self.millis(now).saturating_add(pause).max(1), Ordering::Release);
            self.trying.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_one_success_closes_it() {
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
        assert!(!breaker.allows(|| now), "one tries, the others wait for it");
        breaker.failed(now);
        assert!(!breaker.allows(|| now));
        now += Duration::from_millis(501);
        assert!(breaker.allows(|| now));
        breaker.succeeded();
        assert!(breaker.allows(|| now) && breaker.allows(|| now) && !breaker.is_open());
    }
}
