//! The step that derives the tables of the partitions: workers take the lines of all raw files from the kept
//! staging.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::{ClusterWorkers, raw_step::accepting, worker_build::WorkerBuild};
use crate::pipeline::{
    build::{by_partition, models, setup::BuildViews},
    cluster::{Failure, ItemResult},
    error::BuildError,
    past::{Derivation, StagedRuns},
    personal_columns::PersonalColumns,
    raw::{Table, TableSpec, files::RawFile},
    staging::{
        StagedFile,
        derive::{DerivedTables, Observations, file_name},
        kept::KeptStaging,
        line_buffer::RunLimits,
        lines::{self, ReadInput, ReadPurpose},
    },
};

/// Name of the step.
pub(super) const STEP: &str = "tables";
/// Name of the shared file with the [`LinesInput`].
const LINES: &str = "lines.json";
/// Name of the shared file with the [`TableRows`].
const ROWS: &str = "rows.json";

/// The lines that all tables are derived from.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LinesInput {
    /// As-of time in microseconds.
    as_of: i64,
    partitions: usize,
    /// Latest time of an event that is accepted, in microseconds.
    newest: i64,
    /// Version of the erasure list.
    erasure: String,
    files: Vec<KeptFile>,
}

/// A raw file whose lines are in the kept staging.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptFile {
    table: Table,
    path: String,
    bytes: u64,
    version: String,
    sha256: String,
}

/// Tables of one partition without their rows.
#[derive(Debug, Serialize, Deserialize)]
struct TablesResult {
    fates: Vec<(Table, String, u64)>,
    amounts: Vec<(String, i128)>,
    duplicates: BTreeMap<Table, u64>,
    observations: Observations,
    /// Number of rows by table.
    rows: BTreeMap<String, usize>,
}

impl TablesResult {
    fn of(derived: DerivedTables) -> Self {
        let fates = derived.fates.into_iter();
        Self {
            fates: fates.map(|((table, fate), lines)| (table, fate.into_owned(), lines)).collect(),
            amounts: derived.amounts.into_iter().map(|(fate, sum)| (fate.into_owned(), sum)).collect(),
            duplicates: derived.duplicates,
            observations: derived.observations,
            rows: derived.tables.iter().map(|(name, file)| ((*name).to_owned(), file.rows)).collect(),
        }
    }

    /// Returns the tables of the partition `number`, whose files are in `folder`.
    fn tables(mut self, number: usize, folder: &Path, schemas: &Schemas) -> Result<DerivedTables, Failure> {
        let mut tables = BTreeMap::new();
        for (name, schema) in schemas {
            let rows = self.rows.remove(*name).ok_or_else(|| format!("the table {name} is missing"))?;
            let (path, schema) = (folder.join(file_name(name, number)), Arc::clone(schema));
            tables.insert(*name, StagedFile { path, schema, rows });
        }
        let fates = self.fates.into_iter();
        Ok(DerivedTables {
            fates: fates.map(|(table, fate, lines)| ((table, fate.into()), lines)).collect(),
            amounts: self.amounts.into_iter().map(|(fate, sum)| (fate.into(), sum)).collect(),
            duplicates: self.duplicates,
            observations: self.observations,
            tables,
        })
    }
}

/// Schemas of the derived tables by name.
type Schemas = BTreeMap<&'static str, SchemaRef>;
/// Number of rows of each partition of the derived tables, by name.
type TableRows = BTreeMap<String, Vec<usize>>;

/// Returns the schemas of the tables that `staged` gives, which those of an empty partition have.
fn schemas(staged: &StagedRuns, derivation: &Derivation) -> Result<Schemas, Failure> {
    let folder = tempfile::tempdir_in(&derivation.folder)?;
    let nothing = Derivation { filled: 0, folder: folder.path().to_path_buf(), ..derivation.clone() };
    let empty = staged.derive_partition(0, &nothing)?;
    Ok(empty.tables.into_iter().map(|(name, file)| (name, file.schema)).collect())
}

