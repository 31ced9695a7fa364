//! Warnings about raw data that is valid and probably mistaken, with counts and sums. They address the author
//! of the export.

use std::collections::BTreeSet;

use chrono::DateTime;

use super::{
    past::StagedRuns,
    raw::{Table, TableSpec},
    staging::{derive::Observations, event_span::EventSpan, read_outcome::ReadOutcome},
};
use crate::{
    config::RawConfig,
    feature::money,
    snapshot::{Warning, rfc3339},
};

/// Number of lines of `transactions` below which the share of one customer is not checked.
const LINES_TO_COMPARE: u64 = 1_000;
/// Share of orders of several days that suggests reused order ids: one in so many.
const LONG_ORDERS: u64 = 20;
/// Share of all events below which the events after a gap are suspicious: one in so many.
const FEW_EVENTS: u64 = 1_000;
/// Length of a gap without events, after which a few events are suspicious: 30 days in microseconds.
const GAP: i64 = 30 * 86_400_000_000;

/// Returns the warnings about all raw data, from the outcome of reading and the observations of the
/// derivation.
pub(super) fn warnings(
    lines: &ReadOutcome,
    staged: &StagedRuns,
    observed: &Observations,
    raw: &RawConfig,
) -> Vec<Warning> {
    let spec = staged.specs.get(&Table::Transactions);
    let counts = lines.counts.get(Table::Transactions.name());
    let mut warnings = Vec::new();
    warnings.extend(overlapping(observed));
    warnings.extend(guests(staged, observed));
    warnings.extend(
        counts.and_then(|counts| without_effect(counts.fates.get("neither").copied()?, observed, spec)),
    );
    warnings.extend(divided(observed, spec));
    warnings.extend(largest(counts.map_or(0, |counts| counts.lines), observed, raw));
    warnings.extend(late(lines));
    warnings
}

/// Returns the number with its noun, in singular or plural.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Warns of lines that equal a line of another file.
fn overlapping(observed: &Observations) -> Vec<Warning> {
    let found = observed.overlapping.iter().filter(|(_, (lines, _))| *lines > 0);
    let warning = |(table, (lines, amount)): (&Table, &(u64, i128))| {
        let sum = if *table == Table::Transactions {
            format!(" ({} in all)", money(*amount))
        } else {
            String::new()
        };
        let message = format!(
            "{} of {}{sum} equal a line of another file and count again; do the exports overlap?",
            count(*lines, "line"),
            table.name()
        );
        Warning::new("overlapping_files", message)
    };
    found.map(warning).collect()
}

/// Warns of guest lines on orders that have a customer.
fn guests(staged: &StagedRuns, observed: &Observations) -> Option<Warning> {
    let orders: BTreeSet<u64> = observed.guest_orders.iter().copied().collect();
    let guests = orders.iter().filter_map(|order| staged.guests.get(order));
    let (lines, amount) =
        guests.fold((0, 0), |(lines, sum), guests| (lines + guests.lines, sum + guests.amount));
    if lines == 0 {
        return None;
    }
    let message = format!(
        "{} of transactions without a customer ({} in all) belong to {} with a customer on other lines; put \
         the customer on every line of an order",
        count(lines, "line"),
        money(amount),
        count(orders.len() as u64, "order")
    );
    Some(Warning::new("guests_on_known_orders", message))
}

/// Warns of lines that are neither purchase nor return.
fn without_effect(lines: u64, observed: &Observations, spec: Option<&TableSpec>) -> Option<Warning> {
    if lines == 0 {
        return None;
    }
    let hint = if spec.is_some_and(|spec| spec.free_orders) {
        ""
    } else {
        "; set `free_orders = true` in [raw.transactions] to count orders of price 0 as purchases"
    };
    let message = format!(
        "{} of transactions ({} in all, amount 0) have the price 0 or the quantity 0 and are neither \
         purchase nor return{hint}",
        count(lines, "line"),
        count(observed.items_without_effect, "item"),
    );
    Some(Warning::new("without_effect", message))
}

/// Warns of order ids that stand for several orders, and of orders of several days.
fn divided(observed: &Observations, spec: Option<&TableSpec>) -> Vec<Warning> {
    let hours = spec.map_or(0, |spec| spec.order_span / 3_600_000_000).unsigned_abs();
    let span = if hours.is_multiple_of(24) { count(hours / 24, "day") } else { count(hours, "hour") };
    let mut warnings = Vec::new();
    if observed.divided_ids > 0 {
        let message = format!(
            "{} of one customer stand for {}, since the lines are more than order_span ({}) apart; if \
             receipt numbers are reused, define an order by `order_scope` and `order_span` in \
             [raw.transactions]",
            count(observed.divided_ids, "order id"),
            count(observed.divided_orders, "order"),
            span,
        );
        warnings.push(Warning::new("divided_orders", message));
    }
    if observed.long_orders * LONG_ORDERS > observed.orders {
        let message = format!(
            "{} of {} have lines more than a day apart; if receipt numbers are reused, set `order_span` or \
             `order_scope` in [raw.transactions]",
            observed.long_orders,
            count(observed.orders, "order"),
        );
        warnings.push(Warning::new("long_orders", message));
    }
    warnings
}

/// Warns of a customer with a large share of all lines.
fn largest(lines: u64, observed: &Observations, raw: &RawConfig) -> Option<Warning> {
    let (most, id) = observed.largest.as_ref()?;
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = *most as f64 / lines.max(1) as f64;
    if lines < LINES_TO_COMPARE || share <= raw.max_customer_share {
        return None;
    }
    Some(Warning {
        kind: "large_customer".to_owned(),
        message: format!(
            "one customer has {:.1} % of the lines of transactions, more than max_customer_share; if the id \
             stands for guests, add it to `nulls` in [raw]",
            share * 100.0
        ),
        customer_id: Some(id.clone()),
    })
}

/// Warns of a few events long after all others. Since `as_of` follows the newest event, they would make all
/// customers look inactive.
fn late(lines: &ReadOutcome) -> Option<Warning> {
    let newest = lines.newest?;
    let spans: Vec<&EventSpan> = lines.spans.values().filter(|span| span.events > 0).rev().collect();
    let all: u64 = spans.iter().map(|span| span.events).sum();
    let mut after = 0;
    for pair in spans.windows(2) {
        after += pair[0].events;
        if after * FEW_EVENTS > all {
            return None;
        }
        if pair[0].first - pair[1].last > GAP {
            let shown = DateTime::from_timestamp_micros(newest).map(rfc3339::format).unwrap_or_default();
            let message = format!(
                "the newest event, {shown}, is one of {} more than 30 days after all others; as_of follows \
                 the newest event unless `--as-of` says otherwise",
                count(after, "event")
            );
            return Some(Warning::new("late_events", message));
        }
    }
    None
}
