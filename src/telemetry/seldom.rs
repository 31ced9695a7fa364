//! Lines of the log that would come again and again while something is wrong: each kind at most once a
//! minute.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a kind of line is kept back after one was let through.
const PAUSE: Duration = Duration::from_mins(1);
/// How long it is remembered that lines were kept back, where there is no room for others.
const FORGOTTEN: Duration = Duration::from_mins(10);
/// Kinds that are told apart at the most; all others are one, since what tells kinds apart may be a text
/// from outside.
const KINDS: usize = 16;

/// Lets the first line of a kind through, and another a minute later. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Seldom(Arc<Mutex<HashMap<String, Told>>>);

/// When a line of a kind was let through last, and how many were kept back since.
#[derive(Debug)]
struct Told {
    at: Instant,
    suppressed: u64,
}

impl Seldom {
    /// Calls `tell`, unless it was called for this `kind` less than a minute ago. It gets the number of
    /// calls that were left out since then, where there were any.
    pub fn tell(&self, kind: &str, tell: impl FnOnce(Option<u64>)) {
        if let Some(suppressed) = self.pass(kind, Instant::now()) {
            tell(Some(suppressed).filter(|suppressed| *suppressed > 0));
        }
    }

    /// How many were kept back, if one may pass `now`.
    fn pass(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= KINDS && !kinds.contains_key(kind) {
            // What kept nothing back need not be remembered for longer, and the rest not for ever.
            kinds.retain(|_, told| {
                let age = now.saturating_duration_since(told.at);
                age < PAUSE || (told.suppressed > 0 && age < FORGOTTEN)
            });
        }
        let kind = if kinds.len() < KINDS || kinds.contains_key(kind) { kind } else { "" };
        match kinds.get_mut(kind) {
            Some(told) if now.saturating_duration_since(told.at) < PAUSE => {
                told.suppressed += 1;
                None
            }
            Some(told) => {
                told.at = now;
                Some(std::mem::take(&mut told.suppressed))
            }
            None => {
                kinds.insert(kind.to_owned(), Told { at: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_passes_at_once_and_the_next_says_how_many_did_not() {
        let (seldom, begun) = (Seldom::default(), Instant::now());
        let at = |millis: u64| begun + Duration::from_millis(millis);
        assert_eq!(seldom.pass("LOADING", begun), Some(0));
        for quarter in 1..240 {
            assert_eq!(seldom.clone().pass("LOADING", at(quarter * 250)), None);
        }
        assert_eq!(seldom.pass("MISCONF", at(1)), Some(0), "another kind does not wait");
        assert_eq!(seldom.pass("LOADING", at(60_000)), Some(239));
        assert_eq!(seldom.pass("LOADING", at(60_001)), None);
        assert_eq!(seldom.pass("LOADING", at(120_000)), Some(1));
        assert_eq!(seldom.pass("MISCONF", at(120_000)), Some(0), "nothing was kept back");
    }

    #[test]
    fn texts_from_outside_are_no_way_around_it() {
        let (seldom, begun) = (Seldom::default(), Instant::now());
        let passed = (0..1_000).filter(|kind| seldom.pass(&kind.to_string(), begun).is_some()).count();
        assert_eq!(passed, KINDS + 1);
        assert!(seldom.0.lock().expect("no panic").len() <= KINDS + 1);
        // A minute later there is room for others, and what was kept back is still told.
        let later = begun + PAUSE;
        assert_eq!(seldom.pass("new", later), Some(0));
        assert_eq!(seldom.pass("", later), Some(1_000 - KINDS as u64 - 1));
    }

    #[test]
    fn what_was_kept_back_is_handed_over() {
        let seldom = Seldom::default();
        let mut told = Vec::new();
        for _ in 0..3 {
            seldom.tell("x", |suppressed| told.push(suppressed));
        }
        assert_eq!(told, [None]);
    }
}
