//! The churn model: learns from past as-of times of the views and the purchases after them, is measured on
//! held-out cuts, and makes the view `churn` with its model card.
//!
//! ```text
//! as-of times ──training_cuts──▶ labeled cuts ──selection──▶ model ──scoring──▶ the view `churn`
//!                                                    └────────card──▶ the model card
//! ```
//!
//! All computations run in the order of customer ids, so the same input gives the same probabilities on any
//! number of threads. With too little data, a rule replaces the model and the card says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::datatypes::Schema;
use chrono::{DateTime, TimeDelta, Utc};

use super::{
    BuildError, ViewError, past::Past, purchase_card::purchase_models, query::Session, view_files::ViewFiles,
};
use crate::{
    config::{ChurnConfig, RawConfig},
    feature::near,
    lake::Lake,
    pipeline::learning::metrics::rounded,
    snapshot::{
        Manifest, Warning,
        models::{ChurnModel, RiskThresholds, Training},
        rfc3339,
    },
    views::ViewDefinition,
};

mod candidates;
mod card;
mod expected_value;
mod feature_files;
mod feature_query;
mod features;
mod horizon;
mod inputs;
mod kept_model;
mod levels;
mod product_demand;
mod reasons;
mod row_scorer;
mod scoring;
mod screening;
mod seen;
mod selection;
mod served_model;
mod too_little_data;
mod training_cuts;
mod typical;
mod view_rows;

use card::Findings;
use expected_value::{CutWithSpending, ExpectedValues};
use feature_query::FeatureQuery;
pub(super) use features::VIEW;
use features::{FeatureSource, sources};
use inputs::Inputs;
pub(super) use kept_model::FILE as MODEL_FILE;
use kept_model::KeptModel;
use product_demand::DemandWindow;
use scoring::{Scored, Scoring};
use selection::{LabeledCut, LevelRows, MIN_CLASS_SIZE, SelectedModel, select_model};
use training_cuts::{CustomerSample, CutReader, OrderingCustomers, cut_times, most_retained};
pub(super) use view_rows::definition;

/// The staged view and its model card.
pub(super) struct ChurnOutput {
    pub(super) definition: ViewDefinition,
    pub(super) files: ViewFiles,
    pub(super) card: ChurnModel,
    /// Content of the file with the model, unless a rule was used.
    kept: Option<Vec<u8>>,
}

impl ChurnOutput {
    /// Returns the content of the file with the model, if later builds may use it.
    pub(super) fn model_file(&mut self, config: &ChurnConfig) -> Option<Vec<u8>> {
        self.kept.take().filter(|_| !config.retrain.is_zero())
    }
}

/// The views of a build at `as_of`, and access to earlier as-of times.
pub(super) struct ChurnContext<'a> {
    /// Lake with earlier snapshots.
    pub(super) lake: &'a Lake,
    pub(super) session: &'a Session,
    pub(super) as_of: DateTime<Utc>,
    /// Schemas of the views by name.
    pub(super) schemas: BTreeMap<&'a str, &'a Schema>,
    pub(super) past: &'a Past<'a>,
    /// Manifest of the current snapshot, if its models may be used.
    pub(super) previous: Option<&'a Manifest>,
    /// Settings of the raw files.
    pub(super) raw: &'a RawConfig,
}

