//! The measurement by a split in time: lists from what was known then, against what customers bought afterwards.
//!
//! All candidates answer for the same customers. Sums run in the order of ids, so that the figures do not depend on threads.

use std::cmp::Reverse;

use super::{
    buy_again::Rule,
    ledger::{Ledger, Shopper},
    neighbours::{Baskets, Neighbours, strongest},
    owned::{BASKET_CAP, Owned, owned},
    taste::{LENGTH, Taste, Votes},
    threads::each,
};
use crate::snapshot::models::recommendations::{CandidateMeasured, ListMeasured};

/// Customers measured at most.
pub(super) const SAMPLE: usize = 20_000;
/// With fewer customers than this, figures would be noise.
pub(super) const FEWEST: usize = 30;
/// Others that a product of the raw co-occurrence keeps.
const RAW_NEIGHBOURS: usize = 1_000;

const PRODUCTS: [&str; 3] = ["most popular", "raw co-occurrence", "served"];
const BUY_AGAIN: [&str; 4] = ["most popular", "own history, latest", "own history, most often", "served"];

/// What the measurement found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    /// The measured share of the customers who count.
    pub(super) sample: f64,
    pub(super) repeat_share: f64,
    pub(super) repeats_per_customer: f64,
    pub(super) products: ListMeasured,
    pub(super) buy_again: ListMeasured,
}

/// What a customer bought after the split, and how the lists met it.
#[derive(Debug)]
struct Outcome {
    bought: usize,
    repeats: usize,
    /// Hit, recall and gain of each candidate; nothing where the customer bought nothing new.
    products: Option<[[f64; 3]; PRODUCTS.len()]>,
    buy_again: [[f64; 3]; BUY_AGAIN.len()],
}

