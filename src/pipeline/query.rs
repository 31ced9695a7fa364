//! Query sessions: run the SQL of views over the staged tables within memory limits, check the rows, and
//! stage them for the views that read them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use chrono::{DateTime, Utc};
use datafusion::{
    error::DataFusionError,
    execution::{
        SendableRecordBatchStream,
        config::SessionConfig,
        context::SessionContext,
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::RuntimeEnvBuilder,
    },
    logical_expr::LogicalPlan,
    physical_plan::execute_stream,
    prelude::col,
    sql::{
        parser::Statement,
        sqlparser::ast::{Expr, Statement as SqlStatement, Value, visit_expressions_mut},
    },
};

use super::{
    days_since,
    error::ViewError,
    exclude_patterns::ExcludePatterns,
    is_product,
    staged_table::StagedTable,
    staging::{StagedFile, TIME_TYPE, time_type},
    value_aggregates,
    view_files::{RowOrder, ViewFiles},
};
use crate::{snapshot::rfc3339, views::ViewDefinition};

mod execution;
mod grouped_partitions;
#[cfg(test)]
mod many_partitions_test;

pub(crate) use execution::{Convert, PlannedView, SortColumn};

pub(super) const ID: &str = "customer_id";
const DIALECT: &str = "generic";

/// Settings of all sessions of a build.
#[derive(Debug, Clone)]
pub(crate) struct SessionSettings {
    /// Number of partitions of the staging.
    pub(crate) partitions: usize,
    /// Size in bytes of the pool of DataFusion's operators, which spill when the pool is exhausted.
    pub(crate) memory: u64,
    /// Ids that the SQL function `is_product` does not take for products.
    pub(crate) exclude: Arc<ExcludePatterns>,
}

/// DataFusion session over the staged tables of one as-of time. Spill files and staged rows are in the folder
/// `scratch`.
pub(crate) struct Session {
    context: SessionContext,
    scratch: PathBuf,
    as_of: DateTime<Utc>,
    /// Number of partitions of the staging.
    partitions: usize,
    /// Files of the registered tables by name.
    tables: Mutex<BTreeMap<String, Arc<[StagedFile]>>>,
}

