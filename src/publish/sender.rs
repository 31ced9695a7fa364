//! Sending of commands under a lease: batches of bounded size, a few in flight, rate-limited, retried.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::tair::{Batch, Lease, Reply, TairError, Writer};

/// Maximum number of commands in one batch.
const MAX_COMMANDS: usize = 500;
/// Number of bytes from which a batch is sent.
const MAX_BYTES: usize = 512 << 10;
/// Maximum number of batches in flight.
const MAX_IN_FLIGHT: usize = 4;
/// Backoff before the first retry, which doubles with each retry up to one second.
const BACKOFF: Duration = Duration::from_millis(50);

/// Sender of commands under a lease.
pub(super) struct Sender {
    writer: Arc<Writer>,
    lease: Arc<Lease>,
    open: Batch,
    in_flight: JoinSet<Result<(), TairError>>,
    rate: Option<RateLimit>,
}

/// Limit of commands per second.
struct RateLimit {
    per_second: f64,
    /// Time at which the next batch may be sent.
    next: Instant,
}

/// Maximum size of one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimit {
    pub(super) commands: usize,
}

impl BatchLimit {
    /// Checks whether `batch` is large enough to be sent.
    pub(super) fn is_reached(self, batch: &Batch) -> bool {
        batch.len() >= self.commands || batch.bytes().len() >= MAX_BYTES
    }
}

impl Sender {
    pub(super) fn new(writer: &Arc<Writer>, lease: &Arc<Lease>, max_ops: Option<u32>) -> Self {
        let rate = max_ops.map(|ops| RateLimit { per_second: f64::from(ops.max(1)), next: Instant::now() });
        Self {
            writer: Arc::clone(writer),
            lease: Arc::clone(lease),
            open: Batch::default(),
            in_flight: JoinSet::new(),
            rate,
        }
    }

    /// Returns the batch size, which is a twentieth of a second's commands if the rate is limited.
    pub(super) fn limit(&self) -> BatchLimit {
        let limited = self.rate.as_ref().map(|rate| 1 + to_count(rate.per_second / 20.0));
        BatchLimit { commands: limited.unwrap_or(MAX_COMMANDS).min(MAX_COMMANDS) }
    }

    /// Returns the open batch. Commands added before the next [`Sender::advance`] stay together and in order.
    pub(super) fn batch(&mut self) -> &mut Batch {
        &mut self.open
    }

    /// Sends the open batch if it is large enough.
    pub(super) async fn advance(&mut self) -> Result<(), TairError> {
        if self.limit().is_reached(&self.open) { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), TairError> {
        let batch = std::mem::take(&mut self.open);
        self.send(batch).await
    }

    /// Sends the open batch, then `batch`, and returns the answer to each command of `batch`. Does not retry.
    pub(super) async fn ask(&mut self, batch: &Batch) -> Result<Vec<Result<Reply, TairError>>, TairError> {
        self.flush().await?;
        self.throttle(batch).await;
        self.lease.check()?;
        self.writer.answers(batch).await
    }

    /// Waits until the rate limit admits `batch`.
    async fn throttle(&mut self, batch: &Batch) {
        if let Some(rate) = &mut self.rate {
            tokio::time::sleep_until(rate.next).await;
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            let time = Duration::from_secs_f64(batch.len() as f64 / rate.per_second);
            rate.next = rate.next.max(Instant::now()) + time;
        }
    }

    /// Sends `batch` in the background. Batches in flight at the same time may arrive in any order.
    pub(super) async fn send(&mut self, batch: Batch) -> Result<(), TairError> {
        if batch.is_empty() {
            return Ok(());
        }
        while self.in_flight.len() >= MAX_IN_FLIGHT {
            self.join().await?;
        }
        self.throttle(&batch).await;
        let (writer, lease) = (Arc::clone(&self.writer), Arc::clone(&self.lease));
        self.in_flight.spawn(async move { send(&writer, &lease, &batch).await });
        Ok(())
    }

    async fn join(&mut self) -> Result<(), TairError> {
        match self.in_flight.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => Err(TairError::Unreachable(error.to_string())),
            None => Ok(()),
        }
    }

    /// Sends the open batch and waits until every batch was answered.
    pub(super) async fn settle(&mut self) -> Result<(), TairError> {
        self.flush().await?;
        while !self.in_flight.is_empty() {
            self.join().await?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
fn to_count(number: f64) -> usize {
    number as usize
}

/// Sends `batch` and retries until it succeeds or the lease ends. Every command of a publish is idempotent.
async fn send(writer: &Writer, lease: &Lease, batch: &Batch) -> Result<(), TairError> {
    let mut backoff = BACKOFF;
    let mut last = None;
    loop {
        if let Err(lost) = lease.check() {
            return Err(last.unwrap_or(lost));
        }
        match writer.send(batch).await {
            Err(error) if error.is_transient() => last = Some(error),
            done => return done,
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(Duration::from_secs(1));
    }
}
