//! Recommendations: what goes with what a customer bought, what is due again, and how well that was foreseen.
//!
//! ```text
//! staged lines ──ledger──▶ purchases ──taste (neighbours)──▶ lists ──write──▶ the view `recommendations`, `products/*.parquet`
//!                               └────────measure (split in time)──▶ the model card
//! ```
//!
//! Reads the staging, knows nothing of SQL. Time is linear in the lines, memory too: 16 bytes a purchase.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{raw::RawError, staging::derive::StagedFile};
use crate::{
    config::RecommendationsConfig,
    lake::Lake,
    snapshot::{
        FileEntry, SnapshotError, SnapshotId,
        models::recommendations::{RecommendationsMeasured, RecommendationsModel},
    },
    views::ViewDefinition,
};

mod buy_again;
mod choose_rule;
mod exclude;
mod ledger;
mod measure;
mod neighbours;
mod owned;
mod taste;
mod threads;
mod write;

use buy_again::Rule;
use ledger::{Ledger, Tables};
use measure::{FEWEST, measure};
use owned::{BASKET_CAP, DAY, HALF_LIFE, TREND_HALF_LIFE};
use taste::{LENGTH, MIN_CUSTOMERS, MIN_SIGNIFICANCE, NEIGHBOURS, Taste};

const METHOD: &str = "Products whose buyers overlap more than chance explains (log-likelihood ratio over customers) go together. A \
    customer's latest products vote for what goes with them in proportion to the significance, all votes of one being the fourth root of its whole; \
    votes fade with time; what sells better at present than it used to counts more. Lists are filled with best sellers of the category that the customer bought most of (else \
    of the one that attributes or interactions tell), then of the customer's country, then of all. \
    buy_again ranks the customer's own products by the rule that met best what customers of this shop bought on an earlier split in time.";

/// What is learned from and how.
#[derive(Debug, Clone)]
pub(super) struct Job {
    tables: Tables,
    config: RecommendationsConfig,
    as_of: DateTime<Utc>,
    threads: usize,
    scratch: PathBuf,
}

impl Job {
    /// The job over the staged `tables`, which are cut at `as_of`; the view is staged in `scratch`.
    pub(super) fn new(
        tables: &BTreeMap<&'static str, Vec<StagedFile>>,
        config: &RecommendationsConfig,
        as_of: DateTime<Utc>,
        threads: usize,
        scratch: &Path,
    ) -> Self {
        let table = |name: &str| tables.get(name).cloned().unwrap_or_default();
        let [customers, transactions, interactions] =
            ["customers", "transactions", "interactions"].map(table);
        let tables = Tables { customers, transactions, interactions };
        Self { tables, config: config.clone(), as_of, threads, scratch: scratch.to_path_buf() }
    }
}

/// The view, the products and the card.
#[derive(Debug)]
pub(super) struct Recommended {
    pub(super) view: ViewDefinition,
    pub(super) file: StagedFile,
    pub(super) card: RecommendationsModel,
    products: write::ProductRows,
}

impl Recommended {
    /// Writes `products/*.parquet` of the snapshot `id`.
    pub(super) async fn write_products(
        &self,
        lake: &Lake,
        id: &SnapshotId,
    ) -> Result<Vec<FileEntry>, SnapshotError> {
        self.products.write(lake, id).await
    }
}

/// Learns from all that is staged, measures on an earlier split, and stages the view.
pub(super) fn recommend(job: &Job) -> Result<Recommended, RawError> {
    let patterns = exclude::Patterns::new(&job.config.exclude);
    let ledger = Ledger::read(&job.tables, &patterns, &job.config.category_column, job.threads)?;
    let as_of = u32::try_from(job.as_of.timestamp()).unwrap_or(0);
    let mut notes = Vec::new();
    let (rule, measured) = measured(&ledger, job, as_of, &mut notes);
    let buy_again = measured.as_ref().map_or(LENGTH, |measured| length(measured.repeats_per_customer));
    let taste = Taste::learn(&ledger, as_of, job.threads);
    let staged = write::stage(
        &ledger,
        &taste,
        as_of,
        &write::Plan { rule, buy_again, threads: job.threads, scratch: &job.scratch },
    )?;
    let customers = ledger.len() as u64;
    let card = RecommendationsModel {
        method: METHOD.to_owned(),
        notes,
        products: ledger.products.len() as u64,
        excluded_products: ledger.excluded,
        exclude: job.config.exclude.clone(),
        customers_with_history: staged.with_history,
        customers_without_history: customers - staged.with_history,
        length: LENGTH as u64,
        buy_again_length: buy_again as u64,
        buy_again_rule: rule.name().to_owned(),
        basket_cap: BASKET_CAP as u64,
        neighbours: NEIGHBOURS as u64,
        min_significance: MIN_SIGNIFICANCE,
        min_customers: MIN_CUSTOMERS.into(),
        half_life_days: HALF_LIFE.into(),
        trend_half_life_days: TREND_HALF_LIFE.into(),
        measured,
    };
    let products = write::ProductRows::new(&ledger, &taste);
    Ok(Recommended { view: write::definition(), file: staged.file, card, products })
}

/// As many as a customer who came back bought again on average, rounded up.
fn length(repeats: f64) -> usize {
    (0..LENGTH)
        .find(|length| u32::try_from(*length).is_ok_and(|length| f64::from(length) >= repeats))
        .unwrap_or(LENGTH)
}

/// Chooses the rule of `buy_again` and measures, each over the configured horizon, or over a third of the history where that is shorter.
fn measured(
    ledger: &Ledger,
    job: &Job,
    as_of: u32,
    notes: &mut Vec<String>,
) -> (Rule, Option<RecommendationsMeasured>) {
    let Some((first, _)) = ledger.span else {
        notes.push("there are no purchases: nothing is recommended".to_owned());
        return (Rule::Often, None);
    };
    let wanted = u32::try_from(job.config.horizon.as_secs()).unwrap_or(u32::MAX);
    let third = as_of.saturating_sub(first) / 3 / DAY * DAY;
    let horizon = wanted.min(third);
    if horizon == 0 {
        notes.push("the history is shorter than three days: nothing could be measured".to_owned());
        return (Rule::Often, None);
    }
    if horizon < wanted {
        notes.push(format!(
            "the history is short: measured over {} days, a third of it, instead of {}",
            horizon / DAY,
            f64::from(wanted) / f64::from(DAY)
        ));
    }
    let split = as_of - horizon;
    let rule = choose_rule::choose(ledger, (split - horizon, split), job.threads).unwrap_or(Rule::Often);
    let measured = match measure(ledger, (split, as_of), rule, job.threads) {
        Err(customers) => {
            notes.push(format!(
                "only {customers} customers bought before and after the split; with fewer than {FEWEST} nothing is measured"
            ));
            None
        }
        Ok(measured) => Some(RecommendationsMeasured {
            split: DateTime::from_timestamp(split.into(), 0).unwrap_or(job.as_of),
            horizon_days: f64::from(horizon) / f64::from(DAY),
            sample: measured.sample,
            repeat_share: measured.repeat_share,
            repeats_per_customer: measured.repeats_per_customer,
            products: measured.products,
            buy_again: measured.buy_again,
        }),
    };
    (rule, measured)
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn buy_again_is_as_long_as_repeats_are_common() {
        assert_eq!([0.0, 0.01, 1.0, 1.2, 9.5, 80.0].map(length), [0, 1, 1, 2, 10, 10]);
    }
}
