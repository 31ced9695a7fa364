//! Ranks of an export: the rank of every customer in the exported list, by the customer's position in the
//! snapshot.
//!
//! Lists are sorted by rank, snapshots by id. The ids are sorted in chunks of bounded size, so that memory is
//! bounded except for four bytes per customer of the snapshot.

use std::{cmp::Ordering, ops::Range, sync::Arc};

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::ExportList;
use crate::{
    feature::PackedTexts,
    serving::Served,
    snapshot::{SnapshotError, column_scan::text_column, run_blocking, writer::ID},
};

/// Number of members that are read at a time.
const PAGE: usize = 65_536;
/// Number of members that are sorted at a time.
const SORTED: usize = 1 << 20;

/// Ranks by position in the snapshot. Ranks count from 1; 0 stands for a customer who is not in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranks(Vec<u32>);

impl Ranks {
    pub(super) fn new(ranks: Vec<u32>) -> Self {
        Self(ranks)
    }

    /// Reads the ranks of `list`.
    pub(super) async fn of(served: &Arc<Served>, list: &ExportList) -> Result<Self, Arc<SnapshotError>> {
        let customers = usize::try_from(served.manifest.customers).unwrap_or(usize::MAX);
        let mut ranks = Self(vec![0; customers]);
        let (mut next, mut rank) = (Some(0), 0);
        while next.is_some() {
            let mut members = RankedIds::default();
            while let Some(first) = next
                && members.ranks.len() < SORTED
            {
                let page;
                (page, next) = list.page(served, first, PAGE).await?;
                for id in &page {
                    rank += 1;
                    members.push(rank, id.as_str());
                }
            }
            let sort = move || RankMerge::new(members, ranks);
            let mut merge = run_blocking("sort members", sort).await?;
            let mut all = served.reader.files().columns_with_id(&[]);
            while !merge.is_complete()
                && let Some(batch) = all.next().await.transpose()?
            {
                let advance = move || {
                    merge.advance(&batch);
                    merge
                };
                merge = run_blocking("rank members", advance).await?;
            }
            ranks = merge.ranks;
        }
        Ok(ranks)
    }

    /// Iterates over the ranks of the customers from position `start` on. Ranks outside of `wanted` are 0.
    pub(super) fn from(&self, start: u64, wanted: Range<u32>) -> impl Iterator<Item = u32> {
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(self.0.len());
        self.0[start..].iter().map(move |rank| if wanted.contains(rank) { *rank } else { 0 })
    }

    /// Checks whether a customer at one of the positions `places` has a rank in `wanted`.
    pub(super) fn any(&self, places: Range<u64>, wanted: Range<u32>) -> bool {
        let length = usize::try_from(places.end - places.start).unwrap_or(usize::MAX);
        self.from(places.start, wanted).take(length).any(|rank| rank > 0)
    }

    /// Returns the number of customers with a rank.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|rank| u64::from(*rank > 0)).sum()
    }

    /// Returns the greatest rank; 0 if the list is empty.
    pub(super) fn last(&self) -> u32 {
        self.0.iter().copied().max().unwrap_or(0)
    }
}

/// Members of a list with their ranks.
#[derive(Debug, Default)]
struct RankedIds {
    ids: PackedTexts,
    ranks: Vec<u32>,
}

impl RankedIds {
    fn push(&mut self, rank: u32, id: &str) {
        self.ids.push(id);
        self.ranks.push(rank);
    }
}

/// Merge of some members of a list with all customers, both sorted by id, which sets the ranks of the
/// members.
struct RankMerge {
    members: RankedIds,
    /// Indexes of the members, sorted by id.
    order: Vec<usize>,
    /// Index in `order` of the next member.
    next: usize,
    /// Number of the first customer of the next batch.
    start: usize,
    ranks: Ranks,
}

impl RankMerge {
    fn new(members: RankedIds, ranks: Ranks) -> Self {
        let mut order: Vec<usize> = (0..members.ranks.len()).collect();
        order.sort_unstable_by(|a, b| members.ids.get(*a).cmp(members.ids.get(*b)));
        Self { members, order, next: 0, start: 0, ranks }
    }

    /// Checks whether all members have their rank.
    fn is_complete(&self) -> bool {
        self.next >= self.order.len()
    }

    /// Sets the ranks of the members among the customers of `batch`.
    fn advance(&mut self, batch: &RecordBatch) {
        let ids = text_column(batch, ID);
        for (row, id) in ids.iter().flat_map(|ids| ids.iter().enumerate()) {
            let Some(id) = id else { continue };
            while let Some(at) = self.order.get(self.next) {
                match self.members.ids.get(*at).cmp(id) {
                    Ordering::Less => self.next += 1,
                    Ordering::Equal => {
                        if let Some(rank) = self.ranks.0.get_mut(self.start + row) {
                            *rank = self.members.ranks[*at];
                        }
                        self.next += 1;
                        break;
                    }
                    Ordering::Greater => break,
                }
            }
        }
        self.start += batch.num_rows();
    }
}
