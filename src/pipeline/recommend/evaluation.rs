//! Evaluates the lists by a split in time: lists from the purchases up to the split, against the purchases
//! after it.
//!
//! All candidates are evaluated on the same customers. Sums run in the order of partitions and ids, so
//! results do not depend on the number of threads.

use std::cmp::Reverse;

use super::{
    buy_again::BuyAgainRule,
    neighbors::{Baskets, NeighborLimits, Neighbors, PairCounts},
    owned_products::{BASKET_CAP, OwnedProduct, owned_products},
    purchase_log::{CustomerPurchases, Purchase, PurchaseLog},
    recommender::{LENGTH, Recommender},
    votes::{Voter, Votes},
};
use crate::{
    pipeline::raw::RawError,
    snapshot::models::recommendations::{CandidateMeasured, ListMeasured},
};

/// Greatest number of customers to evaluate.
const SAMPLE: usize = 20_000;
/// Least number of customers to evaluate; metrics of fewer would be noise.
pub(super) const MIN_EVALUATED: usize = 30;
/// Greatest number of neighbors of a product in the raw co-occurrence candidate.
const RAW_NEIGHBORS: usize = 1_000;

/// Names of the candidates for new products; the last one is served.
const PRODUCTS: [&str; 3] = ["most popular", "raw co-occurrence", "served"];
/// Names of the candidates for products to buy again; the last one is served.
const BUY_AGAIN: [&str; 4] = ["most popular", "own history, latest", "own history, most often", "served"];

/// A split in time, in seconds since 1970. Candidates learn from purchases up to `at` and are evaluated on
/// those after it, up to `until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeSplit {
    pub(super) at: u32,
    pub(super) until: u32,
}

impl TimeSplit {
    /// Returns the distinct products that `customer` bought after the split, sorted by number.
    pub(super) fn bought_after(self, customer: &CustomerPurchases<'_>) -> Vec<u32> {
        let after =
            customer.purchases.iter().filter(|purchase| purchase.at > self.at && purchase.holds(self.until));
        let mut products: Vec<u32> = after.map(|purchase| purchase.product).collect();
        products.dedup();
        products
    }

    /// Returns the customers to evaluate on: with purchases before and after the split, at most [`SAMPLE`],
    /// evenly spread. Returns their number as an error if there are fewer than [`MIN_EVALUATED`].
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub(super) fn customers(
        self,
        log: &PurchaseLog,
        threads: usize,
    ) -> Result<Result<EvaluationSample, usize>, RawError> {
        let is_eligible = |purchases: &[Purchase]| {
            purchases.iter().any(|purchase| purchase.holds(self.at))
                && purchases.iter().any(|purchase| purchase.at > self.at && purchase.holds(self.until))
        };
        let of_parts = log.map(
            threads,
            || (),
            |(), _, part| {
                let places = (0..part.len()).filter(|place| is_eligible(part.get(*place).purchases));
                Ok(places.collect::<Vec<usize>>())
            },
        )?;
        let eligible: usize = of_parts.iter().map(Vec::len).sum();
        if eligible < MIN_EVALUATED {
            return Ok(Err(eligible));
        }
        let (step, mut at) = (eligible.div_ceil(SAMPLE), 0);
        let mut is_chosen = |_: &usize| {
            at += 1;
            (at - 1) % step == 0
        };
        let chosen = of_parts
            .into_iter()
            .map(|places| places.into_iter().filter(&mut is_chosen).collect::<Vec<usize>>());
        Ok(Ok(EvaluationSample { chosen: chosen.collect(), eligible }))
    }
}

/// A sample of customers to evaluate on.
#[derive(Debug)]
pub(super) struct EvaluationSample {
    /// Indexes of the customers in their partition, by partition.
    chosen: Vec<Vec<usize>>,
    /// Number of eligible customers.
    eligible: usize,
}

impl EvaluationSample {
    /// Returns the results of `work` for all customers of the sample. Each thread has its own `state`.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub(super) fn map<S: Send, T: Send>(
        &self,
        log: &PurchaseLog,
        threads: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, &CustomerPurchases<'_>) -> T + Sync,
    ) -> Result<Vec<T>, RawError> {
        let of_parts = log.map(threads, state, |state, at, part| {
            let chosen = self.chosen[at].iter();
            Ok(chosen.map(|place| work(state, &part.get(*place))).collect::<Vec<T>>())
        })?;
        Ok(of_parts.into_iter().flatten().collect())
    }
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecommendEvaluation {
    /// Share of the eligible customers that were evaluated.
    pub(super) sample: f64,
    pub(super) repeat_share: f64,
    pub(super) repeats_per_customer: f64,
    pub(super) products: ListMeasured,
    pub(super) buy_again: ListMeasured,
}

