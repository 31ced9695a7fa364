//! The plan of a step: a table of items, and a node that works on them.

use std::{fmt, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::{
    common::{Result, internal_err, tree_node::TreeNodeRecursion},
    datasource::{memory::MemorySourceConfig, source::DataSourceExec},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        ReplaceChildrenOptions, stream::RecordBatchStreamAdapter,
    },
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use futures::{StreamExt, stream};

/// Work of a worker on the items of steps.
#[async_trait]
pub(super) trait ItemHandler: fmt::Debug + Send + Sync {
    /// Works on an item, and writes the result to the lake. An error means that there is no result.
    async fn handle(&self, item: &str) -> Result<(), String>;
}

/// Returns the plan that works on `items`, one in each partition.
pub(super) fn plan(items: Vec<String>) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = Arc::new(Schema::new(vec![Field::new("item", DataType::Utf8, false)]));
    let partitions = items.into_iter().map(|item| {
        let items = Arc::new(StringArray::from(vec![item]));
        Ok(vec![RecordBatch::try_new(Arc::clone(&schema), vec![items])?])
    });
    let partitions = partitions.collect::<Result<Vec<_>>>()?;
    let table = MemorySourceConfig::try_new(&partitions, schema, None)?;
    Ok(Arc::new(StepExec { items: Arc::new(DataSourceExec::new(Arc::new(table))), handler: None }))
}

/// Plan node that works on each row of its input, an item. It returns no rows.
#[derive(Debug)]
pub(super) struct StepExec {
    items: Arc<dyn ExecutionPlan>,
    /// `None` in the driver, which only plans.
    handler: Option<Arc<dyn ItemHandler>>,
}

impl DisplayAs for StepExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StepExec")
    }
}

impl ExecutionPlan for StepExec {
    fn name(&self) -> &'static str {
        "StepExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.items.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.items]
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
        let Ok([items]) = <[_; 1]>::try_from(children) else {
            return internal_err!("StepExec has one child");
        };
        Ok(Arc::new(Self { items, handler: self.handler.clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(handler) = self.handler.clone() else { return internal_err!("only a worker runs a step") };
        let mut items = self.items.execute(partition, context)?;
        let schema: SchemaRef = self.schema();
        let none = RecordBatch::new_empty(Arc::clone(&schema));
        let work = async move {
            while let Some(batch) = items.next().await {
                for item in batch?.column(0).as_string::<i32>().iter().flatten() {
                    handler.handle(item).await.map_err(|why| DataFusionError::External(why.into()))?;
                }
            }
            Ok(none)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::once(work))))
    }
}

/// Codec of the plans that the driver sends to workers.
#[derive(Debug, Default)]
pub(super) struct StepCodec {
    ballista: BallistaPhysicalExtensionCodec,
    /// `None` in the driver.
    pub(super) handler: Option<Arc<dyn ItemHandler>>,
}

/// Encoding of a [`StepExec`].
const STEP: &[u8] = b"larder step";

impl PhysicalExtensionCodec for StepCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (bytes == STEP, inputs) {
            (true, [items]) => {
                Ok(Arc::new(StepExec { items: Arc::clone(items), handler: self.handler.clone() }))
            }
            _ => self.ballista.try_decode(bytes, inputs, context, converter),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if node.is::<StepExec>() {
            bytes.extend_from_slice(STEP);
            return Ok(());
        }
        self.ballista.try_encode(node, bytes, converter)
    }
}
