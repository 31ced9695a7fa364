//! What a set of customers is worth, and how they score.

use super::{bitmap::Bitmap, column::Column};

/// Figures of a set of customers.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// How many they are.
    pub size: usize,
    /// Their share of all customers, 0 to 1.
    pub share: f64,
    /// Their `rfm.monetary`, summed exactly; decimal text.
    pub revenue: String,
    /// Their mean scores; nothing where nobody has one.
    pub mean_scores: [Option<f64>; 3],
}

impl Figures {
    /// Those of `members` among `customers`, given the columns where there are such.
    #[must_use]
    pub fn of(
        members: &Bitmap,
        customers: usize,
        monetary: Option<&Column>,
        scores: [Option<&Column>; 3],
    ) -> Self {
        let size = members.count();
        let mean = |scores: &Column| {
            let (sum, count) = scores.sum(members);
            let sum: usize = sum.to_string().parse().ok()?;
            (count > 0).then(|| ratio(sum, count))
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
