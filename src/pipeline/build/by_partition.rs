//! The stages of a build that work partition by partition: derived tables and views, on this machine or on
//! workers.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    Build, ViewPlan,
    clock::StageClock,
    outputs::{StagedTables, ViewOutputs},
    workers::Workers,
};
use crate::pipeline::{
    data_warnings,
    error::BuildError,
    parquet_files,
    past::{self, Derivation, StagedRuns},
    personal_columns::PersonalColumns,
    query::Session,
    raw::{RawError, Table, TableSpec, files::RawFile},
    required_columns,
    staged_table::StagedTable,
    staging::{
        StagedFile,
        derive::{self, Observations},
        read_outcome::ReadOutcome,
    },
    view_files::ViewFiles,
};

/// Takes the runs of the read `lines`, for the derivation of the tables in `partitions` partitions.
pub(super) fn staged_runs(
    lines: &mut ReadOutcome,
    specs: &BTreeMap<Table, TableSpec>,
    personal: &PersonalColumns<'_>,
    partitions: usize,
    threads: usize,
) -> Result<StagedRuns, RawError> {
    let customers = specs.get(&Table::Customers);
    let has_customer_files = lines.counts.contains_key(Table::Customers.name());
    let extras = derive::extra_columns(lines.extras.list(), customers);
    Ok(StagedRuns {
        extras: personal.checked(extras, customers, has_customer_files)?,
        attribute_names: std::mem::take(&mut lines.attribute_names),
        runs: std::mem::take(&mut lines.runs),
        guests: std::mem::take(&mut lines.guests),
        specs: specs.clone(),
        has_created_at: lines.has_created_at,
        partitions,
        threads,
    })
}

impl Build<'_> {
    /// Derives the tables of all partitions at `as_of` from the staged `lines` of `files`.
    pub(super) async fn derive_tables(
        &self,
        mut lines: ReadOutcome,
        files: &[RawFile],
        as_of: DateTime<Utc>,
        workers: Option<&dyn Workers>,
    ) -> Result<StagedTables, BuildError> {
        self.progress.enter("staging", self.partitions as u64);
        let (partitions, done) = (self.partitions, &self.progress.done);
        let staged = staged_runs(&mut lines, &self.specs, &self.personal, partitions, self.threads)?;
        let staged = Arc::new(staged);
        let folder = self.scratch.path().to_path_buf();
        let derivation = Derivation { as_of, folder, partitions, filled: partitions, with_attributes: true };
        let derived = match workers {
            Some(workers) => {
                workers.derive(&staged, files, self.forgotten.version(), &derivation, done).await?
            }
            None => None,
        };
        let is_of_workers = derived.is_some();
        let mut derived = match derived {
            Some(derived) => derived,
            None => staged.derive(derivation, done).await?,
        };
        derive::add_counts(&mut lines.counts, &derived, &staged.guests);
        let mut observations = Observations::default();
        for tables in &mut derived {
            observations.add(std::mem::take(&mut tables.observations));
        }
        let mut warnings = lines.warnings.clone();
        warnings.extend(data_warnings::warnings(&lines, &staged, &observations, &self.config.raw));
        let files = past::tables(derived);
        let (counts, sources) = (lines.counts, lines.sources);
        Ok(StagedTables { staged, files, is_of_workers, counts, sources, warnings })
    }

    /// Opens a database session with the staged `tables` and the Parquet files of other engines.
    pub(super) async fn open_session(
        &self,
        as_of: DateTime<Utc>,
        tables: &BTreeMap<&'static str, Vec<StagedFile>>,
    ) -> Result<Session, BuildError> {
        let scratch = self.scratch.path();
        let session = Session::new(&self.views.sessions, scratch.to_path_buf(), as_of)?;
        for (name, files) in tables {
            session.register(name, StagedTable::partitioned(files.clone()))?;
        }
        for (view, place) in &self.config.views.parquet {
            let table = parquet_files::stage(self.lakes.raw, view, place, self.threads, scratch).await?;
            session.register(&parquet_files::table_name(view), table)?;
        }
        Ok(session)
    }

    /// Runs the views in order, and registers each one for the views that read it.
    pub(super) async fn run_views(
        &self,
        session: &Session,
        workers: Option<&dyn Workers>,
        clock: &mut StageClock,
    ) -> Result<ViewOutputs, BuildError> {
        let mut definitions = self.views.definitions.clone();
        let (mut files, mut plans) = (BTreeMap::<usize, ViewFiles>::new(), Vec::new());
        for at in &self.views.order {
            let view = &mut definitions[*at];
            let stage = format!("view {}", view.name);
            self.progress.enter(&stage, 0);
            let planned = session.plan_view(view).await?;
            let by_workers = workers.filter(|_| planned.is_by_partition() && !self.reads_parquet(&view.name));
            let rows = match by_workers {
                Some(workers) => {
                    let read = self.read_by(&view.name, &files);
                    workers.run_view(&planned, &read, self.scratch.path()).await?
                }
                None => None,
            };
            let rows = match rows {
                Some(rows) => rows,
                None => session.stage(&planned).await?,
            };
            self.personal.mark(view, &rows.schema)?;
            required_columns::check(view, &rows.schema)?;
            session.register(&view.name, StagedTable::of(view, &rows))?;
            clock.lap(&stage, Some(rows.rows()));
            plans.push(ViewPlan { view: view.name.clone(), plan: planned.text() });
            files.insert(*at, rows);
        }
        Ok(ViewOutputs { definitions, files, plans })
    }

    /// Returns the name and the rows of each view that `view` reads. `files` are by index of the view.
    fn read_by<'a>(
        &'a self,
        view: &str,
        files: &'a BTreeMap<usize, ViewFiles>,
    ) -> Vec<(&'a str, &'a ViewFiles)> {
        let reads = self.views.reads.get(view);
        let all = files.iter().map(|(at, files)| (self.views.definitions[*at].name.as_str(), files));
        all.filter(|(name, _)| reads.is_some_and(|reads| reads.contains(*name))).collect()
    }

    /// Returns whether `view` reads Parquet files of other engines, which are staged on this machine alone.
    fn reads_parquet(&self, view: &str) -> bool {
        let is_parquet = |table: &String| {
            self.config.views.parquet.keys().any(|name| parquet_files::table_name(name) == *table)
        };
        self.views.reads.get(view).is_some_and(|tables| tables.iter().any(is_parquet))
    }
}
