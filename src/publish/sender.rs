//! Commands on their way: gathered into batches of bounded size, a few of them under way, paced, tried again, never without the lease.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::tair::{Batch, Lease, Reply, TairError, Writer};

/// Commands of one batch.
const COMMANDS: usize = 500;
/// Bytes from which a batch goes.
const BYTES: usize = 512 << 10;
/// Batches under way.
const UNDER_WAY: usize = 4;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends commands.
pub(super) struct Sender {
    writer: Arc<Writer>,
    lease: Arc<Lease>,
    open: Batch,
    under_way: JoinSet<Result<(), TairError>>,
    pace: Option<Pace>,
}

/// When the next commands may go.
struct Pace {
    per_second: f64,
    next: Instant,
}

/// How much goes in one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) commands: usize,
}

impl Limit {
    /// Whether nothing more should be added to `batch`.
    pub(super) fn is_reached(self, batch: &Batch) -> bool {
        batch.len() >= self.commands || batch.bytes().len() >= BYTES
    }
}

impl Sender {
    pub(super) fn new(writer: &Arc<Writer>, lease: &Arc<Lease>, max_ops: Option<u32>) -> Self {
        let pace = max_ops.map(|ops| Pace { per_second: f64::from(ops.max(1)), next: Instant::now() });
        Self {
            writer: Arc::clone(writer),
            lease: Arc::clone(lease),
            open: Batch::default(),
            under_way: JoinSet::new(),
            pace,
        }
    }

    pub(super) fn limit(&self) -> Limit {
        let paced = self.pace.as_ref().map(|pace| 1 + to_count(pace.per_second / 20.0));
        Limit { commands: paced.unwrap_or(COMMANDS).min(COMMANDS) }
    }

    /// Where commands are added. Those added before the next [`Sender::advance`] stay together and in their order.
    pub(super) fn batch(&mut self) -> &mut Batch {
        &mut self.open
    }

    /// Sends what was added once it is enough.
    pub(super) async fn advance(&mut self) -> Result<(), TairError> {
        if self.limit().is_reached(&self.open) { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), TairError> {
        let batch = std::mem::take(&mut self.open);
        self.send(batch).await
    }

    /// The answer to each command of `batch`, which is sent once, after what was added.
    pub(super) async fn ask(&mut self, batch: &Batch) -> Result<Vec<Result<Reply, TairError>>, TairError> {
        self.flush().await?;
        self.wait(batch).await;
        self.lease.check()?;
        self.writer.answers(batch).await
    }

    /// Waits until `batch` may go.
    async fn wait(&mut self, batch: &Batch) {
        if let Some(pace) = &mut self.pace {
            tokio::time::sleep_until(pace.next).await;
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            let time = Duration::from_secs_f64(batch.len() as f64 / pace.per_second);
            pace.next = pace.next.max(Instant::now()) + time;
        }
    }

    /// Sends `batch`. What is under way at the same time may arrive in any order.
    pub(super) async fn send(&mut self, batch: Batch) -> Result<(), TairError> {
        if batch.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= UNDER_WAY {
            self.join().await?;
        }
        self.wait(&batch).await;
        let (writer, lease) = (Arc::clone(&self.writer), Arc::clone(&self.lease));
        self.under_way.spawn(async move { send(&writer, &lease, &batch).await });
        Ok(())
    }

    async fn join(&mut self) -> Result<(), TairError> {
        match self.under_way.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => Err(TairError::Unreachable(error.to_string())),
            None => Ok(()),
        }
    }

    /// Sends what is left and waits until everything has arrived.
    pub(super) async fn settle(&mut self) -> Result<(), TairError> {
        self.flush().await?;
        while !self.under_way.is_empty() {
            self.join().await?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
fn to_count(number: f64) -> usize {
    number as usize
}

/// Until it succeeds or the lease ends: all commands give the same however often they are carried out.
async fn send(writer: &Writer, lease: &Lease, batch: &Batch) -> Result<(), TairError> {
    let mut pause = PAUSE;
    let mut last = None;
    loop {
        if let Err(lost) = lease.check() {
            return Err(last.unwrap_or(lost));
        }
        match writer.send(batch).await {
            Err(error) if error.is_passing() => last = Some(error),
            done => return done,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
