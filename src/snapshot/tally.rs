//! The figures of a segment, from its members one after the other. Pure.

use super::SegmentStats;
use crate::feature::{SegmentKind, money};

/// The figures of a segment while its members pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there were.
    pub size: u64,
    /// Their `monetary` in ten-thousandths.
    pub revenue: i128,
    /// Sum and number of each score.
    pub scores: [(i64, u64); 3],
}

impl Tally {
    /// What the manifest says of the segment, `customers` being all of the snapshot's.
    #[must_use]
    pub fn stats(&self, name: String, kind: SegmentKind, definition: String, customers: u64) -> SegmentStats {
        #[expect(clippy::cast_precision_loss, reason = "a share, and means of scores of 1 to 5")]
        let ratio = |part: u64, whole: u64| part as f64 / whole as f64;
        let mean = |(sum, count): (i64, u64)| (count > 0).then(|| ratio(sum.unsigned_abs(), count));
        SegmentStats {
            name,
            kind,
            definition,
            size: self.size,
            share: if customers == 0 { 0.0 } else { ratio(self.size, customers) },
            revenue: money(self.revenue),
            mean_r_score: mean(self.scores[0]),
            mean_f_score: mean(self.scores[1]),
            mean_m_score: mean(self.scores[2]),
        }
    }
}
