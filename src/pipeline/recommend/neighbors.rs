//! Neighbors: products that are bought together. Co-occurrences are counted product by product, so memory is
//! linear in the purchases.
//!
//! A basket is a set of product numbers. Counting visits each basket once per product in it, in total the sum
//! of the squared basket sizes; the size of a basket is bounded, so time is linear in the number of baskets.
//! Neighbors depend only on integer counts, so results do not depend on the number of threads.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::pipeline::parallel::parallel_map;

/// Sets of products, stored back to back, each after its size: a basket is read at random, and its size must
/// not be another read elsewhere in memory.
#[derive(Debug, Default)]
pub(super) struct Baskets {
    cells: Vec<u32>,
    count: usize,
}

impl Baskets {
    /// Adds a basket of distinct products.
    pub(super) fn push(&mut self, items: impl IntoIterator<Item = u32>) {
        let start = self.cells.len();
        self.cells.push(0);
        self.cells.extend(items);
        self.cells[start] = number(self.cells.len() - start - 1);
        self.count += 1;
    }

    /// Returns the number of baskets.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Returns all baskets together. Neighbors do not depend on the order of baskets.
    pub(super) fn concat(all: impl IntoIterator<Item = Self>) -> Self {
        let mut all = all.into_iter();
        let mut baskets = all.next().unwrap_or_default();
        for more in all {
            baskets.cells.extend(more.cells);
            baskets.count += more.count;
        }
        baskets
    }

    /// Returns the products of the basket at `place`.
    fn get(&self, place: u32) -> &[u32] {
        let start = place as usize;
        &self.cells[start + 1..=start + self.cells[start] as usize]
    }

    /// Returns the places of all baskets. Those beyond 16 GiB are left out; the memory limit ends a build
    /// before.
    fn places(&self) -> impl Iterator<Item = u32> {
        let next = |place: &u32| place.checked_add(1)?.checked_add(self.cells[*place as usize]);
        std::iter::successors(Some(0), next).take(self.count)
    }

    /// Returns the number of baskets that contain each of the `products` products.
    fn holders(&self, products: usize) -> Vec<u32> {
        let mut holders = vec![0; products];
        for item in self.places().flat_map(|place| self.get(place)) {
            holders[*item as usize] += 1;
        }
        holders
    }

    /// Returns the places of the baskets that contain each product, back to back, and the end of each
    /// product's places.
    fn by_product(&self, holders: &[u32]) -> (Vec<u32>, Vec<usize>) {
        let mut sum = 0;
        let start = |count: &u32| {
            sum += *count as usize;
            sum - *count as usize
        };
        // The start of each product's places; the loop below advances it to the end.
        let mut ends: Vec<usize> = holders.iter().map(start).collect();
        let mut baskets = vec![0; sum];
        for basket in self.places() {
            for item in self.get(basket) {
                let place = &mut ends[*item as usize];
                baskets[*place] = basket;
                *place += 1;
            }
        }
        (baskets, ends)
    }
}

/// Returns `count`, which is a number of customers or products.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Numbers of baskets for a pair of products.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairCounts {
    /// Baskets with both products.
    pub(super) both: u32,
    /// Baskets with the first product.
    pub(super) one: u32,
    /// Baskets with the second product.
    pub(super) other: u32,
    /// All baskets.
    pub(super) all: u32,
}

impl PairCounts {
    /// Returns the log-likelihood ratio G² for independence of the two products; 0 if they are bought
    /// together no more often than by chance. Under independence it is χ² distributed with one degree of
    /// freedom, so 3.84 is the 95 % quantile. Source: Dunning, Accurate Methods for the Statistics of
    /// Surprise and Coincidence, Computational Linguistics 19 (1993).
    pub(super) fn significance(self) -> f64 {
        let [both, one, other, all] = [self.both, self.one, self.other, self.all].map(f64::from);
        if both * all <= one * other {
            return 0.0;
        }
        let term = |x: f64| if x > 0.0 { x * x.ln() } else { 0.0 };
        let cells = term(both) + term(one - both) + term(other - both) + term(all - one - other + both);
        let margins = term(one) + term(all - one) + term(other) + term(all - other);
        2.0 * (cells - margins + term(all))
    }
}

/// Limits of the neighbors of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct NeighborLimits {
    /// Greatest number of neighbors.
    pub(super) most: usize,
    /// Strength that each neighbor must exceed.
    pub(super) above: f64,
}

