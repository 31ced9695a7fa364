//! A parallel map over indexes whose results do not depend on the number of threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Greatest number of consecutive indexes that a thread takes at a time.
const MAX_STRIDE: usize = 32;
/// Number of times that each thread takes indexes if there are few.
const TURNS: usize = 8;

/// Returns the results of `work` for each index below `count`, in the order of indexes. Each thread has its
/// own `state`.
pub(super) fn parallel_map<S, T: Send>(
    threads: usize,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let stride = (count / (threads.max(1) * TURNS)).clamp(1, MAX_STRIDE);
    let run = || {
        let mut state = state();
        let mut done: Vec<(usize, Vec<T>)> = Vec::new();
        loop {
            let start = next.fetch_add(stride, Ordering::Relaxed);
            if start >= count {
                return done;
            }
            let results = (start..count.min(start + stride)).map(|index| work(&mut state, index));
            done.push((start, results.collect()));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count.div_ceil(stride))).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|(start, _)| *start);
    all.into_iter().flat_map(|(_, results)| results).collect()
}

#[cfg(test)]
mod tests {
    use super::parallel_map;

    #[test]
    fn results_are_in_index_order_for_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let squares = parallel_map(threads, 1_000, || (), |(), number| number * number);
            assert_eq!(squares, (0..1_000).map(|number| number * number).collect::<Vec<_>>());
        }
        assert!(parallel_map(3, 0, || (), |(), number| number).is_empty());
    }
}
