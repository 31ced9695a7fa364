//! Connections of our own: the commands of all callers go in one write, and answers are taken apart where they lie.
//!
//! `fred` does everything in a cluster and over TLS, and what is rare elsewhere. But one of its commands costs several times what
//! the server needs for it, and reading and writing rows is what Larder is for. Only RESP2.
//! As with `fred`, nothing waits for a connection: without one a call fails at once; a reader has the snapshot, a publisher tries again.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    runtime::{Handle, RuntimeFlavor},
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::{Losses, TairError, connect::Address, losses::masked};
use crate::workers::Workers;

pub(super) mod resp;

use resp::Reply;

/// The room for what arrives at once.
const INPUT: usize = 256 << 10;
/// Commands that may be on their way before more are refused.
const QUEUE: usize = 50_000;
/// Commands on one line from which another is taken.
const FULL: usize = 128;
/// The first pause before connecting anew; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often is looked whether there is a first connection.
const LOOK: Duration = Duration::from_millis(2);
const OVERDUE: &str = "the server owes an answer for too long";

/// What a caller makes of an answer that is no error; it lies in the connection's buffer.
pub(super) trait Answered: Sized + Send + 'static {
    /// Takes what is of use, or says why the server cannot be understood.
    fn take(reply: Reply<'_>) -> Result<Self, &'static str>;
}

/// Connections that are kept up for as long as this lives.
#[derive(Debug)]
pub(super) struct Wire<T> {
    lines: Vec<Arc<Line<T>>>,
    homes: Arc<[Home]>,
    tasks: Vec<JoinHandle<()>>,
}

/// The number of the thread that serves a line, where that is always the same and the line stands; 0 otherwise. Each is found without a
/// look at the line, which its own thread writes to all the time.
type Home = AtomicUsize;

/// How a connection is to behave.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) address: Address,
    pub(super) connect_timeout: Duration,
    /// How long the server may owe an answer. After that nothing that waits is sent any more, even where the process itself was stopped.
    pub(super) unresponsive: Duration,
}

impl<T: Answered> Wire<T> {
    /// Begins to connect `lines` times, and goes on for ever. What breaks is noted in `losses`.
    pub(super) fn connect(manner: &Manner, lines: usize, losses: &Losses, workers: Option<&Workers>) -> Self {
        let lines: Vec<Arc<Line<T>>> = (0..lines.max(1)).map(|_| Arc::default()).collect();
        let homes: Arc<[Home]> = lines.iter().map(|_| Home::default()).collect();
        let keep = |(number, line): (usize, &Arc<Line<T>>)| {
            let handle = workers.map_or_else(Handle::current, |workers| workers.handle(number).clone());
            let (line, homes) = (Arc::clone(line), Arc::clone(&homes));
            let (manner, losses) = (manner.clone(), losses.clone());
            handle.spawn(async move { line.keep_up(&homes[number], manner, losses).await })
        };
        let tasks = lines.iter().enumerate().map(keep).collect();
        Self { lines, homes, tasks }
    }

    /// How many connections there should be, and how many stand.
    pub(super) fn connections(&self) -> (usize, usize) {
        (self.lines.len(), self.lines.iter().filter(|line| line.queue().up).count())
    }

    /// Waits until there is a connection.
    pub(super) async fn up(&self) {
        while self.connections().1 == 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The answers to the `count` commands that `write` appends, over one of the connections.
    pub(super) async fn call(
        &self,
        count: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<Result<T, TairError>>, TairError> {
        self.line().ok_or_else(no_connection)?.call(count, write).await
    }

    /// The line that costs the least: one of this thread, else the first that has room, since the more commands go at once, the less each
    /// costs, here and in the server.
    fn line(&self) -> Option<&Line<T>> {
        let mine = self.homes.iter().position(|home| home.load(Ordering::Relaxed) == here());
        if let Some(line) = mine.map(|at| &self.lines[at]) {
            return Some(line);
        }
        let load = |line: &Line<T>| {
            let queue = line.queue();
            queue.up.then_some(queue.owed / FULL)
        };
        let lines = self.lines.iter().filter_map(|line| Some((load(line)?, line)));
        lines.min_by_key(|(load, _)| *load).map(|(_, line)| line.as_ref())
    }

    /// What `key` holds, asked for over each of the connections that stand: behind them may be different servers.
    pub(super) async fn get(&self, key: &str) -> Vec<Result<T, TairError>> {
        let asked = self.lines.iter().filter(|line| line.queue().up).map(|line| async move {
            let answers = line.call(1, |out| resp::command(&[b"GET", key.as_bytes()], out)).await?;
            answers.into_iter().next().unwrap_or_else(|| Err(no_connection()))
        });
        futures::future::join_all(asked).await
    }
}

impl<T> Drop for Wire<T> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The number of this thread, from 1.
fn here() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static HERE: usize = 1 + THREADS.fetch_add(1, Ordering::Relaxed));
    HERE.with(|number| *number)
}

