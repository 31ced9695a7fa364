//! Work by number on several threads, with results in the order of the numbers, so that how many threads there are shows nowhere.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Numbers that a thread takes at a time.
const STRIDE: usize = 32;

/// What `work` makes of each number below `count`. Every thread has a `state` of its own.
pub(super) fn each<S, T: Send>(
    threads: usize,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut state = state();
        let mut done: Vec<(usize, Vec<T>)> = Vec::new();
        loop {
            let start = next.fetch_add(STRIDE, Ordering::Relaxed);
            if start >= count {
                return done;
            }
            let made = (start..count.min(start + STRIDE)).map(|number| work(&mut state, number));
            done.push((start, made.collect()));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count.div_ceil(STRIDE))).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|(start, _)| *start);
    all.into_iter().flat_map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn results_are_in_order_whatever_the_threads() {
        for threads in [1, 2, 7] {
            let squares = each(threads, 1_000, || (), |(), number| number * number);
            assert_eq!(squares, (0..1_000).map(|number| number * number).collect::<Vec<_>>());
        }
        assert!(each(3, 0, || (), |(), number| number).is_empty());
    }
}
