//! Numbers of customer ids: first in the order of their first line, then in a sorted order.

use std::{collections::HashMap, hash::BuildHasherDefault};

use arrow::array::{Array, StringArray};
use twox_hash::XxHash64;

/// Numbers of the distinct ids of some lines.
#[derive(Debug, Default)]
pub(super) struct IdRanks<'a> {
    numbers: HashMap<&'a str, u32, BuildHasherDefault<XxHash64>>,
    ids: Vec<&'a str>,
}

impl<'a> IdRanks<'a> {
    /// Returns the number of each id. Lines of one customer usually follow each other, so comparing with the
    /// last id often saves the lookup.
    pub(super) fn add(&mut self, ids: &'a StringArray) -> Vec<u32> {
        let mut last = ("", u32::MAX);
        let numbers = (0..ids.len()).map(|row| {
            let id = ids.value(row);
            if last.1 == u32::MAX || last.0 != id {
                let next = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
                let number = *self.numbers.entry(id).or_insert(next);
                if number == next {
                    self.ids.push(id);
                }
                last = (id, number);
            }
            last.1
        });
        numbers.collect()
    }

    /// Returns the distinct ids in the order of their numbers.
    pub(super) fn ids(&self) -> &[&'a str] {
        &self.ids
    }

    /// Returns the ids sorted by `key`, which is given an id and its number, and the index of each number
    /// among them.
    pub(super) fn sorted_by_key<K: Ord>(self, key: impl Fn(&'a str, usize) -> K) -> (Vec<&'a str>, Vec<u32>) {
        let mut order: Vec<usize> = (0..self.ids.len()).collect();
        order.sort_unstable_by_key(|number| key(self.ids[*number], *number));
        let mut places = vec![0; order.len()];
        for (place, number) in (0_u32..).zip(&order) {
            places[*number] = place;
        }
        (order.into_iter().map(|number| self.ids[number]).collect(), places)
    }
}