impl ClusterWorkers {
    /// Has workers derive the tables of all partitions, whose files are put into the folder of `derivation`.
    /// Returns `None` if the kept staging does not have all `files`.
    pub(super) async fn tables_step(
        &self,
        staged: &Arc<StagedRuns>,
        files: &[RawFile],
        erasure: &str,
        derivation: &Derivation,
        done: &AtomicU64,
    ) -> Result<Option<Vec<DerivedTables>>, BuildError> {
        let kept = files.iter().map(|file| {
            Some(KeptFile {
                table: file.table,
                path: file.shown.clone(),
                bytes: file.bytes,
                version: file.version.clone()?,
                sha256: file.sha256.clone()?,
            })
        });
        let Some(files) = kept.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let input = LinesInput {
            as_of: derivation.as_of.timestamp_micros(),
            partitions: derivation.partitions,
            newest: staged.specs.values().map(|spec| spec.times.newest).max().unwrap_or_default(),
            erasure: erasure.to_owned(),
            files,
        };
        self.shared.put(LINES, &input).await.map_err(super::failed)?;
        let items = (0..input.partitions).map(|number| number.to_string()).collect();
        let Some(texts) = super::texts(STEP, self.cluster.run(STEP, items).await?) else { return Ok(None) };
        let schemas = schemas(staged, derivation).map_err(super::failed)?;
        let (mut derived, mut rows) = (Vec::with_capacity(texts.len()), TableRows::new());
        for (number, text) in texts.into_iter().enumerate() {
            let result: TablesResult =
                serde_json::from_str(&text).map_err(|error| super::failed(error.into()))?;
            for (name, of_partition) in &result.rows {
                rows.entry(name.clone()).or_default().push(*of_partition);
            }
            derived.push(result.tables(number, &derivation.folder, &schemas).map_err(super::failed)?);
        }
        self.shared.put(ROWS, &rows).await.map_err(super::failed)?;
        let names: Vec<String> = (0..input.partitions)
            .flat_map(|number| schemas.keys().map(move |name| file_name(name, number)))
            .collect();
        self.fetch(&names, &derivation.folder).await?;
        done.fetch_add(input.partitions as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(Some(derived))
    }
}

/// Error of a worker that comes too late: the raw files are no longer those that the driver listed.
#[derive(Debug, thiserror::Error)]
#[error("{0} changed while the build ran")]
struct Changed(String);

/// The lines of all raw files, as a worker takes them from the kept staging.
#[derive(Debug)]
pub(super) struct WorkerLines {
    staged: Arc<StagedRuns>,
    derivation: Derivation,
    schemas: Schemas,
}

impl WorkerLines {
    pub(super) fn as_of(&self) -> DateTime<Utc> {
        self.derivation.as_of
    }

    pub(super) fn partitions(&self) -> usize {
        self.derivation.partitions
    }
}

/// The derived tables of all partitions, as a worker knows them after the step. The files are fetched when
/// an item needs them.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkerTables<'a> {
    pub(super) lines: &'a WorkerLines,
    rows: &'a TableRows,
}

impl WorkerTables<'_> {
    /// Returns the names of the tables.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.lines.schemas.keys().copied()
    }

    /// Returns the files of the table `name`, one for each partition; none if there is no such table.
    pub(super) fn files(&self, build: &WorkerBuild, name: &str) -> Vec<StagedFile> {
        let table = self.lines.schemas.get_key_value(name).zip(self.rows.get(name));
        let files = table.into_iter().flat_map(|((name, schema), rows)| {
            rows.iter().enumerate().map(|(number, rows)| StagedFile {
                path: build.folder.path().join(file_name(name, number)),
                schema: Arc::clone(schema),
                rows: *rows,
            })
        });
        files.collect()
    }

    /// Fetches the file of the table `name` of the partition `number`, if there is such a table.
    pub(super) async fn fetch(
        &self,
        build: &WorkerBuild,
        name: &str,
        number: usize,
    ) -> Result<Option<StagedFile>, Failure> {
        let Some(file) = self.files(build, name).into_iter().nth(number) else { return Ok(None) };
        build.shared.fetch(&file_name(name, number), build.folder.path()).await?;
        Ok(Some(file))
    }
}

