//! Recommendations: new products for each customer, products to buy again, and an evaluation of both on past
//! purchases.
//!
//! ```text
//! staged tables ──purchase_log──▶ purchases ──recommender──▶ product_rows, view_rows (the lists)
//!                                     └──choose_rule, evaluation (split in time)──▶ the model card
//! ```
//!
//! Time is linear in the number of purchases. Customers are worked on by partition; memory holds the baskets
//! of products that are counted, eight bytes a product of a customer.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{
    exclude_patterns::ExcludePatterns,
    raw::{RawError, TableSpec},
    retrain,
    staging::derive::StagedFile,
    view_files::{RowOrder, ViewFile, ViewFiles},
};
use crate::{
    config::{Config, RawConfig, RecommendationsConfig},
    feature::feature_name,
    lake::Lake,
    snapshot::{
        FileEntry, SnapshotError, SnapshotId,
        models::{
            Training,
            recommendations::{RecommendationsMeasured, RecommendationsModel},
        },
    },
    views::ViewDefinition,
};

mod buy_again;
mod choose_rule;
mod evaluation;
mod neighbors;
mod owned_products;
mod product_rows;
mod purchase_log;
mod recommender;
mod view_rows;
mod votes;

use buy_again::BuyAgainRule;
use choose_rule::choose_rule;
use evaluation::{TimeSplit, evaluate};
use owned_products::{BASKET_CAP, DAY, HALF_LIFE, TREND_HALF_LIFE};
use product_rows::ProductRows;
use purchase_log::{LogOptions, PurchaseLog, TableFiles};
use recommender::{LENGTH, MAX_NEIGHBORS, MIN_CUSTOMERS, MIN_SIGNIFICANCE, Recommender};
#[cfg(feature = "cluster")]
pub(super) use view_rows::VIEW;
pub(super) use view_rows::{ListRows, definition, schema};

/// Description of the method for the model card.
const METHOD: &str = "Item-to-item collaborative filtering. Two products are similar if more customers \
    bought both than chance explains (log-likelihood ratio). A customer's latest products vote for similar \
    products in proportion to that significance; the votes of one product sum up to the fourth root of its \
    total significance. Votes decay with the age of the purchase, and products with growing sales score \
    higher. Lists are filled with best sellers: of the category that the customer bought most often (else \
    of the category from attributes or interactions), then of the customer's country, then of all \
    customers. buy_again ranks the customer's own products by the rule that best predicted repeat purchases \
    on an earlier split in time.";

/// The input and the settings of the recommendations.
#[derive(Debug, Clone)]
pub(super) struct RecommendJob {
    tables: TableFiles,
    config: RecommendationsConfig,
    raw: RawConfig,
    /// Customer attributes that must not influence the lists, since they are personal.
    personal: BTreeSet<String>,
    /// Columns that are part of an order's identity.
    order_scope: Vec<String>,
    /// Maximum time from the first to the last line of an order in seconds.
    order_span: u32,
    /// Card of the current snapshot.
    previous: Option<RecommendationsModel>,
    as_of: DateTime<Utc>,
    threads: usize,
    scratch: PathBuf,
}

impl RecommendJob {
    /// Creates a job over the staged `tables`, which hold data up to `as_of`. `spec` describes the raw
    /// transactions. The purchases are written to the folder `scratch`.
    pub(super) fn new(
        tables: &BTreeMap<&'static str, Vec<StagedFile>>,
        spec: Option<&TableSpec>,
        config: &Config,
        as_of: DateTime<Utc>,
        threads: usize,
        scratch: &Path,
    ) -> Self {
        let table = |name: &str| tables.get(name).cloned().unwrap_or_default();
        let [customers, transactions, interactions] =
            ["customers", "transactions", "interactions"].map(table);
        let tables = TableFiles { customers, transactions, interactions };
        let scope = spec.into_iter().flat_map(TableSpec::order_scope_names);
        Self {
            tables,
            config: config.recommendations.clone(),
            raw: config.raw.clone(),
            personal: BTreeSet::new(),
            previous: None,
            order_scope: scope.map(str::to_owned).collect(),
            order_span: spec
                .map_or(u32::MAX, |spec| u32::try_from(spec.order_span / 1_000_000).unwrap_or(u32::MAX)),
            as_of,
            threads,
            scratch: scratch.to_path_buf(),
        }
    }

    /// Leaves out the personal customer attributes among those that the lists depend on. Returns their names.
    pub(super) fn leave_out(&mut self, is_personal: impl Fn(&str) -> bool) -> Vec<String> {
        let used = [self.config.category_column.as_str(), COUNTRY].map(feature_name);
        let schema = self.tables.customers.first().map(|file| &file.schema);
        let exists = |name: &str| schema.is_some_and(|schema| schema.field_with_name(name).is_ok());
        self.personal = used.into_iter().filter(|name| is_personal(name) && exists(name)).collect();
        self.personal.iter().cloned().collect()
    }