impl Session {
    /// Opens a session without tables at `as_of`.
    pub(crate) fn new(
        settings: &SessionSettings,
        scratch: PathBuf,
        as_of: DateTime<Utc>,
    ) -> Result<Self, ViewError> {
        let SessionSettings { partitions, memory, ref exclude } = *settings;
        let failed = |source: DataFusionError| ViewError::Session { source: Box::new(source) };
        let mut config =
            SessionConfig::new().with_target_partitions(partitions).with_information_schema(false);
        let options = config.options_mut();
        // The staging is partitioned by customer: grouping by customer and more needs no repartitioning.
        options.optimizer.subset_repartition_threshold = 1;
        // The staging is sorted, as sort-merge joins need it. Unlike hash joins, they can spill if a sort is
        // needed.
        options.optimizer.prefer_hash_join = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.sort_spill_reservation_bytes = 1 << 20;
        let pool = FairSpillPool::new(usize::try_from(memory).unwrap_or(usize::MAX));
        let consumers = std::num::NonZeroUsize::MIN.saturating_add(4);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, consumers)))
            .with_temp_file_path(&scratch)
            .build_arc()
            .map_err(failed)?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        context.register_udf(days_since::function(as_of.timestamp_micros()));
        context.register_udf(is_product::function(Arc::clone(exclude)));
        context.register_udaf(value_aggregates::most_frequent());
        context.register_udaf(value_aggregates::distinct_count());
        Ok(Self { context, scratch, as_of, partitions, tables: Mutex::default() })
    }

    /// Registers `table` under `name`.
    pub(crate) fn register(&self, name: &str, table: StagedTable) -> Result<(), ViewError> {
        let files = table.files();
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), files);
        let registered = self.context.register_table(name, Arc::new(table));
        registered.map(drop).map_err(|source| ViewError::Session { source: Box::new(source) })
    }

    /// Returns the files of the table `name`, or none if there is no such table.
    pub(crate) fn staged(&self, name: &str) -> Arc<[StagedFile]> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.get(name).cloned().unwrap_or_default()
    }

    /// Returns the folder of temporary files.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Returns the names of the tables and views that each of `views` reads.
    pub(crate) fn all_reads(
        &self,
        views: &[ViewDefinition],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, ViewError> {
        views.iter().map(|view| Ok((view.name.clone(), self.reads(view)?))).collect()
    }

    /// Returns the names of the tables and views that `view` reads.
    fn reads(&self, view: &ViewDefinition) -> Result<BTreeSet<String>, ViewError> {
        let statement = self.parse(view)?;
        let tables = self
            .context
            .state()
            .resolve_table_references(&statement)
            .map_err(|source| failed(&view.name, source))?;
        Ok(tables.iter().map(|table| table.table().to_owned()).collect())
    }

    /// Parses the SQL of `view` and replaces `$as_of` by the as-of time.
    fn parse(&self, view: &ViewDefinition) -> Result<Statement, ViewError> {
        let dialect = DIALECT.parse().map_err(|source| failed(&view.name, source))?;
        let statement = self
            .context
            .state()
            .sql_to_statement(&view.sql, &dialect)
            .map_err(|source| failed(&view.name, source))?;
        let Statement::Statement(mut inner) = statement else {
            return Err(ViewError::NotQuery { view: view.name.clone() });
        };
        if !matches!(inner.as_ref(), SqlStatement::Query(_)) {
            return Err(ViewError::NotQuery { view: view.name.clone() });
        }
        let instant = format!("arrow_cast('{}', '{TIME_TYPE}')", rfc3339::format(self.as_of));
        let literal = parse_expression(&instant).map_err(|source| failed(&view.name, source))?;
        let mut unknown = None;
        let _ = visit_expressions_mut(&mut inner, |expression| {
            if let Expr::Value(value) = expression
                && let Value::Placeholder(name) = &value.value
            {
                if name == "$as_of" {
                    *expression = literal.clone();
                } else {
                    unknown = Some(name.clone());
                }
            }
            ControlFlow::<()>::Continue(())
        });
        match unknown {
            Some(name) => Err(ViewError::Parameter { view: view.name.clone(), name }),
            None => Ok(Statement::Statement(inner)),
        }
    }

    async fn plan(&self, view: &ViewDefinition, statement: Statement) -> Result<LogicalPlan, ViewError> {
        self.context.state().statement_to_plan(statement).await.map_err(|source| failed(&view.name, source))
    }

    /// Plans `view` with the times of its day counts, and returns the plan and the number of times, which are
    /// the last columns. If the query cannot select them, because it groups by the day count itself for
    /// example, the view is planned without, and its rows hold the numbers.
    async fn plan_with_times(&self, view: &ViewDefinition) -> Result<(LogicalPlan, usize), ViewError> {
        let statement = self.parse(view)?;
        if let Statement::Statement(query) = &statement {
            let planned = match days_since::with_times(query) {
                Ok(None) => return Ok((self.plan(view, statement).await?, 0)),
                Ok(Some((query, times))) => {
                    let plan = self.plan(view, Statement::Statement(Box::new(query))).await;
                    plan.map(|plan| (plan, times)).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            match planned {
                Ok(planned) => return Ok(planned),
                Err(why) => tracing::debug!(view = view.name, why, "cannot select the times of days_since"),
            }
        }
        Ok((self.plan(view, statement).await?, 0))
    }

    /// Runs `view` and stages its rows.
    pub(crate) async fn run(&self, view: &ViewDefinition) -> Result<ViewFiles, ViewError> {
        self.stage(&self.plan_view(view).await?).await
    }

    /// Plans `view` so that its rows are staged by customer, with the times of day counts. A step has its
    /// rows by customer only if the plan has them so without further work.
    pub(crate) async fn plan_view(&self, view: &ViewDefinition) -> Result<PlannedView, ViewError> {
        if view.step { self.plan_step(view).await } else { self.plan_served(view).await }
    }

    async fn plan_step(&self, view: &ViewDefinition) -> Result<PlannedView, ViewError> {
        let logical = self.plan(view, self.parse(view)?).await?;
        let schema = schema_of(&view.name, logical.schema().inner())?;
        let (view, check_ids) = (view.name.clone(), false);
        let plan = self.physical(&view, &logical).await?;
        if self.is_by_customer(&plan) {
            return Ok(PlannedView { view, plan, schema, order: RowOrder::Partitions, check_ids });
        }
        let plan = self.global_physical(&view, &logical).await?;
        Ok(PlannedView { view, plan, schema, order: RowOrder::Any, check_ids })
    }

    async fn plan_served(&self, view: &ViewDefinition) -> Result<PlannedView, ViewError> {
        let (plan, times) = self.plan_with_times(view).await?;
        let schema: SchemaRef = plan.schema().inner().clone();
        let id_type = schema.field_with_name(ID).map(Field::data_type);
        if !id_type.as_ref().is_ok_and(|data_type| data_type.is_string()) {
            return Err(ViewError::NoCustomerId { view: view.name.clone() });
        }
        let mut names = BTreeSet::new();
        for field in schema.fields().iter().rev().skip(times).rev() {
            if !names.insert(field.name().clone()) || !crate::feature::is_feature_name(field.name()) {
                return Err(ViewError::ColumnName { view: view.name.clone(), column: field.name().clone() });
            }
        }
        // Partitions are by the hash of `Utf8`, so other texts are cast first.
        let id = if id_type.is_ok_and(|data_type| *data_type == DataType::Utf8) {
            col(ID)
        } else {
            datafusion::prelude::cast(col(ID), DataType::Utf8).alias(ID)
        };
        // The id comes first, then the features in the order of the view.
        let mut order: Vec<_> = vec![id];
        order.extend(schema.fields().iter().filter(|field| field.name() != ID).map(|field| {
            datafusion::prelude::Expr::Column(datafusion::common::Column::from_name(field.name()))
        }));
        let plan = self
            .context
            .execute_logical_plan(plan)
            .await
            .and_then(|frame| frame.select(order)?.into_optimized_plan())
            .map_err(|source| failed(&view.name, source))?;
        let schema = schema_of(&view.name, plan.schema().inner())?;
        let plan = self.physical(&view.name, &plan).await?;
        let plan = self.by_customer(plan).map_err(|source| failed(&view.name, source))?;
        Ok(PlannedView {
            view: view.name.clone(),
            plan,
            schema,
            order: RowOrder::Partitions,
            check_ids: true,
        })
    }

    /// Runs a built-in query. `name` names the query in errors.
    pub(crate) async fn query(&self, name: &str, sql: &str) -> Result<SendableRecordBatchStream, ViewError> {
        let plan = self.sql_plan(name, sql).await?;
        execute_stream(plan, self.context.task_ctx()).map_err(|source| failed(name, source))
    }
}

fn parse_expression(text: &str) -> Result<Expr, DataFusionError> {
    use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};
    let parsed =
        Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|error| DataFusionError::SQL(Box::new(error), None))
}

