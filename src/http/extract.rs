//! Arguments of handlers, taken from a request: an argument that cannot be read is a
//! [`Problem`](super::Problem).

pub(super) mod body;
pub(super) mod churn_filter;
pub(super) mod cursor;
pub(super) mod customer_ids;
pub(super) mod expression;
mod path;
mod query;
pub(super) mod selection;
mod snapshot_read;
pub(super) mod time_range;

pub(super) use body::JsonBody;
pub(super) use path::{ModelName, PathParam, ProductId, SegmentName};
pub(super) use query::Query;
pub(super) use selection::Selection;
pub(super) use snapshot_read::SnapshotRead;
