//! DataFusion table over staged Arrow files. The files are already partitioned and sorted by customer, so
//! that queries by customer need neither repartitioning nor sorting.

use std::{ops::Range, path::PathBuf, sync::Arc};

use arrow::{
    compute::SortOptions,
    datatypes::{Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, Statistics, stats::Precision, tree_node::TreeNodeRecursion},
    datasource::source::{DataSource, DataSourceExec},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableType},
    physical_expr::{
        EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
        projection::ProjectionExprs,
    },
    physical_plan::{
        DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, expressions::Column,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream};

use super::{
    days_since,
    staging::{StagedFile, open},
    view_files::{RowOrder, ViewFiles},
};
use crate::views::ViewDefinition;

const ID: &str = "customer_id";

/// Order of the ids in a partition.
pub(super) const ID_ORDER: SortOptions = SortOptions { descending: false, nulls_first: false };

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

    /// Creates a table of the rows of `view`.
    pub(crate) fn of(view: &ViewDefinition, rows: &ViewFiles) -> Self {
        if view.step { Self::of_step(rows) } else { Self::of_view(rows) }
    }

    /// Creates a table of the rows of a view. The times of day counts, which are the last columns of the
    /// files, are not part of the table.
    pub(crate) fn of_view(view: &ViewFiles) -> Self {
        let columns = view.schema.fields().iter();
        let shown = columns.filter(|field| days_since::feature_of(field.name()).is_none()).cloned();
        Self { schema: Arc::new(Schema::new(shown.collect::<Vec<_>>())), ..Self::of_step(view) }
    }

    /// Creates a table of the rows of a step.
    fn of_step(step: &ViewFiles) -> Self {
        Self {
            schema: Arc::clone(&step.schema),
            files: step.staged().cloned().collect(),
            partitioned: step.order == RowOrder::Partitions,
            sorted: step.order == RowOrder::Partitions,
        }
    }

    /// Returns the files, one per partition.
    pub(crate) fn files(&self) -> Arc<[StagedFile]> {
        Arc::clone(&self.files)
    }

    /// Creates a table of files whose rows are neither partitioned nor sorted.
    pub(crate) fn unordered(files: Vec<StagedFile>) -> Self {
        Self { partitioned: false, sorted: false, ..Self::partitioned(files) }
    }
}

/// Returns whether `plan` reads all partitions of a table that is partitioned by customer as one.
pub(super) fn joins_partitions(plan: &Arc<dyn ExecutionPlan>) -> bool {
    fn joins(plan: &Arc<dyn ExecutionPlan>, is_joined: bool) -> bool {
        let is_joined = is_joined || plan.output_partitioning().partition_count() == 1;
        let source = plan.downcast_ref::<DataSourceExec>().and_then(|source| {
            let source: Option<&StagedSource> = source.data_source().downcast_ref();
            source.map(|source| is_joined && source.partitioned && source.files.len() > 1)
        });
        source.unwrap_or(false) || plan.children().into_iter().any(|child| joins(child, is_joined))
    }
    joins(plan, false)
}

/// Returns the indexes of the group `number` if `all` indexes are divided into `groups` of about one size.
pub(super) fn group(all: usize, groups: usize, number: usize) -> Range<usize> {
    number * all / groups..(number + 1) * all / groups
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
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions();
        Ok(DataSourceExec::from_data_source(StagedSource::new(self, projection.cloned(), partitions)?))
    }
}

/// Source of some columns of a [`StagedTable`].
#[derive(Debug, Clone)]
struct StagedSource {
    schema: SchemaRef,
    files: Arc<[StagedFile]>,
    /// Whether the files are the partitions of DataFusion's hash of the customer id.
    partitioned: bool,
    /// Number of partitions, each of consecutive files.
    partitions: usize,
    projection: Option<Vec<usize>>,
    partitioning: Partitioning,
    equivalence: EquivalenceProperties,
}

impl StagedSource {
    /// Creates a source of at most `most` partitions. Several files in a partition have no common order.
    fn new(table: &StagedTable, projection: Option<Vec<usize>>, most: usize) -> Result<Self> {
        let partitions = table.files.len().min(most.max(1));
        let is_whole = partitions == table.files.len();
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
            && is_whole
            && let Some(order) =
                id.clone().and_then(|id| LexOrdering::new([PhysicalSortExpr::new(id, ID_ORDER)]))
        {
            equivalence.add_orderings([order]);
        }
        let partitioning = match id {
            Some(id) if table.partitioned && is_whole => Partitioning::Hash(vec![id], partitions),
            _ => Partitioning::UnknownPartitioning(partitions),
        };
        let (files, partitioned) = (Arc::clone(&table.files), table.partitioned);
        Ok(Self { schema, files, partitioned, partitions, projection, partitioning, equivalence })
    }

    /// Returns the files of a partition.
    fn files_of(&self, partition: usize) -> &[StagedFile] {
        &self.files[group(self.files.len(), self.partitions, partition)]
    }
}

impl DataSource for StagedSource {
    fn open(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let paths: Vec<PathBuf> = self.files_of(partition).iter().map(|file| file.path.clone()).collect();
        let projection = self.projection.clone();
        let batches = stream::iter(paths).flat_map(move |path| {
            let opened = open(&path, projection.clone());
            let (reader, failure) = match opened {
                Ok(reader) => (Some(reader), None),
                Err(error) => (None, Some(Err(DataFusionError::External(Box::new(error))))),
            };
            let batches = reader.into_iter().flatten().map(|batch| batch.map_err(DataFusionError::from));
            stream::iter(batches.chain(failure))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "staged, columns=[{}], partitioning={}", names.join(", "), self.partitioning)?;
        match self.equivalence.output_ordering() {
            Some(order) => write!(f, ", ordering=[{order}]"),
            None => Ok(()),
        }
    }

    fn output_partitioning(&self) -> Partitioning {
        self.partitioning.clone()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.equivalence.clone()
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = match partition {
            Some(partition) => self.files_of(partition).iter().map(|file| file.rows).sum(),
            None => self.files.iter().map(|file| file.rows).sum(),
        };
        Ok(Arc::new(Statistics::new_unknown(&self.schema).with_num_rows(Precision::Exact(rows))))
    }

    fn with_fetch(&self, _: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn try_swapping_with_projection(&self, _: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}
