//! Workers on other machines, to which a build gives the work on raw files and on partitions.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use async_trait::async_trait;

use crate::pipeline::{
    error::BuildError,
    past::{Derivation, StagedRuns},
    query::PlannedView,
    raw::{Table, TableSpec, files::RawFile},
    recommend::LearnedRecommendations,
    staging::{derive::DerivedTables, kept::KeptStaging},
    value::ValueRows,
    view_files::ViewFiles,
};

/// The workers of a build. All but [`Workers::read_raw`] and [`Workers::derive`] need workers that have
/// derived the tables.
#[async_trait]
pub(super) trait Workers: Send + Sync {
    /// Reads those of `files` whose content is not known to `kept`, and notes the hash of their content. A
    /// file that no worker can read is left to the build.
    async fn read_raw(
        &self,
        files: &mut [RawFile],
        specs: &BTreeMap<Table, TableSpec>,
        kept: &KeptStaging,
        erasure: &str,
    ) -> Result<(), BuildError>;

    /// Derives the tables of all partitions from the kept lines of `files`, and puts the rows into the folder
    /// of `derivation`. Returns `None` if the build has to do so, as with files of Delta tables, whose lines
    /// are not kept.
    async fn derive(
        &self,
        staged: &Arc<StagedRuns>,
        files: &[RawFile],
        erasure: &str,
        derivation: &Derivation,
        done: &AtomicU64,
    ) -> Result<Option<Vec<DerivedTables>>, BuildError>;

    /// Runs the view `planned`, which is by partition and reads the views `read`, and puts the rows into the
    /// folder `to`. Returns `None` if the build has to run the view.
    async fn run_view(
        &self,
        planned: &PlannedView,
        read: &[(&str, &ViewFiles)],
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError>;

    /// Makes `rows` of all `partitions`, and puts the files into the folder `to`. Returns `None` if the build
    /// has to make the rows.
    async fn value(
        &self,
        rows: &ValueRows,
        partitions: usize,
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError>;

    /// Makes the recommendations of all customers, and puts the files into the folder `to`. Returns `None` if
    /// the build has to make them.
    async fn recommendations(
        &self,
        learned: &LearnedRecommendations,
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError>;

    /// Tells the workers that the build needs no more of them, and removes the files that they share.
    async fn end(&self);
}
