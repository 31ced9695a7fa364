//! Figures of an audience: size, revenue and mean RFM scores.

use super::{bitmap::Bitmap, column::FeatureColumn};

/// Figures of an audience.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Number of members.
    pub size: usize,
    /// Share of all customers, 0 to 1.
    pub share: f64,
    /// Exact sum of `rfm.monetary` as decimal text.
    pub revenue: String,
    /// Mean recency, frequency and monetary scores; `None` if no member has a score.
    pub mean_scores: [Option<f64>; 3],
}

impl Figures {
    /// Computes the figures of `members` among `customers` customers. The columns are `rfm.monetary` and the
    /// three scores, if they exist.
    #[must_use]
    pub fn of(
        members: &Bitmap,
        customers: usize,
        monetary: Option<&FeatureColumn>,
        scores: [Option<&FeatureColumn>; 3],
    ) -> Self {
        let size = members.count();
        let mean = |scores: &FeatureColumn| {
            let (sum, count) = scores.sum(members);
            let whole: usize = sum.to_string().parse().ok()?;
            if count > 0 { Some(ratio(whole, count)) } else { None }
        };
        Self {
            size,
            share: if customers == 0 { 0.0 } else { ratio(size, customers) },
            revenue: monetary.map_or_else(|| "0".to_owned(), |monetary| monetary.sum(members).0.to_string()),
            mean_scores: scores.map(|scores| scores.and_then(mean)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share, and means of scores of 1 to 5")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