impl ChurnContext<'_> {
    /// Returns whether only customers with an order at a past as-of time are in a cut.
    fn has_built_in_rfm(&self) -> bool {
        let built_in =
            |name: &str| self.past.timed().iter().any(|view| view.name == name && view.file.is_none());
        built_in("rfm") && built_in("rfm_values")
    }

    fn has_column(&self, view: &str, column: &str) -> bool {
        self.schemas.get(view).is_some_and(|schema| schema.field_with_name(column).is_ok())
    }

    fn is_personal(&self, view: &str, column: &str) -> bool {
        let definition = self.past.views.iter().find(|definition| definition.name == view);
        definition.and_then(|view| view.columns.get(column)).is_some_and(|note| note.personal)
    }

    /// Checks that `inputs` and `exclude` name views or features.
    fn check_names(&self, config: &ChurnConfig) -> Result<(), ViewError> {
        let mut known: BTreeSet<String> = self.schemas.keys().map(|view| (*view).to_owned()).collect();
        for (view, schema) in &self.schemas {
            known.extend(schema.fields().iter().map(|field| format!("{view}.{}", field.name())));
        }
        let inputs = config.inputs.iter().flatten().map(|name| ("inputs", name));
        for (setting, name) in inputs.chain(config.exclude.iter().map(|name| ("exclude", name))) {
            if !known.contains(name) {
                let near = near::hint(name, known.iter().map(String::as_str));
                return Err(ViewError::UnknownInput { setting, name: name.clone(), near });
            }
        }
        Ok(())
    }

    /// Returns the features to read, and the names of those that exist in views with a past.
    fn sources(&self, config: &ChurnConfig) -> (Vec<FeatureSource>, BTreeSet<String>) {
        let with_past: BTreeSet<&str> = self.past.timed().iter().map(|view| view.name.as_str()).collect();
        let schemas = self
            .schemas
            .iter()
            .filter(|(view, _)| with_past.contains(*view))
            .map(|(view, schema)| (*view, *schema));
        let is_input =
            |view: &str, column: &str| config.reads(view, column) && !self.is_personal(view, column);
        let sources = sources(schemas, is_input);
        let is_available = |source: &&FeatureSource| {
            with_past.contains(source.view.as_str())
                && self.has_column(&source.view, &source.column)
                && !self.is_personal(&source.view, &source.column)
        };
        let available = sources.iter().filter(is_available).map(FeatureSource::name).collect();
        (sources, available)
    }
}

/// The labeled cuts of a build.
struct TrainingCuts {
    /// Times of all cuts, oldest first.
    times: Vec<DateTime<Utc>>,
    sample: CustomerSample,
    /// Cuts whose horizon has ended.
    whole: Vec<CutWithSpending>,
    /// More recent cuts, for which only a part of the horizon has ended.
    recent: Vec<Arc<LabeledCut>>,
    /// Why there is too little data for a model, if so. The cuts are not read then.
    too_little: Option<String>,
}

/// Trains the churn model and stages the view. Returns `None`, with a warning, if the view `rfm` was replaced
/// by one without recency or frequency.
///
/// # Errors
/// Fails if a query fails, or if the staging cannot be read or written.
pub(super) async fn build(
    context: &ChurnContext<'_>,
    config: &ChurnConfig,
    warnings: &mut Vec<Warning>,
) -> Result<Option<ChurnOutput>, BuildError> {
    if !context.has_column("rfm", "recency_days") || !context.has_column("rfm", "frequency") {
        warnings.push(Warning::new(
            "churn",
            "the view rfm has no column recency_days or frequency: the view churn is not built",
        ));
        return Ok(None);
    }
    context.check_names(config)?;
    let (sources, available) = context.sources(config);
    let training = kept_model::training(context, config);
    let mut built = match kept_model::read(context, config, &training, &available).await {
        Some((kept, content, card)) => {
            let built = score_with(context, config, &available, &kept, card).await?;
            ChurnOutput { kept: Some(content), ..built }
        }
        None => train(context, config, sources, &available, training).await?,
    };
    for reason in &built.card.reasons {
        let warning = format!("churn: {reason}; the probabilities are not to be trusted");
        warnings.push(Warning::new("churn", warning));
    }
    built.card.seen = seen::compare(context.lake, context.session, context.as_of, warnings).await?;
    Ok(Some(built))
}

/// Stages the view with the model of an earlier build, whose card is `card`.
async fn score_with(
    context: &ChurnContext<'_>,
    config: &ChurnConfig,
    available: &BTreeSet<String>,
    kept: &KeptModel,
    card: ChurnModel,
) -> Result<ChurnOutput, BuildError> {
    let horizon = TimeDelta::days(config.horizon_days().into());
    let threads = context.past.staged.threads;
    let query = FeatureQuery { sources: &kept.sources, available, one_in: 1, with_demand: true, threads };
    let window = DemandWindow { at: context.as_of, horizon, share: kept.sample_share };
    let features = query.stage(context.session, window).await?;
    let scoring = Scoring {
        config,
        features: &features,
        sources: &kept.sources,
        model: Some(&kept.model),
        values: Some(&kept.values),
        held_out: None,
        cuts: &[],
        scratch: context.past.scratch,
        threads,
    };
    let scored = scoring.run().await?;
    let files = scored.files.clone();
    Ok(ChurnOutput { definition: definition(), files, card: kept_model::card(card, scored), kept: None })
}