/// Hit (0 or 1), recall and normalized discounted cumulative gain of a list.
type ListMetrics = [f64; 3];

/// The result for one customer.
#[derive(Debug)]
struct CustomerOutcome {
    /// Number of products bought after the split.
    bought: usize,
    /// Number of these that the customer owned before, without what was returned.
    repeats: usize,
    /// Metrics of each candidate; `None` if the customer bought no new product.
    products: Option<[ListMetrics; PRODUCTS.len()]>,
    buy_again: [ListMetrics; BUY_AGAIN.len()],
}

/// The candidates, learned from the purchases up to a split.
struct Candidates {
    split: TimeSplit,
    rule: BuyAgainRule,
    recommender: Recommender,
    raw: Neighbors,
    /// All products, most buyers first.
    popular: Vec<u32>,
}

/// Evaluates the candidates on `split`, with `rule` as the served one of `buy_again`. Returns the number of
/// eligible customers as an error if there are fewer than [`MIN_EVALUATED`].
///
/// # Errors
/// Fails if the log cannot be read.
pub(super) fn evaluate(
    log: &PurchaseLog,
    split: TimeSplit,
    rule: BuyAgainRule,
    threads: usize,
) -> Result<Result<RecommendEvaluation, usize>, RawError> {
    let sample = match split.customers(log, threads)? {
        Ok(sample) => sample,
        Err(eligible) => return Ok(Err(eligible)),
    };
    let recommender = Recommender::learn(log, split.at, threads)?;
    let raw = raw_co_occurrence(log, split.at, threads)?;
    let popular = by_buyers(&recommender);
    let candidates = Candidates { split, rule, recommender, raw, popular };
    let votes = || Votes::new(log.products.len());
    let outcomes = sample.map(log, threads, votes, |votes, customer| candidates.outcome(customer, votes))?;
    let bought: usize = outcomes.iter().map(|outcome| outcome.bought).sum();
    let repeats: usize = outcomes.iter().map(|outcome| outcome.repeats).sum();
    Ok(Ok(RecommendEvaluation {
        sample: ratio(outcomes.len(), sample.eligible),
        repeat_share: ratio(repeats, bought),
        repeats_per_customer: ratio(repeats, outcomes.len()),
        products: mean_metrics(PRODUCTS, outcomes.iter().filter_map(|outcome| outcome.products)),
        buy_again: mean_metrics(BUY_AGAIN, outcomes.iter().map(|outcome| outcome.buy_again)),
    }))
}

impl Candidates {
    /// Compares the lists of all candidates with the purchases of `customer` after the split.
    fn outcome(&self, customer: &CustomerPurchases<'_>, votes: &mut Votes) -> CustomerOutcome {
        let owned = owned_products(customer.purchases, self.split.at);
        let bought = self.split.bought_after(customer);
        let is_new = |product: &u32| !customer.had_bought(*product, self.split.at);
        let new: Vec<u32> = bought.iter().copied().filter(is_new).collect();
        let products = if new.is_empty() {
            None
        } else {
            Some(self.new_product_lists(customer, &owned, votes).map(|list| list_metrics(&list, &new)))
        };
        CustomerOutcome {
            repeats: bought.iter().filter(|product| owns(&owned, **product)).count(),
            buy_again: self.buy_again_lists(&owned).map(|list| list_metrics(&list, &bought)),
            bought: bought.len(),
            products,
        }
    }

    /// Returns the lists of the [`PRODUCTS`] candidates.
    fn new_product_lists(
        &self,
        customer: &CustomerPurchases<'_>,
        owned: &[OwnedProduct],
        votes: &mut Votes,
    ) -> [Vec<u32>; PRODUCTS.len()] {
        let is_new = |product: u32| !customer.had_bought(product, self.split.at);
        let popular = self.popular.iter().copied().filter(|product| is_new(*product)).take(LENGTH);
        let raw = raw_co_occurrence_list(&self.raw, owned, customer.all_bought(self.split.at), votes);
        let served = self.recommender.new_products(customer, owned, votes);
        [popular.collect(), raw, served.into_iter().map(|one| one.product).collect()]
    }

