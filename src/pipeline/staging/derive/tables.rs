//! Result of the derivation: the staged tables of one partition, the fates of its lines, and observations
//! that the build may warn about.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use serde::{Deserialize, Serialize};

use crate::{
    feature::money,
    pipeline::{
        raw::Table,
        staging::{StagedFile, guests::GuestLines},
    },
    snapshot::TableCounts,
};

/// Staged tables of one partition, and the fates of the lines that they were derived from.
#[derive(Debug, Default)]
pub(crate) struct DerivedTables {
    /// Number of lines by fate.
    pub(crate) fates: BTreeMap<(Table, Cow<'static, str>), u64>,
    /// Sums of the amounts of `transactions` by fate, in ten-thousandths.
    pub(crate) amounts: BTreeMap<Cow<'static, str>, i128>,
    /// Number of lines that equal an earlier line.
    pub(crate) duplicates: BTreeMap<Table, u64>,
    pub(crate) observations: Observations,
    pub(crate) tables: BTreeMap<&'static str, StagedFile>,
}

/// Observations that may point to mistakes in the raw data.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Observations {
    /// Number of lines that equal a line of another file, and the sum of their amounts in ten-thousandths.
    pub(crate) overlapping: BTreeMap<Table, (u64, i128)>,
    /// Hashes of the orders with a customer that also have guest lines.
    pub(crate) guest_orders: Vec<u64>,
    /// Number of items of lines that are neither purchase nor return.
    pub(crate) items_without_effect: u64,
    /// Number of order ids that stand for several orders.
    pub(crate) divided_ids: u64,
    /// Number of orders that share an order id with another order.
    pub(crate) divided_orders: u64,
    /// Number of all orders.
    pub(crate) orders: u64,
    /// Number of orders with lines more than a day apart.
    pub(crate) long_orders: u64,
    /// Largest number of lines of `transactions` of one customer, and that customer's id.
    pub(crate) largest: Option<(u64, String)>,
}

impl Observations {
    /// Adds the observations of another partition.
    pub(crate) fn add(&mut self, other: Self) {
        for (table, (lines, amount)) in other.overlapping {
            let all = self.overlapping.entry(table).or_default();
            *all = (all.0 + lines, all.1 + amount);
        }
        self.guest_orders.extend(other.guest_orders);
        self.items_without_effect += other.items_without_effect;
        self.divided_ids += other.divided_ids;
        self.divided_orders += other.divided_orders;
        self.orders += other.orders;
        self.long_orders += other.long_orders;
        self.largest = self.largest.take().max(other.largest);
    }
}

impl DerivedTables {
    /// Adds `lines` lines of `table` to a fate.
    pub(super) fn count(&mut self, table: Table, fate: &'static str, lines: usize) {
        *self.fates.entry((table, fate.into())).or_default() += lines as u64;
    }
}

/// Adds the fates of the lines of all partitions to the `counts` by table. `guests` are all guest lines.
pub(crate) fn add_counts(
    counts: &mut BTreeMap<String, TableCounts>,
    partitions: &[DerivedTables],
    guests: &HashMap<u64, GuestLines>,
) {
    let mut amounts: BTreeMap<&str, i128> = BTreeMap::new();
    if !guests.is_empty() {
        amounts.insert("no_customer", guests.values().map(|lines| lines.amount).sum());
    }
    for derived in partitions {
        for (fate, amount) in &derived.amounts {
            *amounts.entry(fate.as_ref()).or_default() += amount;
        }
        for ((table, fate), lines) in &derived.fates {
            if let Some(counts) = counts.get_mut(table.name()) {
                *counts.fates.entry(fate.to_string()).or_default() += lines;
            }
        }
        for (table, lines) in &derived.duplicates {
            if let Some(counts) = counts.get_mut(table.name()) {
                counts.duplicates += lines;
            }
        }
    }
    if let Some(counts) = counts.get_mut(Table::Transactions.name()) {
        counts.amounts = amounts.into_iter().map(|(fate, amount)| (fate.to_owned(), money(amount))).collect();
    }
}
