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
    /// Sum of the votes by product. Votes are positive, so 0 is a product without a vote.
    scores: Vec<f64>,
    /// Products with at least one vote.
    touched: Vec<u32>,
    /// Whether the customer knows a product; when voters are named, whether a product is among the best.
    marked: Vec<bool>,
}

impl Votes {
    /// Creates buffers for `products` products.
    pub(super) fn new(products: usize) -> Self {
        Self { scores: vec![0.0; products], touched: Vec::new(), marked: vec![false; products] }
    }

    /// Counts the votes of `voters`: weight × strength for each neighbor. Leaves out the products `known`.
    /// Returns at most `most` products, greatest votes × `factor` first, and of equal ones the lowest number
    /// first.
    pub(super) fn best<'a>(
        &mut self,
        voters: impl Iterator<Item = Voter<'a>> + Clone,
        known: impl Iterator<Item = u32> + Clone,
        most: usize,
        factor: impl Fn(u32) -> f64,
    ) -> Vec<VotedProduct> {
        let Self { scores, touched, marked } = self;
        for voter in voters.clone() {
            for (product, strength) in voter.neighbors {
                let score = &mut scores[*product as usize];
                if *score == 0.0 {
                    touched.push(*product);
                }
                *score += voter.weight * strength;
            }
        }
        known.clone().for_each(|product| marked[product as usize] = true);
        let mut best: Vec<VotedProduct> = Vec::with_capacity(most + 1);
        for product in touched.drain(..) {
            let score = std::mem::take(&mut scores[product as usize]) * factor(product);
            let voted = VotedProduct { product, score, because: NONE };
            let is_last = || best.last().is_some_and(|last| best_first(last, &voted).is_lt());
            if marked[product as usize] || (best.len() == most && is_last()) {
                continue;
            }
            let place = best.partition_point(|other| best_first(other, &voted).is_lt());
            best.insert(place, voted);
            best.truncate(most);
        }
        known.for_each(|product| marked[product as usize] = false);
        self.name_voters(&mut best, voters);
        best
    }

    /// Sets the voter with the greatest vote for each product of `best`. Few products are among the best, so
    /// this is cheaper than to keep the greatest vote of every product.
    fn name_voters<'a>(&mut self, best: &mut [VotedProduct], voters: impl Iterator<Item = Voter<'a>>) {
        best.iter().for_each(|one| self.marked[one.product as usize] = true);
        let mut greatest = vec![0.0; best.len()];
        for voter in voters {
            for (product, strength) in voter.neighbors {
                if !self.marked[*product as usize] {
                    continue;
                }
                let Some(place) = best.iter().position(|one| one.product == *product) else { continue };
                let vote = voter.weight * strength;
                if vote > greatest[place] {
                    (greatest[place], best[place].because) = (vote, voter.product);
                }
            }
        }
        best.iter().for_each(|one| self.marked[one.product as usize] = false);
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
