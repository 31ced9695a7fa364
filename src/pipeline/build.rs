//! One build from raw files to a snapshot: the stages, their order and their times.
//!
//! Each stage is a method of [`Build`] that returns its own value. The manifest is assembled from these
//! values after all data files are written.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    audiences::{self, NamedAudience},
    churn,
    error::BuildError,
    memberships,
    memory_watch::MemoryWatch,
    open_files,
    parts::{self, ServedView, SnapshotTarget},
    past::{Past, StagedRuns},
    personal_columns::PersonalColumns,
    query::Session,
    raw::{
        Table, TableSpec,
        files::{self, RawFile, RawFiles},
    },
    recommend, retrain,
    staged_table::StagedTable,
    staging::{
        Scratch,
        kept::KeptStaging,
        line_buffer::RunLimits,
        lines::{self, ReadInput, ReadPurpose},
        read_outcome::ReadOutcome,
    },
    value,
};
use crate::{
    config::{BuildEngine, Config},
    lake::Lake,
    snapshot::{Forgotten, Manifest, SnapshotId, Warning, models::Models},
    telemetry::Progress,
    views::ViewDefinition,
};

mod by_partition;
mod clock;
mod erased_meanwhile;
mod manifest;
#[cfg(feature = "cluster")]
mod on_cluster;
mod outputs;
mod setup;
mod workers;
mod write;

use clock::StageClock;
#[cfg(feature = "cluster")]
pub use on_cluster::work;
pub use outputs::ViewPlan;
use outputs::{ChurnStage, Computed, StagedTables, ValueStage, ViewOutputs};
use setup::BuildViews;
use workers::Workers;

/// Returns the definitions of the views that are not SQL: those of models, and the segments of customers.
fn models(config: &Config) -> Vec<ViewDefinition> {
    let churn = config.churn.enabled.then(churn::definition);
    let value = config.value.enabled.then(value::definition);
    let recommendations = config.recommendations.enabled.then(recommend::definition);
    churn.into_iter().chain(value).chain(recommendations).chain([memberships::definition()]).collect()
}

/// Result of a build.
#[derive(Debug)]
pub struct Built {
    /// Manifest of the new snapshot.
    pub manifest: Manifest,
    /// Plans of the views, in the order in which they ran.
    pub plans: Vec<ViewPlan>,
}

impl Built {
    /// Returns the warnings of the build as text.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.manifest.warnings.iter().map(ToString::to_string).collect()
    }
}

/// Lakes that a build reads from and writes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lakes<'a> {
    /// Lake with the raw files and the erasure list.
    pub(super) raw: &'a Lake,
    /// Lake that the snapshot is written to.
    pub(super) snapshots: &'a Lake,
}

/// A build whose configuration is checked and whose raw files are listed.
#[derive(Debug)]
pub(super) struct Build<'a> {
    lakes: Lakes<'a>,
    config: &'a Config,
    progress: &'a Progress,
    scratch: Scratch,
    specs: BTreeMap<Table, TableSpec>,
    raw_files: RawFiles,
    forgotten: Arc<Forgotten>,
    views: BuildViews,
    personal: PersonalColumns<'a>,
    audiences: Vec<NamedAudience>,
    /// Manifest of the current snapshot, if the settings let models be used for longer than one build.
    previous: Option<Manifest>,
    partitions: usize,
    threads: usize,
}

