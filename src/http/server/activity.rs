//! Activity of a connection, and the end of one that is idle or sends the head of a request too slowly.
//!
//! A timer for each request would cost more than many answers. Instead, each connection has one timer, which
//! looks from time to time at what has happened since.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Interval at which a connection is looked at.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// Intervals within which a head must arrive, and the first head after the connection was opened.
const HEAD_INTERVALS: u32 = 2;
/// Intervals that a connection may be idle between two requests.
const IDLE_INTERVALS: u32 = 12;

/// Counts of a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Number of requests that began plus number that ended: odd while a request is open.
    turns: AtomicU64,
    /// Bytes received.
    received: AtomicU64,
    /// Bytes received when the last request ended.
    received_before: AtomicU64,
}

impl Activity {
    /// Notes that a request begins.
    pub(super) fn begin(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a request has ended.
    pub(super) fn end(&self) {
        self.received_before.store(self.received.load(Ordering::Relaxed), Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when the connection is idle for too long, or when a head takes too long to arrive.
    pub(super) async fn ended(&self, interval: Duration) {
        let (mut turns, mut is_reading, mut intervals) = (0, false, 0);
        loop {
            tokio::time::sleep(interval).await;
            let now = self.turns.load(Ordering::Relaxed);
            let reads = self.received.load(Ordering::Relaxed) != self.received_before.load(Ordering::Relaxed);
            if now != turns || !now.is_multiple_of(2) || reads != is_reading {
                (turns, is_reading, intervals) = (now, reads, 0);
                continue;
            }
            intervals += 1;
            if intervals >= if reads || now == 0 { HEAD_INTERVALS } else { IDLE_INTERVALS } {
                return;
            }
        }
    }
}

/// A stream that counts what it receives.
pub(super) struct CountedStream<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> CountedStream<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let received = (buffer.filled().len() - before) as u64;
        if received > 0 {
            // Only the thread of the connection writes.
            let all = self.activity.received.load(Ordering::Relaxed) + received;
            self.activity.received.store(all, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Returns the number of intervals until a connection with `activity` is ended.
    async fn intervals(activity: Activity) -> u128 {
        let (interval, start) = (Duration::from_millis(20), Instant::now());
        activity.ended(interval).await;
        start.elapsed().as_millis() / 20
    }

    #[tokio::test]
    async fn slow_head_ends_a_connection_sooner_than_idleness() {
        // A connection that has received nothing.
        let fresh = intervals(Activity::default()).await;
        let (idle, slow) = (Activity::default(), Activity::default());
        for activity in [&idle, &slow] {
            activity.begin();
            activity.received.store(10, Ordering::Relaxed);
            activity.end();
        }
        slow.received.store(11, Ordering::Relaxed);
        let (idle, slow) = tokio::join!(intervals(idle), intervals(slow));
        assert!(fresh >= 2 && slow >= 3 && idle >= 13 && slow < idle, "{fresh} {slow} {idle}");
    }

    #[tokio::test]
    async fn open_request_keeps_a_connection() {
        let activity = Activity::default();
        activity.begin();
        let ended = activity.ended(Duration::from_millis(1));
        assert!(tokio::time::timeout(Duration::from_millis(100), ended).await.is_err());
    }
}
