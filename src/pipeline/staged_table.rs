//! DataFusion table over staged Arrow files. The files are already partitioned and sorted by customer, so
//! that queries by customer need neither repartitioning nor sorting.

use std::sync::Arc;

use arrow::{
    compute::SortOptions,
    datatypes::{Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, Statistics, stats::Precision, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableType},
    physical_expr::{EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        ReplaceChildrenOptions,
        execution_plan::{Boundedness, EmissionType},
        expressions::Column,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::stream;

use super::{
    days_since,
    staging::{StagedFile, open},
};

const ID: &str = "customer_id";

/// A staged table: one file per partition.
#[derive(Debug, Clone)]
pub(crate) struct StagedTable {
    schema: SchemaRef,
    files: Arc<[StagedFile]>,
    /// Whether the files are the partitions of DataFusion's hash of the customer id.
    partitioned: bool,
    /// Whether each file is sorted by customer.
    sorted: bool,
}

impl StagedTable {
    /// Creates a table that is partitioned and sorted by customer.
    pub(crate) fn partitioned(files: Vec<StagedFile>) -> Self {
        let schema = files.first().map_or_else(|| Arc::new(Schema::empty()), |file| Arc::clone(&file.schema));
        Self { schema, files: files.into(), partitioned: true, sorted: true }
    }

    /// Creates the table of a view, whose file is sorted by customer. The times of day counts, which are the
    /// last columns of the file, are not part of the table.
    pub(crate) fn view(file: StagedFile) -> Self {
        let columns = file.schema.fields().iter();
        let shown = columns.filter(|field| days_since::feature_of(field.name()).is_none()).cloned();
        let schema = Arc::new(Schema::new(shown.collect::<Vec<_>>()));
        Self { schema, files: Arc::new([file]), partitioned: false, sorted: true }
    }

    /// Creates the table of a step, whose file is in any order.
    pub(crate) fn step(file: StagedFile) -> Self {
        Self::unordered(vec![file])
    }

    /// Creates a table of files whose rows are neither partitioned nor sorted.
    pub(crate) fn unordered(files: Vec<StagedFile>) -> Self {
        Self { partitioned: false, sorted: false, ..Self::partitioned(files) }
    }
}

#[async_trait]
impl TableProvider for StagedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(StagedScan::new(self, projection.cloned())?))
    }
}

/// Execution plan that reads some columns of a [`StagedTable`].
#[derive(Debug)]
struct StagedScan {
    schema: SchemaRef,
    files: Arc<[StagedFile]>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl StagedScan {
    fn new(table: &StagedTable, projection: Option<Vec<usize>>) -> Result<Self> {
        let shown = table.schema.fields().len();
        let hides = |file: &StagedFile| file.schema.fields().len() > shown;
        let projection =
            projection.or_else(|| table.files.iter().any(hides).then(|| (0..shown).collect::<Vec<_>>()));
        let schema = match &projection {
            Some(columns) => Arc::new(table.schema.project(columns)?),
            None => Arc::clone(&table.schema),
        };
        let id = schema.index_of(ID).ok().map(|at| Arc::new(Column::new(ID, at)) as Arc<dyn PhysicalExpr>);
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
        if table.sorted
            && let Some(order) = id
                .clone()
                .and_then(|id| LexOrdering::new([PhysicalSortExpr::new(id, SortOptions::new(false, false))]))
        {
            equivalence.add_orderings([order]);
        }
        let partitioning = match id {
            Some(id) if table.partitioned => Partitioning::Hash(vec![id], table.files.len()),
            _ => Partitioning::UnknownPartitioning(table.files.len()),
        };
        let properties =
            PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        Ok(Self { schema, files: Arc::clone(&table.files), projection, properties: Arc::new(properties) })
    }
}

impl DisplayAs for StagedScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StagedScan: partitioning={}", self.properties.partitioning)
    }
}

impl ExecutionPlan for StagedScan {
    fn name(&self) -> &'static str {
        "StagedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let external = |error| DataFusionError::External(Box::new(error));
        let reader = open(&self.files[partition].path, self.projection.clone()).map_err(external)?;
        let batches = stream::iter(reader.map(|batch| batch.map_err(DataFusionError::from)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &datafusion::physical_plan::statistics::StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let rows = match args.partition() {
            Some(partition) => self.files[partition].rows,
            None => self.files.iter().map(|file| file.rows).sum(),
        };
        Ok(Arc::new(Statistics::new_unknown(&self.schema).with_num_rows(Precision::Exact(rows))))
    }
}
