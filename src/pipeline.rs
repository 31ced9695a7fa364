//! The build: raw files → staging → views → a snapshot in the lake.
//!
//! Nothing is written to the lake before the raw data has passed, and the manifest is written last, so a build that dies
//! leaves nothing that a reader would take for a snapshot. Only this storey knows DataFusion. It knows nothing of serving.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use chrono::{DateTime, Utc};

use crate::{
    config::Config,
    feature::{FeatureView, money},
    lake::Lake,
    snapshot::{
        FORMAT, Forgotten, Manifest, Quality, SnapshotId, Stage, TableCounts, Warning, models::Models,
        rfc3339,
    },
    telemetry::Progress,
    views::{self, ViewDefinition, ViewFileError},
};

mod assemble;
mod audiences;
mod churn;
mod encode;
mod error;
mod features;
mod needed;
mod notice;
mod open_files;
mod parquet_files;
mod past;
mod personal;
mod query;
pub mod raw;
mod recommend;
mod segments;
mod staging;
mod table;

pub use audiences::AudienceError;
pub use error::{BuildError, ViewError};
pub use features::features;
use past::{Derivation, Past, Spilled};
use personal::Personal;
use raw::{RawError, Table, TableSpec, files::RawFile};
use staging::{Scratch, derive, lines};
use table::StagedTable;

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The snapshot's manifest.
    pub manifest: Manifest,
}

impl Built {
    /// Returns what the user should know although it is no error.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.manifest.warnings.iter().map(ToString::to_string).collect()
    }
}

/// Finds the raw files of all tables, and says which were skipped.
///
/// # Errors
/// Fails for required tables without files, and for tables that another engine keeps.
pub async fn raw_files(lake: &Lake, config: &Config) -> Result<(Vec<RawFile>, Vec<Warning>), RawError> {
    let (mut files, mut warnings) = (Vec::new(), Vec::new());
    for table in Table::ALL {
        let found = raw::files::find(lake, table, &config.raw).await?;
        files.extend(found.files);
        warnings.extend(found.warnings);
    }
    Ok((files, warnings))
}

/// Reads `file` as a build would and tells what became of its lines; nothing is kept.
///
/// # Errors
/// Of what a build would refuse.
pub async fn check_file(
    file: &RawFile,
    config: &Config,
    progress: &Progress,
) -> Result<TableCounts, RawError> {
    progress.enter("check", file.bytes);
    let spec = TableSpec::new(file.table, &config.raw)?;
    lines::check(file, &spec, config.raw.max_bad_share, Arc::clone(&progress.done)).await
}

/// Builds a snapshot of what was known at `as_of` (the newest event unless given). It is in the lake afterwards, but not
/// the current one: that is [`crate::publish`].
///
/// # Errors
/// Of the raw data, of a view, or of the lake; the lake then has no new snapshot.
pub async fn build(
    lake: &Lake,
    config: &Config,
    as_of: Option<DateTime<Utc>>,
    progress: &Progress,
) -> Result<Built, BuildError> {
    Box::pin(build_into(lake, lake, config, as_of, progress)).await
}

/// The temporary folder of a build.
fn scratch(config: &Config) -> Result<Scratch, RawError> {
    Scratch::new(
        &config.build.staging.as_ref().map_or_else(std::env::temp_dir, |folder| config.resolve(folder)),
    )
}

/// What is to be known of each raw table.
fn table_specs(config: &Config) -> Result<BTreeMap<Table, TableSpec>, RawError> {
    Table::ALL.into_iter().map(|table| Ok((table, TableSpec::new(table, &config.raw)?))).collect()
}

