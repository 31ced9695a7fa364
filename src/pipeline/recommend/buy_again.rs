//! The rules that rank a customer's own products to buy again.

use std::cmp::Reverse;

use super::{neighbours::strongest, owned::Owned};

/// A product that a customer may buy again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) product: u32,
    /// In seconds since 1970.
    pub(super) last: u32,
    /// When it is due by the customer's own pace, else by that of all customers, if there is one.
    pub(super) due: Option<u32>,
}

/// A rule. The order is that of simplicity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// By the number of orders, then the latest.
    Often,
    /// By the number of orders, each fading with time.
    Fading,
    /// The same, and what sells at present counts more.
    Selling,
}

impl Rule {
    pub(super) const ALL: [Self; 3] = [Self::Often, Self::Fading, Self::Selling];

    /// What the card calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Often => "most often ordered",
            Self::Fading => "often and lately ordered",
            Self::Selling => "often and lately ordered, and selling at present",
        }
    }

    /// The `most` best of a customer's products.
    pub(super) fn rank(self, owned: &[Owned], lately: &[f64], most: usize) -> Vec<u32> {
        if self == Self::Often {
            let mut own: Vec<&Owned> = owned.iter().collect();
            own.sort_unstable_by_key(|one| (Reverse(one.orders), Reverse(one.last), one.product));
            return own.into_iter().take(most).map(|one| one.product).collect();
        }
        let score = |one: &Owned| match self {
            Self::Selling => one.weight * (lately[one.product as usize] + 1.0).sqrt(),
            _ => one.weight,
        };
        let mut ranked: Vec<(u32, f64)> = owned.iter().map(|one| (one.product, score(one))).collect();
        ranked.sort_unstable_by(strongest);
        ranked.into_iter().take(most).map(|(product, _)| product).collect()
    }
}
