//! Settings of a build that follow from the configuration and the size of the raw data.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use chrono::DateTime;

use crate::{
    config::Config,
    pipeline::{
        error::BuildError,
        exclude_patterns::ExcludePatterns,
        parquet_files,
        query::{self, Session, SessionSettings},
        raw::files::RawFile,
        staging::sorted_run,
    },
    views::{self, ViewDefinition, ViewFileError},
};

/// The views of a build, and the settings of the sessions that run them.
#[derive(Debug)]
pub(super) struct BuildViews {
    pub(super) definitions: Vec<ViewDefinition>,
    /// Names of the tables and views that each view reads.
    pub(super) reads: BTreeMap<String, BTreeSet<String>>,
    /// Indexes into the definitions, each after the views that the view reads.
    pub(super) order: Vec<usize>,
    pub(super) sessions: SessionSettings,
}

impl BuildViews {
    /// Parses the views of `config` for a staging of `partitions` partitions. `scratch` is a folder for
    /// temporary files.
    pub(super) fn new(config: &Config, partitions: usize, scratch: &Path) -> Result<Self, BuildError> {
        let definitions = definitions(config)?;
        let exclude = Arc::new(ExcludePatterns::new(&config.recommendations.exclude));
        let sessions = SessionSettings { partitions, memory: config.build.memory, exclude };
        let session = Session::new(&sessions, scratch.to_path_buf(), DateTime::UNIX_EPOCH)?;
        let reads = session.all_reads(&definitions)?;
        let order = query::run_order(&definitions, &reads)?;
        Ok(Self { definitions, reads, order, sessions })
    }

    /// Returns the view `name`.
    #[cfg(feature = "cluster")]
    pub(super) fn find(&self, name: &str) -> Result<&ViewDefinition, String> {
        let found = self.definitions.iter().find(|view| view.name == name);
        found.ok_or_else(|| format!("there is no view {name}"))
    }
}

/// Returns the number of partitions of the staging. Only the size of the raw data counts, so that the result
/// does not depend on the machine.
pub(super) fn partitions(files: &[RawFile]) -> usize {
    const PARTITION_BYTES: u64 = 64 << 20;
    let uncompressed =
        |file: &RawFile| if file.kind.is_compressed() { file.bytes.saturating_mul(8) } else { file.bytes };
    let bytes: u64 = files.iter().map(uncompressed).sum();
    let most = 1 << sorted_run::BUCKET_BITS;
    usize::try_from(bytes / PARTITION_BYTES).unwrap_or(usize::MAX).clamp(4, most).next_power_of_two()
}

/// Returns the number of threads of a build.
pub(super) fn threads(config: &Config) -> usize {
    config.build.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Loads the definitions of all views: built-in, SQL files and Parquet files.
pub(super) fn definitions(config: &Config) -> Result<Vec<ViewDefinition>, ViewFileError> {
    let folder = config.views.folder.as_ref().map(|folder| config.resolve(folder));
    let mut views = views::load(folder.as_deref(), config.views.parquet.keys())?;
    // A view of the folder with the name of Parquet files reads these files by its own SQL.
    let own: BTreeSet<String> = views.iter().map(|view| view.name.clone()).collect();
    let plain = config.views.parquet.keys().filter(|name| !own.contains(*name));
    views.extend(plain.map(|name| parquet_files::view(name)));
    Ok(views)
}