/// Converts an error of DataFusion in `view`. An exhausted memory pool has its own variant.
fn failed(view: &str, source: DataFusionError) -> ViewError {
    match source.find_root() {
        DataFusionError::ResourcesExhausted(why) => {
            ViewError::Exhausted { view: view.to_owned(), why: why.clone() }
        }
        _ => ViewError::Sql { view: view.to_owned(), source: Box::new(source) },
    }
}

/// Returns the schema in which a view's rows are staged: one text type, timestamps in UTC. Fails for types
/// that cannot be served.
pub(super) fn schema_of(view: &str, schema: &Schema) -> Result<SchemaRef, ViewError> {
    let field = |field: &Arc<Field>| {
        let normal = normal_type(field.data_type()).ok_or_else(|| ViewError::ColumnType {
            view: view.to_owned(),
            column: field.name().clone(),
            found: field.data_type().to_string(),
        })?;
        Ok(Field::new(field.name(), normal, field.name() != ID))
    };
    Ok(Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Result<Vec<_>, ViewError>>()?)))
}

/// Returns the type that `found` is staged as, or `None` if its values cannot be served.
fn normal_type(found: &DataType) -> Option<DataType> {
    let item =
        |field: &Arc<Field>| Some(Arc::new(Field::new(field.name(), normal_type(field.data_type())?, true)));
    Some(match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, value) => normal_type(value)?,
        DataType::Timestamp(..) => time_type(),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Boolean | DataType::Decimal128(..) => found.clone(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        other if other.is_integer() => {
            if matches!(other, DataType::Int64 | DataType::UInt32) {
                DataType::Int64
            } else {
                DataType::Int32
            }
        }
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            DataType::List(item(field)?)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(item).collect::<Option<Vec<_>>>()?.into())
        }
        DataType::Null => DataType::Utf8,
        _ => return None,
    })
}

/// Casts `batch` to `schema`.
fn normalize(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns: Result<Vec<_>, _> = columns.map(|(column, field)| cast(column, field.data_type())).collect();
    RecordBatch::try_new(Arc::clone(schema), columns?)
}

/// Checks that the sorted ids of `batch` are unique and not null. `last` is the last id of the batch before;
/// returns the last id of this batch.
fn check_unique(
    view: &str,
    batch: &RecordBatch,
    mut last: Option<String>,
) -> Result<Option<String>, ViewError> {
    let ids = batch.column(0).as_string::<i32>();
    if ids.null_count() > 0 {
        return Err(ViewError::NullId { view: view.to_owned() });
    }
    let mut previous = last.as_deref();
    for row in 0..ids.len() {
        let id = ids.value(row);
        if previous == Some(id) {
            return Err(ViewError::DuplicateId { view: view.to_owned(), id: id.to_owned() });
        }
        previous = Some(id);
    }
    if ids.len() > 0 {
        last = Some(ids.value(ids.len() - 1).to_owned());
    }
    Ok(last)
}

/// Returns the indexes of `views`, each after the views that it reads.
pub(crate) fn run_order(
    views: &[ViewDefinition],
    reads: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<usize>, ViewError> {
    let mut order: Vec<usize> = Vec::new();
    let done = |order: &[usize], name: &str| order.iter().any(|at| views[*at].name == name);
    while order.len() < views.len() {
        let ready = (0..views.len()).find(|at| {
            let view = &views[*at];
            let waits = |name: &String| views.iter().any(|other| other.name == *name) && !done(&order, name);
            !order.contains(at) && !reads.get(&view.name).into_iter().flatten().any(waits)
        });
        if let Some(at) = ready {
            order.push(at);
        } else {
            let rest = (0..views.len()).filter(|at| !order.contains(at)).map(|at| views[at].name.clone());
            return Err(ViewError::Circle { views: rest.collect() });
        }
    }
    Ok(order)
}