fn no_connection() -> TairError {
    TairError::Unreachable("there is no connection".to_owned())
}

/// One connection.
#[derive(Debug)]
struct Line<T> {
    queue: Mutex<Queue<T>>,
    /// There is something to send.
    wake: Notify,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { queue: Mutex::default(), wake: Notify::default() }
    }
}

/// What is to be sent.
#[derive(Debug)]
struct Queue<T> {
    up: bool,
    out: Vec<u8>,
    callers: Vec<Caller<T>>,
    /// Commands sent or to be sent that have no answer yet.
    owed: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { up: false, out: Vec::new(), callers: Vec::new(), owed: 0 }
    }
}

/// Who waits for some answers.
#[derive(Debug)]
struct Caller<T> {
    since: Instant,
    count: usize,
    answers: Vec<Result<T, TairError>>,
    done: oneshot::Sender<Result<Vec<Result<T, TairError>>, TairError>>,
}

/// Commands sent that have no answer yet, the oldest first.
type Sent<T> = VecDeque<Caller<T>>;

impl<T: Answered> Line<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(
        &self,
        count: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<Result<T, TairError>>, TairError> {
        let (done, answers) = oneshot::channel();
        {
            let mut queue = self.queue();
            if !queue.up {
                return Err(no_connection());
            }
            if queue.owed + count > QUEUE {
                return Err(TairError::Unreachable("too many commands wait".to_owned()));
            }
            queue.owed += count;
            write(&mut queue.out);
            queue.callers.push(Caller {
                since: Instant::now(),
                count,
                answers: Vec::with_capacity(count),
                done,
            });
        }
        self.wake.notify_one();
        answers.await.unwrap_or_else(|_| Err(no_connection()))
    }

    /// Connects, serves the queue until the connection breaks, and so on for ever.
    async fn keep_up(&self, home: &Home, manner: Manner, losses: Losses) {
        let stays = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let mut pause = FIRST_PAUSE;
        loop {
            match tokio::time::timeout(manner.connect_timeout, open(&manner.address)).await {
                Ok(Ok(stream)) => {
                    pause = FIRST_PAUSE;
                    self.queue().up = true;
                    if stays {
                        home.store(here(), Ordering::Relaxed);
                    }
                    let mut sent = VecDeque::new();
                    let why = self.serve(stream, &manner, &mut sent).await;
                    // First of all, so that nobody believes what was known of the server.
                    losses.count_one();
                    losses.remember(&why);
                    home.store(0, Ordering::Relaxed);
                    let queue = std::mem::take(&mut *self.queue());
                    losses.warn_lost(&why);
                    for caller in sent.into_iter().chain(queue.callers) {
                        let _ = caller.done.send(Err(TairError::Unreachable(why.clone())));
                    }
                }
                Ok(Err(Failed::Refused(why))) => {
                    losses.remember(&why);
                    losses.warn_rejected(&why);
                }
                Ok(Err(Failed::Broken(why))) => {
                    losses.remember(&why);
                    tracing::debug!(why, "cannot connect to Tair");
                }
                Err(_) => {
                    losses.remember("the server does not answer");
                    tracing::debug!("cannot connect to Tair in time");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends and receives, until something breaks; tells what.
    async fn serve(&self, mut stream: TcpStream, manner: &Manner, sent: &mut Sent<T>) -> String {
        let overdue =
            |sent: &Sent<T>| sent.front().is_some_and(|caller| caller.since.elapsed() > manner.unresponsive);
        let (mut reader, writer) = stream.split();
        let (mut out, mut done) = (Vec::new(), 0);
        let mut input = BytesMut::with_capacity(INPUT);
        let mut look = tokio::time::interval(manner.unresponsive / 4);
        loop {
            input.reserve(INPUT / 4);
            tokio::select! {
                read = reader.read_buf(&mut input) => match read {
                    Ok(0) => return "the server closed it".to_owned(),
                    Ok(_) => {
                        if let Err(why) = self.take_answers(&mut input, sent) {
                            return why.to_owned();
                        }
                    }
                    Err(error) => return error.to_string(),
                },
                ready = writer.writable(), if done < out.len() => {
                    if overdue(sent) {
                        return OVERDUE.to_owned();
                    }
                    match ready.and_then(|()| writer.try_write(&out[done..])) {
                        Ok(written) => done += written,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return error.to_string(),
                    }
                }
                () = self.wake.notified(), if done == out.len() => {
                    // Others who are about to ask may come along.
                    tokio::task::yield_now().await;
                    out.clear();
                    done = 0;
                    let mut queue = self.queue();
                    std::mem::swap(&mut out, &mut queue.out);
                    sent.extend(queue.callers.drain(..));
                    drop(queue);
                    // Nearly always it all goes at once.
                    if !overdue(sent) {
                        done += writer.try_write(&out).unwrap_or(0);
                    }
                }
                _ = look.tick() => {
                    if overdue(sent) {
                        return OVERDUE.to_owned();
                    }
                }
            }
        }
    }

    /// Hands the answers that have arrived whole to those who wait for them.
    fn take_answers(&self, input: &mut BytesMut, sent: &mut Sent<T>) -> Result<(), &'static str> {
        let (mut taken, mut answered) = (0, 0);
        while let Some((reply, length)) = resp::reply(&input[taken..])? {
            taken += length;
            answered += 1;
            let caller = sent.front_mut().ok_or("the server answers what nobody asked")?;
            caller.answers.push(match reply {
                Reply::Error(text) => Err(TairError::refused(&String::from_utf8_lossy(text))),
                reply => Ok(T::take(reply)?),
            });
            if caller.answers.len() == caller.count
                && let Some(caller) = sent.pop_front()
            {
                // Whoever gave up waiting does not need it.
                let _ = caller.done.send(Ok(caller.answers));
            }
        }
        input.advance(taken);
        self.queue().owed -= answered;
        Ok(())
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server said so.
    Refused(String),
    /// The way there is broken.
    Broken(String),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Connects and introduces itself.
async fn open(address: &Address) -> Result<TcpStream, Failed> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    // A server that hangs takes connections all the same.
    match introduce(&mut stream, address, &[b"PING"]).await? {
        Err(why) if is_farewell(&why) => Err(Failed::Refused(why)),
        // A user who may not PING has shown that the server answers.
        _ => Ok(stream),
    }
}

/// Introduces itself, and asks for one thing more: the text that is the answer to that, or the error.
pub(super) async fn introduce(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    address: &Address,
    last: &[&[u8]],
) -> Result<Result<Vec<u8>, String>, Failed> {
    let mut commands: Vec<Vec<&[u8]>> = Vec::new();
    if let Some(password) = &address.password {
        let user = address.user.as_ref().map(String::as_bytes);
        commands.push([b"AUTH".as_slice()].into_iter().chain(user).chain([password.as_bytes()]).collect());
    }
    let database = address.database.map(|number| number.to_string());
    if let Some(number) = &database {
        commands.push(vec![b"SELECT", number.as_bytes()]);
    }
    let before = commands.len();
    commands.push(last.to_vec());
    let mut out = Vec::new();
    for command in &commands {
        resp::command(command, &mut out);
    }
    // A server that is full says so and closes: what it said is still to be read.
    let written = stream.write_all(&out).await;
    let mut input = BytesMut::new();
    for _ in 0..before {
        if let Err(why) = answer(stream, &mut input, address).await? {
            return Err(Failed::Refused(why));
        }
    }
    let answer = answer(stream, &mut input, address).await?;
    written.map(|()| answer).map_err(Failed::from)
}

/// The next answer: its text, if it has one, or the error.
async fn answer(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    address: &Address,
) -> Result<Result<Vec<u8>, String>, Failed> {
    loop {
        if let Some((reply, length)) = resp::reply(input).map_err(|why| Failed::Broken(why.to_owned()))? {
            let answer = match reply {
                Reply::Error(text) => {
                    Err(masked(&String::from_utf8_lossy(text), address.password.as_deref()))
                }
                Reply::Text(text) => Ok(text.unwrap_or_default().to_vec()),
                _ => Ok(Vec::new()),
            };
            input.advance(length);
            return Ok(answer);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(Failed::Broken("the server closed the connection".to_owned()));
        }
    }
}

/// Whether a server closes the connection after this error.
fn is_farewell(why: &str) -> bool {
    why.starts_with("DENIED") || why.starts_with("ERR max number of clients")
}
