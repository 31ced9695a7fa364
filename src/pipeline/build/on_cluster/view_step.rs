//! The steps that run views: workers stage the rows of views whose partitions need no other partition.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{ClusterWorkers, tables_step::WorkerLines, worker_build::WorkerBuild};
use crate::pipeline::{
    build::{setup::BuildViews, workers::KnownTables},
    cluster::{Failure, ItemResult},
    error::BuildError,
    query::{PlannedView, Session},
    staged_table::StagedTable,
    staging::{StagedFile, derive::file_name},
    view_files::{self, RowOrder, ViewFileEntry, ViewFiles},
};

/// Beginning of the names of the steps, before that of the view.
pub(super) const STEP: &str = "view-";

/// A view to run, and all that its plan depends on.
#[derive(Debug, Serialize, Deserialize)]
struct ViewInput {
    view: String,
    /// DataFusion's physical plan as text.
    plan: String,
    /// Number of rows of each partition of the derived tables, by name.
    tables: BTreeMap<String, Vec<usize>>,
    /// The views that have run, in the order of the runs.
    before: Vec<ViewRows>,
}

/// Number of rows of the files of a view that has run.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ViewRows {
    view: String,
    /// Whether the files are the partitions of the staging.
    is_by_customer: bool,
    rows: Vec<usize>,
}

impl ViewRows {
    fn of(view: &str, files: &ViewFiles) -> Self {
        Self {
            view: view.to_owned(),
            is_by_customer: files.order == RowOrder::Partitions,
            rows: files.staged().map(|file| file.rows).collect(),
        }
    }

    /// Returns the files in `folder` with rows of `schema`.
    fn at(&self, folder: &Path, schema: &SchemaRef) -> ViewFiles {
        let files = self.rows.iter().enumerate().map(|(number, rows)| {
            let path = folder.join(view_files::name(&self.view, number));
            ViewFileEntry::without_index(*rows).at(path, Arc::clone(schema))
        });
        let order = if self.is_by_customer { RowOrder::Partitions } else { RowOrder::Any };
        ViewFiles::new(Arc::clone(schema), order, files.collect())
    }

    /// Returns the names of the files that the partition `number` of another view needs.
    fn needed(&self, number: usize) -> Vec<String> {
        let all = 0..self.rows.len();
        let needed = if self.is_by_customer { number..number + 1 } else { all };
        needed.map(|number| view_files::name(&self.view, number)).collect()
    }
}

impl ClusterWorkers {
    /// Has workers run the view `planned`, and puts the files into the folder `to`.
    pub(super) async fn view_step(
        &self,
        planned: &PlannedView,
        known: &KnownTables<'_>,
        to: &Path,
    ) -> Result<ViewFiles, BuildError> {
        for (name, files) in &known.views {
            if self.is_new(name) {
                for file in files.staged() {
                    self.shared.share(&file.path).await.map_err(super::failed)?;
                }
            }
        }
        let rows = |files: &[StagedFile]| files.iter().map(|file| file.rows).collect::<Vec<_>>();
        let view = planned.view();
        let input = ViewInput {
            view: view.to_owned(),
            plan: planned.text(),
            tables: known.tables.iter().map(|(name, files)| ((*name).to_owned(), rows(files))).collect(),
            before: known.views.iter().map(|(name, files)| ViewRows::of(name, files)).collect(),
        };
        let step = format!("{STEP}{view}");
        self.shared.put(&input_name(&step), &input).await.map_err(super::failed)?;
        let items = (0..planned.partitions()).map(|number| number.to_string()).collect();
        let results = self.cluster.run(&step, items).await?;
        self.is_new(view);
        let (mut files, mut names) = (Vec::new(), Vec::new());
        for (number, result) in results.into_iter().enumerate() {
            let text = super::done(&step, result)?;
            let file: ViewFileEntry =
                serde_json::from_str(&text).map_err(|error| super::failed(error.into()))?;
            let name = view_files::name(view, number);
            files.push(file.at(to.join(&name), Arc::clone(&planned.schema)));
            names.push(name);
        }
        self.fetch(&names, to).await?;
        Ok(ViewFiles::new(Arc::clone(&planned.schema), RowOrder::Partitions, files))
    }
}

/// Returns the name of the shared file with the [`ViewInput`] of `step`.
fn input_name(step: &str) -> String {
    format!("{step}.json")
}

/// The views of a build on a worker.
pub(super) struct WorkerViews {
    views: BuildViews,
    session: Arc<Session>,
    /// Folder of the rows while they are written.
    folder: PathBuf,
    /// Schemas of the views that the session has.
    registered: BTreeMap<String, SchemaRef>,
    /// The view of the newest step.
    current: Option<(String, Arc<WorkerView>)>,
}

