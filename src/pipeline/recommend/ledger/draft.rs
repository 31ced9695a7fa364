//! One partition of the staging as purchases, with products and countries numbered as they came.

use std::collections::{BTreeSet, HashMap};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};

use super::{
    super::exclude::Patterns,
    hints::Hints,
    numbers::Numbers,
    purchase::{NEVER, NONE, Part, Product, Purchase},
};
use crate::pipeline::{
    raw::RawError,
    staging::{derive::StagedFile, open, staging},
};

/// A product and how often each of its names and categories was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Word {
    pub(super) id: String,
    names: Tally,
    categories: Tally,
}

impl Word {
    pub(super) fn merge(&mut self, other: Self) {
        self.id = other.id;
        other.names.0.into_iter().for_each(|(text, count)| self.names.add(&text, count));
        other.categories.0.into_iter().for_each(|(text, count)| self.categories.add(&text, count));
    }

    pub(super) fn product(self) -> Product {
        Product { id: self.id, name: self.names.most(), category: self.categories.most() }
    }
}

/// Texts and how often they were seen: mostly one, seldom more than a few.
#[derive(Debug, Clone, Default)]
struct Tally(Vec<(String, u64)>);

impl Tally {
    fn add(&mut self, text: &str, count: u64) {
        match self.0.iter_mut().find(|(known, _)| known == text) {
            Some((_, seen)) => *seen += count,
            None => self.0.push((text.to_owned(), count)),
        }
    }

    fn most(self) -> Option<String> {
        self.0.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0))).map(|(text, _)| text)
    }
}

/// A line with a price, while its customer's are collected; returns have a quantity below 0.
#[derive(Debug, Clone, Copy)]
struct Line {
    product: u32,
    order: u32,
    at: u32,
    quantity: i64,
}

/// One partition, with products and countries numbered as they came.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) part: Part,
    products: HashMap<String, u32>,
    pub(super) words: Vec<Word>,
    pub(super) excluded: BTreeSet<String>,
    pub(super) countries: Numbers,
    pub(super) hints: Hints,
    lines: Vec<Line>,
}

impl Draft {
    pub(super) fn read(
        customers: &StagedFile,
        transactions: &StagedFile,
        exclude: &Patterns,
        category: &str,
    ) -> Result<Self, RawError> {
        let mut draft = Self::default();
        for batch in open(&customers.path, None)? {
            draft.customers(&batch.map_err(|error| staging(&customers.path, error))?, category);
        }
        let (mut last_order, mut order) = (String::new(), 0);
        for batch in open(&transactions.path, None)? {
            let batch = batch.map_err(|error| staging(&transactions.path, error))?;
            draft.transactions(&batch, exclude, &mut last_order, &mut order);
        }
        while draft.part.ends.len() < draft.part.ids.len() {
            draft.end_customer();
        }
        Ok(draft)
    }

    /// What the customers looked at, of those that were read before; lines come sorted by customer and time.
    pub(super) fn interactions(&mut self, interactions: &StagedFile) -> Result<(), RawError> {
        let mut place = 0;
        for batch in open(&interactions.path, None)? {
            let batch = batch.map_err(|error| staging(&interactions.path, error))?;
            let text =
                |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            let Some((customers, products)) = text("customer_id").zip(text("product_id")) else { continue };
            for row in (0..batch.num_rows()).filter(|row| products.is_valid(*row)) {
                while self.part.ids.get(place).is_some_and(|id| id.as_str() < customers.value(row)) {
                    place += 1;
                }
                if self.part.ids.get(place).is_some_and(|id| id == customers.value(row)) {
                    self.hints.see(place, products.value(row));
                }
            }
        }
        Ok(())
    }

    fn customers(&mut self, batch: &RecordBatch, category: &str) {
        let texts = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let (countries, categories) = (texts("country"), texts(category));
        for (row, id) in batch.column(0).as_string::<i32>().iter().enumerate() {
            self.part.ids.push(id.unwrap_or_default().to_owned());
            let country =
                countries.filter(|countries| countries.is_valid(row)).map(|countries| countries.value(row));
            let category = categories.filter(|categories| categories.is_valid(row));
            self.hints.state(category.map(|categories| categories.value(row)));
            self.part.countries.push(country.map_or(NONE, |country| self.countries.of(country)));
        }
    }

