//! Segments of one snapshot laid over each other: a set is a bit for each customer, in the order of ids.

use std::{collections::HashMap, sync::Arc};

use arrow::array::Array;
use futures::StreamExt;
use tokio::runtime::Handle;

use super::{
    ReadError, Served, Serving,
    compare::{Found, Key, Names, apart, churn_segment, sorted_members},
};
use crate::{
    feature::SegmentKind,
    snapshot::{
        SnapshotError,
        column_scan::{self, ColumnBatches},
    },
};

/// Customers by their places in the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set(Vec<u64>);

impl Set {
    fn insert(&mut self, place: usize) {
        if self.0.len() <= place / 64 {
            self.0.resize(place / 64 + 1, 0);
        }
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn common(&self, other: &Self) -> u64 {
        self.0.iter().zip(&other.0).map(|(a, b)| u64::from((a & b).count_ones())).sum()
    }

    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.0.len() * size_of::<u64>()
    }
}

/// Two segments laid over each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The members of the first.
    pub a: u64,
    /// Those of the second.
    pub b: u64,
    /// The customers who are in both.
    pub both: u64,
}

impl Serving {
    /// How `segments` of a snapshot, all of which it must have, overlap: the first with the second, with the third, and so on.
    ///
    /// # Errors
    /// [`ReadError::UnknownSnapshot`] where it is gone, [`ReadError::Unavailable`].
    pub async fn overlaps(&self, served: &Arc<Served>, segments: &[&str]) -> Result<Vec<Overlap>, ReadError> {
        let mut sets = Vec::with_capacity(segments.len());
        for segment in segments {
            let set = self.set(served, segment).await;
            match set {
                Ok(set) => sets.push(set),
                Err(error) => return Err(self.gone([&served.manifest.id], error).await),
            }
        }
        let sizes: Vec<u64> = sets.iter().map(|set| set.len()).collect();
        let pairs = (0..sets.len()).flat_map(|a| (a + 1..sets.len()).map(move |b| (a, b)));
        Ok(pairs.map(|(a, b)| Overlap { a: sizes[a], b: sizes[b], both: sets[a].common(&sets[b]) }).collect())
    }

    async fn set(&self, served: &Arc<Served>, segment: &str) -> Result<Arc<Set>, Arc<SnapshotError>> {
        let manifest = Arc::clone(&served.manifest);
        let files = served.reader.files().clone();
        let id = manifest.id.clone();
        let found = if manifest.segment(segment).is_some_and(|segment| segment.kind == SegmentKind::Audience)
        {
            let (served, name) = (Arc::clone(served), segment.to_owned());
            let find = async move {
                let members = sorted_members(&served, &name).await?;
                let all = files.columns_with_id(&[]);
                apart(move |handle| set_of(&members, all, handle)).await.map(|set| Found::Set(Arc::new(set)))
            };
            self.comparisons.find(Key::Set(id, segment.to_owned()), find).await?
        } else {
            let find = async move {
                let all = files.columns_with_id(&["rfm.segment", "churn.risk"]);
                apart(move |handle| sets(all, handle)).await.map(|sets| Found::Sets(Arc::new(sets)))
            };
            self.comparisons.find(Key::Sets(id), find).await?
        };
        Ok(match found {
            Found::Set(set) => set,
            Found::Sets(sets) => sets.get(segment).cloned().unwrap_or_default(),
            Found::Changes(_) | Found::Moved(_) => Arc::default(),
        })
    }
}

/// The sets of all segments that are columns.
fn sets(mut batches: ColumnBatches, handle: &Handle) -> Result<HashMap<String, Arc<Set>>, SnapshotError> {
    let mut columns_of =
        [("rfm.segment", Names::default(), Vec::new()), ("churn.risk", Names::default(), Vec::new())];
    let mut start = 0;
    while let Some(batch) = handle.block_on(batches.next()).transpose()? {
        for (name, names, sets) in &mut columns_of {
            let Some(texts) = column_scan::text_column(&batch, name) else { continue };
            for (row, text) in texts.iter().enumerate() {
                let Some(text) = text else { continue };
                let number = names.number(text);
                if sets.len() <= number {
                    sets.resize(number + 1, Set::default());
                }
                sets[number].insert(start + row);
            }
        }
        start += batch.num_rows();
    }
    let [(_, segments, rfm), (_, risks, churn)] = columns_of;
    let rfm = segments.into_names().into_iter().zip(rfm);
    let churn = risks.into_names().into_iter().map(|risk| churn_segment(&risk)).zip(churn);
    Ok(rfm.chain(churn).map(|(name, set)| (name, Arc::new(set))).collect())
}

/// The set of `members`, sorted, among all customers.
fn set_of(members: &[Box<str>], mut all: ColumnBatches, handle: &Handle) -> Result<Set, SnapshotError> {
    let mut set = Set::default();
    let (mut rest, mut start) = (members.iter().peekable(), 0);
    while rest.peek().is_some() {
        let Some(batch) = handle.block_on(all.next()).transpose()? else { break };
        let ids = column_scan::text_column(&batch, "customer_id");
        for (row, id) in ids.iter().flat_map(|ids| ids.iter().enumerate()) {
            let Some(id) = id else { continue };
            while rest.next_if(|member| &***member < id).is_some() {}
            if rest.next_if(|member| &***member == id).is_some() {
                set.insert(start + row);
            }
        }
        start += ids.map_or(0, |ids| ids.len());
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_count_what_they_have_in_common() {
        let set = |places: &[usize]| {
            let mut set = Set::default();
            for place in places {
                set.insert(*place);
            }
            set
        };
        let (a, b) = (set(&[0, 63, 64, 200]), set(&[63, 64, 65]));
        assert_eq!(
            (a.len(), b.len(), a.common(&b), b.common(&a), a.common(&Set::default())),
            (4, 3, 2, 2, 0)
        );
    }
}
