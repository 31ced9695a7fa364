//! The rate limit of an API key: a token bucket that holds the tokens of one second.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
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
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let now = u64::try_from(elapsed).unwrap_or(u64::MAX / 2);
        let take = |full_at: u64| {
            let next = full_at.max(now) + self.interval;
            if next <= now + NANOS_PER_SECOND { Some(next) } else { None }
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