    /// Lines come sorted by customer and order.
    fn transactions(
        &mut self,
        batch: &RecordBatch,
        exclude: &Patterns,
        last_order: &mut String,
        order: &mut u32,
    ) {
        let text = |at: usize| batch.column(at).as_string::<i32>();
        let (customers, orders, products) = (text(0), text(1), text(2));
        let quantities = batch.column(3).as_primitive::<Int64Type>().values();
        let column = |name: &str| batch.column_by_name(name);
        let Some(((times, amounts), purchases)) =
            column("ordered_at").zip(column("amount")).zip(column("is_purchase"))
        else {
            return;
        };
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        let (amounts, purchases) =
            (amounts.as_primitive::<Decimal128Type>().values(), purchases.as_boolean());
        let optional =
            |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let (names, categories) = (optional("product_name"), optional("category"));
        for row in 0..batch.num_rows() {
            while self.part.ids.get(self.part.ends.len()).is_some_and(|id| id.as_str() < customers.value(row))
            {
                self.end_customer();
            }
            if *last_order != orders.value(row) {
                orders.value(row).clone_into(last_order);
                *order += 1;
            }
            let quantity = quantities[row].abs();
            // A discount on a product does not give the product back.
            let quantity = match (purchases.value(row), quantities[row] < 0 && amounts[row] < 0) {
                (true, _) => quantity,
                (false, true) => -quantity,
                (false, false) => continue,
            };
            if products.value(row).is_empty() {
                continue;
            }
            let product = self.product(products.value(row), exclude);
            if product == NONE {
                continue;
            }
            if quantity > 0 {
                let word = &mut self.words[product as usize];
                if let Some(names) = names.filter(|names| names.is_valid(row)) {
                    word.names.add(names.value(row), 1);
                }
                if let Some(categories) = categories.filter(|categories| categories.is_valid(row)) {
                    word.categories.add(categories.value(row), 1);
                }
            }
            let at = u32::try_from(times[row].div_euclid(1_000_000)).unwrap_or(0);
            self.lines.push(Line { product, order: *order, at, quantity });
        }
    }

    fn product(&mut self, id: &str, exclude: &Patterns) -> u32 {
        if let Some(number) = self.products.get(id) {
            return *number;
        }
        let number = if exclude.matches(id) {
            self.excluded.insert(id.to_owned());
            NONE
        } else {
            self.words.push(Word { id: id.to_owned(), ..Word::default() });
            u32::try_from(self.words.len() - 1).unwrap_or(NONE)
        };
        self.products.insert(id.to_owned(), number);
        number
    }

    fn end_customer(&mut self) {
        settle(&mut self.lines, &mut self.part.purchases);
        self.lines.clear();
        self.part.ends.push(self.part.purchases.len());
    }
}

/// One purchase for each product and order of a customer; what is returned is taken off the latest purchases before the return.
fn settle(lines: &mut [Line], purchases: &mut Vec<Purchase>) {
    lines.sort_unstable_by_key(|line| (line.product, line.at, line.order, line.quantity));
    // The product's purchases that are not given back in full yet: place and quantity left.
    let mut open: Vec<(usize, u64)> = Vec::new();
    for of_product in lines.chunk_by(|a, b| a.product == b.product) {
        open.clear();
        for line in of_product {
            let mut quantity = line.quantity.unsigned_abs();
            if line.quantity > 0 {
                let same = open.last_mut().filter(|(place, _)| purchases[*place].order == line.order);
                if let Some((_, left)) = same {
                    *left = left.saturating_add(quantity);
                } else {
                    open.push((purchases.len(), quantity));
                    let Line { product, order, at, .. } = *line;
                    purchases.push(Purchase { product, order, at, returned: NEVER });
                }
                continue;
            }
            while let Some((place, left)) = open.last_mut().filter(|_| quantity > 0) {
                let taken = quantity.min(*left);
                (*left, quantity) = (*left - taken, quantity - taken);
                if *left == 0 {
                    purchases[*place].returned = line.at;
                    open.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_counts_until_then() {
        let line = |product, order, at, quantity| Line { product, order, at, quantity };
        let mut lines = [
            line(1, 1, 10, 5),
            line(1, 1, 10, 1),
            line(1, 2, 20, 4),
            // Four of the second order and one of the first.
            line(1, 3, 30, -5),
            line(2, 1, 10, 1),
            // More than was bought, and before it was.
            line(3, 1, 5, -9),
            line(3, 2, 10, 1),
        ];
        let mut purchases = Vec::new();
        settle(&mut lines, &mut purchases);
        let seen: Vec<_> = purchases.iter().map(|p| (p.product, p.order, p.at, p.returned)).collect();
        assert_eq!(seen, [(1, 1, 10, NEVER), (1, 2, 20, 30), (2, 1, 10, NEVER), (3, 2, 10, NEVER)]);
        assert!(
            purchases[1].holds(20)
                && purchases[1].holds(29)
                && !purchases[1].holds(30)
                && !purchases[1].holds(19)
        );
    }

    #[test]
    fn the_name_is_the_commonest_and_ties_have_one_winner() {
        let mut tally = Tally::default();
        for (text, count) in [("b", 2), ("a", 2), ("c", 1)] {
            tally.add(text, count);
        }
        assert_eq!(tally.most().as_deref(), Some("a"));
    }
}
