//! The staging and the views at any as-of time, derived anew from the staged lines.
//!
//! Training data comes from the views that also serve, run at earlier as-of times (cutoffs). This module does
//! not depend on models.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use chrono::{DateTime, Utc};

use super::{
    error::BuildError,
    query::{Session, SessionSettings},
    raw::{RawError, Table, TableSpec},
    staged_table::StagedTable,
    staging::{
        StagedFile,
        derive::{self, DerivedTables, ExtraColumn, PartitionInput},
        guests::GuestLines,
        sorted_run::SortedRun,
        staging,
    },
};
use crate::views::ViewDefinition;

/// Staged lines of all partitions, and the settings that tables are derived with.
#[derive(Debug)]
pub(super) struct StagedRuns {
    pub(super) runs: BTreeMap<Table, Vec<SortedRun>>,
    /// Guest lines, by a hash of their order.
    pub(super) guests: HashMap<u64, GuestLines>,
    pub(super) specs: BTreeMap<Table, TableSpec>,
    pub(super) extras: Vec<ExtraColumn>,
    /// Names of the staged attributes, in the order of their numbers.
    pub(super) attribute_names: Vec<String>,
    pub(super) has_created_at: bool,
    pub(super) partitions: usize,
    pub(super) threads: usize,
}

/// Parameters of one derivation.
#[derive(Debug, Clone)]
pub(super) struct Derivation {
    pub(super) as_of: DateTime<Utc>,
    /// Folder for the staged tables.
    pub(super) folder: PathBuf,
    /// Number of partitions to derive, from the first one on.
    pub(super) partitions: usize,
    /// Number of partitions that are filled, from the first one on. The others get empty tables.
    pub(super) filled: usize,
    /// Whether `customers` has the attributes.
    pub(super) with_attributes: bool,
}

impl StagedRuns {
    /// Derives the tables of each partition on all threads. Counts finished partitions in `done`.
    pub(super) async fn derive(
        self: &Arc<Self>,
        derivation: Derivation,
        done: &Arc<AtomicU64>,
    ) -> Result<Vec<DerivedTables>, BuildError> {
        let (next, derivation) = (Arc::new(AtomicUsize::new(0)), Arc::new(derivation));
        let workers: Vec<_> = (0..self.threads)
            .map(|_| {
                let (staged, derivation) = (Arc::clone(self), Arc::clone(&derivation));
                let (next, done) = (Arc::clone(&next), Arc::clone(done));
                tokio::task::spawn_blocking(move || {
                    let mut derived = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= derivation.partitions {
                            return Ok::<_, RawError>(derived);
                        }
                        derived.push((number, staged.derive_partition(number, &derivation)?));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let mut all = BTreeMap::new();
        for worker in workers {
            all.extend(worker.await??);
        }
        Ok(all.into_values().collect())
    }

    /// Derives the tables of the partition `number`.
    pub(super) fn derive_partition(
        &self,
        number: usize,
        derivation: &Derivation,
    ) -> Result<DerivedTables, RawError> {
        derive::derive(&PartitionInput {
            number,
            as_of: derivation.as_of.timestamp_micros(),
            specs: &self.specs,
            runs: &self.runs,
            filled: number < derivation.filled,
            extras: if derivation.with_attributes { &self.extras } else { &[] },
            attribute_names: &self.attribute_names,
            has_created_at: self.has_created_at,
            guests: &self.guests,
            scratch: &derivation.folder,
        })
    }
}

/// Returns the files of each table, one per partition.
pub(super) fn tables(
    derived: impl IntoIterator<Item = DerivedTables>,
) -> BTreeMap<&'static str, Vec<StagedFile>> {
    let mut tables: BTreeMap<&'static str, Vec<StagedFile>> = BTreeMap::new();
    for part in derived {
        for (name, file) in part.tables {
            tables.entry(name).or_default().push(file);
        }
    }
    tables
}

/// Access to the tables and views at earlier as-of times.
pub(super) struct Past<'a> {
    pub(super) staged: &'a Arc<StagedRuns>,
    pub(super) views: &'a [ViewDefinition],
    /// Indexes into `views`, each after the views that it reads.
    pub(super) order: &'a [usize],
    /// Names of the tables and views that each view reads.
    pub(super) reads: &'a BTreeMap<String, BTreeSet<String>>,
    pub(super) sessions: &'a SessionSettings,
    pub(super) scratch: &'a Path,
}

impl Past<'_> {
    /// Returns the views that can be computed at an earlier as-of time. Views that read customer attributes
    /// or Parquet files cannot, since these have no time.
    pub(super) fn timed(&self) -> Vec<&ViewDefinition> {
        const TIMED: [&str; 4] = ["transactions", "orders", "returns", "interactions"];
        let mut timed: Vec<&ViewDefinition> = Vec::new();
        for at in self.order {
            let view = &self.views[*at];
            let known = |name: &String| {
                TIMED.contains(&name.as_str())
                    || timed.iter().any(|view| view.name == *name)
                    // The built-in step reads nothing but the ids from `customers`.
                    || (name == "customers" && view.file.is_none() && view.name == "rfm_values")
            };
            if self.reads.get(&view.name).is_some_and(|reads| reads.iter().all(known)) {
                timed.push(view);
            }
        }
        timed
    }

    /// Opens a session with the tables at `at`, for the customers of the first `filled` partitions, and
    /// without the attributes of customers, which no timed view reads. The folder holds the staged tables and
    /// must outlive the session.
    pub(super) async fn tables_at(
        &self,
        at: DateTime<Utc>,
        filled: usize,
    ) -> Result<(Session, tempfile::TempDir), BuildError> {
        let folder = tempfile::tempdir_in(self.scratch).map_err(|error| staging(self.scratch, error))?;
        // The partitions of a session are those of a hash, so some of them alone are none, but one is. The
        // empty ones would cost most of the time.
        let partitions = if filled == 1 { 1 } else { self.staged.partitions };
        let path = folder.path().to_path_buf();
        let derivation =
            Derivation { as_of: at, folder: path.clone(), partitions, filled, with_attributes: false };
        let derived = self.staged.derive(derivation, &Arc::default()).await?;
        let session = Session::new(&SessionSettings { partitions, ..self.sessions.clone() }, path, at)?;
        for (name, files) in tables(derived) {
            session.register(name, StagedTable::partitioned(files))?;
        }
        Ok((session, folder))
    }

    /// Returns the names of `views` and of all views that they read.
    fn needed<'a>(&'a self, views: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        let mut needed = BTreeSet::new();
        let mut open: Vec<&str> = views.iter().copied().collect();
        while let Some(name) = open.pop() {
            if needed.insert(name) {
                open.extend(self.reads.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        needed
    }

    /// Opens a session with the tables at `at`, as [`Past::tables_at`] does, and with the timed views that
    /// `views` need.
    pub(super) async fn at(
        &self,
        at: DateTime<Utc>,
        filled: usize,
        views: &BTreeSet<&str>,
    ) -> Result<(Session, tempfile::TempDir), BuildError> {
        let (session, folder) = self.tables_at(at, filled).await?;
        let needed = self.needed(views);
        for view in self.timed().into_iter().filter(|view| needed.contains(view.name.as_str())) {
            let rows = session.run(view).await?;
            session.register(&view.name, StagedTable::of(view, &rows))?;
        }
        Ok((session, folder))
    }
}