/// Trains the model and stages the view.
async fn train(
    context: &ChurnContext<'_>,
    config: &ChurnConfig,
    sources: Vec<FeatureSource>,
    available: &BTreeSet<String>,
    training: Training,
) -> Result<ChurnOutput, BuildError> {
    let horizon = TimeDelta::days(config.horizon_days().into());
    let partitions = context.past.staged.partitions;
    let customers = OrderingCustomers::read(context.session).await?;
    let times = match customers.first_order {
        Some(first) => cut_times(first, context.as_of, horizon, config.cuts),
        None => Vec::new(),
    };
    let screened = screening::screen(context, horizon, customers.count, &times, sources, available).await?;
    let threads = context.past.staged.threads;
    let query = FeatureQuery { sources: &screened.sources, available, one_in: 1, with_demand: true, threads };
    let sample = CustomerSample::new(customers.count, times.len(), partitions, config.training_rows);
    let sample_share = sample.partition_share(partitions);
    let window = DemandWindow { at: context.as_of, horizon, share: sample_share };
    let cuts = read_cuts(context, horizon, query, times, sample).await?;
    // The rule that replaces a model does not read the demand.
    let query = FeatureQuery { with_demand: cuts.too_little.is_none(), ..query };
    let features = query.stage(context.session, window).await?;
    let inputs = Inputs { sources: screened.sources.len(), monotone: config.monotone };
    let mut trained = Trained::select(context, cuts, horizon, inputs).await?;
    trained.findings.caveats.extend(screened.caveat());
    let kept = trained.kept(&screened.sources, sample_share);
    let scoring = Scoring {
        config,
        features: &features,
        sources: &screened.sources,
        model: trained.selected.as_ref().map(|selected| &selected.served),
        values: trained.values.as_ref(),
        held_out: trained.selected.as_ref().map(|selected| &selected.held_out),
        cuts: &trained.cuts.whole,
        scratch: context.past.scratch,
        threads,
    };
    let scored = scoring.run().await?;
    let files = scored.files.clone();
    let card = trained.card(config, &screened.sources, partitions, scored, training);
    Ok(ChurnOutput { definition: definition(), files, card, kept })
}

/// Reads the training cuts at `times`.
async fn read_cuts(
    context: &ChurnContext<'_>,
    horizon: TimeDelta,
    query: FeatureQuery<'_>,
    times: Vec<DateTime<Utc>>,
    sample: CustomerSample,
) -> Result<TrainingCuts, BuildError> {
    // Outcomes are those of the sampled customers, so the other partitions need not be read at every cut.
    let sampled = if sample.partitions < context.past.staged.partitions {
        Some(context.past.tables_at(context.as_of, sample.partitions).await?)
    } else {
        None
    };
    let session = sampled.as_ref().map_or(context.session, |(session, _)| session);
    let features = FeatureQuery { one_in: sample.one_in, ..query };
    let reader = CutReader { session, past: context.past, horizon, features, sample };
    let (mut whole, mut recent) = (Vec::new(), Vec::new());
    let ended: Vec<DateTime<Utc>> =
        times.iter().copied().filter(|at| *at + horizon <= context.as_of).collect();
    if let Some(reason) = too_little_data(context, &reader, &ended).await? {
        return Ok(TrainingCuts { times, sample, whole, recent, too_little: Some(reason) });
    }
    for at in &times {
        let cut = reader.read(*at).await?;
        if *at + horizon <= context.as_of { whole.push(cut) } else { recent.push(cut.cut) }
    }
    let too_little = whole.last().and_then(|latest| too_little_data::customers(latest.cut.rows.next.len()));
    Ok(TrainingCuts { times, sample, whole, recent, too_little })
}

/// Returns why no model can be made from cuts at the times `ended`, whose horizon has ended, as far as that
/// can be told without the views of the past.
async fn too_little_data(
    context: &ChurnContext<'_>,
    reader: &CutReader<'_>,
    ended: &[DateTime<Utc>],
) -> Result<Option<String>, BuildError> {
    if let Some(reason) = too_little_data::history(ended, reader.horizon) {
        return Ok(Some(reason));
    }
    let Some(latest) = ended.last() else { return Ok(None) };
    if !context.has_built_in_rfm()
        || most_retained(context.session, ended, reader.horizon).await? >= MIN_CLASS_SIZE
    {
        return Ok(None);
    }
    let customers = reader.count(*latest).await?;
    Ok(Some(too_little_data::customers(customers).unwrap_or_else(too_little_data::classes)))
}

