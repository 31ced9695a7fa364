//! Parallel maps and folds over indexes whose results do not depend on the number of threads.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Greatest number of consecutive indexes that a thread takes at a time.
const MAX_STRIDE: usize = 32;
/// Number of times that each thread takes indexes if there are few.
const TURNS: usize = 8;

/// Returns the results of `work` for each index below `count`, in the order of indexes. Each thread has its
/// own `state`.
pub(super) fn parallel_map<S: Send, T: Send>(
    threads: usize,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> T + Sync,
) -> Vec<T> {
    let done = run(
        threads,
        count,
        || (state(), Vec::new()),
        |(state, done), indexes| {
            let start = indexes.start;
            done.push((start, indexes.map(|index| work(state, index)).collect::<Vec<T>>()));
        },
    );
    let mut all: Vec<(usize, Vec<T>)> = done.into_iter().flat_map(|(_, done)| done).collect();
    all.sort_unstable_by_key(|(start, _)| *start);
    all.into_iter().flat_map(|(_, results)| results).collect()
}

/// Calls `work` for each index below `count`, and returns the states of the threads. The states and their
/// number depend on chance, so they must be combined by an operation whose result does not, such as a sum of
/// integers.
pub(super) fn parallel_fold<S: Send>(
    threads: usize,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) + Sync,
) -> Vec<S> {
    run(threads, count, state, |state, indexes| indexes.for_each(|index| work(state, index)))
}

/// Calls `work` for ranges of the indexes below `count`, and returns the states of the threads.
fn run<S: Send>(
    threads: usize,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, Range<usize>) + Sync,
) -> Vec<S> {
    let next = AtomicUsize::new(0);
    let stride = (count / (threads.max(1) * TURNS)).clamp(1, MAX_STRIDE);
    let run = || {
        let mut state = state();
        loop {
            let start = next.fetch_add(stride, Ordering::Relaxed);
            if start >= count {
                return state;
            }
            work(&mut state, start..count.min(start + stride));
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count.div_ceil(stride))).map(|_| scope.spawn(run)).collect();
        let mut all = vec![run()];
        for other in others {
            all.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::{parallel_fold, parallel_map};

    #[test]
    fn results_are_in_index_order_for_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let squares = parallel_map(threads, 1_000, || (), |(), number| number * number);
            assert_eq!(squares, (0..1_000).map(|number| number * number).collect::<Vec<_>>());
        }
        assert!(parallel_map(3, 0, || (), |(), number| number).is_empty());
    }

    #[test]
    fn every_index_is_worked_on_once() {
        for threads in [1, 2, 7] {
            let sums = parallel_fold(threads, 1_000, || 0, |sum, number| *sum += number);
            assert!(sums.len() <= threads);
            assert_eq!(sums.into_iter().sum::<usize>(), 499_500);
        }
    }
}
