//! The staging and the views as they were at any instant: derived from the spilled lines as often as they are asked for.
//!
//! Training data is made by the very views that serve, at earlier instants. Knows tables and views, nothing of models.

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
    BuildError,
    query::Session,
    raw::{RawError, Table, TableSpec},
    staging::{derive, guests::Guests, spill::SpillFile, staging},
    table::StagedTable,
};
use crate::views::ViewDefinition;

/// The spilled lines of all partitions.
#[derive(Debug)]
pub(super) struct Spilled {
    pub(super) spills: BTreeMap<Table, Vec<SpillFile>>,
    /// Lines without a customer, by a hash of their order.
    pub(super) guests: HashMap<u64, Guests>,
    pub(super) specs: BTreeMap<Table, TableSpec>,
    pub(super) extras: Vec<derive::ExtraColumn>,
    pub(super) has_created_at: bool,
    pub(super) partitions: usize,
    pub(super) threads: usize,
}

/// What of the spilled lines is to be derived, and where to.
#[derive(Debug, Clone)]
pub(super) struct Derivation {
    pub(super) as_of: DateTime<Utc>,
    pub(super) folder: PathBuf,
    /// The first so many partitions; the others are there, and empty.
    pub(super) filled: usize,
}

impl Spilled {
    /// The tables of each partition.
    pub(super) async fn derive(
        self: &Arc<Self>,
        what: Derivation,
        done: &Arc<AtomicU64>,
    ) -> Result<Vec<derive::Derived>, BuildError> {
        let (next, what) = (Arc::new(AtomicUsize::new(0)), Arc::new(what));
        let workers: Vec<_> = (0..self.threads)
            .map(|_| {
                let (spilled, what, next, done) =
                    (Arc::clone(self), Arc::clone(&what), Arc::clone(&next), Arc::clone(done));
                tokio::task::spawn_blocking(move || {
                    let mut derived = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= spilled.partitions {
                            return Ok::<_, RawError>(derived);
                        }
                        derived.push((number, spilled.partition(number, &what)?));
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

    fn partition(&self, number: usize, what: &Derivation) -> Result<derive::Derived, RawError> {
        derive::derive(&derive::Partition {
            number,
            as_of: what.as_of.timestamp_micros(),
            specs: &self.specs,
            spills: &self.spills,
            filled: number < what.filled,
            extras: &self.extras,
            has_created_at: self.has_created_at,
            guests: &self.guests,
            scratch: &what.folder,
        })
    }

    /// Removes the lines.
    pub(super) fn remove(&self) -> Result<(), RawError> {
        self.spills.values().flatten().try_for_each(SpillFile::remove)
    }
}

/// The files of each table, partition by partition.
pub(super) fn tables(
    derived: impl IntoIterator<Item = derive::Derived>,
) -> BTreeMap<&'static str, Vec<derive::StagedFile>> {
    let mut tables: BTreeMap<&'static str, Vec<derive::StagedFile>> = BTreeMap::new();
    for part in derived {
        for (name, file) in part.tables {
            tables.entry(name).or_default().push(file);
        }
    }
    tables
}

/// The way back to an earlier instant.
pub(super) struct Past<'a> {
    pub(super) spilled: &'a Arc<Spilled>,
    pub(super) views: &'a [ViewDefinition],
    /// The views in an order in which they can run.
    pub(super) order: &'a [usize],
    /// What each view reads.
    pub(super) reads: &'a BTreeMap<String, BTreeSet<String>>,
    pub(super) memory: (u64, u64),
    pub(super) scratch: &'a Path,
}

impl Past<'_> {
    /// The views that can be had at an earlier instant: attributes in `customers` have no time, and neither have Parquet files.
    pub(super) fn timed(&self) -> Vec<&ViewDefinition> {
        const TIMED: [&str; 4] = ["transactions", "orders", "returns", "interactions"];
        let mut timed: Vec<&ViewDefinition> = Vec::new();
        for at in self.order {
            let view = &self.views[*at];
            let known = |name: &String| {
                TIMED.contains(&name.as_str())
                    || timed.iter().any(|view| view.name == *name)
                    // The built-in steps take the ids from there and nothing else.
                    || (name == "customers" && view.file.is_none() && view.name == "rfm_values")
            };
            if self.reads.get(&view.name).is_some_and(|reads| reads.iter().all(known)) {
                timed.push(view);
            }
        }
        timed
    }

    /// A session with the tables and timed views at `at`, of the customers of the first `filled` partitions.
    pub(super) async fn at(
        &self,
        at: DateTime<Utc>,
        filled: usize,
    ) -> Result<(Session, tempfile::TempDir), BuildError> {
        let folder = tempfile::tempdir_in(self.scratch).map_err(|error| staging(self.scratch, error))?;
        let what = Derivation { as_of: at, folder: folder.path().to_path_buf(), filled };
        let derived = self.spilled.derive(what, &Arc::default()).await?;
        let session = Session::new(self.spilled.partitions, self.memory, folder.path().to_path_buf(), at)?;
        for (name, files) in tables(derived) {
            session.register(name, StagedTable::divided(files))?;
        }
        for view in self.timed() {
            let file = if view.step { session.run_step(view).await? } else { session.run_view(view).await? };
            session.register(&view.name, StagedTable::whole(file, !view.step))?;
        }
        Ok((session, folder))
    }
}
