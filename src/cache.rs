//! In-memory cache with a budget in bytes, an optional time to live, and one load per key at a time.
//!
//! Concurrent callers of a missing key share one load. Entries that are used least are evicted first. The
//! cache knows nothing of its values.

use std::{
    fmt,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::{OptionsBuilder, sync};

/// Cache of values of type `V` by keys of type `K`. If loading fails, every waiting caller gets the error
/// `E`, and the next caller tries again.
pub struct Cache<K, V, E> {
    slots: sync::Cache<K, Slot<V, E>, Weighter>,
    weight: fn(&K, &V) -> usize,
    ttl: Option<Duration>,
}

struct Slot<V, E> {
    held: Result<V, Arc<E>>,
    weight: u64,
    since: Instant,
}

#[derive(Clone)]
struct Weighter;

impl<K, V, E> quick_cache::Weighter<K, Slot<V, E>> for Weighter {
    fn weight(&self, _: &K, slot: &Slot<V, E>) -> u64 {
        slot.weight
    }
}

impl<K: Hash + Eq + Clone, V: Clone, E> Cache<K, V, E> {
    /// Creates an empty cache. The weights of all values add up to at most `budget`. `count` is the expected
    /// number of values.
    #[must_use]
    pub fn new(budget: u64, count: u64, weight: fn(&K, &V) -> usize) -> Self {
        let mut builder = OptionsBuilder::new();
        builder
            .weight_capacity(budget)
            .estimated_items_capacity(usize::try_from(count).unwrap_or(usize::MAX));
        let options = builder.build().unwrap_or_else(|_| unreachable!("both capacities are set"));
        let slots = sync::Cache::with_options(
            options,
            Weighter,
            quick_cache::DefaultHashBuilder::default(),
            sync::DefaultLifecycle::default(),
        );
        Self { slots, weight, ttl: None }
    }

    /// Sets the time to live of values.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    fn is_stale(&self, slot: &Slot<V, E>) -> bool {
        self.ttl.is_some_and(|ttl| slot.since.elapsed() >= ttl)
    }

    fn slot(&self, key: &K, held: Result<V, Arc<E>>) -> Slot<V, E> {
        // A value without weight would never be evicted.
        let weight = held.as_ref().map_or(1, |value| (self.weight)(key, value).max(1) as u64);
        Slot { held, weight, since: Instant::now() }
    }

    /// Returns the cached value of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        let slot = self.slots.get(key)?;
        if self.is_stale(&slot) { None } else { slot.held.ok() }
    }

    /// Returns the value of `key`, and loads it with `make` if the cache does not have it. A concurrent load
    /// of the same key is awaited instead of started again.
    ///
    /// # Errors
    /// The error of the load, which every caller that waited for the load gets.
    pub async fn get_or_make(&self, key: &K, make: impl Future<Output = Result<V, E>>) -> Result<V, Arc<E>> {
        let guard = loop {
            match self.slots.get_value_or_guard_async(key).await {
                Ok(slot) if self.is_stale(&slot) => {
                    self.slots.remove_if(key, |current| current.since == slot.since);
                }
                Ok(slot) => return slot.held,
                Err(guard) => break guard,
            }
        };
        let slot = self.slot(key, make.await.map_err(Arc::new));
        let held = slot.held.clone();
        // Fails if the key was removed during the load. Waiting callers get the value, and the cache does not
        // keep it.
        let _ = guard.insert(slot);
        if held.is_err() {
            self.slots.remove_if(key, |current| current.held.is_err());
        }
        held
    }

    /// Inserts `value` and replaces the current value of `key`.
    pub fn insert(&self, key: K, value: V) {
        let slot = self.slot(&key, Ok(value));
        self.slots.insert(key, slot);
    }

    /// Removes `key`. A load of `key` that is in flight is not cached.
    pub fn remove(&self, key: &K) {
        self.slots.remove(key);
    }

    /// Removes all keys that match `predicate`, and all values past their time to live.
    pub fn remove_where(&self, predicate: impl Fn(&K) -> bool) {
        self.slots.retain(|key, slot| !predicate(key) && !self.is_stale(slot));
    }

    /// Returns the sum of the weights of all values.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.slots.weight()
    }
}