/// The neighbors of each product with their strength, strongest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Neighbors(Vec<Vec<(u32, f64)>>);

impl Neighbors {
    /// Counts the co-occurrences in `baskets` of `products` products, and keeps the neighbors of greatest
    /// `strength` within `limits`.
    pub(super) fn count(
        baskets: &Baskets,
        products: usize,
        limits: NeighborLimits,
        strength: impl Fn(PairCounts) -> f64 + Sync,
        threads: usize,
    ) -> Self {
        let holders = baskets.holders(products);
        let (places, ends) = baskets.by_product(&holders);
        let all = number(baskets.count);
        let empty = || (vec![0_u32; products], Vec::<u32>::new());
        let lists = parallel_map(threads, products, empty, |(counts, touched), product| {
            let end = ends[product];
            for basket in &places[end - holders[product] as usize..end] {
                for item in baskets.get(*basket) {
                    let count = &mut counts[*item as usize];
                    if *count == 0 {
                        touched.push(*item);
                    }
                    *count += 1;
                }
            }
            let one = holders[product];
            let mut list = Vec::with_capacity(touched.len());
            for item in touched.drain(..) {
                let both = std::mem::take(&mut counts[item as usize]);
                let pair = PairCounts { both, one, other: holders[item as usize], all };
                let strength = if item as usize == product { 0.0 } else { strength(pair) };
                if strength > limits.above {
                    list.push((item, strength));
                }
            }
            if list.len() > limits.most {
                list.select_nth_unstable_by(limits.most, strongest);
                list.truncate(limits.most);
            }
            list.sort_unstable_by(strongest);
            list.shrink_to_fit();
            list
        });
        Self(lists)
    }

    /// Returns the neighbors of `product`, strongest first.
    pub(super) fn of(&self, product: u32) -> &[(u32, f64)] {
        &self.0[product as usize]
    }
}

/// Orders products by descending strength, and equal strengths by ascending number.
pub(super) fn strongest(a: &(u32, f64), b: &(u32, f64)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn significance_is_zero_for_chance_and_grows_with_evidence() {
        let counts = |both, one, other, all| PairCounts { both, one, other, all }.significance();
        assert_eq!(counts(10, 100, 100, 1_000).to_bits(), 0.0_f64.to_bits());
        assert_eq!(counts(0, 100, 100, 1_000).to_bits(), 0.0_f64.to_bits());
        // The same shares in ten times the data give ten times the ratio.
        let (few, many) = (counts(5, 10, 10, 100), counts(50, 100, 100, 1_000));
        assert!(few > 3.84 && (many / few - 10.0).abs() < 1e-9, "{few} {many}");
        // The textbook formula: 2 · Σ k · ln(k · N / (row · column)).
        let table: [(f64, f64, f64); 4] =
            [(20.0, 25.0, 25.0), (5.0, 25.0, 75.0), (5.0, 75.0, 25.0), (70.0, 75.0, 75.0)];
        let by_cells: f64 =
            table.iter().map(|(k, row, column)| 2.0 * k * (k * 100.0 / (row * column)).ln()).sum();
        assert!((counts(20, 25, 25, 100) - by_cells).abs() < 1e-9);
    }

    #[test]
    fn strongest_neighbors_are_kept_with_exact_counts() {
        let mut baskets = Baskets::default();
        for basket in [&[0, 1, 2][..], &[0, 1], &[2, 0], &[3], &[]] {
            baskets.push(basket.iter().copied());
        }
        for threads in [1, 3] {
            let both = |counts: PairCounts| f64::from(counts.both);
            let limits = NeighborLimits { most: 9, above: 0.0 };
            let counted = Neighbors::count(&baskets, 4, limits, both, threads);
            assert_eq!(counted.of(0), [(1, 2.0), (2, 2.0)]);
            assert_eq!(counted.of(1), [(0, 2.0), (2, 1.0)]);
            assert!(counted.of(3).is_empty());
            let cut = Neighbors::count(&baskets, 4, NeighborLimits { most: 1, above: 0.0 }, both, threads);
            assert_eq!(cut.of(0), [(1, 2.0)]);
            let all = Neighbors::count(
                &baskets,
                4,
                NeighborLimits { most: 9, above: 0.0 },
                |counts| f64::from(counts.one * 100 + counts.other * 10 + counts.all),
                1,
            );
            assert_eq!(all.of(1), [(0, 235.0), (2, 225.0)]);
        }
    }
}
