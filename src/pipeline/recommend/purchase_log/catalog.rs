//! Products and countries of all partitions of a log.

use std::collections::{BTreeSet, HashMap};

use super::{
    numbering::Numbering, partition_log::PartitionLog, product_texts::ProductTexts, purchase::PartNumbers,
};

/// The products and countries of the partitions so far, numbered in the order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    numbers: HashMap<String, u32>,
    /// Products by number.
    products: Vec<ProductTexts>,
    countries: Numbering,
    /// Ids of excluded products.
    excluded: BTreeSet<String>,
}

/// Returns the numbers of `texts` in alphabetical order of the texts.
fn sorted<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut order: Vec<(&str, usize)> = texts.zip(0..).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, number)| number).collect()
}

/// Returns the place of each number in `order`.
fn places(order: &[usize]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, number) in (0..).zip(order) {
        places[*number] = place;
    }
    places
}

impl Catalog {
    /// Adds the products and countries of a partition, which `log` gives up, and returns their numbers in the
    /// catalog.
    pub(super) fn add(&mut self, log: &mut PartitionLog) -> PartNumbers {
        self.excluded.append(&mut log.excluded);
        let products = std::mem::take(&mut log.products).into_iter().map(|product| self.product(product));
        PartNumbers {
            products: products.collect(),
            countries: log.countries.texts.iter().map(|country| self.countries.number(country)).collect(),
        }
    }

    /// Adds the texts of a product, and returns its number.
    fn product(&mut self, texts: ProductTexts) -> u32 {
        if let Some(number) = self.numbers.get(&texts.id) {
            self.products[*number as usize].merge(texts);
            return *number;
        }
        let number = u32::try_from(self.products.len()).unwrap_or(u32::MAX);
        self.numbers.insert(texts.id.clone(), number);
        self.products.push(texts);
        number
    }

    /// Returns the number of excluded products.
    pub(super) fn excluded(&self) -> u64 {
        self.excluded.len() as u64
    }

    /// Returns the products sorted by id, and the final numbers, which follow the order of texts.
    pub(super) fn finish(self) -> (Vec<ProductTexts>, PartNumbers) {
        let order = sorted(self.products.iter().map(|product| product.id.as_str()));
        let countries = sorted(self.countries.texts.iter().map(String::as_str));
        let numbers = PartNumbers { products: places(&order), countries: places(&countries) };
        let mut products: Vec<Option<ProductTexts>> = self.products.into_iter().map(Some).collect();
        (order.into_iter().filter_map(|number| products[number].take()).collect(), numbers)
    }
}