/// The result of training: a model, unless there is too little data.
struct Trained {
    cuts: TrainingCuts,
    selected: Option<SelectedModel>,
    /// The model of expected values, if customers stayed at the latest cut.
    values: Option<ExpectedValues>,
    findings: Findings,
}

impl Trained {
    /// Selects a model on a blocking thread, if there is enough data.
    async fn select(
        context: &ChurnContext<'_>,
        mut cuts: TrainingCuts,
        horizon: TimeDelta,
        inputs: Inputs,
    ) -> Result<Self, BuildError> {
        let mut findings = Findings::default();
        if let Some(reason) = cuts.too_little.take() {
            findings.reasons.push(reason);
            return Ok(Self { cuts, selected: None, values: None, findings });
        }
        let recent = std::mem::take(&mut cuts.recent);
        let labeled: Vec<Arc<LabeledCut>> =
            cuts.whole.iter().map(|cut| Arc::clone(&cut.cut)).chain(recent).collect();
        let (as_of, threads) = (context.as_of, context.past.staged.threads);
        let selected =
            tokio::task::spawn_blocking(move || select_model(&labeled, horizon, as_of, inputs, threads))
                .await?;
        match &selected {
            Some(selected) => findings.add_model(selected, &cuts.whole, horizon),
            None => findings.reasons.push(too_little_data::classes()),
        }
        let stayed = cuts.whole.last().is_some_and(|cut| !cut.retained.spent.is_empty());
        let is_fitted = selected.is_some() && stayed;
        let values = is_fitted.then(|| ExpectedValues::fit(&cuts.whole, horizon));
        Ok(Self { cuts, selected, values, findings })
    }

    /// Returns the content of the file that later builds read.
    fn kept(&self, sources: &[FeatureSource], sample_share: f64) -> Option<Vec<u8>> {
        let (selected, values) = self.selected.as_ref().zip(self.values.as_ref())?;
        let kept = KeptModel {
            sources: sources.to_vec(),
            model: selected.served.clone(),
            values: values.clone(),
            sample_share,
        };
        kept.content()
    }

    /// Returns the model card.
    fn card(
        &mut self,
        config: &ChurnConfig,
        sources: &[FeatureSource],
        partitions: usize,
        scored: Scored,
        training: Training,
    ) -> ChurnModel {
        let Findings { reasons, mut caveats } = std::mem::take(&mut self.findings);
        caveats.extend(scored.value_levels.caveat());
        let values = self.values.as_ref().or(scored.unfitted.as_ref());
        let model = self.selected.as_ref();
        let training_cuts = match model {
            Some(_) => self.cuts.times.iter().map(|at| rfc3339::format(*at)).collect(),
            None => Vec::new(),
        };
        ChurnModel {
            horizon_days: config.horizon_days(),
            chosen: model.map_or("rule", |model| model.served.fitted.candidate.name()).to_owned(),
            trusted: reasons.is_empty(),
            reasons,
            caveats,
            training_cuts,
            learned_days: model.map(|model| model.parts.clone()).unwrap_or_default(),
            training_rows: model.map_or(0, |model| model.rows as u64),
            sampling: self.cuts.sample.description(partitions),
            base_rate: rounded(model.map_or(0.0, |model| model.base_rate)),
            calibration_slope: rounded(model.map_or(1.0, |model| model.served.calibration.slope)),
            calibration_level: model.map_or(LevelRows::AllCuts, |model| model.level_rows).name().to_owned(),
            features: model.map(|model| card::features(model, sources)).unwrap_or_default(),
            cuts: model.map(|model| model.cuts.clone()).unwrap_or_default(),
            purchases: model.zip(values).map(|(model, values)| purchase_models(&model.fits, &values.amounts)),
            expected_value: values.map(|values| values.card.clone()).unwrap_or_default(),
            monotone: config.monotone,
            level_rule: config.levels.name().to_owned(),
            thresholds: RiskThresholds { high: config.high, medium: config.medium },
            risk_levels: scored.risk_levels,
            value_levels: scored.value_levels,
            seen: Vec::new(),
            training: Some(training),
            file: None,
        }
    }
}
