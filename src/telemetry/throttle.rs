//! Rate limit for log lines that repeat while a fault lasts: at most one line of a kind per minute.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time for which lines of a kind are suppressed after one was logged.
const PAUSE: Duration = Duration::from_mins(1);
/// Time for which the count of suppressed lines is kept when the table of kinds is full.
const COUNT_KEPT: Duration = Duration::from_mins(10);
/// Most kinds that are counted separately. Further kinds share one entry, since a kind may contain text from
/// outside.
const KINDS: usize = 16;

/// Limits log lines to the first one of a kind, and one per minute after that. Clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct LogThrottle(Arc<Mutex<HashMap<String, LoggedKind>>>);

/// State of a kind: the time of its last line, and the number of lines suppressed since then.
#[derive(Debug)]
struct LoggedKind {
    at: Instant,
    suppressed: u64,
}

impl LogThrottle {
    /// Calls `log`, unless it was called for this `kind` less than a minute ago. `log` receives the number of
    /// lines suppressed since its last call, or `None` if there were none.
    pub fn log(&self, kind: &str, log: impl FnOnce(Option<u64>)) {
        if let Some(suppressed) = self.pass(kind, Instant::now()) {
            log(if suppressed > 0 { Some(suppressed) } else { None });
        }
    }

    /// Returns the number of suppressed lines if a line may be logged at `now`, and `None` if it is
    /// suppressed.
    fn pass(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= KINDS && !kinds.contains_key(kind) {
            // Drops kinds without suppressed lines after the pause, and the others later.
            kinds.retain(|_, logged| {
                let age = now.saturating_duration_since(logged.at);
                age < PAUSE || (logged.suppressed > 0 && age < COUNT_KEPT)
            });
        }
        let kind = if kinds.len() < KINDS || kinds.contains_key(kind) { kind } else { "" };
        match kinds.get_mut(kind) {
            Some(logged) if now.saturating_duration_since(logged.at) < PAUSE => {
                logged.suppressed += 1;
                None
            }
            Some(logged) => {
                logged.at = now;
                Some(std::mem::take(&mut logged.suppressed))
            }
            None => {
                kinds.insert(kind.to_owned(), LoggedKind { at: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_passes_and_next_reports_suppressed_count() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!(throttle.pass("LOADING", start), Some(0));
        for quarter in 1..240 {
            assert_eq!(throttle.clone().pass("LOADING", at(quarter * 250)), None);
        }
        assert_eq!(throttle.pass("MISCONF", at(1)), Some(0), "kinds are independent");
        assert_eq!(throttle.pass("LOADING", at(60_000)), Some(239));
        assert_eq!(throttle.pass("LOADING", at(60_001)), None);
        assert_eq!(throttle.pass("LOADING", at(120_000)), Some(1));
        assert_eq!(throttle.pass("MISCONF", at(120_000)), Some(0), "no line was suppressed");
    }

    #[test]
    fn number_of_kinds_is_bounded() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        let passed = (0..1_000).filter(|kind| throttle.pass(&kind.to_string(), start).is_some()).count();
        assert_eq!(passed, KINDS + 1);
        assert!(throttle.0.lock().expect("not poisoned").len() <= KINDS + 1);
        // A minute later new kinds fit again, and the suppressed lines are still reported.
        let later = start + PAUSE;
        assert_eq!(throttle.pass("new", later), Some(0));
        assert_eq!(throttle.pass("", later), Some(1_000 - KINDS as u64 - 1));
    }

    #[test]
    fn suppressed_count_is_absent_on_first_line() {
        let throttle = LogThrottle::default();
        let mut counts = Vec::new();
        for _ in 0..3 {
            throttle.log("x", |suppressed| counts.push(suppressed));
        }
        assert_eq!(counts, [None]);
    }
}
