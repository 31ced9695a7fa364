//! Which category a customer likes, as far as attributes and interactions tell it: for those of whom purchases tell too little.

use std::collections::{BTreeMap, VecDeque};

use super::{numbers::Numbers, purchase::NONE};

/// Interactions of a customer that count, the latest.
const LATEST: usize = 20;

/// What is known of the customers of a partition, by their places in it.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// The categories that attributes name.
    pub(super) named: Numbers,
    pub(super) stated: Vec<u32>,
    /// The products that customers looked at.
    products: Numbers,
    /// By customer, the oldest first.
    seen: BTreeMap<usize, VecDeque<u32>>,
}

impl Hints {
    /// The next customer, whose attributes name this category.
    pub(super) fn state(&mut self, category: Option<&str>) {
        let number =
            category.map(str::trim).filter(|name| !name.is_empty()).map_or(NONE, |name| self.named.of(name));
        self.stated.push(number);
    }

    /// The customer at `place` looked at `product`; interactions come in the order of time.
    pub(super) fn see(&mut self, place: usize, product: &str) {
        let product = self.products.of(product);
        let seen = self.seen.entry(place).or_default();
        if seen.len() == LATEST {
            seen.pop_front();
        }
        seen.push_back(product);
    }

    /// The category of each customer: the stated one, else that of most interactions; of equals that of the latest.
    pub(super) fn categories(
        &self,
        named: impl Fn(&str) -> u32,
        of_product: impl Fn(&str) -> u32,
    ) -> Vec<u32> {
        let named: Vec<u32> = self.named.ids.iter().map(|name| named(name)).collect();
        let products: Vec<u32> = self.products.ids.iter().map(|id| of_product(id)).collect();
        let looked = |place: usize| {
            let mut counts: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
            let seen = self.seen.get(&place).into_iter().flatten().map(|product| products[*product as usize]);
            for (at, category) in seen.enumerate().filter(|(_, category)| *category != NONE) {
                let (count, latest) = counts.entry(category).or_default();
                (*count, *latest) = (*count + 1, at);
            }
            counts.into_iter().max_by_key(|(_, count)| *count).map_or(NONE, |(category, _)| category)
        };
        let of = |(place, stated): (usize, &u32)| {
            let stated = if *stated == NONE { NONE } else { named[*stated as usize] };
            if stated == NONE { looked(place) } else { stated }
        };
        self.stated.iter().enumerate().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_category_goes_before_interactions_and_the_latest_count() {
        let mut hints = Hints::default();
        for stated in [Some(" tea "), None, Some("unknown"), Some(""), None] {
            hints.state(stated);
        }
        for (place, product) in
            [(0, "c1"), (1, "c1"), (1, "t1"), (1, "t2"), (2, "c1"), (3, "t1"), (3, "c1"), (4, "gone")]
        {
            hints.see(place, product);
        }
        for _ in 0..LATEST {
            hints.see(2, "t2");
        }
        let category = |name: &str| match name.as_bytes()[0] {
            b't' => 7,
            b'c' => 8,
            _ => NONE,
        };
        assert_eq!(hints.categories(category, category), [7, 7, 7, 8, NONE]);
    }
}
