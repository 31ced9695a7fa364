//! A purchase, a product, and the purchases of a partition of customers.

/// The number of a product or a country that is none.
pub(in super::super) const NONE: u32 = u32::MAX;
/// When a purchase was returned that never was.
pub(super) const NEVER: u32 = u32::MAX;

/// A product in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Purchase {
    pub(in super::super) product: u32,
    /// The order's number among the customer's.
    pub(in super::super) order: u32,
    /// In seconds since 1970.
    pub(in super::super) at: u32,
    /// When it was given back in full.
    pub(super) returned: u32,
}

impl Purchase {
    /// Whether it was made by `time` and not given back by then.
    pub(in super::super) fn holds(&self, time: u32) -> bool {
        self.at <= time && self.returned > time
    }
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Product {
    pub(in super::super) id: String,
    /// The name on most purchases; of equals the first in alphabetical order.
    pub(in super::super) name: Option<String>,
    /// The category on most purchases.
    pub(in super::super) category: Option<String>,
}

/// Some of the customers, sorted by id.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) ids: Vec<String>,
    pub(super) countries: Vec<u32>,
    /// The category that each is known to like without having bought of it.
    pub(super) categories: Vec<u32>,
    /// Where each customer's purchases end; a customer's are sorted by product and time.
    pub(super) ends: Vec<usize>,
    pub(super) purchases: Vec<Purchase>,
}
