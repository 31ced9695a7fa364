//! Values in memory within a budget of bytes, each made once however many ask for it at the same time; what was asked for least
//! makes room. Knows nothing of what it holds.

use std::{
    fmt,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::{OptionsBuilder, sync};

/// Values of type `V` by keys. What cannot be made is told to all who wait for it, as `E`, and tried again by whoever comes later.
pub struct Cache<K, V, E> {
    slots: sync::Cache<K, Slot<V, E>, Weighter>,
    weight: fn(&K, &V) -> usize,
    kept_for: Option<Duration>,
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
    /// An empty one that holds as much as `weight` makes `budget`, in about `count` values.
    #[must_use]
    pub fn new(budget: u64, count: u64, weight: fn(&K, &V) -> usize) -> Self {
        let mut options = OptionsBuilder::new();
        options
            .weight_capacity(budget)
            .estimated_items_capacity(usize::try_from(count).unwrap_or(usize::MAX));
        let options = options.build().unwrap_or_else(|_| unreachable!("both capacities are set"));
        let slots = sync::Cache::with_options(
            options,
            Weighter,
            quick_cache::DefaultHashBuilder::default(),
            sync::DefaultLifecycle::default(),
        );
        Self { slots, weight, kept_for: None }
    }

    /// The same, keeping nothing for longer than `time`.
    #[must_use]
    pub fn keeping_for(self, time: Duration) -> Self {
        Self { kept_for: Some(time), ..self }
    }

    fn is_stale(&self, slot: &Slot<V, E>) -> bool {
        self.kept_for.is_some_and(|time| slot.since.elapsed() >= time)
    }

    fn slot(&self, key: &K, held: Result<V, Arc<E>>) -> Slot<V, E> {
        // What weighs nothing would never make room.
        let weight = held.as_ref().map_or(1, |value| (self.weight)(key, value).max(1) as u64);
        Slot { held, weight, since: Instant::now() }
    }

    /// The value of `key`, if it is there.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        let slot = self.slots.get(key)?;
        if self.is_stale(&slot) { None } else { slot.held.ok() }
    }

    /// The value of `key`, by `make` where it is not there and nobody is making it already.
    ///
    /// # Errors
    /// That of whoever tried to make it.
    pub async fn get_or_make(&self, key: &K, make: impl Future<Output = Result<V, E>>) -> Result<V, Arc<E>> {
        let place = loop {
            match self.slots.get_value_or_guard_async(key).await {
                Ok(slot) if self.is_stale(&slot) => {
                    self.slots.remove_if(key, |there| there.since == slot.since);
                }
                Ok(slot) => return slot.held,
                Err(place) => break place,
            }
        };
        let slot = self.slot(key, make.await.map_err(Arc::new));
        let held = slot.held.clone();
        // It is not kept where the key was removed meanwhile; those who wait get it anyway.
        let _ = place.insert(slot);
        if held.is_err() {
            self.slots.remove_if(key, |there| there.held.is_err());
        }
        held
    }

    /// Keeps `value`, whatever was there.
    pub fn insert(&self, key: K, value: V) {
        let slot = self.slot(&key, Ok(value));
        self.slots.insert(key, slot);
    }

    /// Forgets `key`, also if its value is being made.
    pub fn remove(&self, key: &K) {
        self.slots.remove(key);
    }

    /// Forgets all keys that `goes` names, and what was kept for long enough.
    pub fn remove_where(&self, goes: impl Fn(&K) -> bool) {
        self.slots.retain(|key, slot| !goes(key) && !self.is_stale(slot));
    }

    /// What all values weigh.
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
    async fn a_value_is_made_once_and_an_error_is_told_to_all_who_wait_and_to_nobody_later() {
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
        // Whoever gives up leaves the making to the next.
        let stuck = async {
            let make = async {
                both.wait().await;
                std::future::pending().await
            };
            cache.get_or_make(&8, make).await
        };
        tokio::select! {
            _ = stuck => panic!("it was made"),
            _ = both.wait() => {}
        }
        let next = cache.get_or_make(&8, async { Ok("next".to_owned()) }).await;
        assert_eq!(next.as_deref(), Ok("next"));
    }

    #[tokio::test]
    async fn what_is_removed_while_it_is_made_is_not_kept() {
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
    async fn the_budget_holds_and_what_is_asked_for_stays() {
        let cache = cache(1_000);
        for key in 0..1_000 {
            let _ = cache.get_or_make(&key, async { Ok("x".repeat(10)) }).await;
            assert!(cache.weight() <= 1_000);
            assert!(cache.get(&0).is_some() || key > 0, "what is asked for all the time went");
        }
        let too_large = cache.get_or_make(&5_000, async { Ok("x".repeat(2_000)) }).await;
        assert_eq!(too_large.map(|text| text.len()), Ok(2_000));
        assert!(cache.get(&5_000).is_none() && cache.weight() <= 1_000);
        let none = super::Cache::<u32, String, String>::new(0, 0, |_, text| text.len());
        assert_eq!(none.get_or_make(&1, async { Ok("one".to_owned()) }).await.as_deref(), Ok("one"));
        assert_eq!(none.weight(), 0);
    }

    #[tokio::test]
    async fn what_is_stale_is_made_anew() {
        let cache = cache(1_000).keeping_for(Duration::ZERO);
        cache.insert(1, "old".to_owned());
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get_or_make(&1, async { Ok("new".to_owned()) }).await.as_deref(), Ok("new"));
        cache.remove_where(|_| false);
        assert_eq!(cache.weight(), 0);
    }
}
