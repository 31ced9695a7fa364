//! Training cuts: past as-of times, the features of customers then, and the purchases within the horizon
//! after them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use super::{
    candidates::TrainingRows,
    expected_value::{CutWithSpending, RetainedCustomers, own_rate},
    feature_query::FeatureQuery,
    features::VIEW,
    horizon::{days, parts},
    inputs::InputRows,
    product_demand::DemandWindow,
    selection::LabeledCut,
};
use crate::{
    pipeline::{BuildError, ViewError, past::Past, query::Session},
    snapshot::rfc3339,
};

/// Least time between cuts. Closer cuts have nearly the same rows.
const MIN_STEP: TimeDelta = TimeDelta::days(7);
/// Greatest age of the oldest cut before the newest one: all seasons, but no outdated behavior.
const YEAR: TimeDelta = TimeDelta::days(365);

/// Customers with an order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OrderingCustomers {
    pub(super) count: usize,
    /// Time of the first order of all customers.
    pub(super) first_order: Option<DateTime<Utc>>,
}

impl OrderingCustomers {
    /// Counts the customers with an order in `session`.
    pub(super) async fn read(session: &Session) -> Result<Self, ViewError> {
        let failed = |source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) };
        let sql = "SELECT count(*) AS customers, min(first) AS first \
                   FROM (SELECT min(ordered_at) AS first FROM orders GROUP BY customer_id)";
        let mut rows = session.query(VIEW, sql).await?;
        let Some(batch) = rows.next().await.transpose().map_err(failed)? else { return Ok(Self::default()) };
        if batch.num_rows() == 0 {
            return Ok(Self::default());
        }
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let count = batch.column(0).as_primitive::<Int64Type>().value(0);
        let first_order =
            if times.is_valid(0) { DateTime::from_timestamp_micros(times.value(0)) } else { None };
        Ok(Self { count: usize::try_from(count).unwrap_or(0), first_order })
    }
}

/// Returns the times of the training cuts, oldest first.
///
/// At most `most` of them are at least a horizon before `as_of` and at least a third of a horizon after the
/// order at `first`. They are spread over the last year, at least a third of a horizon apart. More recent
/// cuts follow, for which only a part of the horizon has ended.
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
    let steps = i32::try_from(most.saturating_sub(1)).unwrap_or(i32::MAX).max(1);
    let step = (span.min(YEAR) / steps).max(horizon / 3).max(MIN_STEP);
    let fit = i32::try_from(span.num_seconds() / step.num_seconds()).unwrap_or(i32::MAX).min(steps);
    let parts = parts(horizon);
    let recent = parts[..parts.len() - 1].iter().rev().map(|part| as_of - *part);
    (0..=fit).rev().map(|back| newest - step * back).chain(recent).collect()
}

/// The sample of customers that is read at each cut, which bounds the number of training rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CustomerSample {
    /// Number of staging partitions that are read, from the first one. The others cost no time.
    pub(super) partitions: usize,
    /// One customer in this many of these partitions is read, by the hash of the id.
    pub(super) one_in: u64,
    /// Greatest number of rows of a cut, since sampling by hash is not exact.
    max_rows: usize,
}

impl CustomerSample {
    /// Returns the sample of `customers` customers in `partitions` partitions with at most `rows` rows over
    /// `cuts` cuts.
    pub(super) fn new(customers: usize, cuts: usize, partitions: usize, rows: u64) -> Self {
        let all = (customers as u64).saturating_mul(cuts as u64).max(1);
        let wanted = rows.min(all).saturating_mul(partitions as u64).div_ceil(all);
        let filled = usize::try_from(wanted).unwrap_or(partitions).clamp(1, partitions);
        let of_filled = all.saturating_mul(filled as u64) / partitions as u64;
        // Tolerates 10 % too many rows, since partitions differ in size; `max_rows` bounds them.
        let one_in = of_filled.saturating_mul(9).div_ceil(rows.saturating_mul(10).max(1)).max(1);
        let max_rows = usize::try_from(rows / (cuts as u64).max(1)).unwrap_or(usize::MAX);
        Self { partitions: filled, one_in, max_rows }
    }

