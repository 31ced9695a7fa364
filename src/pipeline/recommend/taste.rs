//! What was learned from the purchases until an instant, and the lists that it gives a customer.
//!
//! Each of a customer's latest products votes for the products that go with it, in proportion to their significance; votes fade with
//! time. What sells better at present than it used to counts more. Nothing here knows files.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    buy_again::{Repeat, Rule},
    ledger::{Ledger, NONE, Shopper},
    neighbours::{Baskets, Counts, Neighbours, strongest},
    owned::{DAY, HALF_LIFE, Owned, basket, fade, owned, sale, shares},
};

/// Products of a list.
pub(super) const LENGTH: usize = 10;
/// Neighbours of a product that votes go to.
pub(super) const NEIGHBOURS: usize = 100;
/// 95 % of the pairs that have nothing to do with each other are below this.
pub(super) const MIN_SIGNIFICANCE: f64 = 3.84;
/// Customers whom two products must have in common: what a single one bought tells too much of that one.
pub(super) const MIN_CUSTOMERS: u32 = 2;
/// Best sellers kept of all and of each country, so that a list can be filled with those that a customer does not have.
const BEST_SELLERS: usize = 100;

/// A product for a customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Suggestion {
    pub(super) product: u32,
    pub(super) score: f64,
    /// The customer's product that spoke for it most; nothing for a best seller.
    pub(super) because: Option<u32>,
}

/// What was learned from the purchases until an instant.
#[derive(Debug)]
pub(super) struct Taste {
    /// The instant, in seconds since 1970.
    cut: u32,
    neighbours: Neighbours,
    /// By product: the customers who bought it.
    pub(super) buyers: Vec<u32>,
    /// By product: the customers who bought it lately.
    lately: Vec<f64>,
    /// By product: the mean seconds between a customer's orders, where any ordered again.
    pace: Vec<Option<u32>>,
    best_sellers: Vec<u32>,
    of_country: BTreeMap<u32, Vec<u32>>,
    of_category: BTreeMap<u32, Vec<u32>>,
    /// By product: the number of its category.
    categories: Vec<u32>,
}

/// What a thread needs to make lists.
#[derive(Debug)]
pub(super) struct Votes {
    scores: Vec<f64>,
    /// The strongest vote for each product, and whose it is.
    because: Vec<(f64, u32)>,
    touched: Vec<u32>,
}

impl Votes {
    pub(super) fn new(products: usize) -> Self {
        Self { scores: vec![0.0; products], because: vec![(0.0, NONE); products], touched: Vec::new() }
    }

    /// Adds up what each of the voters (neighbours with their strengths, the weight of its vote, its own number) gives its neighbours;
    /// with each product the voter that gave it most, the first of equals.
    pub(super) fn count<'a>(
        &mut self,
        voters: impl Iterator<Item = (&'a [(u32, f64)], f64, u32)>,
    ) -> Vec<(u32, f64, u32)> {
        for (neighbours, weight, voter) in voters {
            for (product, strength) in neighbours {
                let (score, because) =
                    (&mut self.scores[*product as usize], &mut self.because[*product as usize]);
                if because.1 == NONE {
                    self.touched.push(*product);
                    *because = (0.0, voter);
                }
                let vote = weight * strength;
                *score += vote;
                if vote > because.0 {
                    *because = (vote, voter);
                }
            }
        }
        let (scores, because) = (&mut self.scores, &mut self.because);
        let taken = self.touched.drain(..).map(|product| {
            let (_, voter) = std::mem::replace(&mut because[product as usize], (0.0, NONE));
            (product, std::mem::take(&mut scores[product as usize]), voter)
        });
        taken.collect()
    }
}

impl Taste {
    /// Learns from what was bought until `cut`.
    pub(super) fn learn(ledger: &Ledger, cut: u32, threads: usize) -> Self {
        let products = ledger.products.len();
        let mut baskets = Baskets::default();
        let mut buyers = vec![0_u32; products];
        let mut lately = vec![0_u64; products];
        let mut lately_of: BTreeMap<u32, BTreeMap<u32, u64>> = BTreeMap::new();
        let mut again = vec![(0_u64, 0_u64); products];
        for shopper in ledger.shoppers() {
            let owned = owned(shopper.purchases, cut);
            if owned.is_empty() {
                continue;
            }
            baskets.push(basket(&owned).iter().map(|owned| owned.product));
            let country = lately_of.entry(shopper.country).or_default();
            for one in owned {
                let place = one.product as usize;
                let sale = sale(cut - one.last);
                buyers[place] += 1;
                lately[place] += sale;
                // Old sales count a little, so that a country has best sellers at all.
                *country.entry(one.product).or_default() += sale + 1;
                again[place].0 += u64::from(one.last - one.first);
                again[place].1 += u64::from(one.orders - 1);
            }
        }
        let strength = |counts: Counts| if counts.both < MIN_CUSTOMERS { 0.0 } else { counts.significance() };
        let neighbours =
            Neighbours::count(&baskets, products, (NEIGHBOURS, MIN_SIGNIFICANCE), strength, threads);
        let lately_shares = shares(&lately);
        let everywhere = (0..).zip(&lately).zip(&buyers).filter(|(_, buyers)| **buyers > 0);
        let everywhere: Vec<(u32, u64)> =
            everywhere.map(|((product, sum), buyers)| (product, sum + u64::from(*buyers))).collect();
        let mut in_category: BTreeMap<u32, Vec<(u32, u64)>> = BTreeMap::new();
        for (product, sum) in &everywhere {
            in_category.entry(ledger.categories[*product as usize]).or_default().push((*product, *sum));
        }
        in_category.remove(&NONE);
        let pace = again
            .iter()
            .map(|(span, times)| span.checked_div(*times).and_then(|pace| u32::try_from(pace).ok()));
        Self {
            cut,
            neighbours,
            lately: lately_shares,
            pace: pace.collect(),
            best_sellers: best(everywhere),
            of_category: in_category.into_iter().map(|(category, sums)| (category, best(sums))).collect(),
            categories: ledger.categories.clone(),
            of_country: lately_of
                .into_iter()
                .map(|(country, sums)| (country, best(sums.into_iter().collect())))
                .collect(),
            buyers,
        }
    }

