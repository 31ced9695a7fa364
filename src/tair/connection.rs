//! Pipelined connections to one server: the commands of all callers go out in one write, and answers are
//! decoded in the input buffer. RESP2 only, with or without TLS.
//!
//! Rows are read over these connections and not over `fred`: `cargo bench --bench tair -- reads` compares
//! both, and `docs/benchmarks.md` has the figures.
//!
//! No call waits for a connection. Without one it fails at once: a reader has the snapshot, a publisher
//! retries.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    runtime::{Handle, RuntimeFlavor},
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::{Losses, TairError, endpoint::Endpoint};

pub(super) mod handshake;
pub(super) mod resp;
#[cfg(test)]
mod tests;

use handshake::{ConnectError, Stream};
use resp::RawReply;

/// Size of the input buffer.
const INPUT_BUFFER: usize = 256 << 10;
/// Number of commands without an answer up to which a connection accepts more.
const MAX_QUEUED: usize = 50_000;
/// Number of commands on one connection from which the next one is used.
const FULL: usize = 128;
/// First pause before reconnecting, which doubles with each attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Longest pause before reconnecting.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Interval at which a waiting caller checks for the first connection.
const CONNECT_POLL: Duration = Duration::from_millis(2);
const OVERDUE: &str = "the server does not answer";
const CLOSED: &str = "the server closed the connection";

/// Value that a caller gets for a command, decoded from an answer that is not an error.
pub(super) trait Decode: Clone + Send + Sync + 'static {
    /// Decodes `reply`, which borrows from the input buffer.
    ///
    /// # Errors
    /// If the server cannot have sent this answer to a command of this caller. The connection is then closed.
    fn decode(reply: RawReply<'_>) -> Result<Self, &'static str>;
}

/// Answers to the commands of one call.
pub(super) type Answers<T> = Vec<Result<T, TairError>>;

/// Connections to one server, which reconnect for as long as this lives.
#[derive(Debug)]
pub(super) struct ConnectionPool<T> {
    connections: Vec<Arc<Connection<T>>>,
    owners: Arc<[OwnerThread]>,
    tasks: Vec<JoinHandle<()>>,
}

/// Id of the worker thread that owns a connection, or 0 while the connection is down or may move between
/// threads. Kept outside `Connection`, so that reading it does not touch the cache line that the owner keeps
/// writing.
type OwnerThread = AtomicUsize;

/// Settings of a connection.
#[derive(Debug, Clone)]
pub(super) struct ConnectionOptions {
    pub(super) endpoint: Endpoint,
    pub(super) connect_timeout: Duration,
    /// Time after which the connection is closed if an answer is missing. Commands that waited longer are not
    /// sent, even if the process itself was paused.
    pub(super) unresponsive: Duration,
}

impl<T: Decode> ConnectionPool<T> {
    /// Starts `count` connections, each of which reconnects forever, on the runtimes of `handles` in turn, or
    /// on the current runtime if there are none. Counts lost connections in `losses`.
    pub(super) fn connect(
        options: &ConnectionOptions,
        count: usize,
        losses: &Losses,
        handles: &[Handle],
    ) -> Self {
        let connections: Vec<Arc<Connection<T>>> = (0..count.max(1)).map(|_| Arc::default()).collect();
        let owners: Arc<[OwnerThread]> = connections.iter().map(|_| OwnerThread::default()).collect();
        let start = |(number, connection): (usize, &Arc<Connection<T>>)| {
            let handle = match handles {
                [] => Handle::current(),
                handles => handles[number % handles.len()].clone(),
            };
            let (connection, owners) = (Arc::clone(connection), Arc::clone(&owners));
            let (options, losses) = (options.clone(), losses.clone());
            handle.spawn(async move { connection.maintain(&owners[number], options, losses).await })
        };
        let tasks = connections.iter().enumerate().map(start).collect();
        Self { connections, owners, tasks }
    }

