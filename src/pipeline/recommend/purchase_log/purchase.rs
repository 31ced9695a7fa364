//! Purchases and products, and the purchases of one partition of customers.

/// Number that stands for no product, country or category.
pub(in super::super) const NONE: u32 = u32::MAX;
/// Time of return of a purchase that was not returned.
pub(super) const NEVER: u32 = u32::MAX;

/// A product in an order. Times are in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Purchase {
    pub(in super::super) product: u32,
    /// Number of the order within its partition.
    pub(in super::super) order: u32,
    pub(in super::super) at: u32,
    /// Time at which the full quantity had been returned; `at` if only the return is known.
    pub(super) returned: u32,
}

impl Purchase {
    /// Checks whether the purchase was made by `time` and not fully returned by then.
    pub(in super::super) fn holds(&self, time: u32) -> bool {
        self.at <= time && self.returned > time
    }

    /// Checks whether the purchase is not only known from its return.
    pub(super) fn is_known(&self) -> bool {
        self.returned > self.at
    }
}

/// A product that was purchased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct ProductInfo {
    pub(in super::super) id: String,
    /// Most frequent name on purchases; of equally frequent names the first in alphabetical order.
    pub(in super::super) name: Option<String>,
    /// Most frequent category on purchases; ties as for `name`.
    pub(in super::super) category: Option<String>,
}

/// The purchases of the customers of one partition, sorted by customer id.
#[derive(Debug, Default)]
pub(super) struct PartitionPurchases {
    pub(super) ids: Vec<String>,
    pub(super) countries: Vec<u32>,
    /// Preferred category by customer attributes or interactions.
    pub(super) categories: Vec<u32>,
    /// End of each customer's purchases in `purchases`.
    pub(super) ends: Vec<usize>,
    /// Purchases by customer, then sorted by product and time.
    pub(super) purchases: Vec<Purchase>,
}
