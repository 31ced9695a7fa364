//! Lines of `transactions` without a customer, by order: other lines of the order may name one.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::pipeline::raw::check::Transaction;

/// Lines of `transactions` without a customer.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Guests {
    pub(crate) lines: u64,
    /// The sum of their amounts, in ten-thousandths.
    pub(crate) amount: i128,
}

impl Guests {
    pub(super) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.amount += other.amount;
    }
}

/// The lines without a customer that one thread has read. Those of an order follow each other, so the last
/// order is kept apart.
#[derive(Debug, Default)]
pub(super) struct GuestOrders {
    last: (u64, Guests),
    pub(super) orders: HashMap<u64, Guests>,
}

impl GuestOrders {
    pub(super) fn add(&mut self, order: u64, line: &Transaction<'_>) {
        if self.last.0 != order {
            self.flush();
            self.last.0 = order;
        }
        self.last.1.add(Guests { lines: 1, amount: line.amount() });
    }

    pub(super) fn flush(&mut self) {
        let (order, guests) = std::mem::take(&mut self.last);
        if guests.lines > 0 {
            self.orders.entry(order).or_default().add(guests);
        }
    }
}

/// Returns a hash of an order's id and of the columns that belong to it.
pub(crate) fn order_hash<'a>(id: &str, scope: impl Iterator<Item = &'a str>) -> u64 {
    let mut hash = DefaultHasher::new();
    id.hash(&mut hash);
    scope.for_each(|text| text.trim().hash(&mut hash));
    hash.finish()
}
