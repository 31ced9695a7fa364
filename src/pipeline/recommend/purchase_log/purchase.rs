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
pub(in super::super) struct PartitionPurchases {
    pub(super) ids: Vec<String>,
    pub(super) countries: Vec<u32>,
    /// Preferred category by customer attributes or interactions.
    pub(super) categories: Vec<u32>,
    /// End of each customer's purchases in `purchases`.
    pub(super) ends: Vec<u32>,
    /// Purchases by customer, then sorted by product and time.
    pub(super) purchases: Vec<Purchase>,
}

/// New numbers of products and countries, by the old number.
#[derive(Debug)]
pub(super) struct PartNumbers {
    pub(super) products: Vec<u32>,
    pub(super) countries: Vec<u32>,
}

/// The purchases of a customer.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct CustomerPurchases<'a> {
    pub(in super::super) id: &'a str,
    /// Number of the country, by name.
    pub(in super::super) country: u32,
    /// Number of the preferred category by attributes or interactions.
    pub(in super::super) category: u32,
    /// Purchases sorted by product and time.
    pub(in super::super) purchases: &'a [Purchase],
}

impl PartitionPurchases {
    /// Returns the number of customers.
    pub(in super::super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns the customer at the index `place`.
    pub(in super::super) fn get(&self, place: usize) -> CustomerPurchases<'_> {
        let start = if place == 0 { 0 } else { self.ends[place - 1] as usize };
        CustomerPurchases {
            id: &self.ids[place],
            country: self.countries[place],
            category: self.categories[place],
            purchases: &self.purchases[start..self.ends[place] as usize],
        }
    }

    /// Returns all customers.
    pub(in super::super) fn customers(&self) -> impl Iterator<Item = CustomerPurchases<'_>> {
        (0..self.len()).map(|place| self.get(place))
    }

    /// Replaces the numbers of products and countries by those that `numbers` have at their place.
    pub(super) fn renumber(&mut self, numbers: &PartNumbers) {
        for country in self.countries.iter_mut().filter(|country| **country != NONE) {
            *country = numbers.countries[*country as usize];
        }
        for purchase in &mut self.purchases {
            purchase.product = numbers.products[purchase.product as usize];
        }
    }

    /// Sorts each customer's purchases by product and time.
    pub(super) fn sort(&mut self) {
        let mut start = 0;
        for end in &self.ends {
            let end = *end as usize;
            let purchases = &mut self.purchases[start..end];
            purchases.sort_unstable_by_key(|purchase| (purchase.product, purchase.at, purchase.order));
            start = end;
        }
    }
}

impl CustomerPurchases<'_> {
    /// Returns the products that the customer had bought by `time`, also those that were returned. A product
    /// may be repeated.
    pub(in super::super) fn all_bought(&self, time: u32) -> impl Iterator<Item = u32> + Clone {
        self.purchases.iter().filter(move |purchase| purchase.at <= time).map(|purchase| purchase.product)
    }

    /// Checks whether the customer had bought `product` by `time`, also if it was returned.
    pub(in super::super) fn had_bought(&self, product: u32, time: u32) -> bool {
        let first = self.purchases.partition_point(|purchase| purchase.product < product);
        self.purchases.get(first).is_some_and(|purchase| purchase.product == product && purchase.at <= time)
    }
}
