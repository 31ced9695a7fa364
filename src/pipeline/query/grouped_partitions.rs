//! Plan node that reads several partitions one after another as one. A shuffle, and the merge of sorted
//! partitions, read all partitions of their input at the same time, and the operators of each partition need
//! some memory that they cannot spill. With hundreds of partitions, that would be more than all memory of a
//! build.

use std::{fmt, ops::Range, sync::Arc};

use datafusion::{
    common::{
        Result, internal_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
        PlanProperties, ReplaceChildrenOptions,
        repartition::RepartitionExec,
        replace_children_if_necessary,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream};

use crate::pipeline::staged_table;

/// Greatest number of partitions for work on all customers together. It does not depend on the machine, since
/// the order of equal rows may depend on it.
pub(super) const GLOBAL_PARTITIONS: usize = 16;

/// Returns `plan` with at most [`GLOBAL_PARTITIONS`] partitions below each node that reads all partitions of
/// its input at the same time: shuffles, and merges of sorted partitions.
pub(super) fn with_few_inputs(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_down(|node| {
        if let Some(shuffle) = node.downcast_ref::<RepartitionExec>()
            && !shuffle.preserve_order()
            && let Some(groups) = grouped(shuffle.input())
        {
            return Ok(Transformed::yes(replace_children_if_necessary(node, vec![groups])?));
        }
        if let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>()
            && let Some(sort) = merge.input().downcast_ref::<SortExec>()
            && let Some(groups) = grouped(sort.input())
        {
            let sort = replace_children_if_necessary(Arc::clone(merge.input()), vec![groups])?;
            return Ok(Transformed::yes(replace_children_if_necessary(node, vec![sort])?));
        }
        Ok(Transformed::no(node))
    })
    .data()
}

/// Returns the partitions of `input` in groups, or `None` if there are few or if they need each other.
fn grouped(input: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let are_many = input.output_partitioning().partition_count() > GLOBAL_PARTITIONS;
    (are_many && has_independent_partitions(input))
        .then(|| Arc::new(GroupedPartitionsExec::new(Arc::clone(input))) as _)
}

/// Returns whether the partitions of `plan` may be executed one after the other. Those of a shuffle must be
/// read at the same time, and those of a hash join wait for each other.
pub(super) fn has_independent_partitions(plan: &Arc<dyn ExecutionPlan>) -> bool {
    const INDEPENDENT: [&str; 12] = [
        "AggregateExec",
        "BoundedWindowAggExec",
        "CooperativeExec",
        "CrossJoinExec",
        "DataSourceExec",
        "FilterExec",
        "GroupedPartitionsExec",
        "ProjectionExec",
        "SortExec",
        "SortMergeJoinExec",
        "UnionExec",
        "WindowAggExec",
    ];
    // A single partition is executed as a whole, whatever is below it.
    plan.output_partitioning().partition_count() == 1
        || (INDEPENDENT.contains(&plan.name()) && plan.children().into_iter().all(has_independent_partitions))
}

/// Node whose partitions are consecutive partitions of its input.
#[derive(Debug)]
struct GroupedPartitionsExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl GroupedPartitionsExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let inside = input.properties();
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(GLOBAL_PARTITIONS),
            inside.emission_type,
            inside.boundedness,
        ));
        Self { input, properties }
    }

    /// Returns the partitions of the input that are in partition `group`.
    fn partitions(&self, group: usize) -> Range<usize> {
        staged_table::group(self.input.output_partitioning().partition_count(), GLOBAL_PARTITIONS, group)
    }
}

impl DisplayAs for GroupedPartitionsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupedPartitionsExec: partitions={GLOBAL_PARTITIONS}")
    }
}