    /// What goes with `product`, the most significant first, with the significance.
    pub(super) fn similar(&self, product: u32) -> &[(u32, f64)] {
        let all = self.neighbours.of(product);
        &all[..all.len().min(LENGTH)]
    }

    /// New products for a customer who has `owned`.
    pub(super) fn products(
        &self,
        shopper: &Shopper<'_>,
        owned: &[Owned],
        votes: &mut Votes,
    ) -> Vec<Suggestion> {
        let voters = basket(owned);
        let found = votes.count(voters.iter().map(|voter| {
            let neighbours = self.neighbours.of(voter.product);
            let whole: f64 = neighbours.iter().map(|(_, significance)| significance).sum();
            // All its votes are the fourth root of the whole: strong evidence has more of a say than weak, but not by much.
            let divided = whole.sqrt() * whole.sqrt().sqrt();
            (neighbours, fade(self.cut - voter.last, HALF_LIFE) / divided, voter.product)
        }));
        let has = |product: u32| owned.binary_search_by_key(&product, |owned| owned.product).is_ok();
        let found = found.into_iter().filter(|(product, ..)| !has(*product));
        let mut found: Vec<_> =
            found.map(|(product, score, of)| ((product, score * self.trend(product)), of)).collect();
        if found.len() > LENGTH {
            found.select_nth_unstable_by(LENGTH, |a, b| strongest(&a.0, &b.0));
            found.truncate(LENGTH);
        }
        found.sort_unstable_by(|a, b| strongest(&a.0, &b.0));
        let suggestion = |((product, score), of)| Suggestion { product, score, because: Some(of) };
        let mut list: Vec<Suggestion> = found.into_iter().map(suggestion).collect();
        self.fill(shopper, owned, &mut list);
        list
    }

    /// Fills `list` with best sellers of the category that the customer likes, then of the country, then of all.
    fn fill(&self, shopper: &Shopper<'_>, owned: &[Owned], list: &mut Vec<Suggestion>) {
        if list.len() >= LENGTH {
            return;
        }
        let has = |product: u32| owned.binary_search_by_key(&product, |owned| owned.product).is_ok();
        let category = self.of_category.get(&self.favourite(shopper, owned));
        let country = self.of_country.get(&shopper.country).filter(|_| shopper.country != NONE);
        for product in category.into_iter().chain(country).flatten().chain(&self.best_sellers) {
            if list.len() >= LENGTH {
                return;
            }
            if !has(*product) && list.iter().all(|one| one.product != *product) {
                list.push(Suggestion { product: *product, score: 0.0, because: None });
            }
        }
    }

    /// The category that the customer ordered most of, of equals the first by name; else the one that attributes or interactions tell.
    fn favourite(&self, shopper: &Shopper<'_>, owned: &[Owned]) -> u32 {
        let mut orders: BTreeMap<u32, u32> = BTreeMap::new();
        for one in owned {
            *orders.entry(self.categories[one.product as usize]).or_default() += one.orders;
        }
        orders.remove(&NONE);
        let most = orders.into_iter().max_by_key(|(category, orders)| (*orders, Reverse(*category)));
        most.map_or(shopper.category, |(category, _)| category)
    }

    /// How much better than usual a product sells at present; the constants keep rare products in the middle.
    fn trend(&self, product: u32) -> f64 {
        let place = product as usize;
        ((self.lately[place] + 1.0) / (f64::from(self.buyers[place]) + 10.0)).sqrt()
    }

    /// Products that a customer who has `owned` may buy again, by `rule`.
    pub(super) fn buy_again(&self, owned: &[Owned], rule: Rule, most: usize) -> Vec<Repeat> {
        let of = |product: u32| owned.iter().find(|one| one.product == product);
        rule.rank(owned, &self.lately, most).into_iter().filter_map(of).map(|one| self.repeat(one)).collect()
    }

    fn repeat(&self, owned: &Owned) -> Repeat {
        let own = (owned.last - owned.first).checked_div(owned.orders - 1);
        let pace = own.filter(|pace| *pace >= DAY).or(self.pace[owned.product as usize]);
        Repeat {
            product: owned.product,
            last: owned.last,
            due: pace.map(|pace| owned.last.saturating_add(pace)),
        }
    }
}

fn best(mut sums: Vec<(u32, u64)>) -> Vec<u32> {
    let order = |(product, sum): &(u32, u64)| (Reverse(*sum), *product);
    if sums.len() > BEST_SELLERS {
        sums.select_nth_unstable_by_key(BEST_SELLERS, order);
        sums.truncate(BEST_SELLERS);
    }
    sums.sort_unstable_by_key(order);
    sums.into_iter().map(|(product, _)| product).collect()
}