    /// Returns the lists of the [`BUY_AGAIN`] candidates.
    fn buy_again_lists(&self, owned: &[OwnedProduct]) -> [Vec<u32>; BUY_AGAIN.len()] {
        let popular = self.popular.iter().copied().take(LENGTH).collect();
        let mut own = owned.to_vec();
        own.sort_unstable_by_key(|one| (Reverse(one.last), Reverse(one.orders), one.product));
        let latest = own.iter().take(LENGTH).map(|one| one.product).collect();
        let most_often = BuyAgainRule::OrderCount.rank(owned, &[], LENGTH);
        let served = self.recommender.buy_again(owned, self.rule, LENGTH);
        [popular, latest, most_often, served.into_iter().map(|one| one.product).collect()]
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { rounded(part as f64 / whole as f64) }
}

/// Rounds `value` to six decimal places.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Returns all products with a buyer, most buyers first.
fn by_buyers(recommender: &Recommender) -> Vec<u32> {
    let mut products: Vec<(u32, u32)> =
        (0..).zip(recommender.buyers.iter().copied()).filter(|(_, buyers)| *buyers > 0).collect();
    products.sort_unstable_by_key(|(product, buyers)| (Reverse(*buyers), *product));
    products.into_iter().map(|(product, _)| product).collect()
}

/// Counts in how many orders up to the time `split` each pair of products occurs. Of an order with more than
/// [`BASKET_CAP`] products, the first ones by id are counted.
fn raw_co_occurrence(log: &PurchaseLog, split: u32, threads: usize) -> Result<Neighbors, RawError> {
    let all = log.fold(threads, Baskets::default, |orders, customer| {
        let known = customer.purchases.iter().filter(|purchase| purchase.holds(split));
        let mut lines: Vec<(u32, u32)> = known.map(|purchase| (purchase.order, purchase.product)).collect();
        lines.sort_unstable();
        lines.dedup();
        for order in lines.chunk_by(|a, b| a.0 == b.0) {
            orders.push(order.iter().take(BASKET_CAP).map(|(_, product)| *product));
        }
    })?;
    let limits = NeighborLimits { most: RAW_NEIGHBORS, above: 0.0 };
    let both = |counts: PairCounts| f64::from(counts.both);
    Ok(Neighbors::count(&Baskets::concat(all), log.products.len(), limits, both, threads))
}

/// Returns the new products that occur most often together with the customer's products.
fn raw_co_occurrence_list(
    raw: &Neighbors,
    owned: &[OwnedProduct],
    known: impl Iterator<Item = u32> + Clone,
    votes: &mut Votes,
) -> Vec<u32> {
    let voters =
        owned.iter().map(|one| Voter { product: one.product, neighbors: raw.of(one.product), weight: 1.0 });
    votes.best(voters, known, LENGTH, |_| 1.0).into_iter().map(|voted| voted.product).collect()
}

/// Checks whether `owned`, sorted by product, contains `product`.
fn owns(owned: &[OwnedProduct], product: u32) -> bool {
    owned.binary_search_by_key(&product, |owned| owned.product).is_ok()
}

/// Returns hit, recall and normalized discounted cumulative gain of `list` against the products `truth`,
/// which must be sorted. Source: Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques,
/// ACM TOIS 20 (2002).
pub(super) fn list_metrics(list: &[u32], truth: &[u32]) -> ListMetrics {
    let gain = |place: f64| 1.0 / (place + 2.0).log2();
    let places = || (0_u8..).map(f64::from);
    let found = list.iter().zip(places()).filter(|(product, _)| truth.binary_search(product).is_ok());
    let (hits, gained) =
        found.fold((0.0, 0.0), |(hits, gained), (_, place)| (hits + 1.0, gained + gain(place)));
    let best: f64 = places().take(truth.len().min(LENGTH)).map(gain).sum();
    #[expect(clippy::cast_precision_loss, reason = "a count of products")]
    let all = truth.len() as f64;
    [if hits > 0.0 { 1.0 } else { 0.0 }, hits / all, gained / best]
}

/// Returns the mean metrics of each candidate over customers.
fn mean_metrics<const N: usize>(
    names: [&str; N],
    outcomes: impl Iterator<Item = [ListMetrics; N]>,
) -> ListMeasured {
    let (mut sums, mut customers) = ([[0.0; 3]; N], 0_u32);
    for outcome in outcomes {
        customers += 1;
        for (sum, value) in sums.iter_mut().flatten().zip(outcome.iter().flatten()) {
            *sum += value;
        }
    }
    let mean = |sum: f64| if customers == 0 { 0.0 } else { rounded(sum / f64::from(customers)) };
    let candidates = names.iter().zip(sums).map(|(name, [hits, recall, gain])| CandidateMeasured {
        name: (*name).to_owned(),
        hit_rate: mean(hits),
        recall: mean(recall),
        ndcg: mean(gain),
    });
    ListMeasured { customers: customers.into(), candidates: candidates.collect() }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{owned_products::DAY, purchase_log::of_lines},
        *,
    };

