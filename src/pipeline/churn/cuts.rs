//! Looking back: the instants that training rows are of, whose rows are taken, and what became of the customers since.
//!
//! Knows sessions and tables, nothing of models.

use std::collections::{BTreeSet, HashMap};

use arrow::{
    array::{Array, AsArray},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use super::{
    candidates::Rows,
    choose::Cut,
    demand::Look,
    horizon::{days, parts},
    inputs::{self, Source},
    value::{Seen, Stayed, own_rate},
    view::VIEW,
};
use crate::{
    pipeline::{BuildError, ViewError, past::Past, query::Session},
    snapshot::rfc3339,
};

/// Fewer customers than these at the latest cut are too few.
const LEAST_CUSTOMERS: usize = 200;
/// The least time between cuts: nearer ones hold nearly the same rows.
const LEAST_STEP: TimeDelta = TimeDelta::days(7);
/// Older customers have less to tell of today's, but every season should be there.
const YEAR: TimeDelta = TimeDelta::days(365);

/// How many customers have ordered, and when the first one did.
pub(super) async fn customers(session: &Session) -> Result<(usize, Option<DateTime<Utc>>), ViewError> {
    let failed = |source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) };
    let sql = "SELECT count(*) AS customers, min(first) AS first \
               FROM (SELECT min(ordered_at) AS first FROM orders GROUP BY customer_id)";
    let mut rows = session.query(VIEW, sql).await?;
    let batch = rows.next().await.transpose().map_err(failed)?;
    let Some(batch) = batch.filter(|batch| batch.num_rows() > 0) else { return Ok((0, None)) };
    let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
    let count = batch.column(0).as_primitive::<Int64Type>().value(0);
    let first = times.is_valid(0).then(|| times.value(0)).and_then(DateTime::from_timestamp_micros);
    Ok((usize::try_from(count).unwrap_or(0), first))
}

/// The instants to look back at, oldest first. `most` of them, at most, are a horizon before `as_of` or earlier, and not before a third
/// of a horizon after the first order: spread over the last year, but no nearer than a third of a horizon. Younger ones follow, after
/// which only a part of the horizon has ended.
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
    let step = (span.min(YEAR) / steps).max(horizon / 3).max(LEAST_STEP);
    let fit = i32::try_from(span.num_seconds() / step.num_seconds()).unwrap_or(i32::MAX).min(steps);
    let parts = parts(horizon);
    let younger = parts[..parts.len() - 1].iter().rev().map(|part| as_of - *part);
    (0..=fit).rev().map(|back| newest - step * back).chain(younger).collect()
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

    /// The share of the customers in the sessions of the past.
    #[expect(clippy::cast_precision_loss, reason = "numbers of partitions")]
    pub(super) fn filled(self, partitions: usize) -> f64 {
        self.partitions as f64 / partitions as f64
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

/// Reads cuts: the features that customers had at an earlier instant, and their purchases within the horizon after it.
pub(super) struct CutReader<'a> {
    /// Session over all purchases up to `as_of`.
    pub(super) session: &'a Session,
    pub(super) past: &'a Past<'a>,
    pub(super) horizon: TimeDelta,
    pub(super) sources: &'a [Source],
    /// Names of the sources that exist in the views of this build.
    pub(super) columns: &'a BTreeSet<String>,
    pub(super) sample: Sample,
}

impl CutReader<'_> {
    /// Reads the cut at `at`.
    pub(super) async fn read(&self, at: DateTime<Utc>) -> Result<Seen, BuildError> {
        let (sample, horizon) = (self.sample, self.horizon);
        let (session, folder) = self.past.at(at, sample.partitions).await?;
        let look = Look { at, horizon, share: 1.0 };
        let mut inputs = inputs::read(&session, look, self.sources, self.columns, sample.one_in).await?;
        inputs.thin(sample.most);
        drop((session, folder));
        let spent = spent(self.session, at, at + horizon).await?;
        let next = |id| spent.get(id).map_or(f64::INFINITY, |(next, _)| *next);
        let next: Vec<f64> = inputs.ids.iter().map(next).collect();
        let (mut stayed, histories) = (Stayed::default(), inputs.histories());
        for (row, id) in inputs.ids.iter().enumerate() {
            if let Some((_, amount)) = spent.get(id) {
                stayed.own.push(own_rate(&inputs.raw, row, days(horizon)));
                stayed.histories.push(histories[row]);
                stayed.seen.push(*amount);
            }
        }
        Ok(Seen { cut: Cut { at, rows: Rows { columns: inputs.columns(), histories, next } }, stayed })
    }
}

