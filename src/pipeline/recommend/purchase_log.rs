//! The purchase log: all purchases by customer, product and time, read from the staging once. A purchase
//! takes 16 bytes.
//!
//! A purchase that was fully returned holds until its return. The log keeps such a purchase, and a return
//! without a purchase, since the product is not new to the customer. Products are numbered in the order of
//! their ids, so numbers do not depend on the partitioning of the staging.

use std::collections::{BTreeSet, HashMap};

use crate::pipeline::{
    exclude_patterns::ExcludePatterns,
    parallel::{parallel_map, parallel_map_into},
    raw::RawError,
    staging::derive::StagedFile,
};

mod category_signals;
mod numbering;
mod partition_log;
mod product_texts;
mod purchase;

use category_signals::CategorySignals;
use partition_log::PartitionLog;
use product_texts::ProductTexts;
#[cfg(test)]
use purchase::NEVER;
use purchase::PartitionPurchases;
pub(super) use purchase::{NONE, ProductInfo, Purchase};

/// The staged tables, by partition.
#[derive(Debug, Clone)]
pub(super) struct TableFiles {
    pub(super) customers: Vec<StagedFile>,
    pub(super) transactions: Vec<StagedFile>,
    pub(super) interactions: Vec<StagedFile>,
}

/// Options for reading the purchase log.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogOptions<'a> {
    /// Products to leave out.
    pub(super) exclude: &'a ExcludePatterns,
    /// Customer attribute with the preferred category; `None` if it must not be read.
    pub(super) category_column: Option<&'a str>,
    /// Customer attribute with the country; `None` if it must not be read.
    pub(super) country_column: Option<&'a str>,
    /// Columns of `transactions` that are part of an order's identity.
    pub(super) order_scope: &'a [String],
    /// Maximum time from the first to the last line of an order in seconds.
    pub(super) order_span: u32,
    pub(super) threads: usize,
}

/// All purchases of products that are not excluded.
#[derive(Debug, Default)]
pub(super) struct PurchaseLog {
    /// Products sorted by id; the index is the product's number.
    pub(super) products: Vec<ProductInfo>,
    /// Number of excluded products.
    pub(super) excluded: u64,
    /// Number of each product's category; categories are numbered by name.
    pub(super) categories: Vec<u32>,
    parts: Vec<PartitionPurchases>,
    /// Customers sorted by id: partition and index in the partition.
    order: Vec<(u32, u32)>,
    /// Times of the first and the last purchase, in seconds since 1970.
    pub(super) span: Option<(u32, u32)>,
}

/// The purchases of a customer.
#[derive(Debug, Clone, Copy)]
pub(super) struct CustomerPurchases<'a> {
    pub(super) id: &'a str,
    /// Number of the country, by name.
    pub(super) country: u32,
    /// Number of the preferred category by attributes or interactions.
    pub(super) category: u32,
    /// Purchases sorted by product and time.
    pub(super) purchases: &'a [Purchase],
}

impl CustomerPurchases<'_> {
    /// Returns the products that the customer had bought by `time`, also those that were returned. A product
    /// may be repeated.
    pub(super) fn all_bought(&self, time: u32) -> impl Iterator<Item = u32> + Clone {
        self.purchases.iter().filter(move |purchase| purchase.at <= time).map(|purchase| purchase.product)
    }

    /// Checks whether the customer had bought `product` by `time`, also if it was returned.
    pub(super) fn had_bought(&self, product: u32, time: u32) -> bool {
        let first = self.purchases.partition_point(|purchase| purchase.product < product);
        self.purchases.get(first).is_some_and(|purchase| purchase.product == product && purchase.at <= time)
    }
}

impl PurchaseLog {
    /// Reads the staged tables, which must be partitioned alike.
    ///
    /// # Errors
    /// Fails if a staged file cannot be read.
    pub(super) fn read(tables: &TableFiles, options: LogOptions<'_>) -> Result<Self, RawError> {
        let mut logs = read_partitions(tables, options)?;
        let numbers =
            numbered(logs.iter().flat_map(|log| log.products.iter().map(|product| product.id.as_str())));
        let countries = numbered(logs.iter().flat_map(|log| &log.countries.texts).map(String::as_str));
        let excluded: BTreeSet<String> =
            logs.iter_mut().flat_map(|log| std::mem::take(&mut log.excluded)).collect();
        let mut texts: Vec<ProductTexts> = vec![ProductTexts::default(); numbers.len()];
        let renumbered = parallel_map_into(options.threads, logs, |log| {
            let products: Vec<u32> = log.products.iter().map(|product| numbers[&product.id]).collect();
            let of_country: Vec<u32> = log.countries.texts.iter().map(|name| countries[name]).collect();
            let mut part = log.part;
            renumber(&mut part, &products, &of_country);
            (part, log.signals, products, log.products)
        });
        let mut signals: Vec<CategorySignals> = Vec::new();
        let mut all = Self { excluded: excluded.len() as u64, ..Self::default() };
        for (part, of_part, numbers, products) in renumbered {
            products.into_iter().zip(numbers).for_each(|(one, number)| texts[number as usize].merge(one));
            signals.push(of_part);
            all.parts.push(part);
        }
        all.products = texts.into_iter().map(ProductTexts::into_product).collect();
        all.number_categories(&numbers, &signals);
        all.sort_customers();
        let purchases = || all.parts.iter().flat_map(|part| &part.purchases);
        let times = || purchases().filter(|purchase| purchase.is_known()).map(|purchase| purchase.at);
        all.span = times().min().zip(times().max());
        Ok(all)
    }

