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

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{raw::RawError, staging::StagedFile, view_files::ViewFiles};
use crate::{
    snapshot::{Warning, models::ValueModel},
    views::ViewDefinition,
};

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
use view_rows::RowInput;
pub(super) use view_rows::definition;

/// The input of the model.
#[derive(Debug, Clone)]
pub(super) struct ValueJob {
    orders: Vec<StagedFile>,
    returns: Vec<StagedFile>,
    as_of: DateTime<Utc>,
    threads: usize,
    scratch: PathBuf,
}

/// The staged view and its model card.
#[derive(Debug)]
pub(super) struct ValueOutput {
    pub(super) definition: ViewDefinition,
    pub(super) files: ViewFiles,
    pub(super) card: ValueModel,
    pub(super) warnings: Vec<Warning>,
}

impl ValueJob {
    /// Creates a job over the staged `tables`, which hold data up to `as_of`. The view is staged in the
    /// folder `scratch`.
    pub(super) fn new(
        tables: &BTreeMap<&'static str, Vec<StagedFile>>,
        as_of: DateTime<Utc>,
        threads: usize,
        scratch: &Path,
    ) -> Self {
        let table = |name: &str| tables.get(name).cloned().unwrap_or_default();
        let (orders, returns) = (table("orders"), table("returns"));
        Self { orders, returns, as_of, threads, scratch: scratch.to_path_buf() }
    }

    /// Learns from past orders, and stages the view.
    ///
    /// # Errors
    /// Fails if the staging cannot be read or written.
    pub(super) fn run(&self) -> Result<ValueOutput, RawError> {
        let as_of = self.as_of.timestamp_micros();
        let sample = OrderSample::read(&self.orders, &self.returns, self.threads)?;
        let selection = select(&sample, as_of, self.threads);
        let card = card::card(&selection, &sample);
        let start = sample.start.unwrap_or(as_of);
        drop(sample);
        let input = RowInput {
            orders: &self.orders,
            returns: &self.returns,
            start,
            as_of,
            scratch: &self.scratch,
            threads: self.threads,
        };
        let files = view_rows::stage(input, selection.model.as_ref())?;
        let warning = |reason: &String| {
            Warning::new("value", format!("value: {reason}; the forecast is not to be trusted"))
        };
        let warnings = card.reasons.iter().map(warning).collect();
        Ok(ValueOutput { definition: definition(), files, card, warnings })
    }
}
