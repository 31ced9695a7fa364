//! Activity of a connection, and the end of one that is idle, sends the head of a request too slowly, or
//! reads nothing of its answers.
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
/// The shortest time after which a connection may be closed whose client reads nothing.
pub(super) const STALL: Duration = Duration::from_secs(30);
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
    /// Number of times that sending stopped plus number that it went on: odd while bytes wait for the client.
    stalls: AtomicU64,
}

/// The reason why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inactivity {
    /// No request, or no whole head of a request, arrived in time.
    NoRequest,
    /// The client read nothing of its answers.
    NoRead,
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

    /// Notes whether bytes wait for the client to read earlier ones.
    fn note_sending(&self, waits: bool) {
        // Only the thread of the connection writes, and hardly ever: most answers are sent at once.
        let stalls = self.stalls.load(Ordering::Relaxed);
        if stalls.is_multiple_of(2) == waits {
            self.stalls.store(stalls + 1, Ordering::Relaxed);
        }
    }

    /// Returns when the connection is idle for too long, when a head takes too long to arrive, or when the
    /// client reads nothing for `stall` while bytes wait for it. Looks after each `interval`.
    pub(super) async fn ended(&self, interval: Duration, stall: Duration) -> Inactivity {
        let (mut turns, mut is_reading, mut intervals) = (0, false, 0);
        let (mut stalls, mut stalled) = (0, Duration::ZERO);
        loop {
            tokio::time::sleep(interval).await;
            let seen = self.stalls.load(Ordering::Relaxed);
            let is_stalled = seen == stalls && !seen.is_multiple_of(2);
            (stalls, stalled) = (seen, if is_stalled { stalled + interval } else { Duration::ZERO });
            if stalled >= stall {
                return Inactivity::NoRead;
            }
            let now = self.turns.load(Ordering::Relaxed);
            let reads = self.received.load(Ordering::Relaxed) != self.received_before.load(Ordering::Relaxed);
            if now != turns || !now.is_multiple_of(2) || reads != is_reading {
                (turns, is_reading, intervals) = (now, reads, 0);
                continue;
            }
            intervals += 1;
            if intervals >= if reads || now == 0 { HEAD_INTERVALS } else { IDLE_INTERVALS } {
                return Inactivity::NoRequest;
            }
        }
    }
}

/// A stream that counts what it receives, and notes when it cannot send.
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
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.note_sending(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.note_sending(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        // Called when all bytes are written; only TLS may still hold some.
        self.activity.note_sending(polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Instant};

    use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(20);

    /// Returns the number of intervals until a connection with `activity` is ended.
    async fn intervals(activity: Activity) -> u128 {
        let start = Instant::now();
        assert_eq!(activity.ended(INTERVAL, STALL).await, Inactivity::NoRequest);
        start.elapsed().as_millis() / 20
    }

    /// Returns the client of a connection that answers 64 MiB, and waits until the connection is ended.
    async fn large_answer() -> (TcpStream, impl Future<Output = Inactivity>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("accepted");
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let (server, _) = listener.accept().await.expect("a client");
        let activity = Arc::new(Activity::default());
        let stream = TokioIo::new(CountedStream::new(server, Arc::clone(&activity)));
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new("x".repeat(64 << 20)))
        });
        // The request stays open, as that of an export does.
        activity.begin();
        let ended = async move {
            tokio::select! {
                ended = activity.ended(INTERVAL, 6 * INTERVAL) => ended,
                answered = http1::Builder::new().serve_connection(stream, service) =>
                    unreachable!("{answered:?}"),
            }
        };
        (client, ended)
    }

    #[tokio::test]
    async fn client_that_reads_nothing_ends_its_connection() {
        let (mut client, ended) = large_answer().await;
        let start = Instant::now();
        assert_eq!(ended.await, Inactivity::NoRead);
        assert!(start.elapsed() >= 6 * INTERVAL, "{:?}", start.elapsed());
        // The answer ends early.
        let mut received = Vec::new();
        let whole = client.read_to_end(&mut received).await.is_ok() && received.len() > 64 << 20;
        assert!(!whole);
    }

    #[tokio::test]
    async fn slow_reader_keeps_its_connection() {
        let (mut client, ended) = large_answer().await;
        let reading = async {
            let (mut buffer, mut left) = (vec![0; 1 << 20], 64 << 20);
            while left > 0 {
                let read = client.read(&mut buffer).await.expect("an answer");
                left -= read.min(left);
                tokio::time::sleep(INTERVAL / 4).await;
            }
        };
        tokio::select! {
            ended = ended => panic!("{ended:?}"),
            () = reading => {}
        }
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
        let ended = activity.ended(Duration::from_millis(1), STALL);
        assert!(tokio::time::timeout(Duration::from_millis(100), ended).await.is_err());
    }
}