impl std::fmt::Debug for WorkerViews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerViews").field("registered", &self.registered).finish_non_exhaustive()
    }
}

/// A view that is planned on a worker.
struct WorkerView {
    session: Arc<Session>,
    planned: PlannedView,
    /// Derived tables that the view reads.
    tables: Vec<String>,
    /// Views that the view reads.
    views: Vec<ViewRows>,
    folder: PathBuf,
}

/// State of the steps on a worker.
#[derive(Debug, Default)]
pub(super) struct ViewWork {
    views: Mutex<Option<WorkerViews>>,
}

impl ViewWork {
    /// Stages the rows of a view of the partition `input`.
    pub(super) async fn run(
        &self,
        build: &WorkerBuild,
        lines: &WorkerLines,
        step: &str,
        input: &str,
    ) -> Result<ItemResult, Failure> {
        let number: usize = input.parse()?;
        let view = self.planned(build, lines, step).await?;
        let tables = view.tables.iter().map(|name| file_name(name, number));
        for name in tables.chain(view.views.iter().flat_map(|view| view.needed(number))) {
            build.shared.fetch(&name, build.folder.path()).await?;
        }
        let file = view.session.stage_partition(&view.planned, number).await?;
        build.shared.share(file.path()).await?;
        // A file has its place only when it is whole.
        let name = view_files::name(view.planned.view(), number);
        std::fs::rename(view.folder.join(&name), build.folder.path().join(&name))?;
        Ok(ItemResult::Done(serde_json::to_string(&ViewFileEntry::of(&file))?))
    }

    /// Returns the view of `step`, which is planned once.
    async fn planned(
        &self,
        build: &WorkerBuild,
        lines: &WorkerLines,
        step: &str,
    ) -> Result<Arc<WorkerView>, Failure> {
        let mut views = self.views.lock().await;
        let views = match &mut *views {
            Some(views) => views,
            none => none.insert(WorkerViews::open(build, lines)?),
        };
        match &views.current {
            Some((current, view)) if current == step => Ok(Arc::clone(view)),
            _ => {
                let input: ViewInput = build.shared.get(&input_name(step)).await?;
                let view = Arc::new(views.plan(&input, lines, build.folder.path()).await?);
                views.current = Some((step.to_owned(), Arc::clone(&view)));
                Ok(view)
            }
        }
    }
}

impl WorkerViews {
    /// Opens a session without tables.
    fn open(build: &WorkerBuild, lines: &WorkerLines) -> Result<Self, Failure> {
        let folder = build.folder.path().join("views");
        std::fs::create_dir_all(&folder)?;
        let views = BuildViews::new(&build.worker.config, lines.partitions(), &folder)?;
        let session = Arc::new(Session::new(&views.sessions, folder.clone(), lines.as_of())?);
        Ok(Self { views, session, folder, registered: BTreeMap::new(), current: None })
    }

    /// Plans a view over files in `folder`.
    async fn plan(
        &mut self,
        input: &ViewInput,
        lines: &WorkerLines,
        folder: &Path,
    ) -> Result<WorkerView, Failure> {
        if self.registered.is_empty() {
            for (name, schema) in &lines.schemas {
                let rows = input.tables.get(*name).ok_or_else(|| format!("the table {name} is missing"))?;
                let file = |(number, rows): (usize, &usize)| {
                    let (path, schema) = (folder.join(file_name(name, number)), Arc::clone(schema));
                    StagedFile { path, schema, rows: *rows }
                };
                let files = rows.iter().enumerate().map(file).collect();
                self.session.register(name, StagedTable::partitioned(files))?;
                self.registered.insert((*name).to_owned(), Arc::clone(schema));
            }
        }
        for before in &input.before {
            if !self.registered.contains_key(&before.view) {
                let definition = self.views.find(&before.view)?;
                let schema = self.session.plan_view(definition).await?.schema;
                self.session
                    .register(&before.view, StagedTable::of(definition, &before.at(folder, &schema)))?;
                self.registered.insert(before.view.clone(), schema);
            }
        }
        let planned = self.session.plan_view(self.views.find(&input.view)?).await?;
        if planned.text() != input.plan {
            return Err(
                format!("view {}: the plans of the worker and of the build differ", input.view).into()
            );
        }
        let reads = self.views.reads.get(&input.view).cloned().unwrap_or_default();
        let views = input.before.iter().filter(|view| reads.contains(&view.view)).cloned().collect();
        let tables = reads.into_iter().filter(|name| input.tables.contains_key(name)).collect();
        let (session, folder) = (Arc::clone(&self.session), self.folder.clone());
        Ok(WorkerView { session, planned, tables, views, folder })
    }
}
