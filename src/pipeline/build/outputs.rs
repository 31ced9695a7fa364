//! Values that the stages of a build return.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::workers::Workers;
use crate::{
    pipeline::{
        churn,
        parts::ServedView,
        past::StagedRuns,
        query::Session,
        raw::{RawError, Table},
        recommend,
        staging::{StagedFile, staging},
        view_files::ViewFiles,
    },
    snapshot::{
        RawSource, TableCounts, Warning,
        models::{Models, ValueModel},
    },
    views::ViewDefinition,
};

/// Tables that the views read, and the fates of the raw lines that they were derived from.
#[derive(Debug)]
pub(super) struct StagedTables {
    pub(super) staged: Arc<StagedRuns>,
    /// One file per partition.
    pub(super) files: BTreeMap<&'static str, Vec<StagedFile>>,
    /// Whether workers have derived the tables.
    pub(super) is_of_workers: bool,
    pub(super) counts: BTreeMap<String, TableCounts>,
    pub(super) sources: Vec<RawSource>,
    pub(super) warnings: Vec<Warning>,
}

impl StagedTables {
    /// Returns those of `workers` that know the tables.
    pub(super) fn on<'a>(&self, workers: Option<&'a dyn Workers>) -> Option<&'a dyn Workers> {
        workers.filter(|_| self.is_of_workers)
    }

    /// Returns the number of rows of all tables.
    pub(super) fn rows(&self) -> u64 {
        self.files.values().flatten().map(|file| file.rows as u64).sum()
    }

    /// Returns the number of customers.
    pub(super) fn customers(&self) -> u64 {
        let files = self.files.get(Table::Customers.name()).into_iter().flatten();
        files.map(|file| file.rows as u64).sum()
    }

    /// Removes the files that no later stage reads: all but those of `customers`.
    pub(super) fn remove_events(&self) -> Result<(), RawError> {
        let events = self.files.iter().filter(|(name, _)| **name != Table::Customers.name());
        events
            .flat_map(|(_, files)| files)
            .try_for_each(|file| std::fs::remove_file(&file.path).map_err(|error| staging(&file.path, error)))
    }
}

/// How a view is computed.
#[derive(Debug, Clone)]
pub struct ViewPlan {
    /// Name of the view.
    pub view: String,
    /// DataFusion's physical plan as text.
    pub plan: String,
}

/// Views after their run.
#[derive(Debug)]
pub(super) struct ViewOutputs {
    /// Definitions, with the personal columns marked.
    pub(super) definitions: Vec<ViewDefinition>,
    /// Staged rows, by index into `definitions`.
    pub(super) files: BTreeMap<usize, ViewFiles>,
    pub(super) plans: Vec<ViewPlan>,
}

impl ViewOutputs {
    /// Returns the views that are served, in the order of their definitions.
    pub(super) fn served(mut self) -> Vec<ServedView> {
        let served = self.definitions.into_iter().enumerate().filter(|(_, view)| !view.step);
        served
            .filter_map(|(at, definition)| Some(ServedView { definition, files: self.files.remove(&at)? }))
            .collect()
    }
}

/// Result of the churn stage; empty if churn is disabled or the view `rfm` lacks its columns.
#[derive(Default)]
pub(super) struct ChurnStage {
    pub(super) model: Option<churn::ChurnOutput>,
    pub(super) warnings: Vec<Warning>,
}

/// Result of the stage of the customer value.
pub(super) struct ValueStage {
    pub(super) files: ViewFiles,
    pub(super) card: ValueModel,
    pub(super) warnings: Vec<Warning>,
}

/// Results of all stages before the snapshot is written.
pub(super) struct Computed {
    pub(super) as_of: DateTime<Utc>,
    /// Number of customers.
    pub(super) customers: u64,
    pub(super) session: Session,
    pub(super) views: Vec<ServedView>,
    pub(super) plans: Vec<ViewPlan>,
    pub(super) models: Models,
    /// Content of the file with the churn model, if later builds may use it.
    pub(super) churn_model: Option<Vec<u8>>,
    pub(super) recommended: Option<recommend::RecommendOutput>,
    pub(super) tables: StagedTables,
    pub(super) warnings: Vec<Warning>,
}
