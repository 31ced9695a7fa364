//! Which products are bought together: counted over baskets, product by product, so that memory stays linear in the lines.
//!
//! A basket is a set of product numbers. For a product every basket that holds it is gone through once, which adds up to the sum of
//! the squares of the baskets' sizes; baskets are cut, so that this is linear in their number. Counts are integers, and a
//! product's neighbours depend on nothing but the counts, so threads change nothing.

use std::cmp::Ordering;

use super::threads::each;

/// Sets of products, one after the other.
#[derive(Debug, Default)]
pub(super) struct Baskets {
    items: Vec<u32>,
    ends: Vec<usize>,
}

impl Baskets {
    /// Adds a basket; no product may be in it twice.
    pub(super) fn push(&mut self, items: impl IntoIterator<Item = u32>) {
        self.items.extend(items);
        self.ends.push(self.items.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, at: u32) -> &[u32] {
        let at = at as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.items[start..self.ends[at]]
    }

    /// For each of `products` products, the baskets that hold it, and where they end.
    fn by_product(&self, products: usize) -> (Vec<u32>, Vec<usize>) {
        let mut ends = vec![0; products];
        for item in &self.items {
            ends[*item as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            // Where the product's baskets start, until they are filled in below.
            (*end, sum) = (sum, sum + *end);
        }
        let mut baskets = vec![0; self.items.len()];
        for basket in 0..u32::try_from(self.len()).unwrap_or(u32::MAX) {
            for item in self.get(basket) {
                let place = &mut ends[*item as usize];
                baskets[*place] = basket;
                *place += 1;
            }
        }
        (baskets, ends)
    }
}

/// How often two products came together, and each by itself, in how many baskets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) both: u32,
    pub(super) one: u32,
    pub(super) other: u32,
    pub(super) all: u32,
}

impl Counts {
    /// Dunning's log-likelihood ratio: how far the products are from being bought independently of each other; 0 where they are bought
    /// together no more than that. It follows chi-square with one degree of freedom, so 3.84 is the 95 % level.
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

/// Of each product the others that go with it, the strongest first.
#[derive(Debug, Default)]
pub(super) struct Neighbours(Vec<Vec<(u32, f64)>>);

impl Neighbours {
    /// Counts `baskets` of `products` products. A product keeps the `most` others with the greatest `strength` above `least`.
    pub(super) fn count(
        baskets: &Baskets,
        products: usize,
        (most, least): (usize, f64),
        strength: impl Fn(Counts) -> f64 + Sync,
        threads: usize,
    ) -> Self {
        let (holders, ends) = baskets.by_product(products);
        let of_product = |product: usize| {
            let start = if product == 0 { 0 } else { ends[product - 1] };
            &holders[start..ends[product]]
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let all = number(baskets.len());
        let empty = || (vec![0_u32; products], Vec::<u32>::new());
        let lists = each(threads, products, empty, |(together, touched), product| {
            for basket in of_product(product) {
                for item in baskets.get(*basket) {
                    let count = &mut together[*item as usize];
                    if *count == 0 {
                        touched.push(*item);
                    }
                    *count += 1;
                }
            }
            let mut list = Vec::with_capacity(touched.len());
            for item in touched.drain(..) {
                let both = std::mem::take(&mut together[item as usize]);
                let counts = Counts {
                    both,
                    one: number(of_product(product).len()),
                    other: number(of_product(item as usize).len()),
                    all,
                };
                let strength = if item as usize == product { 0.0 } else { strength(counts) };
                if strength > least {
                    list.push((item, strength));
                }
            }
            if list.len() > most {
                list.select_nth_unstable_by(most, strongest);
                list.truncate(most);
            }
            list.sort_unstable_by(strongest);
            list.shrink_to_fit();
            list
        });
        Self(lists)
    }

    /// What goes with `product`, the strongest first.
    pub(super) fn of(&self, product: u32) -> &[(u32, f64)] {
        &self.0[product as usize]
    }
}

/// The strongest first; of equals the one with the smaller number, so that there is one order only.
pub(super) fn strongest(a: &(u32, f64), b: &(u32, f64)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn significance_is_zero_for_chance_and_grows_with_evidence() {
        let counts = |both, one, other, all| Counts { both, one, other, all }.significance();
        assert_eq!(counts(10, 100, 100, 1_000).to_bits(), 0.0_f64.to_bits());
        assert_eq!(counts(0, 100, 100, 1_000).to_bits(), 0.0_f64.to_bits());
        // The same shares on ten times the data are ten times as much evidence.
        let (few, many) = (counts(5, 10, 10, 100), counts(50, 100, 100, 1_000));
        assert!(few > 3.84 && (many / few - 10.0).abs() < 1e-9, "{few} {many}");
        // The textbook form: 2 · Σ k · ln(k · N / (row · column)).
        let table: [(f64, f64, f64); 4] =
            [(20.0, 25.0, 25.0), (5.0, 25.0, 75.0), (5.0, 75.0, 25.0), (70.0, 75.0, 75.0)];
        let by_cells: f64 =
            table.iter().map(|(k, row, column)| 2.0 * k * (k * 100.0 / (row * column)).ln()).sum();
        assert!((counts(20, 25, 25, 100) - by_cells).abs() < 1e-9);
    }

    #[test]
    fn the_strongest_are_kept_and_counts_are_right() {
        let mut baskets = Baskets::default();
        for basket in [&[0, 1, 2][..], &[0, 1], &[2, 0], &[3], &[]] {
            baskets.push(basket.iter().copied());
        }
        for threads in [1, 3] {
            let both = |counts: Counts| f64::from(counts.both);
            let counted = Neighbours::count(&baskets, 4, (9, 0.0), both, threads);
            assert_eq!(counted.of(0), [(1, 2.0), (2, 2.0)]);
            assert_eq!(counted.of(1), [(0, 2.0), (2, 1.0)]);
            assert!(counted.of(3).is_empty());
            let cut = Neighbours::count(&baskets, 4, (1, 0.0), both, threads);
            assert_eq!(cut.of(0), [(1, 2.0)]);
            let all = Neighbours::count(
                &baskets,
                4,
                (9, 0.0),
                |counts| f64::from(counts.one * 100 + counts.other * 10 + counts.all),
                1,
            );
            assert_eq!(all.of(1), [(0, 235.0), (2, 225.0)]);
        }
    }
}
