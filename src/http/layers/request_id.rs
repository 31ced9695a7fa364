//! Request ids: taken from the caller where they are sound, else made here.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header of request ids, in requests and answers.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id in bytes that is taken from a caller.
const MAX_LENGTH: usize = 128;

/// Makes request ids that differ from each other and from those of other processes.
#[derive(Debug)]
pub(super) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        // The keys of `RandomState` are random.
        let random = RandomState::new().hash_one((SystemTime::now(), std::process::id()));
        Self { prefix: format!("{random:016x}-"), next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// Returns the caller's request id if it is short and printable, else a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(&REQUEST_ID) {
            Some(id) if id.len() <= MAX_LENGTH && id.as_bytes().iter().all(u8::is_ascii_graphic) => {
                id.clone()
            }
            _ => self.make(),
        }
    }

    /// Makes an id that callers can neither choose nor guess.
    pub(super) fn make(&self) -> HeaderValue {
        let mut buffer = itoa::Buffer::new();
        let number = buffer.format(self.next.fetch_add(1, Ordering::Relaxed));
        let mut id = String::with_capacity(self.prefix.len() + number.len());
        id.push_str(&self.prefix);
        id.push_str(number);
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
    }
}