    /// Returns the customer attribute `name`, unless it is left out.
    fn attribute<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.personal.contains(&feature_name(name)) { None } else { Some(name) }
    }

    /// Lets the build use what the build of `card` learned, as far as the setting `retrain` allows it.
    pub(super) fn learn_from(&mut self, card: Option<RecommendationsModel>) {
        self.previous = card;
    }

    /// Returns the training of this build.
    fn training(&self) -> Training {
        let RecommendationsConfig { exclude, category_column, horizon, .. } = &self.config;
        let settings = format!("{exclude:?} {category_column:?} {horizon:?} {:?}", self.personal);
        retrain::training(self.as_of, &self.raw, &settings)
    }

    /// Returns the training to use again in place of `new` and what it found, if there is one.
    fn kept(&self, new: &Training) -> Option<(Training, Assessment)> {
        let card = self.previous.as_ref()?;
        let training = retrain::kept(card.training.as_ref(), new, self.config.retrain)?;
        let rule = BuyAgainRule::named(&card.buy_again_rule)?;
        let (measured, notes) = (card.measured.clone(), card.notes.clone());
        Some((training, Assessment { rule, measured, notes }))
    }

    /// Chooses and measures, unless an earlier build did.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn assess(&self, log: &PurchaseLog, as_of: u32) -> Result<(Training, Assessment), RawError> {
        let new = self.training();
        if let Some(kept) = self.kept(&new) {
            return Ok(kept);
        }
        let mut found = Assessment::of(log, self, as_of)?;
        let personal = self.personal.iter();
        found.notes.extend(personal.map(|name| format!("{name} is personal data and was not read")));
        Ok((new, found))
    }
}

#[cfg(feature = "cluster")]
impl ListRows {
    /// Returns the name of the file with the purchases of the partition `number`.
    pub(super) fn purchases_name(number: usize) -> String {
        purchase_log::file_name(number)
    }

    /// Stages the lists of the partition `number` in `folder`, from the file `purchases`, which is one of
    /// [`LearnedRecommendations::purchases`].
    ///
    /// # Errors
    /// Fails if a file cannot be read or written.
    pub(super) fn stage_file(
        &self,
        number: usize,
        purchases: &Path,
        folder: &Path,
    ) -> Result<ViewFile, RawError> {
        self.stage(number, &purchase_log::read(purchases)?, &mut self.votes(), folder)
    }
}

/// Customer attribute with the country.
const COUNTRY: &str = "country";

/// Everything learned from all purchases, ready to make the lists.
#[derive(Debug)]
pub(super) struct LearnedRecommendations {
    log: PurchaseLog,
    pub(super) rows: ListRows,
    card: RecommendationsModel,
    products: ProductRows,
}

impl LearnedRecommendations {
    /// Returns the files with the purchases of the partitions, from which [`ListRows`] makes the lists.
    #[cfg(feature = "cluster")]
    pub(super) fn purchases(&self) -> Vec<PathBuf> {
        self.log.files().map(Path::to_path_buf).collect()
    }

    /// Stages the lists of all customers in `folder`, on `threads` threads.
    ///
    /// # Errors
    /// Fails if a file cannot be read or written.
    pub(super) fn stage(&self, threads: usize, folder: &Path) -> Result<ViewFiles, RawError> {
        let rows = &self.rows;
        let votes = || rows.votes();
        let files: Vec<ViewFile> =
            self.log.map(threads, votes, |votes, number, part| rows.stage(number, part, votes, folder))?;
        Ok(ViewFiles::new(schema(), RowOrder::Partitions, files))
    }

    /// Returns the output with the staged view `files`.
    pub(super) fn output(self, files: ViewFiles) -> RecommendOutput {
        RecommendOutput { view: definition(), files, card: self.card, products: self.products }
    }
}

/// The staged view, the products and the model card.
#[derive(Debug)]
pub(super) struct RecommendOutput {
    pub(super) view: ViewDefinition,
    pub(super) files: ViewFiles,
    pub(super) card: RecommendationsModel,
    products: ProductRows,
}

impl RecommendOutput {
    /// Writes `products/*.parquet` of the snapshot `id`.
    ///
    /// # Errors
    /// Fails if the lake rejects a write.
    pub(super) async fn write_products(
        &self,
        lake: &Lake,
        id: &SnapshotId,
    ) -> Result<Vec<FileEntry>, SnapshotError> {
        self.products.write(lake, id).await
    }
}