    /// Numbers the categories of products by name, and sets the preferred category of each customer.
    fn number_categories(&mut self, products: &HashMap<String, u32>, signals: &[CategorySignals]) {
        let by_name = numbered(self.products.iter().filter_map(|product| product.category.as_deref()));
        let number = |name: &str| by_name.get(name).copied().unwrap_or(NONE);
        let of_product = |product: &ProductInfo| product.category.as_deref().map_or(NONE, number);
        let categories: Vec<u32> = self.products.iter().map(of_product).collect();
        let by_product = |id: &str| products.get(id).map_or(NONE, |number| categories[*number as usize]);
        for (part, signals) in self.parts.iter_mut().zip(signals) {
            part.categories = signals.categories(number, by_product);
        }
        self.categories = categories;
    }

    /// Sorts the customers of all partitions by id.
    fn sort_customers(&mut self) {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let parts = &self.parts;
        let of_part = |(at, part): (usize, &PartitionPurchases)| {
            let ids = (0..).zip(&part.ids);
            ids.map(|(place, id)| (first_bytes(id), number(at), place)).collect::<Vec<(u128, u32, u32)>>()
        };
        let mut keys: Vec<_> = parts.iter().enumerate().flat_map(of_part).collect();
        let id = |part: u32, place: u32| parts[part as usize].ids[place as usize].as_str();
        keys.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| id(a.1, a.2).cmp(id(b.1, b.2))));
        self.order = keys.into_iter().map(|(_, part, place)| (part, place)).collect();
    }

    /// Returns the number of customers.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns the customer at the index `place` in the order of ids.
    pub(super) fn get(&self, place: usize) -> CustomerPurchases<'_> {
        let (number, at) = self.order[place];
        let (part, at) = (&self.parts[number as usize], at as usize);
        let start = if at == 0 { 0 } else { part.ends[at - 1] };
        CustomerPurchases {
            id: &part.ids[at],
            country: part.countries[at],
            category: part.categories[at],
            purchases: &part.purchases[start..part.ends[at]],
        }
    }
}

fn read_partitions(tables: &TableFiles, options: LogOptions<'_>) -> Result<Vec<PartitionLog>, RawError> {
    let count = tables.customers.len().min(tables.transactions.len());
    let read = |at: usize| -> Result<PartitionLog, RawError> {
        let mut log = PartitionLog::read(&tables.customers[at], &tables.transactions[at], options)?;
        if let Some(interactions) = tables.interactions.get(at) {
            log.read_interactions(interactions)?;
        }
        Ok(log)
    };
    parallel_map(options.threads, count, || (), |(), at| read(at)).into_iter().collect()
}

/// Returns the number of each distinct text in alphabetical order.
fn numbered<'a>(texts: impl Iterator<Item = &'a str>) -> HashMap<String, u32> {
    let mut sorted: Vec<&str> = texts.collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.into_iter().map(str::to_owned).zip(0..).collect()
}

/// Returns the first 16 bytes of `text` as a number that has the order of texts: comparisons of most texts
/// need not read them.
fn first_bytes(text: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
    u128::from_be_bytes(bytes)
}

/// Replaces partition-local numbers by global ones, and sorts each customer's purchases by product and time.
fn renumber(part: &mut PartitionPurchases, products: &[u32], countries: &[u32]) {
    for country in part.countries.iter_mut().filter(|country| **country != NONE) {
        *country = countries[*country as usize];
    }
    let mut start = 0;
    for end in &part.ends {
        let purchases = &mut part.purchases[start..*end];
        for purchase in purchases.iter_mut() {
            purchase.product = products[purchase.product as usize];
        }
        purchases.sort_unstable_by_key(|purchase| (purchase.product, purchase.at, purchase.order));
        start = *end;
    }
}

/// Returns the log of lines with customer, product and time, for tests.
#[cfg(test)]
pub(super) fn of_lines(lines: &[(&str, u32, u32)]) -> PurchaseLog {
    let most = lines.iter().map(|(_, product, _)| product + 1).max().unwrap_or(0);
    let product = |at: u32| ProductInfo { id: format!("p{at:03}"), name: None, category: None };
    let mut part = PartitionPurchases::default();
    let mut sorted: Vec<_> = lines.to_vec();
    sorted.sort_unstable();
    for of_customer in sorted.chunk_by(|a, b| a.0 == b.0) {
        part.ids.push(of_customer[0].0.to_owned());
        part.countries.push(NONE);
        part.categories.push(NONE);
        let purchases = of_customer.iter().map(|(_, product, at)| Purchase {
            product: *product,
            order: *at,
            at: *at,
            returned: NEVER,
        });
        part.purchases.extend(purchases);
        part.ends.push(part.purchases.len());
    }
    let order = (0..u32::try_from(part.ids.len()).expect("few")).map(|at| (0, at)).collect();
    let times = || part.purchases.iter().map(|purchase| purchase.at);
    let span = times().min().zip(times().max());
    let categories = vec![NONE; most as usize];
    PurchaseLog {
        products: (0..most).map(product).collect(),
        excluded: 0,
        categories,
        parts: vec![part],
        order,
        span,
    }
}
