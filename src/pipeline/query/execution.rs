//! Execution of queries on all threads: arranges the rows of a plan by customer or another key, and stages a
//! file per partition.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    compute::SortOptions,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use datafusion::{
    common::runtime::SpawnedTask,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext},
    logical_expr::LogicalPlan,
    physical_expr::{Distribution, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr},
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties, displayable, execute_stream_partitioned, expressions::Column,
        repartition::RepartitionExec, sorts::sort::SortExec,
    },
};
use futures::{StreamExt, stream};

use super::{
    ID, Session, check_unique, failed,
    grouped_partitions::{GLOBAL_PARTITIONS, has_independent_partitions, with_few_inputs},
    normalize,
};
use crate::pipeline::{
    error::ViewError,
    staged_table::{self, ID_ORDER},
    view_files::{self, RowOrder, ViewFile, ViewFileWriter, ViewFiles},
};

/// Column that rows are sorted by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SortColumn {
    /// Index of the column.
    pub(crate) column: usize,
    pub(crate) options: SortOptions,
}

/// Conversion of rows of a plan to rows of a view.
pub(crate) type Convert = Arc<dyn Fn(&RecordBatch) -> Result<RecordBatch, ArrowError> + Send + Sync>;

/// A view that is planned.
#[derive(Debug)]
pub(crate) struct PlannedView {
    /// Name of the view.
    pub(super) view: String,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// Schema in which the rows are staged.
    pub(crate) schema: SchemaRef,
    /// Order of the rows.
    pub(super) order: RowOrder,
    /// Whether the ids in the first column must be unique and not null.
    pub(super) check_ids: bool,
}

impl PlannedView {
    /// Returns DataFusion's physical plan as text.
    pub(crate) fn text(&self) -> String {
        displayable(self.plan.as_ref()).indent(false).to_string()
    }

    /// Returns the name of the view.
    #[cfg(feature = "cluster")]
    pub(crate) fn view(&self) -> &str {
        &self.view
    }

    /// Returns the number of partitions.
    #[cfg(feature = "cluster")]
    pub(crate) fn partitions(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }

    /// Returns whether each partition needs its own partition of the inputs alone, besides inputs that are
    /// not partitioned.
    pub(crate) fn is_by_partition(&self) -> bool {
        self.order == RowOrder::Partitions
            && has_independent_partitions(&self.plan)
            && !staged_table::joins_partitions(&self.plan)
    }

    fn rows(&self) -> StagedPlan {
        let (plan, schema) = (Arc::clone(&self.plan), Arc::clone(&self.schema));
        let convert: Convert = Arc::new(move |batch| normalize(batch, &schema));
        StagedPlan { plan, order: self.order, check_ids: self.check_ids, convert }
    }
}

/// A plan whose rows are staged.
struct StagedPlan {
    plan: Arc<dyn ExecutionPlan>,
    /// Order of the rows.
    order: RowOrder,
    /// Whether to check that ids are unique and not null.
    check_ids: bool,
    convert: Convert,
}