/// Learns from all staged purchases, and evaluates on earlier splits in time.
///
/// # Errors
/// Fails if the staging cannot be read, or the purchases cannot be written.
pub(super) fn learn(job: &RecommendJob) -> Result<LearnedRecommendations, RawError> {
    let options = LogOptions {
        exclude: &ExcludePatterns::new(&job.config.exclude),
        category_column: job.attribute(&job.config.category_column),
        country_column: job.attribute(COUNTRY),
        order_scope: &job.order_scope,
        order_span: job.order_span,
        threads: job.threads,
    };
    let log = PurchaseLog::read(&job.tables, options, &job.scratch)?;
    let as_of = u32::try_from(job.as_of.timestamp()).unwrap_or(0);
    let (training, Assessment { rule, measured, notes }) = job.assess(&log, as_of)?;
    let buy_again = measured.as_ref().map_or(LENGTH, |measured| list_length(measured.repeats_per_customer));
    let recommender = Recommender::learn(&log, as_of, job.threads)?;
    let (customers, with_history) = (log.customers() as u64, recommender.customers as u64);
    let card = RecommendationsModel {
        method: METHOD.to_owned(),
        notes,
        products: log.products.len() as u64,
        excluded_products: log.excluded,
        exclude: job.config.exclude.clone(),
        customers_with_history: with_history,
        customers_without_history: customers - with_history,
        length: LENGTH as u64,
        buy_again_length: buy_again as u64,
        buy_again_rule: rule.name().to_owned(),
        basket_cap: BASKET_CAP as u64,
        neighbours: MAX_NEIGHBORS as u64,
        min_significance: MIN_SIGNIFICANCE,
        min_customers: MIN_CUSTOMERS.into(),
        half_life_days: HALF_LIFE.into(),
        trend_half_life_days: TREND_HALF_LIFE.into(),
        training: Some(training),
        measured,
    };
    let products = ProductRows::new(&log, &recommender);
    let rows = ListRows::new(recommender, &log.products, rule, buy_again);
    Ok(LearnedRecommendations { log, rows, card, products })
}

/// Returns the length of `buy_again`: the mean number of repeat purchases of a returning customer, rounded
/// up, at most [`LENGTH`].
fn list_length(repeats: f64) -> usize {
    (0..LENGTH)
        .find(|length| u32::try_from(*length).is_ok_and(|length| f64::from(length) >= repeats))
        .unwrap_or(LENGTH)
}

/// The chosen rule of `buy_again`, and the evaluation for the model card.
struct Assessment {
    rule: BuyAgainRule,
    /// The evaluation; `None` with too little data.
    measured: Option<RecommendationsMeasured>,
    /// Limitations of the evaluation.
    notes: Vec<String>,
}

impl Assessment {
    /// Chooses the rule and evaluates the lists. Both use the configured horizon, or a third of the history
    /// if that is shorter.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn of(log: &PurchaseLog, job: &RecommendJob, as_of: u32) -> Result<Self, RawError> {
        let mut assessment = Self { rule: BuyAgainRule::OrderCount, measured: None, notes: Vec::new() };
        let Some((first, _)) = log.span else {
            assessment.notes.push("there are no purchases, so there are no recommendations".to_owned());
            return Ok(assessment);
        };
        let wanted = u32::try_from(job.config.horizon.as_secs()).unwrap_or(u32::MAX);
        let third = as_of.saturating_sub(first) / 3 / DAY * DAY;
        let horizon = wanted.min(third);
        if horizon == 0 {
            assessment.notes.push("the history is shorter than three days: no evaluation".to_owned());
            return Ok(assessment);
        }
        if horizon < wanted {
            assessment.notes.push(format!(
                "the history is short: evaluated over {} days, a third of the history, instead of {}",
                horizon / DAY,
                f64::from(wanted) / f64::from(DAY)
            ));
        }
        let split = TimeSplit { at: as_of - horizon, until: as_of };
        let earlier = TimeSplit { at: split.at - horizon, until: split.at };
        assessment.rule = choose_rule(log, earlier, job.threads)?.unwrap_or(BuyAgainRule::OrderCount);
        match evaluate(log, split, assessment.rule, job.threads)? {
            Err(customers) => assessment.notes.push(format!(
                "only {customers} customers have purchases before and after the split; an evaluation needs \
                 at least {}",
                evaluation::MIN_EVALUATED
            )),
            Ok(evaluation) => {
                assessment.measured = Some(RecommendationsMeasured {
                    split: DateTime::from_timestamp(split.at.into(), 0).unwrap_or(job.as_of),
                    horizon_days: f64::from(horizon) / f64::from(DAY),
                    sample: evaluation.sample,
                    repeat_share: evaluation.repeat_share,
                    repeats_per_customer: evaluation.repeats_per_customer,
                    products: evaluation.products,
                    buy_again: evaluation.buy_again,
                });
            }
        }
        Ok(assessment)
    }
}

#[cfg(test)]
mod tests {
    use super::list_length;

    #[test]
    fn buy_again_length_is_the_mean_number_of_repeats_rounded_up() {
        assert_eq!([0.0, 0.01, 1.0, 1.2, 9.5, 80.0].map(list_length), [0, 1, 1, 2, 10, 10]);
    }
}