impl<'a> Build<'a> {
    /// Runs all stages, and stops them at the memory limit. Removes the data files again if one of them
    /// cannot be written.
    pub(super) async fn run(
        lakes: Lakes<'a>,
        config: &'a Config,
        as_of: Option<DateTime<Utc>>,
        progress: &'a Progress,
    ) -> Result<Built, BuildError> {
        let memory = Arc::new(MemoryWatch::start(config.build.memory_limit));
        let mut clock = StageClock::start(Arc::clone(&memory));
        let build = Self::prepare(lakes, config, progress).await?;
        let workers = build.workers().await?;
        let computing = build.compute(as_of, workers.as_deref(), &mut clock);
        let computed = Box::pin(memory.guard(progress, computing)).await;
        if let Some(workers) = &workers {
            workers.end().await;
        }
        let mut computed = computed?;
        let id = SnapshotId::generate(computed.as_of)?;
        let target = SnapshotTarget { lake: lakes.snapshots, id: &id };
        let plans = std::mem::take(&mut computed.plans);
        let written = Box::pin(memory.guard(progress, build.write(target, computed, &mut clock))).await;
        if written.is_err() {
            parts::discard(target).await;
        }
        let manifest = written?.manifest(&clock.stages);
        Ok(Built { manifest: Box::pin(build.finish(manifest)).await?, plans })
    }

    /// Checks the configuration and lists the raw files. Views are parsed here, so that a mistake in a view
    /// is reported before any data is read.
    async fn prepare(
        lakes: Lakes<'a>,
        config: &'a Config,
        progress: &'a Progress,
    ) -> Result<Self, BuildError> {
        let audiences = audiences::read(&config.audiences)?;
        let specs = TableSpec::all(&config.raw)?;
        let scratch = Scratch::configured(config)?;
        let raw_files = files::find_all(lakes.raw, &config.raw).await?;
        let forgotten = Arc::new(Forgotten::read(lakes.raw).await?);
        let partitions = setup::partitions(&raw_files.files);
        let threads = setup::threads(config);
        open_files::check(threads)?;
        let views = BuildViews::new(config, partitions, scratch.path())?;
        let personal = PersonalColumns::new(config, &views.definitions, &models(config), &views.reads)?;
        Ok(Self {
            lakes,
            config,
            progress,
            scratch,
            specs,
            raw_files,
            forgotten,
            views,
            personal,
            audiences,
            previous: retrain::previous(
                lakes.snapshots,
                &[config.churn.retrain, config.recommendations.retrain],
            )
            .await,
            partitions,
            threads,
        })
    }

    /// Runs the stages from the raw files to the views and models. Ends the `workers` when they have no more
    /// work.
    async fn compute(
        &self,
        as_of: Option<DateTime<Utc>>,
        workers: Option<&dyn Workers>,
        clock: &mut StageClock,
    ) -> Result<Computed, BuildError> {
        let (as_of, mut tables, session, mut views) = self.compute_views(as_of, workers, clock).await?;
        let plans = std::mem::take(&mut views.plans);
        let value = if self.config.value.enabled {
            let mut value = self.value(as_of, &tables, workers).await?;
            tables.warnings.append(&mut value.warnings);
            clock.lap("model value", Some(value.files.rows()));
            Some(value)
        } else {
            None
        };
        let recommended = if self.config.recommendations.enabled {
            let (recommended, warning) = self.recommend(as_of, &tables, workers).await?;
            tables.warnings.extend(warning);
            clock.lap("recommendations", Some(recommended.files.rows()));
            Some(recommended)
        } else {
            None
        };
        if let Some(workers) = workers {
            workers.end().await;
        }
        let churn = if self.config.churn.enabled {
            let churn = self.churn(&session, as_of, &tables.staged, &views).await?;
            clock.lap("model churn", churn.model.as_ref().map(|model| model.files.rows()));
            churn
        } else {
            ChurnStage::default()
        };
        let customers = tables.customers();
        let mut warnings = self.raw_files.warnings.clone();
        warnings.append(&mut tables.warnings);
        warnings.extend(churn.warnings);
        let mut models = Models::default();
        let mut churn_model = None;
        let mut served = views.served();
        if let Some(mut model) = churn.model {
            churn_model = model.model_file(&self.config.churn);
            models.churn = Some(model.card);
            let mut definition = model.definition;
            self.personal.mark_model(&mut definition);
            served.push(ServedView { definition, files: model.files });
        }
        if let Some(model) = value {
            models.value = Some(model.card);
            let mut definition = value::definition();
            self.personal.mark_model(&mut definition);
            served.push(ServedView { definition, files: model.files });
        }
        if let Some(recommended) = &recommended {
            models.recommendations = Some(recommended.card.clone());
            let (mut definition, files) = (recommended.view.clone(), recommended.files.clone());
            self.personal.mark_model(&mut definition);
            served.push(ServedView { definition, files });
        }
        Ok(Computed {
            as_of,
            customers,
            session,
            views: served,
            plans,
            models,
            churn_model,
            recommended,
            tables,
            warnings,
        })
    }

