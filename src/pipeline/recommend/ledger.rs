//! Who bought which product when, read from the staging once: products as numbers, times in seconds, 16 bytes a purchase.
//!
//! A purchase that was returned in full counts until it was returned. Products are numbered by their ids, so that numbers mean
//! the same however the staging is divided.

use std::collections::{BTreeSet, HashMap};

use super::{exclude::Patterns, threads::each};
use crate::pipeline::{raw::RawError, staging::derive::StagedFile};

mod draft;
mod hints;
mod numbers;
mod purchase;

use draft::{Draft, Word};
use hints::Hints;
#[cfg(test)]
use purchase::NEVER;
use purchase::Part;
pub(super) use purchase::{NONE, Product, Purchase};

/// The staged tables that are read, partition by partition.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) customers: Vec<StagedFile>,
    pub(super) transactions: Vec<StagedFile>,
    pub(super) interactions: Vec<StagedFile>,
}

/// All purchases of products.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Sorted by id.
    pub(super) products: Vec<Product>,
    /// Products that the patterns leave out.
    pub(super) excluded: u64,
    /// By product: the number of its category.
    pub(super) categories: Vec<u32>,
    parts: Vec<Part>,
    /// The customers by id: part and place in it.
    order: Vec<(u32, u32)>,
    /// The first and last purchase, in seconds.
    pub(super) span: Option<(u32, u32)>,
}

/// A customer as the ledger knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shopper<'a> {
    pub(super) id: &'a str,
    pub(super) country: u32,
    /// The category that the customer is known to like without having bought of it, by attributes or interactions.
    pub(super) category: u32,
    /// Sorted by product and time.
    pub(super) purchases: &'a [Purchase],
}

impl Ledger {
    /// Reads the staged tables, which are divided alike. What `exclude` names is left out; the column `category` of `customers`
    /// tells which category they like.
    pub(super) fn read(
        tables: &Tables,
        exclude: &Patterns,
        category: &str,
        threads: usize,
    ) -> Result<Self, RawError> {
        let count = tables.customers.len().min(tables.transactions.len());
        let draft = |at: usize| -> Result<Draft, RawError> {
            let mut draft = Draft::read(&tables.customers[at], &tables.transactions[at], exclude, category)?;
            if let Some(interactions) = tables.interactions.get(at) {
                draft.interactions(interactions)?;
            }
            Ok(draft)
        };
        let drafts = each(threads, count, || (), |(), at| draft(at));
        let mut drafts: Vec<Draft> = drafts.into_iter().collect::<Result<_, RawError>>()?;
        let ids: BTreeSet<&str> =
            drafts.iter().flat_map(|draft| draft.words.iter().map(|word| word.id.as_str())).collect();
        let numbers: HashMap<String, u32> = ids.into_iter().map(str::to_owned).zip(0..).collect();
        let countries: BTreeSet<&str> =
            drafts.iter().flat_map(|draft| &draft.countries.ids).map(String::as_str).collect();
        let countries: HashMap<String, u32> = countries.into_iter().map(str::to_owned).zip(0..).collect();
        let excluded: BTreeSet<String> =
            drafts.iter_mut().flat_map(|draft| std::mem::take(&mut draft.excluded)).collect();
        let mut words: Vec<Word> = vec![Word::default(); numbers.len()];
        let mut hinted: Vec<Hints> = Vec::new();
        let mut ledger = Self { excluded: excluded.len() as u64, ..Self::default() };
        for draft in drafts {
            let places: Vec<u32> = draft.words.iter().map(|word| numbers[&word.id]).collect();
            let land: Vec<u32> = draft.countries.ids.iter().map(|id| countries[id]).collect();
            for (word, place) in draft.words.into_iter().zip(&places) {
                words[*place as usize].merge(word);
            }
            let mut part = draft.part;
            let hints = draft.hints;
            hinted.push(hints);
            for country in part.countries.iter_mut().filter(|country| **country != NONE) {
                *country = land[*country as usize];
            }
            let mut start = 0;
            for end in &part.ends {
                let purchases = &mut part.purchases[start..*end];
                for purchase in purchases.iter_mut() {
                    purchase.product = places[purchase.product as usize];
                }
                purchases.sort_unstable_by_key(|purchase| (purchase.product, purchase.at, purchase.order));
                start = *end;
            }
            ledger.parts.push(part);
        }
        ledger.products = words.into_iter().map(Word::product).collect();
        let names: BTreeSet<&str> =
            ledger.products.iter().filter_map(|product| product.category.as_deref()).collect();
        let named: HashMap<&str, u32> = names.into_iter().zip(0..).collect();
        let category = |name: Option<&str>| name.and_then(|name| named.get(name)).copied().unwrap_or(NONE);
        let categories: Vec<u32> =
            ledger.products.iter().map(|product| category(product.category.as_deref())).collect();
        let of_product = |id: &str| numbers.get(id).map_or(NONE, |number| categories[*number as usize]);
        for (part, hints) in ledger.parts.iter_mut().zip(&hinted) {
            part.categories = hints.categories(|name| category(Some(name)), of_product);
        }
        ledger.categories = categories;
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let places = |(at, part): (usize, &Part)| {
            (0..number(part.ids.len())).map(move |place| (number(at), place)).collect()
        };
        ledger.order = ledger.parts.iter().enumerate().flat_map::<Vec<_>, _>(places).collect();
        let parts = &ledger.parts;
        ledger
            .order
            .sort_unstable_by_key(|(part, place)| parts[*part as usize].ids[*place as usize].as_str());
        let times = || ledger.parts.iter().flat_map(|part| &part.purchases).map(|purchase| purchase.at);
        ledger.span = times().min().zip(times().max());
        Ok(ledger)
    }

    /// How many customers there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// All customers by id.
    pub(super) fn shoppers(&self) -> impl Iterator<Item = Shopper<'_>> {
        (0..self.len()).map(|place| self.get(place))
    }

    /// The customer at `place` in the order of ids.
    pub(super) fn get(&self, place: usize) -> Shopper<'_> {
        let (part, at) = self.order[place];
        let (part, at) = (&self.parts[part as usize], at as usize);
        let start = if at == 0 { 0 } else { part.ends[at - 1] };
        Shopper {
            id: &part.ids[at],
            country: part.countries[at],
            category: part.categories[at],
            purchases: &part.purchases[start..part.ends[at]],
        }
    }
}

/// The ledger of lines (customer, product, time), for tests of this room.
#[cfg(test)]
pub(super) fn of_lines(lines: &[(&str, u32, u32)]) -> Ledger {
    let most = lines.iter().map(|(_, product, _)| product + 1).max().unwrap_or(0);
    let product = |at: u32| Product { id: format!("p{at:03}"), name: None, category: None };
    let mut part = Part::default();
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
    Ledger {
        products: (0..most).map(product).collect(),
        excluded: 0,
        categories,
        parts: vec![part],
        order,
        span,
    }
}