/// Builds from the raw data of the lake `from` a snapshot in the lake `lake`.
async fn build_into(
    from: &Lake,
    lake: &Lake,
    config: &Config,
    as_of: Option<DateTime<Utc>>,
    progress: &Progress,
) -> Result<Built, BuildError> {
    let mut clock = Clock::default();
    let mut views = definitions(config)?;
    let audiences = audiences::read(&config.audiences)?;
    let specs = table_specs(config)?;
    let scratch = scratch(config)?;
    let (files, mut noticed) = raw_files(from, config).await?;
    let forgotten = Arc::new(Forgotten::read(from).await?);
    let partitions = partitions(&files);
    let threads = threads(config);
    open_files::check(threads)?;
    let memory = (config.build.memory, config.build.memory_limit);
    let session = |at| query::Session::new(partitions, memory, scratch.path().to_path_buf(), at);
    // What can be known of the views without data is checked before the data is read.
    let reads = session(DateTime::UNIX_EPOCH)?.all_reads(&views)?;
    let order = query::run_order(&views, &reads)?;
    let personal = Personal::new(config, &views, &reads)?;

    progress.enter("raw", files.iter().map(|file| file.bytes).sum());
    let mut lines = lines::read(
        files,
        specs.clone(),
        (partitions, threads),
        config.raw.max_bad_share,
        scratch.path(),
        Arc::clone(&progress.done),
        Arc::clone(&forgotten),
    )
    .await?;
    clock.lap("raw");
    let as_of = as_of
        .or_else(|| lines.newest.and_then(DateTime::from_timestamp_micros))
        .ok_or(BuildError::NoEvents)?;

    progress.enter("staging", partitions as u64);
    let people = specs.get(&Table::Customers);
    let has_people = lines.counts.contains_key(Table::Customers.name());
    let spilled = Arc::new(Spilled {
        extras: personal.checked(derive::extra_columns(&lines.extras, people), people, has_people)?,
        spills: std::mem::take(&mut lines.spills),
        guests: std::mem::take(&mut lines.guests),
        specs,
        has_created_at: lines.has_created_at,
        partitions,
        threads,
    });
    let folder = scratch.path().to_path_buf();
    let what = Derivation { as_of, folder, filled: partitions };
    let (tables, found) = derive_all(&mut lines, &spilled, what, progress).await?;
    noticed.extend(notice::warnings(&lines, &spilled, &found, &config.raw));
    if !config.churn.enabled {
        spilled.remove()?;
    }
    clock.lap("staging");

    let recommending = config.recommendations.enabled;
    let job = recommending.then(|| {
        recommend::RecommendJob::new(&tables, &config.recommendations, as_of, threads, scratch.path())
    });
    let session = session(as_of)?;
    for (name, table) in tables {
        session.register(name, StagedTable::divided(table))?;
    }
    for (view, place) in &config.views.parquet {
        let table = parquet_files::stage(from, view, place, threads, scratch.path()).await?;
        session.register(&parquet_files::table_name(view), table)?;
    }
    let mut staged = run_views(&session, &mut views, (&order, &personal), progress, &mut clock).await?;
    let mut made = Made::default();
    if config.churn.enabled {
        progress.enter("model churn", 0);
        let past = Past {
            spilled: &spilled,
            views: &views,
            order: &order,
            reads: &reads,
            memory,
            scratch: scratch.path(),
        };
        made.churn(&session, as_of, &staged, &past, config).await?;
        spilled.remove()?;
        clock.lap("model churn");
    }
    let recommended = made.recommend(job, progress, &mut clock).await?;
    let (views, staged): (Vec<ViewDefinition>, Vec<derive::StagedFile>) = views
        .into_iter()
        .enumerate()
        .filter(|(_, view)| !view.step)
        .filter_map(|(at, view)| Some((view, staged.remove(&at)?)))
        .chain(made.views)
        .unzip();

    let id = SnapshotId::new(as_of, rand::random());
    let staged = (staged, Arc::clone(&forgotten));
    let recommended = recommended.as_ref();
    let written =
        write(lake, &id, &session, config, &views, staged, recommended, &audiences, progress, &mut clock)
            .await;
    if written.is_err() {
        assemble::discard(lake, &id).await;
    }
    let (mut manifest, warnings) = written?;
    noticed.extend(warnings);
    noticed.extend(made.warnings);
    noticed.extend(named_meanwhile(&forgotten, from).await?);
    manifest.warnings = noticed;
    manifest.models = made.models;
    manifest.as_of = as_of;
    manifest.counts = lines.counts;
    manifest.sources = lines.sources;
    manifest.created_at = rfc3339::now();
    manifest.stages = clock.stages;
    manifest.write(lake).await?;
    Ok(Built { manifest })
}

