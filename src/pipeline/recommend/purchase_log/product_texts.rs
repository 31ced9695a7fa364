//! Names and categories of a product, counted over its purchases.

use super::purchase::ProductInfo;

/// A product with the frequency of each of its names and categories.
#[derive(Debug, Clone, Default)]
pub(super) struct ProductTexts {
    pub(super) id: String,
    pub(super) names: TextCounts,
    pub(super) categories: TextCounts,
}

impl ProductTexts {
    /// Adds the counts of `other`, the same product in another partition.
    pub(super) fn merge(&mut self, other: Self) {
        self.id = other.id;
        other.names.0.into_iter().for_each(|(text, count)| self.names.add(&text, count));
        other.categories.0.into_iter().for_each(|(text, count)| self.categories.add(&text, count));
    }

    /// Returns the product with its most frequent name and category.
    pub(super) fn into_product(self) -> ProductInfo {
        ProductInfo {
            id: self.id,
            name: self.names.most_frequent(),
            category: self.categories.most_frequent(),
        }
    }
}

/// Texts and their counts. A linear search is enough: most products have one text, few have more than three.
#[derive(Debug, Clone, Default)]
pub(super) struct TextCounts(Vec<(String, u64)>);

impl TextCounts {
    /// Adds `count` to the count of `text`.
    pub(super) fn add(&mut self, text: &str, count: u64) {
        match self.0.iter_mut().find(|(known, _)| known == text) {
            Some((_, total)) => *total += count,
            None => self.0.push((text.to_owned(), count)),
        }
    }

    /// Returns the most frequent text; of equally frequent texts the first in alphabetical order.
    fn most_frequent(self) -> Option<String> {
        self.0.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0))).map(|(text, _)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_between_names_are_broken_alphabetically() {
        let mut counts = TextCounts::default();
        for (text, count) in [("b", 2), ("a", 2), ("c", 1)] {
            counts.add(text, count);
        }
        assert_eq!(counts.most_frequent().as_deref(), Some("a"));
    }
}
