//! Votes of a customer's products for other products.

use super::purchase_log::NONE;

/// A product of the customer that votes for its neighbors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voter<'a> {
    pub(super) product: u32,
    /// Neighbors with their strength.
    pub(super) neighbors: &'a [(u32, f64)],
    /// Factor of the strengths.
    pub(super) weight: f64,
}

/// A product with the sum of its votes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct VotedProduct {
    pub(super) product: u32,
    pub(super) score: f64,
    /// Voter with the greatest vote; of equal votes the first one.
    pub(super) because: u32,
}

/// Reusable buffers for counting votes, one set per thread.
#[derive(Debug)]
pub(super) struct Votes {
    /// Sum of votes by product.
    scores: Vec<f64>,
    /// Greatest vote and its voter, by product.
    because: Vec<(f64, u32)>,
    /// Products with at least one vote.
    touched: Vec<u32>,
}

impl Votes {
    /// Creates buffers for `products` products.
    pub(super) fn new(products: usize) -> Self {
        Self { scores: vec![0.0; products], because: vec![(0.0, NONE); products], touched: Vec::new() }
    }

    /// Counts the votes of `voters`: weight × strength for each neighbor.
    pub(super) fn count<'a>(&mut self, voters: impl Iterator<Item = Voter<'a>>) -> Vec<VotedProduct> {
        for voter in voters {
            for (product, strength) in voter.neighbors {
                let (score, because) =
                    (&mut self.scores[*product as usize], &mut self.because[*product as usize]);
                if because.1 == NONE {
                    self.touched.push(*product);
                    *because = (0.0, voter.product);
                }
                let vote = voter.weight * strength;
                *score += vote;
                if vote > because.0 {
                    *because = (vote, voter.product);
                }
            }
        }
        let (scores, because) = (&mut self.scores, &mut self.because);
        let counted = self.touched.drain(..).map(|product| {
            let (_, voter) = std::mem::replace(&mut because[product as usize], (0.0, NONE));
            VotedProduct { product, score: std::mem::take(&mut scores[product as usize]), because: voter }
        });
        counted.collect()
    }
}