    /// Waits for workers if the settings want a cluster.
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unused_async, reason = "a cluster needs it"))]
    async fn workers(&self) -> Result<Option<Box<dyn Workers>>, BuildError> {
        if self.config.build.engine == BuildEngine::Local {
            return Ok(None);
        }
        #[cfg(feature = "cluster")]
        if self.config.build.keep_staging {
            let workers = on_cluster::ClusterWorkers::start(self.config, self.lakes.raw);
            return Ok(Some(Box::new(Box::pin(workers).await?)));
        }
        Err(if cfg!(feature = "cluster") { BuildError::NotKept } else { BuildError::NoCluster })
    }

    /// Runs the stages from the raw files to the views, those that `workers` can do on `workers`.
    async fn compute_views(
        &self,
        as_of: Option<DateTime<Utc>>,
        workers: Option<&dyn Workers>,
        clock: &mut StageClock,
    ) -> Result<(DateTime<Utc>, StagedTables, Session, ViewOutputs), BuildError> {
        let mut raw_files = self.raw_files.files.clone();
        let lines = self.read_lines(&mut raw_files, workers).await?;
        clock.lap("raw", Some(lines.counts.values().map(|counts| counts.lines).sum()));
        let newest_event = || lines.newest.and_then(DateTime::from_timestamp_micros);
        let as_of = as_of.or_else(newest_event).ok_or(BuildError::NoEvents)?;
        let tables = self.derive_tables(lines, &raw_files, as_of, workers).await?;
        clock.lap("staging", Some(tables.rows()));
        let session = self.open_session(as_of, &tables.files).await?;
        let workers = tables.on(workers);
        let views = self.run_views(&session, workers, clock).await?;
        Ok((as_of, tables, session, views))
    }

    /// Reads all `raw_files` that no earlier build has read, and stages the valid lines. Notes the hashes of
    /// the files that are known.
    async fn read_lines(
        &self,
        raw_files: &mut [RawFile],
        workers: Option<&dyn Workers>,
    ) -> Result<ReadOutcome, BuildError> {
        self.progress.enter("raw", raw_files.iter().map(|file| file.bytes).sum());
        let (scratch, forgotten) = (self.scratch.path(), Arc::clone(&self.forgotten));
        let kept = if self.config.build.keep_staging {
            let verify = self.config.build.verify_raw;
            Some(Arc::new(KeptStaging::open(self.lakes.raw, forgotten, scratch, verify).await))
        } else {
            None
        };
        if let (Some(workers), Some(kept)) = (workers, &kept) {
            workers.read_raw(raw_files, &self.specs, kept, self.forgotten.version()).await?;
        }
        let input = ReadInput {
            files: raw_files.to_vec(),
            specs: self.specs.clone(),
            threads: self.threads,
            max_bad_share: self.config.raw.max_bad_share,
            limits: RunLimits::new(self.config.build.memory_limit, self.threads),
            scratch: self.scratch.path().to_path_buf(),
            progress: Arc::clone(&self.progress.done),
            forgotten: Arc::clone(&self.forgotten),
            purpose: ReadPurpose::Build { partitions: self.partitions, kept },
        };
        let lines = lines::read(input).await?;
        for (file, source) in raw_files.iter_mut().zip(&lines.sources) {
            file.sha256 = Some(source.sha256.clone());
        }
        Ok(lines)
    }

    /// Trains the churn model, and stages and registers its view.
    async fn churn(
        &self,
        session: &Session,
        as_of: DateTime<Utc>,
        staged: &Arc<StagedRuns>,
        views: &ViewOutputs,
    ) -> Result<ChurnStage, BuildError> {
        self.progress.enter("model churn", 0);
        let past = Past {
            staged,
            views: &views.definitions,
            order: &self.views.order,
            reads: &self.views.reads,
            sessions: &self.views.sessions,
            scratch: self.scratch.path(),
        };
        let served = views.definitions.iter().enumerate().filter(|(_, view)| !view.step);
        let schemas = served
            .filter_map(|(at, view)| Some((view.name.as_str(), views.files.get(&at)?.schema.as_ref())))
            .collect();
        let lake = self.lakes.snapshots;
        let (previous, raw) = (self.previous.as_ref(), &self.config.raw);
        let known = churn::ChurnContext { lake, session, as_of, schemas, past: &past, previous, raw };
        let mut warnings = Vec::new();
        let model = Box::pin(churn::build(&known, &self.config.churn, &mut warnings)).await?;
        if let Some(model) = &model {
            session.register(churn::VIEW, StagedTable::of_view(&model.files))?;
        }
        Ok(ChurnStage { model, warnings })
    }

    /// Learns the customer value from the staged `tables`, and stages its view.
    async fn value(
        &self,
        as_of: DateTime<Utc>,
        tables: &StagedTables,
        workers: Option<&dyn Workers>,
    ) -> Result<ValueStage, BuildError> {
        self.progress.enter("model value", 0);
        let (folder, threads) = (self.scratch.path().to_path_buf(), self.threads);
        let job = Arc::new(value::ValueJob::new(&tables.files, as_of, threads));
        let learning = Arc::clone(&job);
        let learned = tokio::task::spawn_blocking(move || learning.learn()).await??;
        let value::LearnedValue { rows, card, warnings } = learned;
        let of_workers = match tables.on(workers) {
            Some(workers) => workers.value(&rows, self.partitions, &folder).await?,
            None => None,
        };
        let files = match of_workers {
            Some(files) => files,
            None => tokio::task::spawn_blocking(move || job.stage(&rows, &folder)).await??,
        };
        Ok(ValueStage { files, card, warnings })
    }

    /// Learns recommendations from the staged `tables`, and stages their view. Returns a warning if a
    /// customer attribute that the lists would depend on is personal.
    async fn recommend(
        &self,
        as_of: DateTime<Utc>,
        tables: &StagedTables,
        workers: Option<&dyn Workers>,
    ) -> Result<(recommend::RecommendOutput, Option<Warning>), BuildError> {
        self.progress.enter("recommendations", 0);
        let spec = self.specs.get(&Table::Transactions);
        let (config, threads, scratch) = (self.config, self.threads, self.scratch.path());
        let mut job = recommend::RecommendJob::new(&tables.files, spec, config, as_of, threads, scratch);
        let previous = self.previous.as_ref();
        job.learn_from(previous.and_then(|manifest| manifest.models.recommendations.clone()));
        let left_out = job.leave_out(|name| self.personal.is_attribute(name));
        let warning = if left_out.is_empty() {
            None
        } else {
            let message = format!(
                "recommendations do not depend on {}, which is personal data and would show in the lists",
                left_out.join(" and ")
            );
            Some(Warning::new("personal_left_out", message))
        };
        let learned = tokio::task::spawn_blocking(move || recommend::learn(&job)).await??;
        let of_workers = match tables.on(workers) {
            Some(workers) => workers.recommendations(&learned, scratch).await?,
            None => None,
        };
        if let Some(files) = of_workers {
            return Ok((learned.output(files), warning));
        }
        let folder = scratch.to_path_buf();
        let stage = move || learned.stage(threads, &folder).map(|files| learned.output(files));
        Ok((tokio::task::spawn_blocking(stage).await??, warning))
    }
}