    /// Returns the number of connections, and how many of them are up.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.connections.len(), self.connections.iter().filter(|connection| connection.is_up()).count())
    }

    /// Waits until a connection is up.
    pub(super) async fn wait_for_connect(&self) {
        while self.counts().1 == 0 {
            tokio::time::sleep(CONNECT_POLL).await;
        }
    }

    /// Returns the answers to the `count` commands that `write` appends, over one of the connections.
    pub(super) async fn call(
        &self,
        count: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Answers<T>, TairError> {
        self.cheapest().ok_or_else(no_connection)?.call(count, write).await
    }

    /// Returns a connection of this thread, or else the first connection that is not full: the more commands
    /// share a write, the less each of them costs, here and in the server.
    fn cheapest(&self) -> Option<&Connection<T>> {
        let own = self.owners.iter().position(|owner| owner.load(Ordering::Relaxed) == thread_id());
        if let Some(at) = own {
            return Some(&self.connections[at]);
        }
        let load = |connection: &Connection<T>| {
            let queue = connection.queue();
            queue.up.then_some(queue.unanswered / FULL)
        };
        let up = self.connections.iter().filter_map(|connection| Some((load(connection)?, connection)));
        up.min_by_key(|(load, _)| *load).map(|(_, connection)| connection.as_ref())
    }

    /// Returns the value of `key` over each connection that is up, since they may lead to different servers.
    pub(super) async fn get(&self, key: &str) -> Answers<T> {
        let up = self.connections.iter().filter(|connection| connection.is_up());
        let gets = up.map(|connection| async move {
            let write = |out: &mut Vec<u8>| resp::command(&[b"GET", key.as_bytes()], out);
            let answers = connection.call(1, write).await?;
            answers.into_iter().next().unwrap_or_else(|| Err(no_connection()))
        });
        futures::future::join_all(gets).await
    }
}

impl<T> Drop for ConnectionPool<T> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Returns the id of this thread, counted from 1.
fn thread_id() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static ID: usize = 1 + THREADS.fetch_add(1, Ordering::Relaxed));
    ID.with(|id| *id)
}

fn no_connection() -> TairError {
    TairError::Unreachable("there is no connection".to_owned())
}

/// One connection.
#[derive(Debug)]
struct Connection<T> {
    queue: Mutex<Queue<T>>,
    /// Notified when there are commands to send.
    wake: Notify,
}

impl<T> Default for Connection<T> {
    fn default() -> Self {
        Self { queue: Mutex::default(), wake: Notify::default() }
    }
}

/// Commands that wait to be sent.
#[derive(Debug)]
struct Queue<T> {
    up: bool,
    out: Vec<u8>,
    calls: Vec<PendingCall<T>>,
    /// Number of commands, sent or not, that have no answer yet.
    unanswered: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { up: false, out: Vec::new(), calls: Vec::new(), unanswered: 0 }
    }
}

/// Call that waits for its answers.
#[derive(Debug)]
struct PendingCall<T> {
    since: Instant,
    count: usize,
    answers: Answers<T>,
    done: oneshot::Sender<Result<Answers<T>, TairError>>,
}

/// Calls that were sent and have no answer yet, oldest first.
#[derive(Debug)]
struct SentCalls<T> {
    calls: VecDeque<PendingCall<T>>,
    unresponsive: Duration,
}

impl<T> SentCalls<T> {
    /// Checks whether the server has not answered the oldest call in time.
    fn is_overdue(&self) -> bool {
        self.calls.front().is_some_and(|call| call.since.elapsed() > self.unresponsive)
    }
}

/// Bytes on their way to the server.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Whether all bytes were written and flushed.
    idle: bool,
}

impl Output {
    fn poll_send(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        // TLS may hold back encrypted bytes.
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.bytes.clear();
        (self.written, self.idle) = (0, true);
        Poll::Ready(Ok(()))
    }
}

