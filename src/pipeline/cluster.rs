//! A build on several machines. The driver, which is `larder build`, gives the items of a step to workers.
//!
//! Apache Ballista schedules the items. Its scheduler runs inside the driver, so no cluster has to be kept
//! running, and a build ends with its driver. A step is a plan of two nodes: a table in memory with one item
//! in each partition, and the node of `step_exec`, which works on the items on a worker. Nothing is shuffled,
//! since the sorted runs of the kept staging are divided by customer already. This module knows no step:
//! an implementation of `Steps` works on the items.
//!
//! Results do not pass through the engine. A worker writes what an item makes to the lake, the result of the
//! item last, and the driver reads the results there. So a worker opens no port, and what the engine believes
//! about a lost worker does not matter: an item without a result is worked on again, and an item that two
//! workers have worked on has the same result from both.

mod connections;
mod driver;
mod gate;
mod identity;
mod items;
mod results;
mod scheduler;
mod step_exec;
mod tls;
mod worker;

pub use super::error::ClusterError;
pub(super) use driver::Cluster;
pub(super) use identity::Identity;
pub(super) use items::{Failure, Item, Steps};
pub(super) use results::ItemResult;
pub(super) use worker::{Worker, serve};
pub use worker::{WorkerError, WorkerOptions};
