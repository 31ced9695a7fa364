//! Looking back: the instants that training rows are of, whose rows are taken, and what became of the customers since.
//!
//! Knows sessions and tables, nothing of models.

use std::collections::{BTreeSet, HashMap};

use arrow::{
    array::{Array, AsArray},
    datatypes::{Float64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use super::{
    Known, VIEW,
    candidates::Rows,
    choose::{Cut, days},
    inputs::{self, Source},
    value::{Stayed, own_rate},
};
use crate::{
    pipeline::{BuildError, ViewError, query::Session},
    snapshot::rfc3339,
};

/// Fewer customers than these at the latest cut are too few.
const LEAST_CUSTOMERS: usize = 200;
/// The least time between cuts: nearer ones hold nearly the same rows.
const LEAST_STEP: TimeDelta = TimeDelta::days(7);

/// A cut with what only the value model needs.
pub(super) struct Seen {
    pub(super) cut: Cut,
    pub(super) stayed: Stayed,
}

pub(super) async fn first_order(session: &Session) -> Result<Option<DateTime<Utc>>, ViewError> {
    let failed = |source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) };
    let mut rows = session.query(VIEW, "SELECT min(ordered_at) AS first FROM orders").await?;
    let Some(batch) = rows.next().await.transpose().map_err(failed)? else { return Ok(None) };
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    let first = (batch.num_rows() > 0 && times.is_valid(0)).then(|| times.value(0));
    Ok(first.and_then(DateTime::from_timestamp_micros))
}

/// The instants to look back at, oldest first: evenly from a third of a horizon after the first order to a horizon before `as_of`.
pub(super) fn cut_times(
    first: DateTime<Utc>,
    as_of: DateTime<Utc>,
    horizon: TimeDelta,
    most: usize,
) -> Vec<DateTime<Utc>> {
    let (oldest, newest) = (first + horizon / 3, as_of - horizon);
    if newest < oldest {
        return Vec::new();
    }
    let span = newest - oldest;
    let steps = i32::try_from(most.saturating_sub(1)).unwrap_or(i32::MAX);
    let fit = i32::try_from(span.num_seconds() / LEAST_STEP.num_seconds()).unwrap_or(i32::MAX).min(steps);
    let step = if fit > 0 { span / fit } else { TimeDelta::zero() };
    (0..=fit).rev().map(|back| newest - step * back).collect()
}

/// Which customers are looked at in earlier cuts, so that there are no more rows than wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Partitions of the staging, from the first on: the others cost nothing.
    partitions: usize,
    /// Of their customers, one in so many, by the hash of the id.
    one_in: u64,
    /// Rows of a cut, at most: a hash does not divide to the row.
    most: usize,
}

impl Sample {
    pub(super) fn new(customers: usize, cuts: usize, partitions: usize, rows: u64) -> Self {
        let all = (customers as u64).saturating_mul(cuts as u64).max(1);
        let wanted = rows.min(all).saturating_mul(partitions as u64).div_ceil(all);
        let filled = usize::try_from(wanted).unwrap_or(partitions).clamp(1, partitions);
        let of_filled = all.saturating_mul(filled as u64) / partitions as u64;
        // Partitions are not of the same size to the customer: a little more than wanted is no reason to halve them.
        let one_in = of_filled.saturating_mul(9).div_ceil(rows.saturating_mul(10).max(1)).max(1);
        let most = usize::try_from(rows / (cuts as u64).max(1)).unwrap_or(usize::MAX);
        Self { partitions: filled, one_in, most }
    }

    pub(super) fn text(self, partitions: usize) -> String {
        match self {
            Self { partitions: filled, one_in: 1, .. } if filled == partitions => "all customers".to_owned(),
            Self { partitions: filled, one_in, .. } => format!(
                "customers of {filled} of {partitions} partitions by the hash of their id, of those one in {one_in}; views saw those partitions alone"
            ),
        }
    }
}

/// What the views said at `at`, and what became of the customers within the horizon.
pub(super) async fn look_back(
    known: &Known<'_>,
    at: DateTime<Utc>,
    horizon: TimeDelta,
    (sources, columns): (&[Source], &BTreeSet<String>),
    sample: Sample,
) -> Result<Seen, BuildError> {
    let (session, folder) = known.past.at(at, sample.partitions).await?;
    let mut inputs = inputs::read(&session, at, sources, columns, sample.one_in).await?;
    inputs.thin(sample.most);
    drop((session, folder));
    let spent = spent(known.session, at, at + horizon).await?;
    let churned: Vec<bool> = inputs.ids.iter().map(|id| !spent.contains_key(id)).collect();
    let (mut stayed, histories) = (Stayed::default(), inputs.histories());
    for (row, id) in inputs.ids.iter().enumerate() {
        if let Some(amount) = spent.get(id) {
            stayed.own.push(own_rate(&inputs.raw, row, days(horizon)));
            stayed.histories.push(histories[row]);
            stayed.seen.push(*amount);
        }
    }
    Ok(Seen { cut: Cut { at, rows: Rows { columns: inputs.columns(), histories, churned } }, stayed })
}

/// Who ordered after `from` and up to `to`, and for how much, less what was given back by then.
async fn spent(session: &Session, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<HashMap<String, f64>, ViewError> {
    let instant = |at| format!("arrow_cast('{}', 'Timestamp(Microsecond, Some(\"UTC\"))')", rfc3339::format(at));
    let sum = |amount, table, at| {
        let (from, to) = (instant(from), instant(to));
        format!(
            "SELECT customer_id, sum({amount}) AS amount FROM {table} WHERE {at} > {from} AND {at} <= {to} GROUP BY customer_id"
        )
    };
    let sql = format!(
        "SELECT o.customer_id, CAST(greatest(o.amount - coalesce(r.amount, 0), 0) AS DOUBLE) AS spent \
         FROM ({}) o LEFT JOIN ({}) r ON r.customer_id = o.customer_id",
        sum("revenue", "orders", "ordered_at"),
        sum("amount", "returns", "returned_at"),
    );
    let mut rows = session.query(VIEW, &sql).await?;
    let mut spent = HashMap::new();
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) })?;
        let (ids, amounts) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Float64Type>());
        spent.extend((0..batch.num_rows()).map(|row| (ids.value(row).to_owned(), amounts.value(row))));
    }
    Ok(spent)
}

/// Why nothing can be learned, if so.
pub(super) fn too_little(seen: &[Seen], horizon: TimeDelta) -> Vec<String> {
    let days = horizon.num_days();
    let Some(latest) = seen.last() else {
        return vec![format!(
            "the history is too short for a horizon of {days} days: it takes more than {} days",
            days * 4 / 3
        )];
    };
    if latest.cut.at - seen[0].cut.at < horizon {
        return vec![format!(
            "the history is too short to measure a model on a horizon of {days} days: it takes more than {} days",
            days * 7 / 3
        )];
    }
    let customers = latest.cut.rows.churned.len();
    if customers < LEAST_CUSTOMERS {
        return vec![format!("{customers} customers had an order a horizon before as_of; it takes {LEAST_CUSTOMERS}")];
    }
    Vec::new()
}