impl<T: Decode> Connection<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_up(&self) -> bool {
        self.queue().up
    }

    async fn call(&self, count: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<Answers<T>, TairError> {
        let (done, answers) = oneshot::channel();
        {
            let mut queue = self.queue();
            if !queue.up {
                return Err(no_connection());
            }
            if queue.unanswered + count > MAX_QUEUED {
                return Err(TairError::Unreachable("too many commands are queued".to_owned()));
            }
            queue.unanswered += count;
            write(&mut queue.out);
            queue.calls.push(PendingCall {
                since: Instant::now(),
                count,
                answers: Vec::with_capacity(count),
                done,
            });
        }
        self.wake.notify_one();
        answers.await.unwrap_or_else(|_| Err(no_connection()))
    }

    /// Connects, serves the queue until the connection breaks, and starts again.
    async fn maintain(&self, owner: &OwnerThread, options: ConnectionOptions, losses: Losses) {
        let is_pinned = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let mut backoff = FIRST_BACKOFF;
        loop {
            match handshake::connect(&options.endpoint, options.connect_timeout).await {
                Ok(stream) => {
                    backoff = FIRST_BACKOFF;
                    self.queue().up = true;
                    if is_pinned {
                        owner.store(thread_id(), Ordering::Relaxed);
                    }
                    let (calls, unresponsive) = (VecDeque::new(), options.unresponsive);
                    let mut sent = SentCalls { calls, unresponsive };
                    let error = self.serve(stream, &mut sent).await;
                    // Counted first, so that no reader trusts state of the lost server.
                    losses.count_one();
                    losses.remember(&error);
                    owner.store(0, Ordering::Relaxed);
                    let queue = std::mem::take(&mut *self.queue());
                    losses.warn_lost(&error);
                    for call in sent.calls.into_iter().chain(queue.calls) {
                        let _ = call.done.send(Err(TairError::Unreachable(error.clone())));
                    }
                }
                Err(ConnectError::Rejected(error)) => {
                    losses.remember(&error);
                    losses.warn_rejected(&error);
                }
                Err(ConnectError::Failed(error)) => {
                    losses.remember(&error);
                    tracing::debug!(error, "cannot connect to Tair");
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Sends and receives until the connection breaks, and returns the reason.
    async fn serve(&self, mut stream: Stream, sent: &mut SentCalls<T>) -> String {
        let mut output = Output { idle: true, ..Output::default() };
        let mut input = BytesMut::with_capacity(INPUT_BUFFER);
        let mut check = tokio::time::interval(sent.unresponsive / 4);
        loop {
            input.reserve(INPUT_BUFFER / 4);
            tokio::select! {
                received = poll_fn(|cx| poll_io(&mut stream, cx, &mut input, &mut output, sent)) => {
                    match received {
                        Ok(None) => {}
                        Ok(Some(0)) => return CLOSED.to_owned(),
                        Ok(Some(_)) => {
                            if let Err(error) = self.take_answers(&mut input, sent) {
                                return error.to_owned();
                            }
                        }
                        // A server that was killed does not end a TLS session properly.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            return CLOSED.to_owned();
                        }
                        Err(error) => return error.to_string(),
                    }
                }
                () = self.wake.notified(), if output.idle => {
                    // Other callers that are about to send share the write.
                    tokio::task::yield_now().await;
                    let mut queue = self.queue();
                    std::mem::swap(&mut output.bytes, &mut queue.out);
                    sent.calls.extend(queue.calls.drain(..));
                    output.idle = false;
                }
                _ = check.tick() => {
                    if sent.is_overdue() {
                        return OVERDUE.to_owned();
                    }
                }
            }
        }
    }

    /// Completes the calls whose answers have arrived.
    fn take_answers(&self, input: &mut BytesMut, sent: &mut SentCalls<T>) -> Result<(), &'static str> {
        let (mut taken, mut answered) = (0, 0);
        while let Some((reply, length)) = resp::reply(&input[taken..])? {
            taken += length;
            answered += 1;
            let call = sent.calls.front_mut().ok_or("the server sent an answer without a command")?;
            call.answers.push(match reply {
                RawReply::Error(text) => Err(TairError::Refused(String::from_utf8_lossy(text).into_owned())),
                reply => Ok(T::decode(reply)?),
            });
            if call.answers.len() == call.count
                && let Some(call) = sent.calls.pop_front()
            {
                // A caller that timed out no longer receives.
                let _ = call.done.send(Ok(call.answers));
            }
        }
        input.advance(taken);
        self.queue().unanswered -= answered;
        Ok(())
    }
}

/// Sends the output, then receives. Returns the number of bytes received, or `None` once all output is sent.
fn poll_io<T>(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
    output: &mut Output,
    sent: &SentCalls<T>,
) -> Poll<io::Result<Option<usize>>> {
    if !output.idle {
        // Checked before each write: after a pause of the process, the commands may be too old to be sent.
        if sent.is_overdue() {
            return Poll::Ready(Err(io::Error::other(OVERDUE)));
        }
        if output.poll_send(stream, cx)?.is_ready() {
            return Poll::Ready(Ok(None));
        }
    }
    pin!(stream.read_buf(input)).poll(cx).map_ok(Some)
}
