//! The rules that rank a customer's own products to buy again.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::{neighbors::strongest, owned_products::OwnedProduct};

/// A product that a customer may buy again. Times are in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BuyAgainProduct {
    pub(super) product: u32,
    /// Time of the last purchase.
    pub(super) last: u32,
    /// Time at which the product is due, by the customer's own interval between orders or else by that of all
    /// customers.
    pub(super) due: Option<u32>,
}

/// A ranking rule. Variants are ordered from simple to complex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BuyAgainRule {
    /// Number of orders, then the latest order.
    OrderCount,
    /// Number of orders, each decaying with time.
    DecayedOrders,
    /// Decayed orders × √(current sales + 1).
    DecayedOrdersAndSales,
}

impl BuyAgainRule {
    pub(super) const ALL: [Self; 3] = [Self::OrderCount, Self::DecayedOrders, Self::DecayedOrdersAndSales];

    /// Returns the name in the model card.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OrderCount => "order count",
            Self::DecayedOrders => "time-decayed order count",
            Self::DecayedOrdersAndSales => "time-decayed order count and current sales",
        }
    }

    /// Returns the rule with the name `name` in a model card.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// Returns the `most` best of a customer's products, best first. `current_sales` are by product.
    pub(super) fn rank(self, owned: &[OwnedProduct], current_sales: &[f64], most: usize) -> Vec<u32> {
        let score = |one: &OwnedProduct| match self {
            Self::DecayedOrdersAndSales => one.weight * (current_sales[one.product as usize] + 1.0).sqrt(),
            Self::OrderCount | Self::DecayedOrders => one.weight,
        };
        if self == Self::OrderCount {
            let mut own: Vec<&OwnedProduct> = owned.iter().collect();
            own.sort_unstable_by_key(|one| (Reverse(one.orders), Reverse(one.last), one.product));
            return own.into_iter().take(most).map(|one| one.product).collect();
        }
        let mut ranked: Vec<(u32, f64)> = owned.iter().map(|one| (one.product, score(one))).collect();
        ranked.sort_unstable_by(strongest);
        ranked.into_iter().take(most).map(|(product, _)| product).collect()
    }
}
