//! Commands on their way: gathered into pipelines of bounded size, a few of them under way, paced, tried again, never without the lease.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::tair::{Lease, TairError, Write, Writer};

/// Commands of one pipeline.
const COMMANDS: usize = 500;
/// Bytes of one pipeline.
const BYTES: usize = 512 << 10;
/// Pipelines under way.
const UNDER_WAY: usize = 4;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends commands.
pub(super) struct Sender {
    writer: Arc<Writer>,
    lease: Arc<Lease>,
    pending: Vec<Write>,
    bytes: usize,
    under_way: JoinSet<Result<(), TairError>>,
    pace: Option<Pace>,
}

/// When the next commands may go.
struct Pace {
    per_second: f64,
    next: Instant,
}

impl Sender {
    pub(super) fn new(writer: &Arc<Writer>, lease: &Arc<Lease>, max_ops: Option<u32>) -> Self {
        let pace = max_ops.map(|ops| Pace { per_second: f64::from(ops.max(1)), next: Instant::now() });
        Self {
            writer: Arc::clone(writer),
            lease: Arc::clone(lease),
            pending: Vec::new(),
            bytes: 0,
            under_way: JoinSet::new(),
            pace,
        }
    }

    /// Commands that must go together, in this order: they end up in one pipeline.
    pub(super) async fn push(&mut self, writes: impl IntoIterator<Item = Write>) -> Result<(), TairError> {
        for write in writes {
            self.bytes += write.args.iter().map(|arg| arg.len() + 16).sum::<usize>();
            self.pending.push(write);
        }
        let commands = self.pace.as_ref().map_or(COMMANDS, |pace| COMMANDS.min(1 + to_count(pace.per_second / 20.0)));
        if self.pending.len() >= commands || self.bytes >= BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), TairError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= UNDER_WAY {
            self.join().await?;
        }
        if let Some(pace) = &mut self.pace {
            tokio::time::sleep_until(pace.next).await;
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            let time = Duration::from_secs_f64(self.pending.len() as f64 / pace.per_second);
            pace.next = pace.next.max(Instant::now()) + time;
        }
        let (writes, writer, lease) =
            (std::mem::take(&mut self.pending), Arc::clone(&self.writer), Arc::clone(&self.lease));
        self.bytes = 0;
        self.under_way.spawn(async move { send(&writer, &lease, &writes).await });
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
    pub(super) async fn finish(mut self) -> Result<(), TairError> {
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
async fn send(writer: &Writer, lease: &Lease, writes: &[Write]) -> Result<(), TairError> {
    let mut pause = PAUSE;
    let mut last = None;
    loop {
        if let Err(lost) = lease.check() {
            return Err(last.unwrap_or(lost));
        }
        match writer.send(writes).await {
            Err(error) if error.is_passing() => last = Some(error),
            done => return done,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