/// Who ordered after `from` and up to `to`: after how many days, and for how much, less what was given back by then.
async fn spent(
    session: &Session,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<HashMap<String, (f64, f64)>, ViewError> {
    let instant =
        |at| format!("arrow_cast('{}', 'Timestamp(Microsecond, Some(\"UTC\"))')", rfc3339::format(at));
    let sum = |amount, table, at| {
        let (from, to) = (instant(from), instant(to));
        format!(
            "SELECT customer_id, min({at}) AS next, sum({amount}) AS amount FROM {table} WHERE {at} > {from} AND {at} <= {to} GROUP BY customer_id"
        )
    };
    let sql = format!(
        "SELECT o.customer_id, o.next, CAST(greatest(o.amount - coalesce(r.amount, 0), 0) AS DOUBLE) AS spent \
         FROM ({}) o LEFT JOIN ({}) r ON r.customer_id = o.customer_id",
        sum("revenue", "orders", "ordered_at"),
        sum("amount", "returns", "returned_at"),
    );
    let mut rows = session.query(VIEW, &sql).await?;
    let mut spent = HashMap::new();
    while let Some(batch) = rows.next().await {
        let batch =
            batch.map_err(|source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) })?;
        let (ids, amounts) =
            (batch.column(0).as_string::<i32>(), batch.column(2).as_primitive::<Float64Type>());
        let next = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        #[expect(clippy::cast_precision_loss, reason = "times of our age fit to the microsecond")]
        let after = |row| (next.value(row) - from.timestamp_micros()) as f64 / 86_400e6;
        spent.extend(
            (0..batch.num_rows()).map(|row| (ids.value(row).to_owned(), (after(row), amounts.value(row)))),
        );
    }
    Ok(spent)
}

/// Why nothing can be learned, if so.
pub(super) fn too_little(seen: &[Seen], horizon: TimeDelta) -> Vec<String> {
    let days = horizon.num_days();
    let Some(latest) = seen.last() else {
        return vec![format!(
            "the history of purchases is too short for a horizon of {days} days: it takes more than {} days",
            days * 4 / 3
        )];
    };
    if latest.cut.at - seen[0].cut.at < horizon {
        return vec![format!(
            "the history of purchases is too short to measure a model on a horizon of {days} days: it takes more than {} days",
            days * 7 / 3
        )];
    }
    let customers = latest.cut.rows.next.len();
    if customers < LEAST_CUSTOMERS {
        return vec![format!(
            "{customers} customers had an order a horizon before as_of; it takes {LEAST_CUSTOMERS}"
        )];
    }
    Vec::new()
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
    fn cuts_are_a_third_of_a_horizon_apart_and_a_younger_one_follows() {
        assert_eq!(
            times("2011-01-01", "2011-12-08", 90, 12),
            ["02-11", "03-13", "04-12", "05-12", "06-11", "07-11", "08-10", "09-09", "10-24"]
        );
        // No more than wanted, and with room to spare over a year.
        assert_eq!(times("2011-01-01", "2011-12-08", 90, 2), ["01-31", "09-09", "10-24"]);
        assert_eq!(times("2001-01-01", "2011-12-31", 10, 2), ["12-21", "12-21", "12-26"]);
        // Parts are whole days, each once.
        assert_eq!(times("2011-12-01", "2011-12-31", 2, 2), ["12-01", "12-29", "12-30"]);
        assert!(times("2011-12-01", "2011-12-31", 30, 9).is_empty());
    }
}
