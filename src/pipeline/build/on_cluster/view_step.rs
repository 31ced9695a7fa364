//! The steps that run views: workers stage the rows of views whose partitions need no other partition.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{ClusterWorkers, TRANSFERS, tables_step::WorkerTables, worker_build::WorkerBuild};
use crate::{
    causes::with_causes,
    pipeline::{
        build::setup::BuildViews,
        cluster::{Failure, ItemResult},
        error::BuildError,
        query::{PlannedView, Session},
        staged_table::StagedTable,
        staging::open,
        view_files::{self, RowOrder, ViewFileEntry, ViewFiles},
    },
};

/// Beginning of the names of the steps, before that of the view.
pub(super) const STEP: &str = "view-";

/// A view to run, and all that its plan depends on.
#[derive(Debug, Serialize, Deserialize)]
struct ViewInput {
    view: String,
    /// DataFusion's physical plan as text.
    plan: String,
    /// The views that the view reads.
    views: Vec<ViewRows>,
}

/// Number of rows of the files of a view.
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
    /// Has workers run the view `planned`, which reads the views `read`, and puts the files into the folder
    /// `to`.
    pub(super) async fn view_step(
        &self,
        planned: &PlannedView,
        read: &[(&str, &ViewFiles)],
        to: &Path,
    ) -> Result<Option<ViewFiles>, BuildError> {
        for (name, files) in read {
            if self.is_new(name) {
                let shares: Vec<_> = files.staged().map(|file| self.shared.share(&file.path)).collect();
                let all = stream::iter(shares).buffer_unordered(TRANSFERS).try_collect::<()>();
                all.await.map_err(super::failed)?;
            }
        }
        let view = planned.view();
        let input = ViewInput {
            view: view.to_owned(),
            plan: planned.text(),
            views: read.iter().map(|(name, files)| ViewRows::of(name, files)).collect(),
        };
        let step = format!("{STEP}{view}");
        self.shared.put(&input_name(&step), &input).await.map_err(super::failed)?;
        let items = (0..planned.partitions()).map(|number| number.to_string()).collect();
        let Some(texts) = super::texts(&step, self.cluster.run(&step, items).await?) else { return Ok(None) };
        self.is_new(view);
        self.fetch_view(view, &planned.schema, texts, to).await.map(Some)
    }

    /// Fetches the files of a view by partition into the folder `to`. The result of each partition is the
    /// JSON of a [`ViewFileEntry`].
    pub(super) async fn fetch_view(
        &self,
        view: &str,
        schema: &SchemaRef,
        results: Vec<String>,
        to: &Path,
    ) -> Result<ViewFiles, BuildError> {
        let (mut files, mut names) = (Vec::new(), Vec::new());
        for (number, text) in results.into_iter().enumerate() {
            let file: ViewFileEntry =
                serde_json::from_str(&text).map_err(|error| super::failed(error.into()))?;
            let name = view_files::name(view, number);
            files.push(file.at(to.join(&name), Arc::clone(schema)));
            names.push(name);
        }
        self.fetch(&names, to).await?;
        Ok(ViewFiles::new(Arc::clone(schema), RowOrder::Partitions, files))
    }
}

/// Returns the name of the shared file with the [`ViewInput`] of `step`.
fn input_name(step: &str) -> String {
    format!("{step}.json")
}

/// The views of a build on a worker.
struct WorkerViews {
    views: BuildViews,
    session: Arc<Session>,
    /// Names of the views that the session has.
    registered: BTreeSet<String>,
    /// The view of the newest step.
    current: Option<(String, Planning)>,
}

/// A view that is planned on a worker, or the reason why it cannot be.
type Planning = Result<Arc<WorkerView>, String>;

/// A view that is planned on a worker.
struct WorkerView {
    session: Arc<Session>,
    planned: PlannedView,
    /// Derived tables that the view reads.
    tables: Vec<String>,
    /// Views that the view reads.
    views: Vec<ViewRows>,
}

/// State of the steps on a worker.
#[derive(Default)]
pub(super) struct ViewWork {
    views: Mutex<Option<WorkerViews>>,
}

