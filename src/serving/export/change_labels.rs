//! Changes in an export: who entered and who left a segment, by rank.

use std::{ops::Range, sync::Arc};

use crate::{
    audience::Bitmap,
    serving::{ChangeList, Direction, SnapshotPair},
    snapshot::SnapshotError,
};

/// Changes by rank. Ranks count from 1.
#[derive(Debug)]
pub(super) struct ChangeLabels {
    /// Greatest rank of a customer who entered.
    entered: u32,
    /// Ranks of the customers whom one of the snapshots does not have.
    absent: Bitmap,
    /// Rank and id of each customer whom the later snapshot does not have, by rank.
    gone: Vec<(u32, String)>,
}

impl ChangeLabels {
    /// Ranks the customers of `direction` in `list`. Returns the rank of each customer of the later snapshot,
    /// by the customer's number, or 0, and the changes.
    pub(super) async fn of(
        pair: &SnapshotPair,
        list: &ChangeList,
        direction: Direction,
    ) -> Result<(Vec<u32>, Self), Arc<SnapshotError>> {
        let (before, places) = (pair.before.sets.ids().await?, list.places(direction));
        let mut ranks = vec![0; pair.after.sets.customers()];
        let mut labels = Self { entered: 0, absent: Bitmap::empty(places.len() + 1), gone: Vec::new() };
        for (rank, place) in (1..).zip(places) {
            let customer = list.customers[place];
            if place < list.entered {
                labels.entered = rank;
            }
            if customer.before.is_none() || customer.after.is_none() {
                labels.absent.insert(rank as usize);
            }
            match (customer.before, customer.after) {
                (_, Some(number)) => ranks[number as usize] = rank,
                (Some(number), None) => labels.gone.push((rank, before.get(number as usize).to_owned())),
                (None, None) => {}
            }
        }
        Ok((ranks, labels))
    }

    /// Returns the direction of the change of the customer with `rank`.
    pub(super) fn change(&self, rank: u32) -> &'static str {
        if rank <= self.entered { "entered" } else { "left" }
    }

    /// Returns the snapshot that does not have the customer with `rank`.
    pub(super) fn absent_in(&self, rank: u32) -> Option<&'static str> {
        let end = if rank <= self.entered { "from" } else { "to" };
        self.absent.contains(rank as usize).then_some(end)
    }

    /// Returns rank and id of the customers with ranks in `wanted` whom the later snapshot does not have.
    pub(super) fn gone(&self, wanted: &Range<u32>) -> Vec<(u32, &str)> {
        let gone = self.gone.iter().filter(|(rank, _)| wanted.contains(rank));
        gone.map(|(rank, id)| (*rank, id.as_str())).collect()
    }

    /// Returns the greatest rank of a customer whom the later snapshot does not have; 0 if there is none.
    pub(super) fn last_gone(&self) -> u32 {
        self.gone.last().map_or(0, |(rank, _)| *rank)
    }

    /// Returns the number of customers whom the later snapshot does not have.
    pub(super) fn count_gone(&self) -> u64 {
        self.gone.len() as u64
    }
}
