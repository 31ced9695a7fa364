//! Guest lines: lines of `transactions` without a customer, counted by order. Other lines of the same order
//! may name a customer.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::pipeline::raw::{
    TableSpec,
    transaction::{Effect, TransactionLine},
};

/// Number and amount of guest lines.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct GuestLines {
    pub(crate) lines: u64,
    /// Sum of the amounts, in ten-thousandths.
    pub(crate) amount: i128,
}

impl GuestLines {
    pub(super) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.amount += other.amount;
    }
}

/// Guest lines that one thread has read, by order. Lines of an order usually follow each other, so the last
/// order is kept outside the map.
#[derive(Debug, Default)]
pub(super) struct GuestOrders {
    last: (u64, GuestLines),
    pub(super) orders: HashMap<u64, GuestLines>,
}

impl GuestOrders {
    /// Adds a line of the order with the hash `order`. Guests have no free orders.
    pub(super) fn add(&mut self, order: u64, line: &TransactionLine<'_>, spec: &TableSpec) {
        if self.last.0 != order {
            self.flush();
            self.last.0 = order;
        }
        let amount = Effect::of(line.value, false).amount(spec.magnitude(line.value));
        self.last.1.add(GuestLines { lines: 1, amount });
    }

    /// Moves the last order to the map.
    pub(super) fn flush(&mut self) {
        let (order, guests) = std::mem::take(&mut self.last);
        if guests.lines > 0 {
            self.orders.entry(order).or_default().add(guests);
        }
    }
}

/// Returns a hash of an order's id and of its columns of `order_scope`.
pub(crate) fn order_hash<'a>(id: &str, scope: impl Iterator<Item = &'a str>) -> u64 {
    let mut hash = DefaultHasher::new();
    id.hash(&mut hash);
    scope.for_each(|text| text.trim().hash(&mut hash));
    hash.finish()
}