/// Runs the views in `order`, and makes each known to those that read it.
async fn run_views(
    session: &query::Session,
    views: &mut [ViewDefinition],
    (order, personal): (&[usize], &Personal<'_>),
    progress: &Progress,
    clock: &mut Clock,
) -> Result<BTreeMap<usize, derive::StagedFile>, BuildError> {
    let mut staged: BTreeMap<usize, derive::StagedFile> = BTreeMap::new();
    for at in order {
        let view = &mut views[*at];
        progress.enter(&format!("view {}", view.name), 0);
        let file = if view.step { session.run_step(view).await? } else { session.run_view(view).await? };
        personal.note(view, &file.schema)?;
        needed::check(view, &file.schema)?;
        session.register(&view.name, StagedTable::whole(file.clone(), !view.step))?;
        staged.insert(*at, file);
        clock.lap(&format!("view {}", view.name));
    }
    Ok(staged)
}

/// What models made.
#[derive(Debug, Default)]
struct Made {
    models: Models,
    views: Vec<(ViewDefinition, derive::StagedFile)>,
    warnings: Vec<Warning>,
}

impl Made {
    /// Makes the view of recommendations, where there is a `job`.
    async fn recommend(
        &mut self,
        job: Option<recommend::RecommendJob>,
        progress: &Progress,
        clock: &mut Clock,
    ) -> Result<Option<recommend::RecommendOutput>, BuildError> {
        let Some(job) = job else { return Ok(None) };
        progress.enter("recommendations", 0);
        let made = tokio::task::spawn_blocking(move || recommend::recommend(&job)).await??;
        self.views.push((made.view.clone(), made.file.clone()));
        self.models.recommendations = Some(made.card.clone());
        clock.lap("recommendations");
        Ok(Some(made))
    }

    /// The churn model and its view, over the views in `staged`.
    async fn churn(
        &mut self,
        session: &query::Session,
        as_of: DateTime<Utc>,
        staged: &BTreeMap<usize, derive::StagedFile>,
        past: &Past<'_>,
        config: &Config,
    ) -> Result<(), BuildError> {
        let served = past.views.iter().enumerate().filter(|(_, view)| !view.step);
        let schemas =
            served.filter_map(|(at, view)| Some((view.name.as_str(), staged.get(&at)?.schema.as_ref())));
        let known = churn::ChurnContext { session, as_of, schemas: schemas.collect(), past };
        if let Some(model) = Box::pin(churn::build(&known, &config.churn, &mut self.warnings)).await? {
            session.register(churn::VIEW, StagedTable::whole(model.file.clone(), true))?;
            self.models.churn = Some(model.card);
            self.views.push((model.definition, model.file));
        }
        Ok(())
    }
}

/// Everything but the manifest.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of `build`, apart only so that its failure can be undone"
)]
async fn write(
    lake: &Lake,
    id: &SnapshotId,
    session: &query::Session,
    config: &Config,
    views: &[ViewDefinition],
    staged: (Vec<derive::StagedFile>, Arc<Forgotten>),
    recommended: Option<&recommend::RecommendOutput>,
    audiences: &[audiences::Audience],
    progress: &Progress,
    clock: &mut Clock,
) -> Result<(Manifest, Vec<Warning>), BuildError> {
    let features: Vec<FeatureView> =
        views.iter().zip(&staged.0).map(|(view, file)| assemble::feature_view(view, file, config)).collect();
    progress.enter("rows", 0);
    let parts = assemble::write_parts(lake, id, session, &features, staged, progress).await?;
    clock.lap("rows");
    progress.enter("rankings", 0);
    let built_in = views.iter().any(|view| view.name == "rfm" && view.file.is_none());
    let (mut segments, mut rankings) =
        segments::write_rankings(lake, id, session, parts.customers, built_in).await?;
    if views.iter().any(|view| view.name == churn::VIEW) {
        let (levels, lists) =
            segments::write_churn(lake, id, session, parts.customers, &config.churn).await?;
        segments.extend(levels);
        rankings.extend(lists);
    }
    let edges = segments::edges(session).await?;
    clock.lap("rankings");
    let mut files = parts.files;
    files.extend(rankings);
    if let Some(recommended) = recommended {
        files.extend(recommended.write_products(lake, id).await?);
        clock.lap("products");
    }
    let mut manifest = Manifest {
        format: FORMAT,
        id: id.clone(),
        rewritten_from: None,
        larder: env!("CARGO_PKG_VERSION").to_owned(),
        as_of: DateTime::UNIX_EPOCH,
        created_at: DateTime::UNIX_EPOCH,
        fingerprint: Manifest::fingerprint_of(&files),
        customers: parts.customers,
        views: features,
        edges,
        models: Models::default(),
        segments,
        counts: BTreeMap::new(),
        warnings: Vec::new(),
        quality: Quality { null_shares: parts.null_shares },
        sources: Vec::new(),
        files,
        stages: Vec::new(),
    };
    let mut warnings = parts.warnings;
    if !audiences.is_empty() {
        progress.enter("audiences", 0);
        let written = audiences::write(lake, &manifest, audiences).await?;
        manifest.segments.extend(written.segments);
        manifest.files.extend(written.files);
        manifest.fingerprint = Manifest::fingerprint_of(&manifest.files);
        warnings.extend(written.warnings);
        clock.lap("audiences");
    }
    Ok((manifest, warnings))
}