/// State of the step on a worker.
#[derive(Debug, Default)]
pub(super) struct TablesWork {
    lines: OnceCell<WorkerLines>,
    rows: OnceCell<TableRows>,
}

impl TablesWork {
    /// Derives the tables of a partition.
    pub(super) async fn derive(&self, build: &WorkerBuild, input: &str) -> Result<ItemResult, Failure> {
        let number: usize = input.parse()?;
        let lines = match self.lines(build).await {
            Err(error) if error.is::<Changed>() => return Ok(ItemResult::Left(error.to_string())),
            lines => lines?,
        };
        // A file has its place only when it is whole.
        let folder = tempfile::tempdir_in(build.folder.path())?;
        let (staged, path) = (Arc::clone(&lines.staged), folder.path().to_path_buf());
        let derivation = Derivation { folder: path, ..lines.derivation.clone() };
        let derived =
            tokio::task::spawn_blocking(move || staged.derive_partition(number, &derivation)).await??;
        for file in derived.tables.values() {
            build.shared.share(&file.path).await?;
        }
        for name in derived.tables.keys().map(|name| file_name(name, number)) {
            std::fs::rename(folder.path().join(&name), build.folder.path().join(name))?;
        }
        Ok(ItemResult::Done(serde_json::to_string(&TablesResult::of(derived))?))
    }

    /// Returns the tables of all partitions. The step must have ended.
    pub(super) async fn tables(&self, build: &WorkerBuild) -> Result<WorkerTables<'_>, Failure> {
        let lines = self.lines(build).await?;
        let rows = self.rows.get_or_try_init(|| build.shared.get(ROWS)).await?;
        Ok(WorkerTables { lines, rows })
    }

    /// Returns the lines of all raw files, which are opened once.
    async fn lines(&self, build: &WorkerBuild) -> Result<&WorkerLines, Failure> {
        self.lines.get_or_try_init(|| WorkerLines::open(build)).await
    }
}

impl WorkerLines {
    /// Opens the kept lines of all raw files.
    async fn open(build: &WorkerBuild) -> Result<Self, Failure> {
        let input: LinesInput = build.shared.get(LINES).await?;
        let raw = build.raw_files().await?;
        if raw.forgotten.version() != input.erasure {
            return Err(Changed("the erasure list".to_owned()).into());
        }
        let find = |kept: &KeptFile| {
            let found = raw.find(kept.table, &kept.path, kept.bytes, &kept.version);
            let file = found.ok_or_else(|| Changed(kept.path.clone()))?;
            Ok::<_, Failure>(RawFile { sha256: Some(kept.sha256.clone()), ..file.clone() })
        };
        let files = input.files.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let (config, threads) = (&build.worker.config, build.worker.slots);
        let specs: BTreeMap<Table, TableSpec> = TableSpec::all(&accepting(&config.raw, input.newest)?)?;
        let (folder, forgotten) = (build.folder.path().to_path_buf(), Arc::clone(&raw.forgotten));
        let kept = KeptStaging::open(&build.worker.lake, Arc::clone(&forgotten), &folder, false).await;
        let mut outcome = lines::read(ReadInput {
            files,
            specs: specs.clone(),
            threads,
            max_bad_share: config.raw.max_bad_share,
            limits: RunLimits::new(build.worker.memory, threads),
            scratch: folder.clone(),
            progress: Arc::default(),
            forgotten,
            purpose: ReadPurpose::Build {
                partitions: input.partitions,
                kept: Some(Arc::new(kept.read_only())),
            },
        })
        .await?;
        let views = BuildViews::new(config, input.partitions, &folder)?;
        let personal = PersonalColumns::new(config, &views.definitions, &models(config), &views.reads)?;
        let staged = by_partition::staged_runs(&mut outcome, &specs, &personal, input.partitions, threads)?;
        let as_of = DateTime::from_timestamp_micros(input.as_of).ok_or("a time is out of range")?;
        let partitions = input.partitions;
        let derivation = Derivation { as_of, folder, partitions, filled: partitions, with_attributes: true };
        let schemas = schemas(&staged, &derivation)?;
        Ok(Self { staged: Arc::new(staged), derivation, schemas })
    }
}
