//! Worker threads with one single-threaded Tokio runtime each, so that a connection and its I/O stay on one
//! core.
//!
//! A work-stealing runtime wakes tasks across cores, which costs more than most responses. The workers know
//! nothing of their tasks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

mod computations;

pub use computations::{Canceled, Cancellation, compute};

/// Greatest number of threads of a worker for blocking I/O, such as reads of local files and bodies that are
/// compressed. Every thread keeps memory that it has allocated once, so there must not be many. Computations
/// have threads of their own: see [`compute`].
const BLOCKING_THREADS: usize = 4;

/// Pool of worker threads. Dropping it stops the threads and drops their tasks.
#[derive(Debug)]
pub struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    handle: Handle,
    /// Number of running tasks that [`Workers::spawn`] placed on this worker.
    load: Arc<AtomicUsize>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers, at least one.
    ///
    /// # Errors
    /// If the operating system cannot start a thread or open the file descriptors of a runtime.
    pub fn start(count: usize) -> std::io::Result<Self> {
        (0..count.max(1)).map(Worker::start).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the runtime handle of worker `number`, counted round-robin.
    #[must_use]
    pub fn handle(&self, number: usize) -> &Handle {
        &self.0[number % self.0.len()].handle
    }

    /// Returns the number of workers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Runs `task` on the worker with the fewest tasks.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let least_loaded = self.0.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
        if let Some(worker) = least_loaded {
            let guard = LoadGuard::new(&worker.load);
            worker.handle.spawn(async move {
                let _guard = guard;
                task.await;
            });
        }
    }
}

impl Worker {
    fn start(number: usize) -> std::io::Result<Self> {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let run = move || {
            let _ = runtime.block_on(ended);
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(run)?;
        Ok(Self { handle, load: Arc::default(), end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.end.take());
        let Some(thread) = self.thread.take() else { return };
        // A thread cannot join itself.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

/// Counts a task in the load of its worker until dropped.
struct LoadGuard(Arc<AtomicUsize>);

impl LoadGuard {
    fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