/// Learns from what was known at `split` and asks what was bought until `until`; the number of customers who count where they
/// are too few.
pub(super) fn measure(
    ledger: &Ledger,
    (split, until): (u32, u32),
    rule: Rule,
    threads: usize,
) -> Result<Measured, usize> {
    let counts = |shopper: &Shopper<'_>| {
        let bought = |purchase: &super::ledger::Purchase| purchase.at > split && purchase.holds(until);
        shopper.purchases.iter().any(|purchase| purchase.holds(split)) && shopper.purchases.iter().any(bought)
    };
    let all: Vec<usize> = (0..ledger.len()).filter(|at| counts(&ledger.get(*at))).collect();
    if all.len() < FEWEST {
        return Err(all.len());
    }
    let chosen: Vec<usize> = all.iter().copied().step_by(all.len().div_ceil(SAMPLE)).collect();
    let taste = Taste::learn(ledger, split, threads);
    let raw = raw_co_occurrence(ledger, split, threads);
    let popular = by_buyers(&taste);
    let outcomes = each(
        threads,
        chosen.len(),
        || Votes::new(ledger.products.len()),
        |votes, at| {
            let shopper = ledger.get(chosen[at]);
            let owned = owned(shopper.purchases, split);
            let has = |product: &u32| owned.binary_search_by_key(product, |owned| owned.product).is_ok();
            let bought = bought(&shopper, split, until);
            let new: Vec<u32> = bought.iter().copied().filter(|product| !has(product)).collect();
            let products = (!new.is_empty()).then(|| {
                let popular: Vec<u32> =
                    popular.iter().copied().filter(|product| !has(product)).take(LENGTH).collect();
                let together = together(&raw, &owned, votes);
                let served =
                    taste.products(&shopper, &owned, votes).into_iter().map(|one| one.product).collect();
                [popular, together, served].map(|list| meet(&list, &new))
            });
            let top: Vec<u32> = popular.iter().copied().take(LENGTH).collect();
            let mut own = owned.clone();
            own.sort_unstable_by_key(|one| (Reverse(one.last), Reverse(one.orders), one.product));
            let latest = own.iter().take(LENGTH).map(|one| one.product).collect();
            let often = Rule::Often.rank(&owned, &[], LENGTH);
            let served = taste.buy_again(&owned, rule, LENGTH).into_iter().map(|one| one.product).collect();
            Outcome {
                repeats: bought.len() - new.len(),
                buy_again: [top, latest, often, served].map(|list| meet(&list, &bought)),
                bought: bought.len(),
                products,
            }
        },
    );
    let bought: usize = outcomes.iter().map(|outcome| outcome.bought).sum();
    let repeats: usize = outcomes.iter().map(|outcome| outcome.repeats).sum();
    Ok(Measured {
        sample: share(chosen.len(), all.len()),
        repeat_share: share(repeats, bought),
        repeats_per_customer: share(repeats, outcomes.len()),
        products: means(PRODUCTS, outcomes.iter().filter_map(|outcome| outcome.products)),
        buy_again: means(BUY_AGAIN, outcomes.iter().map(|outcome| outcome.buy_again)),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { round(part as f64 / whole as f64) }
}

/// To six digits: enough for any reader.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The products bought after `split` until `until`, by number.
pub(super) fn bought(shopper: &Shopper<'_>, split: u32, until: u32) -> Vec<u32> {
    let after = shopper.purchases.iter().filter(|purchase| purchase.at > split && purchase.holds(until));
    let mut products: Vec<u32> = after.map(|purchase| purchase.product).collect();
    products.dedup();
    products
}

/// All products, those with the most customers first.
fn by_buyers(taste: &Taste) -> Vec<u32> {
    let mut products: Vec<(u32, u32)> =
        (0..).zip(taste.buyers.iter().copied()).filter(|(_, buyers)| *buyers > 0).collect();
    products.sort_unstable_by_key(|(product, buyers)| (Reverse(*buyers), *product));
    products.into_iter().map(|(product, _)| product).collect()
}

/// How many orders hold two products, and nothing cleverer. Of an order with more products than a basket may have, the first by id count.
fn raw_co_occurrence(ledger: &Ledger, split: u32, threads: usize) -> Neighbours {
    let mut orders = Baskets::default();
    for shopper in ledger.shoppers() {
        let known = shopper.purchases.iter().filter(|purchase| purchase.holds(split));
        let mut lines: Vec<(u32, u32)> = known.map(|purchase| (purchase.order, purchase.product)).collect();
        lines.sort_unstable();
        lines.dedup();
        for order in lines.chunk_by(|a, b| a.0 == b.0) {
            orders.push(order.iter().take(BASKET_CAP).map(|(_, product)| *product));
        }
    }
    let products = ledger.products.len();
    Neighbours::count(&orders, products, (RAW_NEIGHBOURS, 0.0), |counts| f64::from(counts.both), threads)
}

/// The products that came together most with what the customer has.
fn together(raw: &Neighbours, owned: &[Owned], votes: &mut Votes) -> Vec<u32> {
    let own = owned.iter().map(|one| (raw.of(one.product), 1.0, one.product));
    let mut found = votes.count(own);
    found.retain(|(product, _, _)| owned.binary_search_by_key(product, |one| one.product).is_err());
    let mut found: Vec<(u32, f64)> = found.into_iter().map(|(product, score, _)| (product, score)).collect();
    found.sort_unstable_by(strongest);
    found.into_iter().take(LENGTH).map(|(product, _)| product).collect()
}

/// Hit, recall and normalised discounted cumulative gain of `list` where `truth` (sorted) was bought.
pub(super) fn meet(list: &[u32], truth: &[u32]) -> [f64; 3] {
    let gain = |place: f64| 1.0 / (place + 2.0).log2();
    let places = || (0_u8..).map(f64::from);
    let met = list.iter().zip(places()).filter(|(product, _)| truth.binary_search(product).is_ok());
    let (hits, gained) =
        met.fold((0.0, 0.0), |(hits, gained), (_, place)| (hits + 1.0, gained + gain(place)));
    let best: f64 = places().take(truth.len().min(LENGTH)).map(gain).sum();
    #[expect(clippy::cast_precision_loss, reason = "a count of products")]
    let all = truth.len() as f64;
    [if hits > 0.0 { 1.0 } else { 0.0 }, hits / all, gained / best]
}

fn means<const N: usize>(names: [&str; N], outcomes: impl Iterator<Item = [[f64; 3]; N]>) -> ListMeasured {
    let (mut sums, mut customers) = ([[0.0; 3]; N], 0_u32);
    for outcome in outcomes {
        customers += 1;
        for (sum, value) in sums.iter_mut().flatten().zip(outcome.iter().flatten()) {
            *sum += value;
        }
    }
    let mean = |sum: f64| if customers == 0 { 0.0 } else { round(sum / f64::from(customers)) };
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
        super::{ledger::of_lines, owned::DAY},
        *,
    };

    #[test]
    fn hits_recall_and_gain_are_those_of_the_books() {
        assert!(meet(&[5, 6, 7], &[1, 2]).iter().all(|value| *value == 0.0));
        let [hit, recall, gain] = meet(&[5, 1, 7], &[1, 2]);
        assert_eq!((hit.to_bits(), recall.to_bits()), (1.0_f64.to_bits(), 0.5_f64.to_bits()));
        // The second place of three; the best would have been the first two.
        assert!((gain - (1.0 / 3.0_f64.log2()) / (1.0 + 1.0 / 3.0_f64.log2())).abs() < 1e-12);
        let [_, recall, gain] = meet(&[1, 2], &[1, 2]);
        assert!((recall - 1.0).abs() < 1e-12 && (gain - 1.0).abs() < 1e-12);
    }

    /// Customers who buy product 2k + 1 after product 2k; at the split half have not done so yet.
    #[test]
    fn a_planted_pair_is_found_and_nothing_after_the_split_is_learned() {
        let names: Vec<String> = (0..400).map(|at| format!("c{at:03}")).collect();
        let mut lines = Vec::new();
        for (at, name) in (0..).zip(&names) {
            let pair = at % 20;
            lines.push((name.as_str(), 2 * pair, 10 * DAY));
            let second = if at < 200 { 10 * DAY } else { 40 * DAY };
            lines.push((name.as_str(), 2 * pair + 1, second));
        }
        let ledger = of_lines(&lines);
        let measured = measure(&ledger, (30 * DAY, 60 * DAY), Rule::Selling, 2).expect("enough customers");
        assert_eq!(measured.products.customers, 200);
        let rates: Vec<f64> = measured.products.candidates.iter().map(|one| one.hit_rate).collect();
        assert!(rates[2] > 0.999 && rates[1] > 0.999, "{rates:?}");
        assert!(rates[0] < 0.6, "{rates:?}");
        assert!((measured.repeat_share, measured.repeats_per_customer) == (0.0, 0.0));
        // What was bought together after the split only is not known at the split.
        let late = names[200..].iter().zip(0..).flat_map(|(name, at)| {
            let pair = at % 20;
            [(name.as_str(), 2 * pair, 10 * DAY), (name.as_str(), 2 * pair + 1, 40 * DAY)]
        });
        let late: Vec<_> = late.collect();
        let measured =
            measure(&of_lines(&late), (30 * DAY, 60 * DAY), Rule::Selling, 2).expect("enough customers");
        assert!(measured.products.candidates[2].hit_rate < 1e-9, "{:?}", measured.products);
        assert_eq!(measure(&of_lines(&lines[..40]), (30 * DAY, 60 * DAY), Rule::Selling, 1), Err(0));
    }

    #[test]
    fn the_share_of_repeats_is_measured() {
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
        let measured =
            measure(&of_lines(&lines), (30 * DAY, 60 * DAY), Rule::Selling, 2).expect("enough customers");
        assert!((measured.repeat_share - 1.0 / 3.0).abs() < 1e-6, "{measured:?}");
        assert!((measured.repeats_per_customer - 1.0).abs() < 1e-6);
        assert!(measured.buy_again.candidates.iter().all(|one| (one.hit_rate - 1.0).abs() < 1e-6));
    }
}