    const SPLIT: TimeSplit = TimeSplit { at: 30 * DAY, until: 60 * DAY };

    #[test]
    fn hit_recall_and_ndcg_match_the_textbook() {
        assert!(list_metrics(&[5, 6, 7], &[1, 2]).iter().all(|value| *value == 0.0));
        let [hit, recall, gain] = list_metrics(&[5, 1, 7], &[1, 2]);
        assert_eq!((hit.to_bits(), recall.to_bits()), (1.0_f64.to_bits(), 0.5_f64.to_bits()));
        // A hit at the second of three places; the best list has hits at the first two.
        assert!((gain - (1.0 / 3.0_f64.log2()) / (1.0 + 1.0 / 3.0_f64.log2())).abs() < 1e-12);
        let [_, recall, gain] = list_metrics(&[1, 2], &[1, 2]);
        assert!((recall - 1.0).abs() < 1e-12 && (gain - 1.0).abs() < 1e-12);
    }

    /// Customers buy product 2k + 1 after product 2k; half of them after the split.
    #[test]
    fn planted_pair_is_found_without_purchases_after_the_split() {
        let names: Vec<String> = (0..400).map(|at| format!("c{at:03}")).collect();
        let mut lines = Vec::new();
        for (at, name) in (0..).zip(&names) {
            let pair = at % 20;
            lines.push((name.as_str(), 2 * pair, 10 * DAY));
            let second = if at < 200 { 10 * DAY } else { 40 * DAY };
            lines.push((name.as_str(), 2 * pair + 1, second));
        }
        let ledger = of_lines(&lines);
        let measured = evaluate(&ledger, SPLIT, BuyAgainRule::DecayedOrdersAndSales, 2)
            .expect("read")
            .expect("enough customers");
        assert_eq!(measured.products.customers, 200);
        let rates: Vec<f64> = measured.products.candidates.iter().map(|one| one.hit_rate).collect();
        assert!(rates[2] > 0.999 && rates[1] > 0.999, "{rates:?}");
        assert!(rates[0] < 0.6, "{rates:?}");
        assert!((measured.repeat_share, measured.repeats_per_customer) == (0.0, 0.0));
        // Co-occurrences after the split are not learned.
        let late = names[200..].iter().zip(0..).flat_map(|(name, at)| {
            let pair = at % 20;
            [(name.as_str(), 2 * pair, 10 * DAY), (name.as_str(), 2 * pair + 1, 40 * DAY)]
        });
        let late: Vec<_> = late.collect();
        let measured = evaluate(&of_lines(&late), SPLIT, BuyAgainRule::DecayedOrdersAndSales, 2)
            .expect("read")
            .expect("enough customers");
        assert!(measured.products.candidates[2].hit_rate < 1e-9, "{:?}", measured.products);
        assert_eq!(
            evaluate(&of_lines(&lines[..40]), SPLIT, BuyAgainRule::DecayedOrdersAndSales, 1).expect("read"),
            Err(0)
        );
    }

    #[test]
    fn repeat_share_is_measured() {
        let names: Vec<String> = (0..40).map(|at| format!("c{at:03}")).collect();
        let lines: Vec<_> = names
            .iter()
            .flat_map(|name| {
                [
                    (name.as_str(), 0, 10 * DAY),
                    (name.as_str(), 0, 40 * DAY),
                    (name.as_str(), 1, 41 * DAY),
                    (name.as_str(), 2, 42 * DAY),
                ]
            })
            .collect();
        let measured = evaluate(&of_lines(&lines), SPLIT, BuyAgainRule::DecayedOrdersAndSales, 2)
            .expect("read")
            .expect("enough customers");
        assert!((measured.repeat_share - 1.0 / 3.0).abs() < 1e-6, "{measured:?}");
        assert!((measured.repeats_per_customer - 1.0).abs() < 1e-6);
        assert!(measured.buy_again.candidates.iter().all(|one| (one.hit_rate - 1.0).abs() < 1e-6));
    }
}