impl ExecutionPlan for GroupedPartitionsExec {
    fn name(&self) -> &'static str {
        "GroupedPartitionsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return internal_err!("GroupedPartitionsExec has one child");
        };
        Ok(Arc::new(Self::new(input)))
    }

    fn execute(&self, group: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = Arc::clone(&self.input);
        // A partition is opened when those before are read.
        let open = move |partition| {
            let opened = input.execute(partition, Arc::clone(&context));
            stream::once(std::future::ready(opened)).flat_map(|opened| match opened {
                Ok(rows) => rows.boxed(),
                Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
            })
        };
        let rows = stream::iter(self.partitions(group)).flat_map(open);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::{
        array::{AsArray, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Int64Type, Schema},
    };
    use datafusion::{
        datasource::MemTable,
        execution::{memory_pool::FairSpillPool, runtime_env::RuntimeEnvBuilder},
        physical_plan::{collect, displayable},
        prelude::{SessionConfig, SessionContext},
    };

    use super::*;

    const PARTITIONS: i64 = 300;
    const ROWS: i64 = 2_000;
    /// The sorts need more than this if there are as many as partitions.
    const MEMORY: usize = 12 << 20;

    fn context() -> SessionContext {
        let mut config =
            SessionConfig::new().with_target_partitions(usize::try_from(PARTITIONS).expect("a number"));
        config.options_mut().execution.sort_spill_reservation_bytes = 1 << 16;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(MEMORY)))
            .build_arc()
            .expect("a runtime");
        let context = SessionContext::new_with_config_rt(config, runtime);
        let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, false)]));
        let partition = |number: i64| {
            let values: Int64Array =
                (0..ROWS).map(|row| (row * 7_919 + number * 104_729) % 1_000_003).collect();
            vec![RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(values)]).expect("a batch")]
        };
        let table = MemTable::try_new(Arc::clone(&schema), (0..PARTITIONS).map(partition).collect());
        context.register_table("numbers", Arc::new(table.expect("a table"))).expect("registered");
        context
    }

    /// Returns the numbers in the column `at`.
    fn numbers(batches: &[RecordBatch], at: usize) -> Vec<i64> {
        let column = |batch: &RecordBatch| {
            let values = arrow::compute::cast(batch.column(at), &DataType::Int64).expect("numbers");
            values.as_primitive::<Int64Type>().values().to_vec()
        };
        batches.iter().flat_map(column).collect()
    }

    const SQL: &str = "SELECT value, row_number() OVER (ORDER BY value) AS place FROM numbers";

    #[tokio::test]
    async fn rows_of_many_partitions_are_sorted_in_little_memory() {
        let context = context();
        let plan = context.sql(SQL).await.expect("a query").create_physical_plan().await.expect("a plan");
        let few = with_few_inputs(Arc::clone(&plan)).expect("a plan");
        assert!(displayable(few.as_ref()).indent(false).to_string().contains("GroupedPartitionsExec"));
        let batches = collect(few, context.task_ctx()).await.expect("rows");
        assert!(numbers(&batches, 0).is_sorted());
        let places: BTreeSet<i64> = numbers(&batches, 1).into_iter().collect();
        assert_eq!(places.len(), usize::try_from(PARTITIONS * ROWS).expect("a number"));
        let error = collect(plan, context.task_ctx()).await.expect_err("more memory than there is");
        assert!(error.to_string().contains("Failed to allocate"), "{error}");
    }

    #[tokio::test]
    async fn shuffles_read_few_partitions_at_a_time() {
        let context = context();
        let sql = "SELECT value % 10 AS digit, count(*) AS numbers FROM numbers GROUP BY digit";
        let plan = context.sql(sql).await.expect("a query").create_physical_plan().await.expect("a plan");
        let few = with_few_inputs(Arc::clone(&plan)).expect("a plan");
        assert!(displayable(few.as_ref()).indent(false).to_string().contains("GroupedPartitionsExec"));
        let rows = |batches: Vec<RecordBatch>| -> BTreeSet<(i64, i64)> {
            numbers(&batches, 0).into_iter().zip(numbers(&batches, 1)).collect()
        };
        let (all, few) = (collect(plan, context.task_ctx()).await, collect(few, context.task_ctx()).await);
        assert_eq!(rows(few.expect("rows")), rows(all.expect("rows")));
    }

    #[test]
    fn every_partition_is_in_one_group() {
        for partitions in [17, 64, 300] {
            let schema = Arc::new(Schema::empty());
            let input = datafusion::physical_plan::empty::EmptyExec::new(schema).with_partitions(partitions);
            let grouped = GroupedPartitionsExec::new(Arc::new(input));
            let all: Vec<usize> =
                (0..GLOBAL_PARTITIONS).flat_map(|group| grouped.partitions(group)).collect();
            assert_eq!(all, (0..partitions).collect::<Vec<_>>());
        }
    }
}
