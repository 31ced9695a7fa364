//! Overlap of segments: how many customers two segments of one snapshot have in common.

use std::sync::Arc;

use super::{ReadError, Served, Serving, audience_cache::LeafSet};
use crate::{
    audience::{Bitmap, Leaf},
    snapshot::SnapshotError,
};

/// Sizes of two segments and of their intersection. Erased customers are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Number of members of the first segment.
    pub a: u64,
    /// Number of members of the second segment.
    pub b: u64,
    /// Number of customers in both segments.
    pub both: u64,
}

impl Serving {
    /// Returns the overlap of each pair of `segments`: the first with the second, the first with the third,
    /// and so on. The snapshot must have every segment.
    ///
    /// # Errors
    /// [`ReadError::UnknownSnapshot`] if the snapshot was removed, [`ReadError::Unavailable`] if it cannot be
    /// read.
    pub async fn overlaps(&self, served: &Served, segments: &[&str]) -> Result<Vec<Overlap>, ReadError> {
        match served.overlaps(segments).await {
            Ok(overlaps) => Ok(overlaps),
            Err(error) => Err(self.gone([&served.manifest.id], error).await),
        }
    }
}

impl Served {
    async fn overlaps(&self, segments: &[&str]) -> Result<Vec<Overlap>, Arc<SnapshotError>> {
        let _admitted = self.sets.cache.admit().await;
        let erased = self.erased_customers().await?;
        let mut sets = Vec::with_capacity(segments.len());
        for segment in segments {
            sets.push(self.sets.leaf(&Leaf::Segment((*segment).to_owned()), erased.as_ref()).await?);
        }
        let erased = erased.map(|erased| erased.customers);
        self.sets.cache.compute(move |_| Ok(pairs(&sets, erased.as_deref()))).await
    }
}

fn pairs(segments: &[Arc<LeafSet>], erased: Option<&Bitmap>) -> Vec<Overlap> {
    let served = |segment: &Arc<LeafSet>| {
        let mut members = segment.customers.clone();
        if let Some(erased) = erased {
            members.remove_all(erased);
        }
        members
    };
    let segments: Vec<Bitmap> = segments.iter().map(served).collect();
    let sizes: Vec<u64> = segments.iter().map(|members| members.count() as u64).collect();
    let pairs = (0..segments.len()).flat_map(|a| (a + 1..segments.len()).map(move |b| (a, b)));
    let overlap = |(a, b): (usize, usize)| {
        let both = segments[a].count_common(&segments[b]) as u64;
        Overlap { a: sizes[a], b: sizes[b], both }
    };
    pairs.map(overlap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitmap(customers: &[usize]) -> Bitmap {
        let mut bitmap = Bitmap::empty(200);
        for customer in customers {
            bitmap.insert(*customer);
        }
        bitmap
    }

    #[test]
    fn pairs_are_in_order_and_exclude_erased_customers() {
        let segment = |customers| Arc::new(LeafSet { customers: bitmap(customers), absent: Vec::new() });
        let segments = [segment(&[0, 63, 64, 199]), segment(&[63, 64, 65]), segment(&[])];
        let overlap = |a, b, both| Overlap { a, b, both };
        assert_eq!(pairs(&segments, None), [overlap(4, 3, 2), overlap(4, 0, 0), overlap(3, 0, 0)]);
        let erased = bitmap(&[1, 64]);
        assert_eq!(pairs(&segments, Some(&erased)), [overlap(3, 2, 1), overlap(3, 0, 0), overlap(2, 0, 0)]);
    }
}
