//! The products that a customer has at an instant, with weights that fade with time.

use std::cmp::Reverse;

use super::ledger::{Ledger, Purchase};

/// Only this many of a customer's products, the latest, make a basket, for learning and for voting: the square of a basket's size is
/// what counting costs, and who bought everything says little about what goes with what.
pub(super) const BASKET_CAP: usize = 100;
/// Days after which a purchase counts half.
pub(super) const HALF_LIFE: u32 = 180;
/// Days after which a sale counts half for what sells at present.
pub(super) const TREND_HALF_LIFE: u32 = 15;
/// Seconds of a day.
pub(super) const DAY: u32 = 86_400;
/// Sums over customers are of whole numbers, which no order of adding changes; this stands for one.
const UNIT: f64 = 65_536.0;

/// What a customer has of a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Owned {
    pub(super) product: u32,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) orders: u32,
    /// Orders, each fading with time.
    pub(super) weight: f64,
}

/// Half after `half_life` days.
pub(super) fn fade(age: u32, half_life: u32) -> f64 {
    (-f64::from(age) / (f64::from(half_life) * f64::from(DAY))).exp2()
}

/// A sale's part in what sells at present, so many seconds later.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the unit")]
pub(super) fn sale(age: u32) -> u64 {
    (fade(age, TREND_HALF_LIFE) * UNIT) as u64
}

#[expect(clippy::cast_precision_loss, reason = "sums of parts of customers")]
pub(super) fn shares(sums: &[u64]) -> Vec<f64> {
    sums.iter().map(|sum| *sum as f64 / UNIT).collect()
}

/// By product: the customers who bought it lately, as seen at `cut`.
pub(super) fn lately(ledger: &Ledger, cut: u32) -> Vec<f64> {
    let mut sums = vec![0; ledger.products.len()];
    for one in ledger.shoppers().flat_map(|shopper| owned(shopper.purchases, cut)) {
        sums[one.product as usize] += sale(cut - one.last);
    }
    shares(&sums)
}

/// What a customer has at `cut`, by product.
pub(super) fn owned(purchases: &[Purchase], cut: u32) -> Vec<Owned> {
    let mut all: Vec<Owned> = Vec::new();
    for purchase in purchases.iter().filter(|purchase| purchase.holds(cut)) {
        let weight = fade(cut - purchase.at, HALF_LIFE);
        if let Some(owned) = all.last_mut().filter(|owned| owned.product == purchase.product) {
            owned.last = purchase.at;
            owned.orders += 1;
            owned.weight += weight;
        } else {
            let (product, at) = (purchase.product, purchase.at);
            all.push(Owned { product, first: at, last: at, orders: 1, weight });
        }
    }
    all
}

/// The latest products of a customer, the latest first.
pub(super) fn basket(owned: &[Owned]) -> Vec<Owned> {
    let mut latest = owned.to_vec();
    latest.sort_unstable_by_key(|owned| (Reverse(owned.last), owned.product));
    latest.truncate(BASKET_CAP);
    latest
}
