//! Turns of long requests, and the bounded queue for them.
//!
//! A worker thread answers all its connections. A batch of a thousand customers keeps the thread for
//! milliseconds; hundreds of such requests in a row would keep new requests unread for seconds, probes among
//! them. So each poll of a long request needs the turn of its thread, and the thread looks for new requests
//! between turns. Requests that wait are counted, and beyond a bound they get 503 at once.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::unsent::Unsent;
use crate::http::Problem;

/// Time after which a thread looks for new requests before the next turn begins.
const STRETCH: Duration = Duration::from_micros(500);

/// The turn of a worker thread.
#[derive(Debug)]
pub(crate) struct Pace {
    turn: Semaphore,
    start: Instant,
    /// Nanoseconds from `start` until the thread last looked for new requests between two turns.
    looked: AtomicU64,
    /// Large answers of the thread that are not sent yet.
    pub(super) unsent: Unsent,
}

thread_local! {
    static PACE: Arc<Pace> =
        Arc::new(Pace {
            turn: Semaphore::new(1),
            start: Instant::now(),
            looked: AtomicU64::new(0),
            unsent: Unsent::default(),
        });
}

impl Pace {
    /// Returns the pace of the current thread, which must run a single-threaded runtime.
    pub(crate) fn of_thread() -> Arc<Self> {
        PACE.with(Arc::clone)
    }

    /// Waits for the turn. `now` is the current time.
    async fn turn(&self, now: Instant) -> Option<SemaphorePermit<'_>> {
        let (turn, now) = match self.turn.try_acquire() {
            Ok(turn) => (Some(turn), now),
            // The semaphore is never closed.
            Err(_) => (self.turn.acquire().await.ok(), Instant::now()),
        };
        let nanos = |time: Instant| {
            u64::try_from(time.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
        };
        let looked = Duration::from_nanos(self.looked.load(Ordering::Relaxed));
        if Duration::from_nanos(nanos(now)).saturating_sub(looked) > STRETCH {
            // The runtime resumes a task that yields after it has polled for events.
            tokio::task::yield_now().await;
            self.looked.store(nanos(Instant::now()), Ordering::Relaxed);
        }
        turn
    }
}

/// The requests of the process that wait for their first turn.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    waiting: AtomicUsize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, waiting: AtomicUsize::new(0) }
    }

    /// Returns a place in the queue, or a problem if the queue is full.
    pub(super) fn enter(&self) -> Result<QueuePlace<'_>, Problem> {
        let place = QueuePlace(self);
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit {
            return Ok(place);
        }
        Err(Problem::busy("too many requests wait to be answered; try again later"))
    }
}

/// A place in the queue, until dropped.
pub(super) struct QueuePlace<'a>(&'a Queue);

impl QueuePlace<'_> {
    /// Polls `work` in turns of the thread. The place is given up with the first turn.
    pub(super) async fn in_turns<T>(self, pace: &Pace, arrived: Instant, work: impl Future<Output = T>) -> T {
        let (mut work, mut place, mut now) = (pin!(work), Some(self), arrived);
        loop {
            let turn = pace.turn(now).await;
            if let Some(place) = place.take() {
                pace.unsent.room().await;
                drop(place);
            }
            if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
                return output;
            }
            drop(turn);
            woken().await;
            now = Instant::now();
        }
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns when the task is polled again.
async fn woken() {
    let mut is_woken = false;
    poll_fn(|_| if std::mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::sync::oneshot;

    use super::*;

    /// Keeps the thread longer than a turn may last.
    fn work() {
        let start = Instant::now();
        while start.elapsed() < 2 * STRETCH {
            std::hint::spin_loop();
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn new_work_is_seen_between_two_turns() {
        let queue = Queue::new(100);
        let order = RefCell::new(Vec::new());
        let (sender, receiver) = oneshot::channel();
        let short = async {
            let _ = receiver.await;
            order.borrow_mut().push("probe");
        };
        let mut sender = Some(sender);
        let pace = Pace::of_thread();
        let long = (0..20).map(|number| {
            let sender = if number == 0 { sender.take() } else { None };
            let (order, pace, queue) = (&order, &pace, &queue);
            async move {
                let step = async {
                    if let Some(sender) = sender {
                        let _: Result<(), ()> = sender.send(());
                    }
                    work();
                    order.borrow_mut().push("long");
                };
                queue.enter().expect("a place").in_turns(pace, Instant::now(), step).await;
            }
        });
        tokio::join!(futures::future::join_all(long), short);
        let place = order.borrow().iter().position(|step| *step == "probe");
        assert!(place.is_some_and(|place| place <= 2), "{order:?}");
        assert_eq!(order.borrow().len(), 21);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn turn_is_given_up_while_work_waits() {
        let (queue, pace) = (Queue::new(2), Pace::of_thread());
        let (sender, receiver) = oneshot::channel::<u8>();
        let first = queue.enter().expect("a place").in_turns(&pace, Instant::now(), receiver);
        let second = queue.enter().expect("a place").in_turns(&pace, Instant::now(), async {
            sender.send(7).expect("the first waits");
        });
        let (first, ()) = tokio::join!(first, second);
        assert_eq!(first, Ok(7));
    }

    #[test]
    fn queue_beyond_its_limit_is_refused() {
        let queue = Queue::new(2);
        let (first, second) = (queue.enter(), queue.enter());
        assert!(first.is_ok() && second.is_ok() && queue.enter().is_err());
        drop(first);
        assert!(queue.enter().is_ok());
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 1);
    }
}
