//! The rate limit of an API key: a token bucket that holds the tokens of one second. A token stands for a
//! customer.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A token bucket, kept as the instant at which it is full again.
#[derive(Debug)]
pub(super) struct TokenBucket {
    start: Instant,
    /// Nanoseconds until one more token arrives.
    interval: u64,
    /// Nanoseconds from `start` until the bucket is full.
    full_at: AtomicU64,
}

impl TokenBucket {
    /// Makes a full bucket that gets `rate` tokens a second.
    pub(super) fn new(rate: NonZeroU32) -> Self {
        let interval = (NANOS_PER_SECOND / u64::from(rate.get())).max(1);
        Self { start: Instant::now(), interval, full_at: AtomicU64::new(0) }
    }

    /// Takes a token. Returns whether there was one.
    pub(super) fn take(&self, now: Instant) -> bool {
        let now = self.nanos(now);
        let take = |full_at: u64| {
            let next = full_at.max(now).saturating_add(self.interval);
            if next <= now + NANOS_PER_SECOND { Some(next) } else { None }
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Takes `tokens`, also more than there are: the bucket then stays empty until all of them have arrived.
    /// Returns `false` and takes none if the bucket owes tokens already.
    pub(super) fn charge(&self, tokens: u64, now: Instant) -> bool {
        let now = self.nanos(now);
        let take = |full_at: u64| {
            let next = full_at.max(now).saturating_add(self.interval.saturating_mul(tokens));
            if full_at <= now + NANOS_PER_SECOND { Some(next) } else { None }
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Returns the time from `now` until there is a token.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let next = self.full_at.load(Ordering::Relaxed).saturating_add(self.interval);
        Duration::from_nanos(next.saturating_sub(self.nanos(now)).saturating_sub(NANOS_PER_SECOND))
    }

    fn nanos(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(elapsed).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limit_allows_one_second_of_tokens_and_refills() {
        for rate in [1, 3, 100] {
            let bucket = TokenBucket::new(NonZeroU32::new(rate).expect("not zero"));
            let start = bucket.start;
            let taken = |at: Duration| (0..1_000).filter(|_| bucket.take(start + at)).count();
            assert_eq!(taken(Duration::ZERO), rate as usize, "{rate}");
            assert_eq!(taken(Duration::from_nanos(1)), 0, "{rate}");
            assert_eq!(taken(Duration::from_secs(1) / rate), 1, "{rate}");
            assert_eq!(taken(Duration::from_mins(1)), rate as usize, "{rate}");
        }
    }

    #[test]
    fn charged_tokens_are_owed_until_they_arrive() {
        let bucket = TokenBucket::new(NonZeroU32::new(100).expect("not zero"));
        let at = |seconds: f64| bucket.start + Duration::from_secs_f64(seconds);
        assert!(bucket.take(at(0.0)) && bucket.charge(999, at(0.0)));
        assert!(!bucket.take(at(8.99)) && !bucket.charge(1, at(8.99)));
        assert_eq!(bucket.wait(at(0.0)), Duration::from_millis(9_010));
        assert!(bucket.take(at(9.02)));
        assert!(bucket.charge(u64::MAX, at(20.0)) && !bucket.take(at(1e9)));
    }
}
