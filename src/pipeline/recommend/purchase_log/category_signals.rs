//! Preferred categories by customer attributes and interactions, for customers with too few purchases.

use std::collections::{BTreeMap, VecDeque};

use arrow::array::Array;

use super::{
    LogOptions,
    numbering::Numbering,
    partition_log::{text_at, text_column},
    purchase::NONE,
};
use crate::pipeline::{
    raw::RawError,
    staging::{StagedFile, staging},
};

/// Number of a customer's latest interactions that count.
const MAX_INTERACTIONS: usize = 20;

/// Category signals of the customers of one partition, by index of the customer.
#[derive(Debug, Default)]
pub(super) struct CategorySignals {
    /// Categories that customer attributes name.
    named: Numbering,
    /// Category from the attributes of each customer, as a number of `named`.
    stated: Vec<u32>,
    /// Products of interactions.
    products: Numbering,
    /// Products of the latest interactions by customer, oldest first.
    seen: BTreeMap<usize, VecDeque<u32>>,
}

impl CategorySignals {
    /// Reads the signals of the customers `ids` of a partition from its staged tables. `interactions` are
    /// sorted by customer and time.
    ///
    /// # Errors
    /// Fails if a staged file cannot be read.
    pub(super) fn read(
        ids: &[String],
        customers: &StagedFile,
        interactions: Option<&StagedFile>,
        options: LogOptions<'_>,
    ) -> Result<Self, RawError> {
        let mut signals = Self::default();
        let columns = std::iter::once("customer_id").chain(options.category_column);
        for batch in customers.open_columns(columns)? {
            let batch = batch.map_err(|error| staging(&customers.path, error))?;
            let categories = options.category_column.and_then(|name| text_column(&batch, name));
            (0..batch.num_rows()).for_each(|row| signals.add_customer(text_at(categories, row)));
        }
        let mut place = 0;
        let Some(interactions) = interactions else { return Ok(signals) };
        for batch in interactions.open_columns(["customer_id", "product_id"])? {
            let batch = batch.map_err(|error| staging(&interactions.path, error))?;
            let columns = text_column(&batch, "customer_id").zip(text_column(&batch, "product_id"));
            let Some((customers, products)) = columns else { continue };
            for row in (0..batch.num_rows()).filter(|row| products.is_valid(*row)) {
                while ids.get(place).is_some_and(|id| id.as_str() < customers.value(row)) {
                    place += 1;
                }
                if ids.get(place).is_some_and(|id| id == customers.value(row)) {
                    signals.add_interaction(place, products.value(row));
                }
            }
        }
        Ok(signals)
    }

    /// Adds the next customer, with the category from the customer's attributes.
    fn add_customer(&mut self, category: Option<&str>) {
        let name = category.map(str::trim).unwrap_or_default();
        let number = if name.is_empty() { NONE } else { self.named.number(name) };
        self.stated.push(number);
    }

    /// Adds an interaction of the customer at the index `customer` with `product`. Interactions must come in
    /// the order of time.
    fn add_interaction(&mut self, customer: usize, product: &str) {
        let product = self.products.number(product);
        let seen = self.seen.entry(customer).or_default();
        if seen.len() == MAX_INTERACTIONS {
            seen.pop_front();
        }
        seen.push_back(product);
    }

    /// Returns the preferred category of each customer: the category from attributes, else the category of
    /// most interactions, and of equally frequent ones the latest. `by_name` and `by_product` return the
    /// number of a category or [`NONE`].
    pub(super) fn categories(
        &self,
        by_name: impl Fn(&str) -> u32,
        by_product: impl Fn(&str) -> u32,
    ) -> Vec<u32> {
        let named: Vec<u32> = self.named.texts.iter().map(|name| by_name(name)).collect();
        let products: Vec<u32> = self.products.texts.iter().map(|id| by_product(id)).collect();
        let by_interactions = |customer: usize| {
            // Number of interactions and index of the latest one, by category.
            let mut counts: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
            let seen =
                self.seen.get(&customer).into_iter().flatten().map(|product| products[*product as usize]);
            for (at, category) in seen.enumerate().filter(|(_, category)| *category != NONE) {
                let (count, latest) = counts.entry(category).or_default();
                (*count, *latest) = (*count + 1, at);
            }
            counts.into_iter().max_by_key(|(_, count)| *count).map_or(NONE, |(category, _)| category)
        };
        let category = |(customer, stated): (usize, &u32)| {
            let stated = if *stated == NONE { NONE } else { named[*stated as usize] };
            if stated == NONE { by_interactions(customer) } else { stated }
        };
        self.stated.iter().enumerate().map(category).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_take_precedence_over_the_latest_interactions() {
        let mut signals = CategorySignals::default();
        for stated in [Some(" tea "), None, Some("unknown"), Some(""), None] {
            signals.add_customer(stated);
        }
        for (customer, product) in
            [(0, "c1"), (1, "c1"), (1, "t1"), (1, "t2"), (2, "c1"), (3, "t1"), (3, "c1"), (4, "gone")]
        {
            signals.add_interaction(customer, product);
        }
        for _ in 0..MAX_INTERACTIONS {
            signals.add_interaction(2, "t2");
        }
        let category = |name: &str| match name.as_bytes()[0] {
            b't' => 7,
            b'c' => 8,
            _ => NONE,
        };
        assert_eq!(signals.categories(category, category), [7, 7, 7, 8, NONE]);
    }
}