    /// Returns the share of the `partitions` partitions that is read.
    #[expect(clippy::cast_precision_loss, reason = "numbers of partitions")]
    pub(super) fn partition_share(self, partitions: usize) -> f64 {
        self.partitions as f64 / partitions as f64
    }

    /// Describes the sample for the model card.
    pub(super) fn description(self, partitions: usize) -> String {
        match self {
            Self { partitions: filled, one_in: 1, .. } if filled == partitions => "all customers".to_owned(),
            Self { partitions: filled, one_in, .. } => format!(
                "one in {one_in} customers of {filled} of {partitions} partitions, by hash of the id; the \
                 views read only these partitions"
            ),
        }
    }
}

/// Reads training cuts from the views of earlier as-of times.
pub(super) struct CutReader<'a> {
    /// Session over the purchases of the sampled customers up to the as-of time of the build.
    pub(super) session: &'a Session,
    pub(super) past: &'a Past<'a>,
    pub(super) horizon: TimeDelta,
    pub(super) features: FeatureQuery<'a>,
    pub(super) sample: CustomerSample,
}

impl CutReader<'_> {
    /// Reads the cut at `at`: the features then, and the outcome within the horizon.
    ///
    /// # Errors
    /// Fails if the staging cannot be read or a query fails.
    pub(super) async fn read(&self, at: DateTime<Utc>) -> Result<CutWithSpending, BuildError> {
        let horizon = self.horizon;
        let (session, folder) = self.past.at(at, self.sample.partitions, &self.features.views()).await?;
        let mut table = self.features.read(&session, DemandWindow { at, horizon, share: 1.0 }).await?;
        table.thin(self.sample.max_rows);
        drop((session, folder));
        let outcomes = outcomes(self.session, &table.ids, at, at + horizon).await?;
        let next = |id| outcomes.get(id).map_or(f64::INFINITY, |outcome| outcome.next);
        let next: Vec<f64> = table.ids.iter().map(next).collect();
        let (mut retained, histories) = (RetainedCustomers::default(), table.histories());
        let own: Vec<f64> = (0..table.len()).map(|row| own_rate(&table.raw, row, days(horizon))).collect();
        for (row, id) in table.ids.iter().enumerate() {
            if let Some(outcome) = outcomes.get(id) {
                retained.own.push(own[row]);
                retained.histories.push(histories[row]);
                retained.spent.push(outcome.spent);
            }
        }
        let rows = TrainingRows { columns: InputRows::new(&table).columns(), histories, next };
        Ok(CutWithSpending { cut: Arc::new(LabeledCut::new(at, rows)), own, retained })
    }

    /// Returns the number of customers of the cut at `at`, which are those with an order. Runs no views.
    ///
    /// # Errors
    /// Fails if the staging cannot be read or a query fails.
    pub(super) async fn count(&self, at: DateTime<Utc>) -> Result<usize, BuildError> {
        let (session, folder) = self.past.tables_at(at, self.sample.partitions).await?;
        let mut rows = session.query(VIEW, "SELECT DISTINCT customer_id FROM orders").await?;
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch =
                batch.map_err(|source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) })?;
            let ids = batch.column(0).as_string::<i32>();
            count += ids.iter().flatten().filter(|id| self.features.samples(id)).count();
        }
        drop((rows, session, folder));
        Ok(count.min(self.sample.max_rows))
    }
}

/// The next purchase of a customer after a cut, and the spending within the horizon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// Days until the next purchase.
    next: f64,
    /// Purchases minus returns, at least 0.
    spent: f64,
}

/// Returns `at` as an expression in SQL.
fn instant(at: DateTime<Utc>) -> String {
    format!("arrow_cast('{}', 'Timestamp(Microsecond, Some(\"UTC\"))')", rfc3339::format(at))
}

