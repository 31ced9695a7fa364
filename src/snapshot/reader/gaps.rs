//! Erased customers in a snapshot: their number, and their ranks in each list.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};

use super::SnapshotReader;
use crate::{
    feature::CustomerId,
    snapshot::{FileKind, Forgotten, SnapshotError},
};

/// Number of customers that are looked up at a time.
const LOOKUPS: usize = 16;

/// Ranks that erased customers leave empty in the lists of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    customers: u64,
    lists: HashMap<String, Vec<u64>>,
}

impl Gaps {
    /// Returns the number of erased customers in the snapshot.
    #[must_use]
    pub fn customers(&self) -> u64 {
        self.customers
    }

    /// Returns the ranks of erased customers in `list`, counted from 0, ascending.
    #[must_use]
    pub fn of(&self, list: &str) -> &[u64] {
        self.lists.get(list).map_or(&[], Vec::as_slice)
    }

    /// Returns the rank in `list` of the member at `place`. Ranks and places count from 0; erased customers
    /// have a rank and no place.
    #[must_use]
    pub fn rank(&self, list: &str, place: u64) -> u64 {
        let gaps = self.of(list);
        // The number of members before a gap is its rank without the gaps before it. It never falls, so the
        // gaps before the place can be searched.
        let (mut before, mut end) = (0, gaps.len());
        while before < end {
            let middle = before.midpoint(end);
            if gaps[middle] - middle as u64 <= place {
                before = middle + 1;
            } else {
                end = middle;
            }
        }
        place.saturating_add(before as u64)
    }
}

impl SnapshotReader {
    /// Returns the customers among `ids` that the snapshot holds.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn held<'a>(
        &self,
        ids: impl Iterator<Item = &'a CustomerId>,
    ) -> Result<Vec<&'a CustomerId>, Arc<SnapshotError>> {
        let lookups: Vec<_> = ids
            .map(|id| async move { Ok::<_, Arc<SnapshotError>>(self.row(id).await?.map(|_| id)) })
            .collect();
        let held: Vec<Option<_>> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        Ok(held.into_iter().flatten().collect())
    }

    /// Returns the ranks of the customers of `forgotten`. Scans the lists only if the snapshot holds one of
    /// the customers.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn gaps(&self, forgotten: &Forgotten) -> Result<Gaps, Arc<SnapshotError>> {
        let mut gaps = Gaps { customers: self.held(forgotten.ids()).await?.len() as u64, ..Gaps::default() };
        if gaps.customers == 0 {
            return Ok(gaps);
        }
        for (file, entry) in self.manifest().files.iter().enumerate() {
            if entry.kind != FileKind::Ranking {
                continue;
            }
            let footer = self.footer(file).await?;
            let (mut rank, mut empty) = (0, Vec::new());
            for at in 0..footer.blocks() {
                let block = self.columns(file, &footer, at).await?;
                for id in self.ids(file, &block)? {
                    if id.is_some_and(|id| forgotten.contains(id)) {
                        empty.push(rank);
                    }
                    rank += 1;
                }
            }
            gaps.lists.insert(entry.segment.clone().unwrap_or_default(), empty);
        }
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ranks_without_gaps() {
        for empty in [vec![], vec![0], vec![0, 1, 2], vec![3], vec![1, 2, 5, 9], vec![0, 4, 5, 6, 11]] {
            let gaps = Gaps { customers: 9, lists: HashMap::from([("all".to_owned(), empty.clone())]) };
            let ranks = (0..30).filter(|rank| !empty.contains(rank));
            assert!(ranks.zip(0..).all(|(rank, place)| gaps.rank("all", place) == rank), "{empty:?}");
        }
    }
}
