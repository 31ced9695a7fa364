//! Arguments of handlers, taken from a request: an argument that cannot be read is a
//! [`Problem`](super::Problem).

mod body;
pub(super) mod churn_filter;
pub(super) mod cursor;
mod customer_ids;
pub(super) mod expression;
mod path;
mod query;
pub(super) mod selection;
mod snapshot_range;
mod snapshot_read;
pub(super) mod time_range;

pub(super) use body::{JsonBody, RawJsonBody, ReceivedBody, drop_short_body};
pub(super) use customer_ids::{BatchId, MAX_IDS, customer_id};
pub(super) use path::{FromPath, ModelName, PathParam, ProductId, SegmentName, ViewName};
pub(super) use query::{Query, flag, limit, names};
pub(super) use selection::{NamesBesideIds, Selection, unknown_view};
pub(super) use snapshot_range::SnapshotRange;
pub(super) use snapshot_read::SnapshotRead;
