//! The endpoints, one file each. A handler reads its arguments, makes one call to `serving`, and answers; it
//! never calls another handler.

pub(super) mod audiences;
pub(super) mod builds;
pub(super) mod caller;
pub(super) mod changes;
pub(super) mod churn;
pub(super) mod console;
pub(super) mod customer;
pub(super) mod customer_batch;
pub(super) mod customer_history;
pub(super) mod customer_segments;
pub(super) mod docs;
pub(super) mod exports;
pub(super) mod feast;
pub(super) mod migration;
pub(super) mod models;
pub(super) mod overlap;
pub(super) mod probes;
pub(super) mod purchases;
pub(super) mod recommendations;
pub(super) mod segment_history;
pub(super) mod segments;
pub(super) mod snapshots;
pub(super) mod statistics;
pub(super) mod views;