impl Session {
    /// Plans `plan` for execution. `view` names the query in errors.
    pub(super) async fn physical(
        &self,
        view: &str,
        plan: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>, ViewError> {
        let plan = self.context.state().create_physical_plan(plan).await;
        plan.and_then(with_few_inputs).map_err(|source| failed(view, source))
    }

    /// Plans a built-in query, which errors call `name`.
    pub(super) async fn sql_plan(&self, name: &str, sql: &str) -> Result<Arc<dyn ExecutionPlan>, ViewError> {
        let frame = self.context.sql(sql).await.map_err(|source| failed(name, source))?;
        self.physical(name, frame.logical_plan()).await
    }

    /// Plans `plan`, whose rows are not by customer, for execution in few partitions. Each operator has a
    /// part of the memory in each partition, and with hundreds of them the parts would be too small.
    pub(super) async fn global_physical(
        &self,
        view: &str,
        plan: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>, ViewError> {
        let state = self.context.state();
        let partitions = self.partitions.min(GLOBAL_PARTITIONS);
        // A new catalog would take the place of the catalog that both states share.
        let config = state.config().clone().with_create_default_catalog_and_schema(false);
        let config = config.with_target_partitions(partitions);
        let state = SessionStateBuilder::new_from_existing(state).with_config(config).build();
        state.create_physical_plan(plan).await.map_err(|source| failed(view, source))
    }

    /// Returns whether each row of `plan` is in the partition that the staging has the customer in, sorted by
    /// customer.
    pub(super) fn is_by_customer(&self, plan: &Arc<dyn ExecutionPlan>) -> bool {
        let Ok(id) = plan.schema().index_of(ID) else { return false };
        let order = order(plan, &[SortColumn { column: id, options: ID_ORDER }]);
        self.is_partitioned(plan, id)
            && order.is_some_and(|order| {
                plan.equivalence_properties().ordering_satisfy(order).is_ok_and(|is_sorted| is_sorted)
            })
    }

    /// Returns whether the partitions of `plan` are those of the staging by the column `key`.
    fn is_partitioned(&self, plan: &Arc<dyn ExecutionPlan>, key: usize) -> bool {
        // The hash depends on the type. Only the partitions of a hash are numbered as in the staging.
        let partitioning = plan.output_partitioning();
        let required = Distribution::KeyPartitioned(vec![column(plan, key)]);
        *plan.schema().field(key).data_type() == DataType::Utf8
            && matches!(partitioning, Partitioning::Hash(_, partitions) if *partitions == self.partitions)
            && partitioning.satisfaction(&required, plan.equivalence_properties(), false).is_satisfied()
    }

    /// Returns `plan`, whose first column is the id, with the partitions of the staging, each sorted by
    /// customer. Adds a shuffle and a sort only where the plan needs them.
    pub(super) fn by_customer(
        &self,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let order = [SortColumn { column: 0, options: ID_ORDER }];
        if self.is_partitioned(&plan, 0) {
            sorted(plan, &order)
        } else {
            sorted(shuffled(plan, 0, self.partitions)?, &order)
        }
    }

    /// Runs a built-in query on all threads. Rows with an equal `key`, an index of a column, are in one of
    /// the streams, each of which is sorted by `order`. `name` names the query in errors.
    pub(crate) async fn query_by(
        &self,
        name: &str,
        sql: &str,
        key: usize,
        order: &[SortColumn],
    ) -> Result<Vec<SendableRecordBatchStream>, ViewError> {
        let plan = self.sql_plan(name, sql).await?;
        shuffled(plan, key, threads())
            .and_then(|plan| sorted(plan, order))
            .and_then(|plan| execute_stream_partitioned(plan, self.context.task_ctx()))
            .map_err(|source| failed(name, source))
    }

    /// Runs a built-in query, whose first column is the id, and stages its rows by customer as those of
    /// `view`, which `convert` makes of them.
    pub(crate) async fn stage_query(
        &self,
        view: &str,
        sql: &str,
        schema: &SchemaRef,
        convert: Convert,
    ) -> Result<ViewFiles, ViewError> {
        let plan = self.sql_plan(view, sql).await?;
        let plan = self.by_customer(plan).map_err(|source| failed(view, source))?;
        tracing::debug!(view, plan = %displayable(plan.as_ref()).indent(false), "running query");
        let rows = StagedPlan { plan, order: RowOrder::Partitions, check_ids: true, convert };
        self.stage_plan(view, schema, rows).await
    }

    /// Stages the rows of `view`, a file per partition.
    pub(crate) async fn stage(&self, view: &PlannedView) -> Result<ViewFiles, ViewError> {
        tracing::debug!(view = view.view, plan = view.text(), "running view");
        self.stage_plan(&view.view, &view.schema, view.rows()).await
    }

    /// Stages the rows of `view` of one partition in `folder`.
    #[cfg(feature = "cluster")]
    pub(crate) async fn stage_partition(
        &self,
        view: &PlannedView,
        number: usize,
        folder: &Path,
    ) -> Result<ViewFile, ViewError> {
        self.partition_rows(&view.view, &view.schema, &view.rows(), number, folder).stage().await
    }

    /// Writes the rows of each partition to a file.
    async fn stage_plan(
        &self,
        view: &str,
        schema: &SchemaRef,
        rows: StagedPlan,
    ) -> Result<ViewFiles, ViewError> {
        let partitions = rows.plan.output_partitioning().partition_count();
        let at_a_time = if has_independent_partitions(&rows.plan) { threads() } else { partitions };
        let mut staged = stream::iter(0..partitions)
            .map(|number| {
                let rows = self.partition_rows(view, schema, &rows, number, &self.scratch);
                SpawnedTask::spawn(rows.stage())
            })
            .buffered(at_a_time);
        let mut files = Vec::with_capacity(partitions);
        while let Some(file) = staged.next().await {
            files.push(file??);
        }
        Ok(ViewFiles::new(Arc::clone(schema), rows.order, files))
    }

    fn partition_rows(
        &self,
        view: &str,
        schema: &SchemaRef,
        rows: &StagedPlan,
        number: usize,
        folder: &Path,
    ) -> PartitionRows {
        PartitionRows {
            view: view.to_owned(),
            path: folder.join(view_files::name(view, number)),
            plan: Arc::clone(&rows.plan),
            number,
            context: self.context.task_ctx(),
            schema: Arc::clone(schema),
            check_ids: rows.check_ids,
            convert: Arc::clone(&rows.convert),
        }
    }
}

/// Returns the number of threads that execute queries.
fn threads() -> usize {
    tokio::runtime::Handle::current().metrics().num_workers()
}

/// Rows of one partition of a view, to be written to a file.
struct PartitionRows {
    view: String,
    path: PathBuf,
    plan: Arc<dyn ExecutionPlan>,
    /// Number of the partition.
    number: usize,
    context: Arc<TaskContext>,
    schema: SchemaRef,
    check_ids: bool,
    convert: Convert,
}

impl PartitionRows {
    /// Writes the rows.
    async fn stage(self) -> Result<ViewFile, ViewError> {
        let mut rows =
            self.plan.execute(self.number, self.context).map_err(|source| failed(&self.view, source))?;
        let mut writer = ViewFileWriter::create(self.path, Arc::clone(&self.schema))?;
        let mut last = None;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|source| failed(&self.view, source))?;
            let batch = (self.convert)(&batch).map_err(|source| failed(&self.view, source.into()))?;
            if self.check_ids {
                last = check_unique(&self.view, &batch, last)?;
            }
            writer.write(&batch)?;
        }
        Ok(writer.finish()?)
    }
}

/// Returns `plan` in `partitions` partitions by the hash of the column `key`.
fn shuffled(
    plan: Arc<dyn ExecutionPlan>,
    key: usize,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let by_key = Partitioning::Hash(vec![column(&plan, key)], partitions);
    with_few_inputs(Arc::new(RepartitionExec::try_new(plan, by_key)?))
}

/// Returns `plan` with each partition sorted by `columns`.
fn sorted(
    plan: Arc<dyn ExecutionPlan>,
    columns: &[SortColumn],
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let Some(order) = order(&plan, columns) else { return Ok(plan) };
    if plan.equivalence_properties().ordering_satisfy(order.clone())? {
        return Ok(plan);
    }
    Ok(Arc::new(SortExec::new(order, plan).with_preserve_partitioning(true)))
}

/// Returns the column of `plan` at an index.
fn column(plan: &Arc<dyn ExecutionPlan>, at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(plan.schema().field(at).name(), at))
}

/// Returns the order by `columns`, or `None` if there are none.
fn order(plan: &Arc<dyn ExecutionPlan>, columns: &[SortColumn]) -> Option<LexOrdering> {
    LexOrdering::new(columns.iter().map(|by| PhysicalSortExpr::new(column(plan, by.column), by.options)))
}
