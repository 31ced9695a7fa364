//! Votes of a customer's products for other products.

use std::cmp::Ordering;

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
    /// Tallies by product.
    tallies: Vec<Tally>,
    /// Products with at least one vote.
    touched: Vec<u32>,
    /// Whether the customer knows a product.
    known: Vec<bool>,
}

/// The votes for a product.
#[derive(Debug, Clone, Copy)]
struct Tally {
    /// Sum of votes.
    score: f64,
    /// Greatest vote.
    greatest: f64,
    /// Voter with the greatest vote; [`NONE`] without a vote.
    voter: u32,
}

impl Tally {
    const NO_VOTE: Self = Self { score: 0.0, greatest: 0.0, voter: NONE };
}

impl Votes {
    /// Creates buffers for `products` products.
    pub(super) fn new(products: usize) -> Self {
        Self { tallies: vec![Tally::NO_VOTE; products], touched: Vec::new(), known: vec![false; products] }
    }

    /// Counts the votes of `voters`: weight × strength for each neighbor. Leaves out the products `known`.
    /// Returns at most `most` products, greatest votes × `factor` first, and of equal ones the lowest number
    /// first.
    pub(super) fn best<'a>(
        &mut self,
        voters: impl Iterator<Item = Voter<'a>>,
        known: impl Iterator<Item = u32> + Clone,
        most: usize,
        factor: impl Fn(u32) -> f64,
    ) -> Vec<VotedProduct> {
        for voter in voters {
            for (product, strength) in voter.neighbors {
                let tally = &mut self.tallies[*product as usize];
                if tally.voter == NONE {
                    self.touched.push(*product);
                    tally.voter = voter.product;
                }
                let vote = voter.weight * strength;
                tally.score += vote;
                if vote > tally.greatest {
                    (tally.greatest, tally.voter) = (vote, voter.product);
                }
            }
        }
        let Self { tallies, touched, known: is_known } = self;
        known.clone().for_each(|product| is_known[product as usize] = true);
        let mut best: Vec<VotedProduct> = Vec::with_capacity(most + 1);
        for product in touched.drain(..) {
            let tally = std::mem::replace(&mut tallies[product as usize], Tally::NO_VOTE);
            let voted = VotedProduct { product, score: tally.score * factor(product), because: tally.voter };
            let is_last = || best.last().is_some_and(|last| best_first(last, &voted).is_lt());
            if is_known[product as usize] || (best.len() == most && is_last()) {
                continue;
            }
            let place = best.partition_point(|other| best_first(other, &voted).is_lt());
            best.insert(place, voted);
            best.truncate(most);
        }
        known.for_each(|product| is_known[product as usize] = false);
        best
    }
}

/// Orders products by descending score, and equal scores by ascending number.
fn best_first(a: &VotedProduct, b: &VotedProduct) -> Ordering {
    b.score.total_cmp(&a.score).then(a.product.cmp(&b.product))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_add_up_and_name_the_strongest_voter() {
        let mut votes = Votes::new(4);
        let (first, second) = ([(1, 1.0), (2, 4.0), (3, 1.0)], [(2, 1.0), (3, 0.5)]);
        let voters = || {
            [(0, &first[..], 1.0), (1, &second[..], 3.0)]
                .map(|(product, neighbors, weight)| Voter { product, neighbors, weight })
                .into_iter()
        };
        let voted = |product, score, because| VotedProduct { product, score, because };
        // The buffers are clean again after each count.
        for _ in 0..2 {
            let mut best = |known: &[u32], most| votes.best(voters(), known.iter().copied(), most, |_| 2.0);
            assert_eq!(best(&[1], 9), [voted(2, 14.0, 0), voted(3, 5.0, 1)]);
            assert_eq!(best(&[1], 1), [voted(2, 14.0, 0)]);
            assert_eq!(best(&[2, 3, 2], 9), [voted(1, 2.0, 0)]);
        }
    }
}
