//! Errors of a build.

use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;

use super::raw::RawError;
use crate::{audience::ExpressionError, snapshot::SnapshotError, views::ViewFileError};

/// Reason why a build fails.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The raw data is invalid or cannot be read.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// A view is invalid or fails.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The file of a view is invalid or cannot be read.
    #[error(transparent)]
    ViewFile(#[from] ViewFileError),
    /// A named audience is invalid.
    #[error(transparent)]
    Audience(#[from] NamedAudienceError),
    /// The snapshot cannot be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// There is no valid event and no as-of time.
    #[error("the raw data has no valid event to take as_of from; all lines are bad, or there are no lines")]
    NoEvents,
    /// The process used more memory than allowed.
    #[error(
        "{stage}: the process used {used} MiB of memory, more than memory_limit in [build] ({limit} MiB); \
         raise memory_limit if the machine has more memory, or lower threads in [build]{}",
        advice(stage)
    )]
    Memory {
        /// Stage of the build.
        stage: String,
        /// Memory in use, in MiB.
        used: u64,
        /// Limit in MiB.
        limit: u64,
    },
    /// The cluster cannot do its part.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The configuration asks for a cluster, and this binary cannot use one.
    #[error("engine = \"cluster\" in [build] needs a larder that was built with the cargo feature `cluster`")]
    NoCluster,
    /// A cluster needs the kept staging.
    #[error("engine = \"cluster\" in [build] needs keep_staging = true, since workers keep the lines there")]
    NotKept,
    /// A thread of the build panicked.
    #[error("a thread of the build panicked")]
    Thread(#[from] tokio::task::JoinError),
}

#[cfg(feature = "cluster")]
/// Reason why a build cannot run on a cluster.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has a message")]
pub enum ClusterError {
    #[error("[build] {setting}: {why}")]
    Setting { setting: &'static str, why: String },
    #[error("cannot listen for workers on {address}")]
    Listen { address: String, source: std::io::Error },
    #[error("{path}: {why}")]
    Tls { path: String, why: String },
    #[error(
        "{connected} of {needed} workers came to {address} within {} s (worker_timeout in [build]){refused}",
        waited.as_secs()
    )]
    TooFewWorkers {
        connected: usize,
        needed: usize,
        address: String,
        waited: std::time::Duration,
        refused: String,
    },
    #[error(
        "step {step}: no worker is left, and none came within {} s (worker_timeout in [build])",
        waited.as_secs()
    )]
    NoWorkers { step: String, waited: std::time::Duration },
    #[error("step {step} failed {attempts} times in a row: {why}")]
    Step { step: String, attempts: u32, why: String },
    #[error("the scheduler of the cluster failed: {0}")]
    Scheduler(String),
    #[error("cannot share files with workers")]
    Files(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Lake(#[from] crate::lake::LakeError),
}

/// Returns advice about the memory of `stage`.
fn advice(stage: &str) -> &'static str {
    if stage.starts_with("view ") {
        "; in a view, a COUNT(DISTINCT …) over many groups is a common cause: use distinct_count, or \
         group twice"
    } else {
        ""
    }
}

/// Error in the configuration of a named audience.
#[derive(Debug, thiserror::Error)]
pub enum NamedAudienceError {
    /// The name has characters that are not allowed, or is too long.
    #[error("audience `{0}`: invalid name; use at most 64 characters of a to z, 0 to 9 and _")]
    Name(String),
    /// A segment of another kind has the same name.
    #[error("audience {0}: the name is taken by a segment of another kind")]
    Taken(String),
    /// The expression does not parse, or names an unknown feature or segment.
    #[error("audience {name}")]
    Expression {
        /// Name of the audience.
        name: String,
        /// Error and its position.
        source: ExpressionError,
    },
    /// Two audiences have the same priority.
    #[error("audiences {first} and {second} both have priority {priority}; priorities must be unique")]
    Priority {
        /// Name of one audience.
        first: String,
        /// Name of the other audience.
        second: String,
        /// Shared priority.
        priority: u32,
    },
    /// Audiences depend on each other.
    #[error(
        "audiences {} depend on each other in a cycle (an audience with a priority depends on all with lower \
         numbers)",
        .0.join(", ")
    )]
    Circle(Vec<String>),
}

/// Reason why a view fails.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has a message")]
pub enum ViewError {
    #[error("cannot set up the query engine")]
    Session { source: Box<DataFusionError> },
    #[error("view {view}: the SQL failed")]
    Sql { view: String, source: Box<DataFusionError> },
    #[error("view {view}: the SQL must be a single SELECT")]
    NotQuery { view: String },
    #[error("view {view}: unknown parameter `{name}`; the only parameter is $as_of")]
    Parameter { view: String, name: String },
    #[error("view {view}: there is no text column customer_id")]
    NoCustomerId { view: String },
    #[error("view {view}: customer_id is null in a row")]
    NullId { view: String },
    #[error("view {view}: there is more than one row for customer {id}")]
    DuplicateId { view: String, id: String },
    #[error(
        "view {view}, column `{column}`: names must be unique and consist of a to z, 0 to 9 and _; rename it \
         with AS"
    )]
    ColumnName { view: String, column: String },
    #[error(
        "view {view}, column `{column}`: values of type {found} cannot be served; cast them to text, a \
         number, a boolean, a date or a timestamp"
    )]
    ColumnType { view: String, column: String, found: String },
    #[error(
        "view {view}, column `{column}`: the time of days_since(time) has another value each time it is \
         computed, for {customers} customers, such as {id}; a time must not depend on random()"
    )]
    DaysSince { view: String, column: String, customers: usize, id: String },
    #[error("view {view}: the column `{column}` is required, as {expected}")]
    MissingColumn { view: String, column: &'static str, expected: &'static str },
    #[error("`{name}` is declared personal, and there is no such column{near}")]
    UnknownPersonal { name: String, near: String },
    #[error("[churn] {setting}: there is no view or feature `{name}`{near}")]
    UnknownInput { setting: &'static str, name: String, near: String },
    #[error("`{name}` cannot be personal: {why}")]
    Personal { name: String, why: &'static str },
    #[error(
        "view rfm: `{name}` is not a valid segment name; use at most 64 characters of a to z, 0 to 9 and _"
    )]
    SegmentName { name: String },
    #[error("views {} depend on each other in a cycle", views.join(", "))]
    Circle { views: Vec<String> },
    #[error("view {view}: more memory than [build] memory is needed, and the operator cannot spill: {why}")]
    Exhausted { view: String, why: String },
    #[error("view {view}: cannot read its Parquet files in {place}: {why}")]
    Parquet { view: String, place: String, why: String },
    #[error("a thread of the build panicked")]
    Thread(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Staging(#[from] RawError),
    #[error("cannot encode the values of type {0}")]
    Encode(DataType),
}
