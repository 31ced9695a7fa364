//! Why a build ends without a snapshot.

use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;

use super::{audiences::AudienceError, raw::RawError};
use crate::{snapshot::SnapshotError, views::ViewFileError};

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The raw data.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// A view.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A view's file.
    #[error(transparent)]
    ViewFile(#[from] ViewFileError),
    /// A named audience.
    #[error(transparent)]
    Audience(#[from] AudienceError),
    /// Writing the snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// No line passed.
    #[error("the raw data has no event that could give as_of; every line is bad, or there are none")]
    NoEvents,
    /// A thread of the build died.
    #[error("a thread of the build died")]
    Thread(#[from] tokio::task::JoinError),
}

/// What is wrong with a view.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum ViewError {
    #[error("cannot set up the query engine")]
    Session { source: Box<DataFusionError> },
    #[error("view {view}: the SQL does not work")]
    Sql { view: String, source: Box<DataFusionError> },
    #[error("view {view}: it must be one SELECT")]
    NotQuery { view: String },
    #[error("view {view}: `{name}` is no parameter; there is $as_of")]
    Parameter { view: String, name: String },
    #[error("view {view}: it has no text column customer_id")]
    NoCustomerId { view: String },
    #[error("view {view}: it has a row whose customer_id is null")]
    NullId { view: String },
    #[error("view {view}: it has more than one row for customer {id}")]
    DuplicateId { view: String, id: String },
    #[error(
        "view {view}, column `{column}`: names must be unique, of a to z, 0 to 9 and _; give it another with AS"
    )]
    ColumnName { view: String, column: String },
    #[error(
        "view {view}, column `{column}`: values of type {found} cannot be served; cast it to text, a number, a boolean, a date or a timestamp"
    )]
    ColumnType { view: String, column: String, found: String },
    #[error("view {view}: Larder itself needs its column `{column}` as {expected}")]
    MissingColumn { view: String, column: &'static str, expected: &'static str },
    #[error("`{name}` is declared personal, and there is no such column{near}")]
    UnknownPersonal { name: String, near: String },
    #[error(
        "view {view}: its column `{column}` cannot be personal, since lists and segments tell it; name it otherwise"
    )]
    Personal { view: String, column: &'static str },
    #[error("view rfm: `{name}` is no segment name; use a to z, 0 to 9 and _, at most 64")]
    SegmentName { name: String },
    #[error("views {} read each other in a circle", views.join(", "))]
    Circle { views: Vec<String> },
    #[error(
        "view {view}: it took the process to {used} MiB, past [build] memory_limit of {limit} MiB; a COUNT(DISTINCT …) over many groups is a common cause: group twice instead"
    )]
    Memory { view: String, used: u64, limit: u64 },
    #[error("view {view}: it needs more than [build] memory allows and cannot spill: {why}")]
    Exhausted { view: String, why: String },
    #[error("view {view}: cannot read its Parquet files in {place}: {why}")]
    Parquet { view: String, place: String, why: String },
    #[error(transparent)]
    Staging(#[from] RawError),
    #[error("cannot encode the values of type {0}")]
    Encode(DataType),
}
