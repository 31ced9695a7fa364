//! All customers sorted by a feature, so that pages of an audience need no sorting.

use super::{
    bitmap::Bitmap,
    column::{ColumnValues, FeatureColumn, integers},
};

/// Default order of an audience.
pub const DEFAULT: &str = "rfm.monetary desc";

/// Parses an order such as `rfm.monetary desc`. Returns the name of the feature and whether the order is
/// descending, or `None` for any other form.
#[must_use]
pub fn parse(text: &str) -> Option<(&str, bool)> {
    let mut words = text.split_whitespace();
    let name = words.next()?;
    match (words.next(), words.next()) {
        (None, _) => Some((name, false)),
        (Some(word), None) if word.eq_ignore_ascii_case("asc") => Some((name, false)),
        (Some(word), None) if word.eq_ignore_ascii_case("desc") => Some((name, true)),
        _ => None,
    }
}

/// All customers sorted by a feature and then by id; customers without a value are last.
#[derive(Debug, Clone)]
pub struct SortedCustomers {
    customers: Vec<u32>,
    /// Index in `customers` of each customer.
    places: Vec<u32>,
}

impl SortedCustomers {
    /// Sorts all customers by `column`.
    #[must_use]
    pub fn by(column: &FeatureColumn, descending: bool) -> Self {
        let count = u32::try_from(column.nulls.len()).unwrap_or(u32::MAX);
        let with_value = (0..count).filter(|customer| !column.nulls.contains(*customer as usize));
        let mut customers = match &column.values {
            ColumnValues::Float(values) => sorted(with_value, descending, |at| sort_key(values[at])),
            of => {
                integers!(of, values => sorted(with_value, descending, |at| values[at]), with_value.collect())
            }
        };
        customers.extend((0..count).filter(|customer| column.nulls.contains(*customer as usize)));
        let mut places = vec![0; customers.len()];
        for (place, customer) in (0..).zip(&customers) {
            places[*customer as usize] = place;
        }
        Self { customers, places }
    }

    /// Returns the size in memory in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        (self.customers.len() + self.places.len()) * size_of::<u32>()
    }

    /// Returns at most `limit` of the `members` in order, skipping the first `offset`. `total` is the number
    /// of members.
    #[must_use]
    pub fn page(&self, members: &Bitmap, total: usize, offset: usize, limit: usize) -> Vec<usize> {
        let wanted = offset.min(total)..offset.saturating_add(limit).min(total);
        if wanted.is_empty() {
            return Vec::new();
        }
        // Sorting few members costs less than scanning all customers.
        if total < self.customers.len() / 16 {
            let mut places: Vec<u32> = members.iter().map(|customer| self.places[customer]).collect();
            if wanted.end < places.len() {
                places.select_nth_unstable(wanted.end);
                places.truncate(wanted.end);
            }
            places.sort_unstable();
            return places[wanted].iter().map(|place| self.customers[*place as usize] as usize).collect();
        }
        self.walk(members).skip(wanted.start).take(wanted.len()).collect()
    }

    /// Returns all `members` in order.
    pub fn walk(&self, members: &Bitmap) -> impl Iterator<Item = usize> {
        self.customers
            .iter()
            .map(|customer| *customer as usize)
            .filter(|customer| members.contains(*customer))
    }
}

/// Sorts `customers` by value and then by number.
fn sorted<T: Ord>(
    customers: impl Iterator<Item = u32>,
    descending: bool,
    value: impl Fn(usize) -> T,
) -> Vec<u32> {
    let mut pairs: Vec<(T, u32)> = customers.map(|customer| (value(customer as usize), customer)).collect();
    if descending {
        pairs.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    } else {
        pairs.sort_unstable();
    }
    pairs.into_iter().map(|(_, customer)| customer).collect()
}

/// Returns an integer that sorts like the finite number `value`; both zeros are equal.
fn sort_key(value: f64) -> i64 {
    let bits = (value + 0.0).to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}
