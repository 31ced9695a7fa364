//! Threads for computations: decoding, counting, sorting, formatting.
//!
//! One fixed set of threads serves all runtimes of the process. Each runtime has a pool of blocking threads
//! of its own, which grows to hundreds of threads under load, and every thread keeps memory that it has
//! allocated once. A computation must not wait for another one, since it may hold the last thread.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    task::{AbortHandle, JoinError},
};

/// Time after which an idle thread ends.
const KEEP_ALIVE: Duration = Duration::from_hours(24);

/// Runtime whose blocking threads run the computations; nothing else runs on it.
static THREADS: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = Builder::new_current_thread();
    builder.thread_name("compute").max_blocking_threads(cores.max(2)).thread_keep_alive(KEEP_ALIVE).build()
});

/// Tells a computation that its result is no longer awaited.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

/// Result of a computation that stopped because its result is no longer awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canceled;

impl Cancellation {
    /// Checks whether the result is still awaited. A long computation calls this between its steps.
    ///
    /// # Errors
    /// [`Canceled`] if the result is no longer awaited.
    pub fn check(&self) -> Result<(), Canceled> {
        if self.0.load(Ordering::Relaxed) { Err(Canceled) } else { Ok(()) }
    }
}

/// Cancels a computation when dropped.
struct CancelOnDrop {
    cancellation: Cancellation,
    task: AbortHandle,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.cancellation.0.store(true, Ordering::Relaxed);
        // Removes the computation from the queue, unless it has begun or ended.
        self.task.abort();
    }
}

/// Runs `work` on one of the threads for computations. If the returned future is dropped, `work` does not
/// begin, or is told to stop.
///
/// # Errors
/// If `work` panics, or the process is shutting down.
pub async fn compute<T: Send + 'static>(
    work: impl FnOnce(&Cancellation) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let cancellation = Cancellation::default();
    let seen = cancellation.clone();
    let work = move || work(&seen);
    let task = match &*THREADS {
        Ok(threads) => threads.spawn_blocking(work),
        // Without memory for a runtime, the pool of the current runtime has to do.
        Err(_) => tokio::task::spawn_blocking(work),
    };
    let _cancel = CancelOnDrop { cancellation, task: task.abort_handle() };
    task.await
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, poll_fn},
        pin::pin,
        task::Poll,
    };

    use super::*;

    #[tokio::test]
    async fn dropped_computation_is_told_to_stop() {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        {
            let mut running = pin!(compute(move |cancellation| {
                let _ = begun.send(());
                while cancellation.check().is_ok() {
                    std::thread::yield_now();
                }
                let _ = ended.send(());
            }));
            let first = poll_fn(|context| Poll::Ready(running.as_mut().poll(context).is_pending())).await;
            assert!(first, "the computation ended by itself");
            has_begun.await.expect("the computation began");
        }
        has_ended.await.expect("the computation was told to stop");
    }

    #[tokio::test]
    async fn computations_of_all_runtimes_share_few_threads() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).max(2);
        let names = || std::thread::current().id();
        let mut threads: Vec<_> = futures::future::join_all((0..200).map(|_| compute(move |_| names())))
            .await
            .into_iter()
            .map(|id| format!("{:?}", id.expect("no panic")))
            .collect();
        threads.sort();
        threads.dedup();
        assert!(threads.len() <= cores, "{threads:?}");
    }
}
