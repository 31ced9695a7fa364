//! Queue of work that busy threads leave to threads without work.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Queue of jobs from threads that read files to threads that have none left.
#[derive(Debug)]
pub(super) struct RunQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<T>,
    /// Number of threads that still read files.
    readers: usize,
    /// Number of threads that wait for a job.
    waiting: usize,
}

/// A thread that reads files, from the start of the queue until the drop.
pub(super) struct Reader<'a, T>(&'a RunQueue<T>);

impl<T> RunQueue<T> {
    /// Creates the queue of `readers` threads, each of which calls [`RunQueue::reader`] once.
    pub(super) fn new(readers: usize) -> Self {
        let state = State { jobs: VecDeque::new(), readers, waiting: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Returns a guard whose drop tells that the thread has no files left.
    pub(super) fn reader(&self) -> Reader<'_, T> {
        Reader(self)
    }

    /// Leaves `job` to a thread without work. Returns the job if there is none.
    pub(super) fn offer(&self, job: T) -> Option<T> {
        let mut state = self.lock();
        if state.waiting <= state.jobs.len() {
            return Some(job);
        }
        state.jobs.push_back(job);
        self.changed.notify_one();
        None
    }

    /// Waits for a job. Returns `None` when no thread reads files any more.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.lock();
        state.waiting += 1;
        while state.jobs.is_empty() && state.readers > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.jobs.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Reader<'_, T> {
    fn drop(&mut self) {
        self.0.lock().readers -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::RunQueue;

    #[test]
    fn every_job_is_done_once() {
        for threads in [1, 2, 5] {
            let (queue, done) = (RunQueue::new(threads), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let (queue, done) = (&queue, &done);
                    scope.spawn(move || {
                        let reader = queue.reader();
                        // Only the first thread has jobs of its own.
                        for job in 0..if thread == 0 { 1_000 } else { 0 } {
                            if queue.offer(job).is_some() {
                                done.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        drop(reader);
                        while queue.take().is_some() {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(done.into_inner(), 1_000);
        }
    }
}
