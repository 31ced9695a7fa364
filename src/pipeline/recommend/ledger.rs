//! Who bought which product when, read from the staging once: products as numbers, times in seconds, 16 bytes a purchase.
//!
//! A purchase that was returned in full counts until it was returned. Products are numbered by their ids, so that numbers mean
//! the same however the staging is divided.

use std::collections::{BTreeSet, HashMap};

use super::{exclude::Patterns, threads::each};
use crate::pipeline::{raw::RawError, staging::derive::StagedFile};

mod draft;

use draft::{Draft, Word};

/// The number of a product or a country that is none.
pub(super) const NONE: u32 = u32::MAX;
/// When a purchase was returned that never was.
const NEVER: u32 = u32::MAX;

/// A product in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purchase {
    pub(super) product: u32,
    /// The order's number among the customer's.
    pub(super) order: u32,
    /// In seconds since 1970.
    pub(super) at: u32,
    /// When it was given back in full.
    returned: u32,
}

impl Purchase {
    /// Whether it was made by `time` and not given back by then.
    pub(super) fn holds(&self, time: u32) -> bool {
        self.at <= time && self.returned > time
    }
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) id: String,
    /// The name on most purchases; of equals the first in alphabetical order.
    pub(super) name: Option<String>,
    /// The category on most purchases.
    pub(super) category: Option<String>,
}

/// Some of the customers, sorted by id.
#[derive(Debug, Default)]
struct Part {
    ids: Vec<String>,
    countries: Vec<u32>,
    /// Where each customer's purchases end; a customer's are sorted by product and time.
    ends: Vec<usize>,
    purchases: Vec<Purchase>,
}

/// All purchases of products.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Sorted by id.
    pub(super) products: Vec<Product>,
    /// Products that the patterns leave out.
    pub(super) excluded: u64,
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
    /// Sorted by product and time.
    pub(super) purchases: &'a [Purchase],
}

impl Ledger {
    /// Reads the staged tables `customers` and `transactions`, which are divided alike. What `exclude` names is left out.
    pub(super) fn read(
        customers: &[StagedFile],
        transactions: &[StagedFile],
        exclude: &Patterns,
        threads: usize,
    ) -> Result<Self, RawError> {
        let pairs: Vec<_> = customers.iter().zip(transactions).collect();
        let drafts = each(threads, pairs.len(), || (), |(), at| Draft::read(pairs[at].0, pairs[at].1, exclude));
        let mut drafts: Vec<Draft> = drafts.into_iter().collect::<Result<_, _>>()?;
        let ids: BTreeSet<&str> =
            drafts.iter().flat_map(|draft| draft.words.iter().map(|word| word.id.as_str())).collect();
        let numbers: HashMap<String, u32> = ids.into_iter().map(str::to_owned).zip(0..).collect();
        let countries: BTreeSet<&str> =
            drafts.iter().flat_map(|draft| &draft.countries.ids).map(String::as_str).collect();
        let countries: HashMap<String, u32> = countries.into_iter().map(str::to_owned).zip(0..).collect();
        let excluded: BTreeSet<String> =
            drafts.iter_mut().flat_map(|draft| std::mem::take(&mut draft.excluded)).collect();
        let mut words: Vec<Word> = vec![Word::default(); numbers.len()];
        let mut ledger = Self { excluded: excluded.len() as u64, ..Self::default() };
        for draft in drafts {
            let places: Vec<u32> = draft.words.iter().map(|word| numbers[&word.id]).collect();
            let land: Vec<u32> = draft.countries.ids.iter().map(|id| countries[id]).collect();
            for (word, place) in draft.words.into_iter().zip(&places) {
                words[*place as usize].merge(word);
            }
            let mut part = draft.part;
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
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let places =
            |(at, part): (usize, &Part)| (0..number(part.ids.len())).map(move |place| (number(at), place)).collect();
        ledger.order = ledger.parts.iter().enumerate().flat_map::<Vec<_>, _>(places).collect();
        let parts = &ledger.parts;
        ledger.order.sort_unstable_by_key(|(part, place)| parts[*part as usize].ids[*place as usize].as_str());
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
        Shopper { id: &part.ids[at], country: part.countries[at], purchases: &part.purchases[start..part.ends[at]] }
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
    Ledger { products: (0..most).map(product).collect(), excluded: 0, parts: vec![part], order, span }
}
