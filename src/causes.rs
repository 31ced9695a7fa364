//! Messages of errors with those of their causes.

use std::error::Error;

/// Returns the message of `error` with those of its causes. A cause whose message is known already is left
/// out, since many errors repeat the message of their cause.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        next = cause.source();
    }
    text
}
