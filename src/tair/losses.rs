//! Failed connections: how many there were, and the last error, in words that hold no secret.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::telemetry::LogThrottle;

/// Maximum length of a server's message in characters. Some messages are a page long.
const MAX_MESSAGE: usize = 240;
/// Words that servers put before the arguments of an unknown command. The arguments of `AUTH` are secret.
const ARGUMENTS: &str = ", with args beginning with";

/// Start of messages about TLS.
pub(super) const TLS_FAILED: &str = "TLS handshake failed: ";
/// Reason why a TLS handshake with a server without TLS fails.
pub(super) const NO_TLS: &str = "the server does not speak TLS";
/// Start of messages about credentials.
const AUTHENTICATION_FAILED: &str = "authentication failed: ";
/// Starts of error answers about credentials.
const AUTHENTICATION_ERRORS: &[&str] =
    &["NOAUTH", "WRONGPASS", "ERR AUTH", "ERR Client sent AUTH", "ERR invalid password"];

/// Minimum length of a password that is masked in messages. A shorter one may occur in ordinary words, and
/// masking it there would reveal it.
const MIN_MASKED: usize = 6;

/// Counter of lost connections. State read from Tair is valid only while the count is unchanged: a new
/// connection may lead to another server.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU64,
    last_error: Mutex<Option<String>>,
    warnings: LogThrottle,
}

impl Losses {
    pub(super) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Counts a lost connection.
    pub(super) fn count_one(&self) {
        self.0.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Stores the reason why there is no connection.
    pub(super) fn remember(&self, why: &str) {
        *self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Logs that a connection was lost.
    pub(super) fn warn_lost(&self, error: &str) {
        self.0.warnings.log(error, |suppressed| tracing::warn!(error, suppressed, "connection to Tair lost"));
    }

    /// Logs that a server rejects connections, for example because of the credentials or the certificate.
    pub(super) fn warn_rejected(&self, error: &str) {
        self.0.warnings.log(error, |suppressed| tracing::warn!(error, suppressed, "cannot connect to Tair"));
    }

    /// Returns the last error.
    pub(super) fn last_error(&self) -> Option<String> {
        self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns a server's or a library's `message` without the `password`, shortened, and named as a failed
/// authentication if it is one.
pub(super) fn masked(message: &str, password: Option<&str>) -> String {
    let message = plain(message.split(ARGUMENTS).next().unwrap_or_default());
    if AUTHENTICATION_ERRORS.iter().any(|start| message.starts_with(start)) {
        return masked(&format!("{AUTHENTICATION_FAILED}{message}"), password);
    }
    let masked = match password {
        Some(password) if password.len() >= MIN_MASKED => message.replace(password, "***"),
        _ => message.to_owned(),
    };
    match masked.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &masked[..end]),
        None => masked,
    }
}

/// Returns the message inside an I/O error that `fred` has formatted with `Debug`.
pub(super) fn plain(message: &str) -> &str {
    let inner = |start: &str, before: &str| {
        let (_, inner) = message.strip_prefix(start)?.split_once(before)?;
        Some(inner.trim_end_matches([' ', '}']).trim_matches('"'))
    };
    inner("Os {", "message: ").or_else(|| inner("Custom {", "error: ")).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_plain_and_hold_no_secret() {
        let refused = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        let unknown = "ERR unknown command 'AUTH', with args beginning with: 'user' 's3cret' ";
        for (said, expected) in [
            ("NOAUTH Authentication required.", "authentication failed: NOAUTH Authentication required."),
            (refused, "Connection refused"),
            ("Custom { kind: Uncategorized, error: \"failed to lookup\" }", "failed to lookup"),
            (
                "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }",
                "InvalidCertificate(UnknownIssuer)",
            ),
            (unknown, "ERR unknown command 'AUTH'"),
            ("ERR what is s3cret?", "ERR what is ***?"),
        ] {
            assert_eq!(masked(said, Some("s3cret")), expected);
        }
        assert_eq!(masked("LOADING snapshots", Some("p")), "LOADING snapshots");
        let long = masked(&"é".repeat(500), None);
        assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_MESSAGE + 1, true));
    }

    #[test]
    fn last_error_is_kept() {
        let losses = Losses::default();
        assert_eq!(losses.last_error(), None);
        let other = losses.clone();
        other.remember("LOADING");
        other.remember("MISCONF");
        assert_eq!((losses.last_error().as_deref(), losses.count()), (Some("MISCONF"), 0));
    }
}
