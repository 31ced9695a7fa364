//! The recommender: item-to-item collaborative filtering over customers' baskets, with best sellers to fill
//! the lists.
//!
//! Each of a customer's latest products votes for its neighbors in proportion to their significance. Votes
//! decay with the age of the purchase, and products with growing sales get a higher score.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use serde::{Deserialize, Serialize};

use super::{
    buy_again::{BuyAgainProduct, BuyAgainRule},
    neighbors::{Baskets, NeighborLimits, Neighbors, PairCounts},
    owned_products::{
        BASKET_CAP, DAY, HALF_LIFE, OwnedProduct, add, basket, decay, from_units, owned_without_weights,
        sale_weight,
    },
    purchase_log::{CustomerPurchases, NONE, PurchaseLog},
    votes::{VotedProduct, Voter, Votes},
};
use crate::pipeline::raw::RawError;

/// Number of products of a list.
pub(super) const LENGTH: usize = 10;
/// Greatest number of neighbors of a product.
pub(super) const MAX_NEIGHBORS: usize = 100;
/// Least log-likelihood ratio of neighbors: the 95 % quantile of χ² with one degree of freedom.
pub(super) const MIN_SIGNIFICANCE: f64 = 3.84;
/// Least number of customers who bought both of two neighbors. A single customer would reveal that customer's
/// purchases.
pub(super) const MIN_CUSTOMERS: u32 = 2;
/// Number of best sellers of all customers, and of each country and category. More than [`LENGTH`], since a
/// list skips products that the customer owns.
const BEST_SELLERS: usize = 100;

/// A recommended product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Suggestion {
    pub(super) product: u32,
    pub(super) score: f64,
    /// The customer's product with the greatest vote; `None` for a best seller.
    pub(super) because: Option<u32>,
}

/// A recommender that learned from the purchases up to an instant.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Recommender {
    /// The instant, in seconds since 1970.
    pub(super) as_of: u32,
    /// Number of customers with purchases.
    pub(super) customers: usize,
    neighbors: Neighbors,
    /// Number of buyers by product.
    pub(super) buyers: Vec<u32>,
    /// Current sales by product.
    current_sales: Vec<f64>,
    /// Square roots of current sales relative to all buyers, by product. Constants shrink rare products
    /// toward the middle.
    trends: Vec<f64>,
    /// Divisors of the votes by product: the votes of a product sum up to the fourth root of its total
    /// significance, which dampens strong evidence.
    divisors: Vec<f64>,
    /// Mean seconds between a customer's orders of a product; `None` if no customer ordered it twice.
    intervals: Vec<Option<u32>>,
    best_sellers: Vec<u32>,
    by_country: BTreeMap<u32, Vec<u32>>,
    by_category: BTreeMap<u32, Vec<u32>>,
    /// Number of the category by product.
    categories: Vec<u32>,
}

/// Sums over customers, by product.
struct ProductSums {
    buyers: Vec<u32>,
    /// Sums of [`sale_weight`].
    sales: Vec<u64>,
    /// Sums of [`sale_weight`] + 1 by country. The 1 gives a country without recent sales best sellers too.
    country_sales: BTreeMap<u32, HashMap<u32, u64>>,
    /// Seconds between first and last order.
    spans: Vec<u64>,
    /// Number of repeat orders.
    repeats: Vec<u64>,
}

impl ProductSums {
    fn new(products: usize) -> Self {
        Self {
            buyers: vec![0; products],
            sales: vec![0; products],
            country_sales: BTreeMap::new(),
            spans: vec![0; products],
            repeats: vec![0; products],
        }
    }

    /// Adds the products of a customer from `country`.
    fn add(&mut self, country: u32, owned: &[OwnedProduct], as_of: u32) {
        let of_country = self.country_sales.entry(country).or_default();
        for one in owned {
            let place = one.product as usize;
            let sale = sale_weight(as_of - one.last);
            self.buyers[place] += 1;
            self.sales[place] += sale;
            *of_country.entry(one.product).or_default() += sale + 1;
            self.spans[place] += u64::from(one.last - one.first);
            self.repeats[place] += u64::from(one.orders - 1);
        }
    }