/// What to tell where the list of the forgotten is not `known` any more.
async fn named_meanwhile(known: &Forgotten, lake: &Lake) -> Result<Option<Warning>, BuildError> {
    let changed = known.refreshed(lake).await?.is_some();
    let message = "the list of the forgotten changed meanwhile: who was put on it since the start is left out of answers, but is in \
        this build";
    Ok(changed.then(|| Warning::new("forgotten_meanwhile", message)))
}

/// Derives the tables at `as_of`, counts what became of their lines, and says what was noticed.
async fn derive_all(
    lines: &mut lines::Lines,
    spilled: &Arc<Spilled>,
    what: Derivation,
    progress: &Progress,
) -> Result<(BTreeMap<&'static str, Vec<derive::StagedFile>>, derive::Noticed), BuildError> {
    let mut all = spilled.derive(what, &progress.done).await?;
    let mut noticed = derive::Noticed::default();
    let mut amounts: BTreeMap<&str, i128> = BTreeMap::new();
    let guests: i128 = spilled.guests.values().map(|guests| guests.amount).sum();
    if !spilled.guests.is_empty() {
        amounts.insert("no_customer", guests);
    }
    for derived in &mut all {
        noticed.add(std::mem::take(&mut derived.noticed));
        for (fate, amount) in &derived.amounts {
            *amounts.entry(fate).or_default() += amount;
        }
        for ((table, fate), count) in &derived.fates {
            if let Some(counts) = lines.counts.get_mut(table.name()) {
                *counts.fates.entry((*fate).to_owned()).or_default() += count;
            }
        }
        for (table, count) in &derived.duplicates {
            if let Some(counts) = lines.counts.get_mut(table.name()) {
                counts.duplicates += count;
            }
        }
    }
    if let Some(counts) = lines.counts.get_mut(Table::Transactions.name()) {
        counts.amounts = amounts.into_iter().map(|(fate, amount)| (fate.to_owned(), money(amount))).collect();
    }
    Ok((past::tables(all), noticed))
}

/// How many parts the staging has: by the size of the raw data alone, so that it never depends on the machine.
fn partitions(files: &[RawFile]) -> usize {
    const PART_BYTES: u64 = 64 << 20;
    let bytes: u64 =
        files.iter().map(|file| if file.gzip { file.bytes.saturating_mul(8) } else { file.bytes }).sum();
    usize::try_from(bytes / PART_BYTES).unwrap_or(usize::MAX).clamp(4, 256).next_power_of_two()
}

/// How many threads a build uses.
#[must_use]
pub fn threads(config: &Config) -> usize {
    config.build.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// All views that the configuration knows.
fn definitions(config: &Config) -> Result<Vec<ViewDefinition>, ViewFileError> {
    let folder = config.views.folder.as_ref().map(|folder| config.resolve(folder));
    let mut views = views::load(folder.as_deref(), config.views.parquet.keys())?;
    views.extend(config.views.parquet.keys().map(|name| parquet_files::view(name)));
    Ok(views)
}

/// Times the stages of a build.
#[derive(Debug)]
struct Clock {
    since: Instant,
    stages: Vec<Stage>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { since: Instant::now(), stages: Vec::new() }
    }
}

impl Clock {
    fn lap(&mut self, name: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        tracing::debug!(stage = name, seconds, "a stage of the build ended");
        self.stages.push(Stage { name: name.to_owned(), seconds });
    }
}
