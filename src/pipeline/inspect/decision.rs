//! The decision about a file: its table, and the use of its columns.

use std::collections::BTreeMap;

use super::{
    dictionary::{self, ColumnRole},
    finder::ColumnFinder,
    mapping::TableMapping,
    orders, people,
    profile::FileProfile,
};
use crate::pipeline::raw::Table;

/// Returns the table of a file, with the reason.
fn table(finder: &ColumnFinder<'_>) -> (Table, String) {
    let has = |role| finder.first(role).is_some();
    let has_price = has(ColumnRole::UnitPrice) || has(ColumnRole::Amount);
    if has(ColumnRole::Event)
        && has(ColumnRole::At)
        && has(ColumnRole::Customer)
        && !has(ColumnRole::Quantity)
    {
        return (Table::Interactions, "it has events with a time and a customer".to_owned());
    }
    let repeats =
        finder.first(ColumnRole::Customer).is_some_and(|customer| customer.distinct < customer.present());
    let has_items = has(ColumnRole::Quantity) || has(ColumnRole::Product);
    let personal = finder.columns.iter().filter(|column| dictionary::personal_reason(&column.name).is_some());
    if finder.system.is_none() && !repeats && !has_items && personal.count() > 1 {
        return (Table::Customers, "it has one line for each customer, with personal columns".to_owned());
    }
    let is_line = has_items || has(ColumnRole::Order) || repeats;
    let is_customers = finder.system.is_some_and(|system| system.name.ends_with("customers"));
    if has(ColumnRole::OrderedAt) && has_price && is_line && !is_customers {
        return (Table::Transactions, "it has prices or amounts with a time".to_owned());
    }
    let has_id = has(ColumnRole::Customer) || finder.columns.iter().any(|column| column.plain == "id");
    if has_id && !has(ColumnRole::Quantity) {
        return (Table::Customers, "it has customers, but no order lines and no events".to_owned());
    }
    (Table::Transactions, "no other table is likelier".to_owned())
}

/// Returns the likely settings for a file.
pub(super) fn map(profile: &FileProfile) -> TableMapping {
    let plain: Vec<&str> = profile.columns.iter().map(|column| column.plain.as_str()).collect();
    let finder = ColumnFinder { columns: &profile.columns, system: dictionary::system(&plain) };
    let (table, reason) = table(&finder);
    let reason = match finder.system {
        Some(system) => format!("{reason}; its columns are those of an export of {}", system.name),
        None => reason,
    };
    let mut mapping = TableMapping {
        table,
        reason,
        columns: Vec::new(),
        defaults: BTreeMap::new(),
        time_format: Vec::new(),
        scale: None,
        fills_orders: false,
        has_decimal_quantities: false,
        types: BTreeMap::new(),
        personal: Vec::new(),
        currencies: Vec::new(),
        doubts: profile.style.doubt.iter().cloned().collect(),
        missing: Vec::new(),
    };
    mapping
        .doubts
        .extend(finder.system.into_iter().flat_map(|system| system.doubts).map(|doubt| (*doubt).to_owned()));
    match table {
        Table::Transactions => orders::transactions(&finder, &mut mapping),
        Table::Customers => people::customers(&finder, &mut mapping),
        Table::Interactions => {
            for role in [ColumnRole::Customer, ColumnRole::Event, ColumnRole::At, ColumnRole::Product] {
                mapping.add(role, finder.first(role));
            }
        }
    }
    mapping.note_times(&profile.columns);
    let used: Vec<&str> = mapping.columns.iter().map(|column| column.source.as_str()).collect();
    let count = |name: &str| profile.columns.iter().filter(|column| column.name == name).count();
    if let Some(twice) = used.iter().find(|name| count(name) > 1) {
        mapping.doubts.push(format!("the column `{twice}` occurs twice in the header, which is refused"));
    }
    mapping
}
