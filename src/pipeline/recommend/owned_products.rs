//! The products that a customer owns at an instant, with weights that decay with time, and the current sales
//! of products.

use std::cmp::Reverse;

use super::purchase_log::{Purchase, PurchaseLog};
use crate::pipeline::raw::RawError;

/// Greatest number of products of a basket: the customer's latest products. Bounds the cost of counting,
/// which is quadratic in the size of a basket. Customers with very many products also say little about which
/// products go together.
pub(super) const BASKET_CAP: usize = 100;
/// Half-life of a purchase, in days.
pub(super) const HALF_LIFE: u32 = 180;
/// Half-life of a sale for the current sales, in days.
pub(super) const TREND_HALF_LIFE: u32 = 15;
/// Seconds of a day.
pub(super) const DAY: u32 = 86_400;
/// Units per 1.0 of fixed-point weights. Integer sums over customers do not depend on the order of addition.
const UNITS: f64 = 65_536.0;

/// The purchases of a product by a customer. Times are in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OwnedProduct {
    pub(super) product: u32,
    /// Time of the first order.
    pub(super) first: u32,
    /// Time of the last order.
    pub(super) last: u32,
    pub(super) orders: u32,
    /// Number of orders, each decaying with [`HALF_LIFE`]; 0 where it is not needed.
    pub(super) weight: f64,
}

/// Returns the weight of an event that is `age` seconds old, with a half-life of `half_life` days.
pub(super) fn decay(age: u32, half_life: u32) -> f64 {
    (-f64::from(age) / (f64::from(half_life) * f64::from(DAY))).exp2()
}

/// Returns the fixed-point weight in the current sales of a sale that is `age` seconds old.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the unit")]
pub(super) fn sale_weight(age: u32) -> u64 {
    (decay(age, TREND_HALF_LIFE) * UNITS) as u64
}

/// Converts sums of [`sale_weight`] to numbers.
#[expect(clippy::cast_precision_loss, reason = "sums over customers are far below 2^53")]
pub(super) fn from_units(sums: &[u64]) -> Vec<f64> {
    sums.iter().map(|sum| *sum as f64 / UNITS).collect()
}

/// Returns the current sales of each product at `time`: the number of its buyers, each decaying with
/// [`TREND_HALF_LIFE`].
///
/// # Errors
/// Fails if the log cannot be read.
pub(super) fn current_sales(log: &PurchaseLog, time: u32, threads: usize) -> Result<Vec<f64>, RawError> {
    let empty = || vec![0; log.products.len()];
    let all = log.fold(threads, empty, |sums, customer| {
        for one in owned_without_weights(customer.purchases, time) {
            sums[one.product as usize] += sale_weight(time - one.last);
        }
    })?;
    let mut sums = empty();
    for some in all {
        add(&mut sums, &some);
    }
    Ok(from_units(&sums))
}

/// Adds the numbers of `more` to those of `sums` at the same places.
pub(super) fn add<T: Copy + std::ops::AddAssign>(sums: &mut [T], more: &[T]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += *more);
}

/// Returns the products that a customer with `purchases` owns at `time`, sorted by product.
pub(super) fn owned_products(purchases: &[Purchase], time: u32) -> Vec<OwnedProduct> {
    owned(purchases, time, |age| decay(age, HALF_LIFE))
}

/// Returns the products as [`owned_products`] does, without their weights, which take most of its time.
pub(super) fn owned_without_weights(purchases: &[Purchase], time: u32) -> Vec<OwnedProduct> {
    owned(purchases, time, |_| 0.0)
}

fn owned(purchases: &[Purchase], time: u32, weight_of: impl Fn(u32) -> f64) -> Vec<OwnedProduct> {
    let mut all: Vec<OwnedProduct> = Vec::new();
    for purchase in purchases.iter().filter(|purchase| purchase.holds(time)) {
        let weight = weight_of(time - purchase.at);
        match all.last_mut() {
            Some(owned) if owned.product == purchase.product => {
                owned.last = purchase.at;
                owned.orders += 1;
                owned.weight += weight;
            }
            _ => {
                let (product, at) = (purchase.product, purchase.at);
                all.push(OwnedProduct { product, first: at, last: at, orders: 1, weight });
            }
        }
    }
    all
}

/// Returns the customer's latest products, latest first, at most [`BASKET_CAP`].
pub(super) fn basket(owned: &[OwnedProduct]) -> Vec<OwnedProduct> {
    let mut latest = owned.to_vec();
    latest.sort_unstable_by_key(|owned| (Reverse(owned.last), owned.product));
    latest.truncate(BASKET_CAP);
    latest
}
