//! Connections that broke or could not be made: how many there were, and what was said last, for whoever
//! waits in vain.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::telemetry::LogThrottle;

/// The most characters of what a server says that are shown: some answers are a page long.
const LONGEST: usize = 240;
/// What servers put before the arguments of a command that they do not know, and those of `AUTH` are secret.
const ARGUMENTS: &str = ", with args beginning with";

/// A shorter password stands in ordinary words, and to take it out there would tell it.
const TELLING: usize = 6;

/// Counts the connections that broke. Whoever trusts what Tair said before looks here whether it may still.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU64,
    last: Mutex<Option<String>>,
    told: LogThrottle,
}

impl Losses {
    pub(super) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    pub(super) fn note(&self) {
        self.0.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Remembers why there is no connection, in words that hold no secret.
    pub(super) fn remember(&self, why: &str) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Tells the log that a connection broke, and why.
    pub(super) fn tell(&self, why: &str) {
        self.0.told.log(why, |suppressed| tracing::warn!(why, suppressed, "a connection to Tair broke"));
    }

    /// Tells the log that the server refuses to speak with Larder, and why.
    pub(super) fn tell_refused(&self, why: &str) {
        self.0.told.log(why, |suppressed| tracing::warn!(why, suppressed, "Tair does not let us in"));
    }

    /// The message remembered last.
    pub(super) fn last(&self) -> Option<String> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a server or a library said, for people: without the `password`, and not a page.
pub(super) fn words(said: &str, password: Option<&str>) -> String {
    let said = said.split(ARGUMENTS).next().unwrap_or_default();
    let said = plain(said);
    let password = password.filter(|password| password.len() >= TELLING);
    let said = password.map_or_else(|| said.to_owned(), |password| said.replace(password, "***"));
    match said.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &said[..end]),
        None => said,
    }
}

/// The message in an error of the system, which `fred` hands on in the form that is for debugging.
pub(super) fn plain(said: &str) -> &str {
    let inner = |start: &str, before: &str| {
        let (_, message) = said.strip_prefix(start)?.split_once(before)?;
        Some(message.trim_end_matches([' ', '}']).trim_matches('"'))
    };
    inner("Os {", "message: ").or_else(|| inner("Custom {", "error: ")).unwrap_or(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_servers_or_the_systems_and_hold_no_secret() {
        let refused = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        let unknown = "ERR unknown command 'AUTH', with args beginning with: 'user' 's3cret' ";
        for (said, expected) in [
            ("NOAUTH Authentication required.", "NOAUTH Authentication required."),
            (refused, "Connection refused"),
            ("Custom { kind: Uncategorized, error: \"failed to lookup\" }", "failed to lookup"),
            (
                "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }",
                "InvalidCertificate(UnknownIssuer)",
            ),
            (unknown, "ERR unknown command 'AUTH'"),
            ("ERR what is s3cret?", "ERR what is ***?"),
        ] {
            assert_eq!(words(said, Some("s3cret")), expected);
        }
        assert_eq!(words("LOADING snapshots", Some("p")), "LOADING snapshots");
        let long = words(&"é".repeat(500), None);
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST + 1, true));
    }

    #[test]
    fn the_last_word_is_remembered() {
        let losses = Losses::default();
        assert_eq!(losses.last(), None);
        let other = losses.clone();
        other.remember("LOADING");
        other.remember("MISCONF");
        assert_eq!((losses.last().as_deref(), losses.count()), (Some("MISCONF"), 0));
    }
}