    /// Adds the sums over other customers.
    fn merge(&mut self, other: Self) {
        add(&mut self.buyers, &other.buyers);
        add(&mut self.sales, &other.sales);
        add(&mut self.spans, &other.spans);
        add(&mut self.repeats, &other.repeats);
        for (country, sales) in other.country_sales {
            let of_country = self.country_sales.entry(country).or_default();
            for (product, sum) in sales {
                *of_country.entry(product).or_default() += sum;
            }
        }
    }

    /// Returns the mean seconds between a customer's orders of each product.
    fn intervals(&self) -> Vec<Option<u32>> {
        let interval = |(span, times): (&u64, &u64)| {
            span.checked_div(*times).and_then(|interval| u32::try_from(interval).ok())
        };
        self.spans.iter().zip(&self.repeats).map(interval).collect()
    }

    /// Returns the sales of each product with a buyer; each buyer adds 1 to the sum of weights.
    fn all_sales(&self) -> Vec<(u32, u64)> {
        let sold = (0..).zip(&self.sales).zip(&self.buyers).filter(|(_, buyers)| **buyers > 0);
        sold.map(|((product, sum), buyers)| (product, sum + u64::from(*buyers))).collect()
    }
}

impl Recommender {
    /// Learns from the purchases up to `as_of`.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub(super) fn learn(log: &PurchaseLog, as_of: u32, threads: usize) -> Result<Self, RawError> {
        let products = log.products.len();
        let empty = || (Baskets::default(), ProductSums::new(products));
        let parts = log.fold(threads, empty, |(baskets, sums), customer| {
            let owned = owned_without_weights(customer.purchases, as_of);
            if owned.is_empty() {
                return;
            }
            if owned.len() > BASKET_CAP {
                baskets.push(basket(&owned).iter().map(|owned| owned.product));
            } else {
                baskets.push(owned.iter().map(|owned| owned.product));
            }
            sums.add(customer.country, &owned, as_of);
        })?;
        let (baskets, all): (Vec<Baskets>, Vec<ProductSums>) = parts.into_iter().unzip();
        let (baskets, mut sums) = (Baskets::concat(baskets), ProductSums::new(products));
        for some in all {
            sums.merge(some);
        }
        let strength =
            |counts: PairCounts| if counts.both < MIN_CUSTOMERS { 0.0 } else { counts.significance() };
        let limits = NeighborLimits { most: MAX_NEIGHBORS, above: MIN_SIGNIFICANCE };
        let neighbors = Neighbors::count(&baskets, products, limits, strength, threads);
        let sales = sums.all_sales();
        let mut of_category: BTreeMap<u32, Vec<(u32, u64)>> = BTreeMap::new();
        for (product, sum) in &sales {
            of_category.entry(log.categories[*product as usize]).or_default().push((*product, *sum));
        }
        of_category.remove(&NONE);
        let current_sales = from_units(&sums.sales);
        let trend = |(sales, buyers): (&f64, &u32)| ((sales + 1.0) / (f64::from(*buyers) + 10.0)).sqrt();
        Ok(Self {
            as_of,
            customers: baskets.len(),
            divisors: (0..).zip(&log.products).map(|(product, _)| divisor(neighbors.of(product))).collect(),
            neighbors,
            trends: current_sales.iter().zip(&sums.buyers).map(trend).collect(),
            current_sales,
            intervals: sums.intervals(),
            best_sellers: best_sellers(sales),
            by_category: of_category.into_iter().map(|(name, sums)| (name, best_sellers(sums))).collect(),
            categories: log.categories.clone(),
            by_country: sums
                .country_sales
                .into_iter()
                .map(|(country, sums)| (country, best_sellers(sums.into_iter().collect())))
                .collect(),
            buyers: sums.buyers,
        })
    }

    /// Returns the products similar to `product` with their significance, most significant first.
    pub(super) fn similar(&self, product: u32) -> &[(u32, f64)] {
        let all = self.neighbors.of(product);
        &all[..all.len().min(LENGTH)]
    }

    /// Returns products that are new to a customer who owns `owned`, best first. What the customer returned
    /// is not new.
    pub(super) fn new_products(
        &self,
        customer: &CustomerPurchases<'_>,
        owned: &[OwnedProduct],
        votes: &mut Votes,
    ) -> Vec<Suggestion> {
        let voters = basket(owned);
        let voters = voters.iter().map(|one| Voter {
            product: one.product,
            neighbors: self.neighbors.of(one.product),
            weight: decay(self.as_of - one.last, HALF_LIFE) / self.divisors[one.product as usize],
        });
        let trend = |product: u32| self.trends[product as usize];
        let new = votes.best(voters, customer.all_bought(self.as_of), LENGTH, trend);
        let suggestion =
            |VotedProduct { product, score, because }| Suggestion { product, score, because: Some(because) };
        let mut list: Vec<Suggestion> = new.into_iter().map(suggestion).collect();
        self.fill(customer, owned, &mut list);
        list
    }

    /// Fills `list` with best sellers: of the customer's favorite category, then of the country, then of all
    /// customers.
    fn fill(&self, customer: &CustomerPurchases<'_>, owned: &[OwnedProduct], list: &mut Vec<Suggestion>) {
        if list.len() >= LENGTH {
            return;
        }
        let of_category = self.by_category.get(&self.favorite_category(customer, owned));
        let of_country = if customer.country == NONE { None } else { self.by_country.get(&customer.country) };
        for product in of_category.into_iter().chain(of_country).flatten().chain(&self.best_sellers) {
            if list.len() >= LENGTH {
                return;
            }
            if !customer.had_bought(*product, self.as_of) && list.iter().all(|one| one.product != *product) {
                list.push(Suggestion { product: *product, score: 0.0, because: None });
            }
        }
    }

    /// Returns the category with most of the customer's orders (of equal ones the first by name), else the
    /// preferred category by attributes or interactions.
    fn favorite_category(&self, customer: &CustomerPurchases<'_>, owned: &[OwnedProduct]) -> u32 {
        let mut orders: BTreeMap<u32, u32> = BTreeMap::new();
        for one in owned {
            *orders.entry(self.categories[one.product as usize]).or_default() += one.orders;
        }
        orders.remove(&NONE);
        let most = orders.into_iter().max_by_key(|(category, orders)| (*orders, Reverse(*category)));
        most.map_or(customer.category, |(category, _)| category)
    }

    /// Returns at most `most` products to buy again for a customer who owns `owned`, ranked by `rule`.
    pub(super) fn buy_again(
        &self,
        owned: &[OwnedProduct],
        rule: BuyAgainRule,
        most: usize,
    ) -> Vec<BuyAgainProduct> {
        let find = |product: u32| owned.iter().find(|one| one.product == product);
        let ranked = rule.rank(owned, &self.current_sales, most);
        ranked.into_iter().filter_map(find).map(|one| self.due(one)).collect()
    }

    /// Adds the due time: the last purchase plus the customer's own interval if it is at least a day, else
    /// that of all customers.
    fn due(&self, owned: &OwnedProduct) -> BuyAgainProduct {
        let own = (owned.last - owned.first).checked_div(owned.orders - 1);
        let interval = match own {
            Some(own) if own >= DAY => Some(own),
            _ => self.intervals[owned.product as usize],
        };
        BuyAgainProduct {
            product: owned.product,
            last: owned.last,
            due: interval.map(|interval| owned.last.saturating_add(interval)),
        }
    }
}

/// Returns the divisor of the votes of a product with `neighbors`.
fn divisor(neighbors: &[(u32, f64)]) -> f64 {
    let whole: f64 = neighbors.iter().map(|(_, significance)| significance).sum();
    whole.sqrt() * whole.sqrt().sqrt()
}

/// Returns the products with the greatest sums, greatest first; of equal sums the lowest number first.
fn best_sellers(mut sums: Vec<(u32, u64)>) -> Vec<u32> {
    let order = |(product, sum): &(u32, u64)| (Reverse(*sum), *product);
    if sums.len() > BEST_SELLERS {
        sums.select_nth_unstable_by_key(BEST_SELLERS, order);
        sums.truncate(BEST_SELLERS);
    }
    sums.sort_unstable_by_key(order);
    sums.into_iter().map(|(product, _)| product).collect()
}
