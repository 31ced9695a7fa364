//! Reading of rows and records over pipelined connections, to a single server or to the nodes of a cluster.

use std::time::Duration;

use bytes::Bytes;
use fred::{clients::Pool, prelude::ClusterInterface};
use tokio::runtime::Handle;

use super::{
    Losses, TairError,
    cluster::ClusterConnections,
    codec::{self, StoredRow},
    connection::{Answers, ConnectionOptions, ConnectionPool, Decode, resp},
    settings::Settings,
};
use crate::workers::Workers;

/// Answer to one command of a reader.
#[derive(Debug, Clone)]
pub(super) enum WireReply {
    /// Answer to `HMGET`.
    Row(Option<StoredRow>),
    /// Answer to `GET`.
    Text(Option<Bytes>),
}

impl Decode for WireReply {
    fn decode(reply: resp::RawReply<'_>) -> Result<Self, &'static str> {
        match reply {
            resp::RawReply::Array(parts) => Ok(Self::Row(codec::row(&parts))),
            resp::RawReply::Text(text) => Ok(Self::Text(text.map(Bytes::copy_from_slice))),
            _ => Err("the server sent an answer of an unexpected type"),
        }
    }
}

/// Connections for rows and records.
#[derive(Debug)]
pub(super) enum RowConnections {
    Single(ConnectionPool<WireReply>),
    Cluster(ClusterConnections<WireReply>),
}

impl RowConnections {
    /// Starts `count` connections to each server, on the `workers` in turn, if there are any.
    pub(super) fn connect(
        settings: &Settings,
        unresponsive: Duration,
        count: usize,
        losses: &Losses,
        workers: Option<&Workers>,
    ) -> Self {
        let (endpoint, connect_timeout) = (settings.endpoint.clone(), settings.connect_timeout);
        let options = ConnectionOptions { endpoint, connect_timeout, unresponsive };
        let handles: Vec<Handle> = workers
            .map(|workers| (0..workers.count()).map(|number| workers.handle(number).clone()).collect())
            .unwrap_or_default();
        if settings.clustered {
            Self::Cluster(ClusterConnections::new(options, count, losses, handles))
        } else {
            Self::Single(ConnectionPool::connect(&options, count, losses, &handles))
        }
    }

    /// Returns the number of connections, and how many of them are up.
    pub(super) fn counts(&self) -> (usize, usize) {
        match self {
            Self::Single(pool) => pool.counts(),
            Self::Cluster(cluster) => cluster.counts(),
        }
    }

    /// Returns the answers to `count` commands within `timeout`. `key` returns the key of a command, and
    /// `write` appends the command.
    pub(super) async fn call(
        &self,
        count: usize,
        timeout: Duration,
        key: impl Fn(usize) -> String,
        write: impl Fn(usize, &mut Vec<u8>),
    ) -> Answers<WireReply> {
        match self {
            Self::Single(pool) => {
                let call = pool.call(count, |out| (0..count).for_each(|at| write(at, out)));
                let answers = tokio::time::timeout(timeout, call).await.unwrap_or(Err(TairError::Timeout));
                advised(answers.unwrap_or_else(|error| vec![Err(error); count]))
            }
            Self::Cluster(cluster) => cluster.call(count, timeout, key, write).await,
        }
    }

    /// Returns the value of `key` over each connection that is up, since they may lead to different servers.
    pub(super) async fn get(&self, key: &str, timeout: Duration) -> Result<Answers<WireReply>, TairError> {
        let get = async {
            match self {
                Self::Single(pool) => advised(pool.get(key).await),
                Self::Cluster(cluster) => cluster.get(key).await,
            }
        };
        tokio::time::timeout(timeout, get).await.map_err(|_| TairError::Timeout)
    }

    /// Checks whether the servers are known.
    pub(super) fn is_routed(&self) -> bool {
        match self {
            Self::Single(_) => true,
            Self::Cluster(cluster) => cluster.is_routed(),
        }
    }

    /// Waits until a node of a cluster redirects a command.
    pub(super) async fn redirected(&self) {
        match self {
            Self::Single(_) => std::future::pending().await,
            Self::Cluster(cluster) => cluster.redirected().await,
        }
    }

    /// Follows the slot map of a cluster as the clients of `pool` know it.
    pub(super) fn follow(&self, settings: &Settings, pool: &Pool) {
        let Self::Cluster(cluster) = self else { return };
        if !settings.spread {
            cluster.use_single_node();
        } else if let Some(routing) = pool.next().cached_cluster_state() {
            cluster.follow(&routing);
        }
    }
}

/// Adds advice to the error answers of a server that is of another kind than the URL says.
fn advised(mut answers: Answers<WireReply>) -> Answers<WireReply> {
    for answer in &mut answers {
        if let Err(error) = answer {
            error.advise();
        }
    }
    answers
}
