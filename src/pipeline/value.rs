//! The customer value: expected spending and orders of each customer within the next 365 days. Candidates are
//! measured on cutoffs in the past, and the best one makes the view `value` with its model card.
//!
//! ```text
//! staged orders, returns ──order_sample──▶ customers ──selection──▶ model ──view_rows──▶ the view `value`
//!                                                          └───────card──▶ the model card
//! ```
//!
//! A customer's past is the orders and returns up to an instant, so any instant can be learned from without
//! running views. Nothing but ids, times and amounts is read. The customers of a sample teach the model, and
//! all customers are then read once more, a partition at a time.

use std::{collections::BTreeMap, path::Path};

use chrono::{DateTime, Utc};

use super::{
    parallel::parallel_map,
    raw::RawError,
    staging::StagedFile,
    view_files::{RowOrder, ViewFile, ViewFiles},
};
use crate::snapshot::{Warning, models::ValueModel};

mod accuracy;
mod card;
mod forecast;
mod forecaster;
mod learner;
mod order_log;
mod order_sample;
mod order_times;
mod purchase_value;
mod selection;
mod summary;
mod times;
mod view_rows;

use order_sample::OrderSample;
use selection::select;
#[cfg(feature = "cluster")]
pub(super) use view_rows::VIEW;
pub(super) use view_rows::{ValueRows, definition, schema};

/// Name of the table of orders.
pub(super) const ORDERS: &str = "orders";
/// Name of the table of returns, which a shop need not have.
pub(super) const RETURNS: &str = "returns";

/// The input of the model: staged tables by partition.
#[derive(Debug, Clone)]
pub(super) struct ValueJob {
    orders: Vec<StagedFile>,
    returns: Vec<StagedFile>,
    as_of: DateTime<Utc>,
    threads: usize,
}

/// The model, ready to make the rows of the view, and its card.
#[derive(Debug)]
pub(super) struct LearnedValue {
    pub(super) rows: ValueRows,
    pub(super) card: ValueModel,
    pub(super) warnings: Vec<Warning>,
}

impl ValueJob {
    /// Creates a job over the staged `tables`, which hold data up to `as_of`.
    pub(super) fn new(
        tables: &BTreeMap<&'static str, Vec<StagedFile>>,
        as_of: DateTime<Utc>,
        threads: usize,
    ) -> Self {
        let table = |name: &str| tables.get(name).cloned().unwrap_or_default();
        Self { orders: table(ORDERS), returns: table(RETURNS), as_of, threads }
    }

    /// Learns from past orders.
    ///
    /// # Errors
    /// Fails if the staging cannot be read.
    pub(super) fn learn(&self) -> Result<LearnedValue, RawError> {
        let as_of = self.as_of.timestamp_micros();
        let sample = OrderSample::read(&self.orders, &self.returns, self.threads)?;
        let selection = select(&sample, as_of, self.threads);
        let card = card::card(&selection, &sample);
        let start = sample.start.unwrap_or(as_of);
        let warning = |reason: &String| {
            Warning::new("value", format!("value: {reason}; the forecast is not to be trusted"))
        };
        let warnings = card.reasons.iter().map(warning).collect();
        Ok(LearnedValue { rows: ValueRows { start, as_of, model: selection.model }, card, warnings })
    }

    /// Stages `rows` of all customers in `folder`.
    ///
    /// # Errors
    /// Fails if a staged file cannot be read or written.
    pub(super) fn stage(&self, rows: &ValueRows, folder: &Path) -> Result<ViewFiles, RawError> {
        let stage =
            |number: usize| rows.stage(number, &self.orders[number], self.returns.get(number), folder);
        let files = parallel_map(self.threads, self.orders.len(), || (), |(), number| stage(number));
        let files = files.into_iter().collect::<Result<Vec<ViewFile>, RawError>>()?;
        Ok(ViewFiles::new(schema(), RowOrder::Partitions, files))
    }
}
