//! The memory for bodies: what all requests and large answers may hold together.
//!
//! An answer holds its bytes until the client has taken them, so that many clients that read slowly, or not
//! at all, cannot take all memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::{pace::Pace, unsent::UnsentAnswer};
use crate::http::Problem;

/// The smallest answer in bytes that counts.
const LARGE: u64 = 16 << 10;

/// The smallest answer in bytes that counts as unsent.
const LONG: usize = 128 << 10;

/// The bytes of all bodies that are being received, answered or sent.
#[derive(Debug)]
pub(super) struct Bodies {
    limit: usize,
    held: AtomicUsize,
}

impl Bodies {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), held: AtomicUsize::new(0) }
    }

    /// Returns the memory of one body, of which nothing is held yet.
    pub(super) fn body(&self) -> BodyMemory<'_> {
        BodyMemory { bodies: self, held: 0 }
    }

    /// Makes an answer hold its bytes until they are sent, or returns a problem if they do not fit. Streamed
    /// and small answers are returned as they are. Long answers count as unsent ones of the thread of `pace`.
    pub(super) fn hold_answer(
        self: &Arc<Self>,
        response: Response,
        pace: &Pace,
    ) -> Result<Response, Problem> {
        let size = response.body().size_hint().exact();
        let Some(size) = size.filter(|size| *size >= LARGE).and_then(|size| usize::try_from(size).ok())
        else {
            return Ok(response);
        };
        if self.held.load(Ordering::Relaxed).saturating_add(size) > self.limit {
            return Err(full());
        }
        let (parts, body) = response.into_parts();
        // A body of known size is in memory as one piece, so nothing waits and nothing is copied.
        let Some(Ok(body)) = body.collect().now_or_never() else {
            return Err(Problem::internal("an answer of known size is not in memory"));
        };
        let unsent = if size < LONG { None } else { Some(pace.unsent.begin()) };
        Ok(Response::from_parts(parts, Body::from(self.hold(body.to_bytes(), unsent))))
    }

    /// Makes bytes of an answer count until they are sent, also beyond the limit.
    pub(super) fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.hold(bytes, None)
    }

    fn hold(self: &Arc<Self>, bytes: Bytes, unsent: Option<Arc<UnsentAnswer>>) -> Bytes {
        self.held.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(AnswerBytes { bytes, bodies: Arc::clone(self), _unsent: unsent })
    }
}

fn full() -> Problem {
    Problem::busy("other requests and answers take all memory for bodies; try again later")
}

/// The memory that the body of a request holds, until dropped.
#[derive(Debug)]
pub(super) struct BodyMemory<'a> {
    bodies: &'a Bodies,
    held: usize,
}

impl BodyMemory<'_> {
    /// Holds `bytes` more, or returns a problem if all bodies would hold too much.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.bodies.held.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.bodies.limit {
            self.held += bytes;
            return Ok(());
        }
        self.bodies.held.fetch_sub(bytes, Ordering::Relaxed);
        Err(full())
    }

    /// Returns a problem if the request should not be answered now, since other bodies leave so little room
    /// that its answer would probably not fit.
    pub(super) fn check_room(&self) -> Result<(), Problem> {
        let others = self.bodies.held.load(Ordering::Relaxed).saturating_sub(self.held);
        if others <= self.bodies.limit / 4 * 3 { Ok(()) } else { Err(full()) }
    }
}

impl Drop for BodyMemory<'_> {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// Bytes of an answer that are not sent yet.
struct AnswerBytes {
    bytes: Bytes,
    bodies: Arc<Bodies>,
    /// Counts until dropped.
    _unsent: Option<Arc<UnsentAnswer>>,
}

impl AsRef<[u8]> for AnswerBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for AnswerBytes {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_no_more_than_the_limit() {
        let bodies = Bodies::new(10);
        let (mut first, mut second) = (bodies.body(), bodies.body());
        assert!(first.hold(4).is_ok() && first.hold(4).is_ok() && second.hold(2).is_ok());
        assert!(second.hold(1).is_err());
        drop(second);
        assert!(first.hold(2).is_ok() && first.hold(1).is_err());
        drop(first);
        assert_eq!(bodies.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn answers_hold_their_bytes_until_the_last_is_dropped() {
        let bodies = Arc::new(Bodies::new(100 << 10));
        let held = || bodies.held.load(Ordering::Relaxed);
        let pace = Pace::of_thread();
        let answer = |size: usize| bodies.hold_answer(Response::new(Body::from(vec![b'x'; size])), &pace);
        let small = answer(1_000).expect("small answers are not counted");
        assert_eq!((held(), small.into_body().size_hint().exact()), (0, Some(1_000)));
        let first = answer(60 << 10).expect("there is room").into_body();
        assert_eq!((held(), first.size_hint().exact()), (60 << 10, Some(60 << 10)));
        assert!(bodies.body().check_room().is_ok() && answer(60 << 10).is_err());
        let second = answer(20 << 10).expect("there is room");
        assert!(bodies.body().check_room().is_err());
        let mut bytes = first.collect().now_or_never().expect("in memory").expect("no error").to_bytes();
        assert_eq!(bytes.split_off(50 << 10).len(), 10 << 10);
        assert_eq!(held(), 80 << 10);
        drop((bytes, second));
        assert_eq!(held(), 0);
    }
}
