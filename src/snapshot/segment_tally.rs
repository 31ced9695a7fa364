//! Figures of a segment, summed member by member.

use super::SegmentStats;
use crate::feature::{SegmentKind, money};

/// Running sums over the members of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentTally {
    /// Number of members.
    pub size: u64,
    /// Sum of `monetary`, in ten-thousandths.
    pub revenue: i128,
    /// Sum and count of the R, F and M scores.
    pub scores: [(i64, u64); 3],
}

impl SegmentTally {
    /// Returns the segment's figures for the manifest of a snapshot with `customers` customers.
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