/// Returns the outcomes of the customers of `ids` with an order after `from` and up to `to`.
pub(super) async fn outcomes(
    session: &Session,
    ids: &[String],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<HashMap<String, Outcome>, ViewError> {
    let sampled: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let sum = |amount, table, at| {
        let (from, to) = (instant(from), instant(to));
        format!(
            "SELECT customer_id, min({at}) AS next, sum({amount}) AS amount FROM {table} \
             WHERE {at} > {from} AND {at} <= {to} GROUP BY customer_id"
        )
    };
    let sql = format!(
        "SELECT o.customer_id, o.next, CAST(greatest(o.amount - coalesce(r.amount, 0), 0) AS DOUBLE) AS \
         spent FROM ({}) o LEFT JOIN ({}) r ON r.customer_id = o.customer_id",
        sum("revenue", "orders", "ordered_at"),
        sum("amount", "returns", "returned_at"),
    );
    let mut rows = session.query(VIEW, &sql).await?;
    let mut outcomes = HashMap::new();
    while let Some(batch) = rows.next().await {
        let batch =
            batch.map_err(|source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) })?;
        let (ids, amounts) =
            (batch.column(0).as_string::<i32>(), batch.column(2).as_primitive::<Float64Type>());
        let next = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        #[expect(clippy::cast_precision_loss, reason = "present-day times are exact to the microsecond")]
        let days_until = |row| (next.value(row) - from.timestamp_micros()) as f64 / 86_400e6;
        let known = (0..batch.num_rows()).filter(|row| sampled.contains(ids.value(*row)));
        outcomes.extend(known.map(|row| {
            (ids.value(row).to_owned(), Outcome { next: days_until(row), spent: amounts.value(row) })
        }));
    }
    Ok(outcomes)
}

/// Returns the greatest number of customers that any of `cuts` can have retained: customers with an order up
/// to the cut and another one within the horizon after it.
pub(super) async fn most_retained(
    session: &Session,
    cuts: &[DateTime<Utc>],
    horizon: TimeDelta,
) -> Result<usize, ViewError> {
    let failed = |source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) };
    let (mut returned, mut counts) = (Vec::new(), Vec::new());
    for (number, at) in cuts.iter().enumerate() {
        let (from, to) = (instant(*at), instant(*at + horizon));
        returned.push(format!("bool_or(ordered_at > {from} AND ordered_at <= {to}) AS r{number}"));
        counts.push(format!("count(*) FILTER (WHERE r{number} AND first <= {from})"));
    }
    let sql = format!(
        "SELECT greatest({}) FROM (SELECT min(ordered_at) AS first, {} FROM orders GROUP BY customer_id \
         HAVING count(*) > 1)",
        counts.join(", "),
        returned.join(", ")
    );
    let mut rows = session.query(VIEW, &sql).await?;
    let Some(batch) = rows.next().await.transpose().map_err(failed)? else { return Ok(0) };
    let most = batch.column(0).as_primitive::<Int64Type>();
    Ok(most.iter().next().flatten().and_then(|most| usize::try_from(most).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(first: &str, as_of: &str, horizon: i64, most: usize) -> Vec<String> {
        let (first, as_of) = (format!("{first}T00:00:00Z"), format!("{as_of}T00:00:00Z"));
        let times = cut_times(
            first.parse().expect("a time"),
            as_of.parse().expect("a time"),
            TimeDelta::days(horizon),
            most,
        );
        times.into_iter().map(|at| at.format("%m-%d").to_string()).collect()
    }

    #[test]
    fn cuts_are_a_third_of_a_horizon_apart_and_a_recent_one_follows() {
        assert_eq!(
            times("2011-01-01", "2011-12-08", 90, 12),
            ["02-11", "03-13", "04-12", "05-12", "06-11", "07-11", "08-10", "09-09", "10-24"]
        );
        // At most as many as configured, spread over at most a year.
        assert_eq!(times("2011-01-01", "2011-12-08", 90, 2), ["01-31", "09-09", "10-24"]);
        assert_eq!(times("2001-01-01", "2011-12-31", 10, 2), ["12-21", "12-21", "12-26"]);
        // Parts are distinct whole days.
        assert_eq!(times("2011-12-01", "2011-12-31", 2, 2), ["12-01", "12-29", "12-30"]);
        assert!(times("2011-12-01", "2011-12-31", 30, 9).is_empty());
    }
}