impl<V: Clone, E> Clone for Slot<V, E> {
    fn clone(&self) -> Self {
        Self { held: self.held.clone(), weight: self.weight, since: self.since }
    }
}

impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Barrier;

    use super::*;

    fn cache(budget: u64) -> Cache<u32, String, String> {
        Cache::new(budget, budget / 10, |_, text| text.len())
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_load_and_its_error() {
        let (cache, made, both) = (cache(1_000), AtomicUsize::new(0), Barrier::new(2));
        let ask = |fails: bool| {
            let (cache, made) = (&cache, &made);
            async move {
                let make = async {
                    let number = made.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    if fails { Err(format!("no {number}")) } else { Ok(format!("yes {number}")) }
                };
                cache.get_or_make(&7, make).await
            }
        };
        let answers = join_all((0..20).map(|_| ask(true))).await;
        assert!(
            answers.iter().all(|answer| answer.as_ref().is_err_and(|error| **error == "no 0")),
            "{answers:?}"
        );
        assert_eq!((cache.get(&7), cache.weight()), (None, 0));
        let answers = join_all((0..20).map(|_| ask(false))).await;
        assert!(answers.iter().all(|answer| answer.as_deref() == Ok("yes 1")), "{answers:?}");
        assert_eq!(ask(true).await.as_deref(), Ok("yes 1"));
        // If the loading caller is dropped, the next caller loads.
        let stuck = async {
            let make = async {
                both.wait().await;
                std::future::pending().await
            };
            cache.get_or_make(&8, make).await
        };
        tokio::select! {
            _ = stuck => panic!("the load ended"),
            _ = both.wait() => {}
        }
        let next = cache.get_or_make(&8, async { Ok("next".to_owned()) }).await;
        assert_eq!(next.as_deref(), Ok("next"));
    }

    #[tokio::test]
    async fn key_removed_during_load_is_not_cached() {
        let cache = cache(1_000);
        let make = async {
            cache.remove(&1);
            Ok("old".to_owned())
        };
        assert_eq!(cache.get_or_make(&1, make).await.as_deref(), Ok("old"));
        assert_eq!(cache.get(&1), None);
        cache.insert(1, "one".to_owned());
        cache.insert(2, "two".to_owned());
        cache.remove_where(|key| *key == 1);
        assert_eq!((cache.get(&1), cache.get(&2).as_deref(), cache.weight()), (None, Some("two"), 3));
    }

    #[tokio::test]
    async fn budget_is_respected_and_hot_keys_stay() {
        let cache = cache(1_000);
        for key in 0..1_000 {
            let _ = cache.get_or_make(&key, async { Ok("x".repeat(10)) }).await;
            assert!(cache.weight() <= 1_000);
            assert!(cache.get(&0).is_some() || key > 0, "the hot key was evicted");
        }
        let too_large = cache.get_or_make(&5_000, async { Ok("x".repeat(2_000)) }).await;
        assert_eq!(too_large.map(|text| text.len()), Ok(2_000));
        assert!(cache.get(&5_000).is_none() && cache.weight() <= 1_000);
        let none = super::Cache::<u32, String, String>::new(0, 0, |_, text| text.len());
        assert_eq!(none.get_or_make(&1, async { Ok("one".to_owned()) }).await.as_deref(), Ok("one"));
        assert_eq!(none.weight(), 0);
    }

    #[tokio::test]
    async fn expired_value_is_loaded_again() {
        let cache = cache(1_000).with_ttl(Duration::ZERO);
        cache.insert(1, "old".to_owned());
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get_or_make(&1, async { Ok("new".to_owned()) }).await.as_deref(), Ok("new"));
        cache.remove_where(|_| false);
        assert_eq!(cache.weight(), 0);
    }
}