impl ViewWork {
    /// Stages the rows of a view of the partition `input`.
    pub(super) async fn run(
        &self,
        build: &WorkerBuild,
        tables: WorkerTables<'_>,
        step: &str,
        input: &str,
    ) -> Result<ItemResult, Failure> {
        let number: usize = input.parse()?;
        let view = match self.planned(build, tables, step).await? {
            Ok(view) => view,
            Err(why) => return Ok(ItemResult::Left(why)),
        };
        for name in &view.tables {
            tables.fetch(build, name, number).await?;
        }
        for name in view.views.iter().flat_map(|view| view.needed(number)) {
            build.shared.fetch(&name, build.folder.path()).await?;
        }
        // A file has its place only when it is whole.
        let folder = tempfile::tempdir_in(build.folder.path())?;
        let file = match view.session.stage_partition(&view.planned, number, folder.path()).await {
            Ok(file) => file,
            Err(error) => return Ok(ItemResult::Left(with_causes(&error))),
        };
        build.shared.share(file.path()).await?;
        let name = view_files::name(view.planned.view(), number);
        std::fs::rename(file.path(), build.folder.path().join(name))?;
        Ok(ItemResult::Done(serde_json::to_string(&ViewFileEntry::of(&file))?))
    }

    /// Returns the view of `step`, which is planned once.
    async fn planned(
        &self,
        build: &WorkerBuild,
        tables: WorkerTables<'_>,
        step: &str,
    ) -> Result<Planning, Failure> {
        let mut views = self.views.lock().await;
        let views = match &mut *views {
            Some(views) => views,
            none => none.insert(WorkerViews::open(build, tables)?),
        };
        if let Some((current, planning)) = &views.current
            && current == step
        {
            return Ok(planning.clone());
        }
        let input: ViewInput = build.shared.get(&input_name(step)).await?;
        views.register(&input, build).await?;
        let planning = views.plan(input, tables).await.map(Arc::new);
        views.current = Some((step.to_owned(), planning.clone()));
        Ok(planning)
    }
}

impl WorkerViews {
    /// Opens a session with the derived tables.
    fn open(build: &WorkerBuild, tables: WorkerTables<'_>) -> Result<Self, Failure> {
        let folder = build.folder.path().to_path_buf();
        let views = BuildViews::new(&build.worker.config, tables.lines.partitions(), &folder)?;
        let session = Arc::new(Session::new(&views.sessions, folder, tables.lines.as_of())?);
        for name in tables.names() {
            session.register(name, StagedTable::partitioned(tables.files(build, name)))?;
        }
        Ok(Self { views, session, registered: BTreeSet::new(), current: None })
    }

    /// Registers the views that the view of `input` reads. The files are fetched when an item needs them.
    async fn register(&mut self, input: &ViewInput, build: &WorkerBuild) -> Result<(), Failure> {
        let folder = build.folder.path();
        for read in &input.views {
            if !self.registered.contains(&read.view) {
                let first = view_files::name(&read.view, 0);
                build.shared.fetch(&first, folder).await?;
                let schema = open(&folder.join(first), None)?.schema();
                let table = StagedTable::of(self.views.find(&read.view)?, &read.at(folder, &schema));
                self.session.register(&read.view, table)?;
                self.registered.insert(read.view.clone());
            }
        }
        Ok(())
    }

    /// Plans the view of `input`, as the driver has planned it.
    async fn plan(&self, input: ViewInput, tables: WorkerTables<'_>) -> Result<WorkerView, String> {
        let planned = self.session.plan_view(self.views.find(&input.view)?).await;
        let planned = planned.map_err(|error| with_causes(&error))?;
        if planned.text() != input.plan {
            return Err(format!("view {}: the plans of the worker and of the build differ", input.view));
        }
        let reads = self.views.reads.get(&input.view).into_iter().flatten();
        let is_table = |name: &&String| tables.names().any(|table| table == name.as_str());
        let tables = reads.filter(is_table).cloned().collect();
        Ok(WorkerView { session: Arc::clone(&self.session), planned, tables, views: input.views })
    }
}
