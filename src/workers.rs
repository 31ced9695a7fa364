//! Threads that each run a reactor of their own: a connection, and what it waits for, stay on one core.
//!
//! A runtime that shares its tasks among threads pays for it with wake-ups across cores, which cost more than most answers. Knows nothing of
//! what runs on them.

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

/// The threads; they end when this is dropped, and what runs on them is dropped with them.
#[derive(Debug)]
pub struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    handle: Handle,
    /// Tasks that were put here and have not ended.
    load: Arc<AtomicUsize>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` of them, at least one.
    ///
    /// # Errors
    /// Of a system that gives no more threads or files.
    pub fn start(count: usize) -> std::io::Result<Self> {
        (0..count.max(1)).map(Worker::start).collect::<Result<_, _>>().map(Self)
    }

    /// One for what belongs to no connection: by turns.
    #[must_use]
    pub fn handle(&self, number: usize) -> &Handle {
        &self.0[number % self.0.len()].handle
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Runs `task` on the worker that has the fewest.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let least = self.0.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
        if let Some(worker) = least {
            let counted = Counted::new(&worker.load);
            worker.handle.spawn(async move {
                let _counted = counted;
                task.await;
            });
        }
    }
}

impl Worker {
    fn start(number: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
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
        // Not of the thread itself, which cannot wait for its own end.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

/// A task that has not ended.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
