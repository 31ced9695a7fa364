//! Connections that carry a publisher's batches: pipelined connections to a single server, or `fred` to a
//! cluster.
//!
//! In a cluster, `fred` follows redirects while slots move. A publisher must not fail then, whereas a reader
//! has the snapshot, so that only readers use pipelined connections to a cluster.

use std::time::Duration;

use bytes::Bytes;
use fred::{
    clients::{Pipeline, Pool},
    prelude::{ClientLike, Value},
    types::{ClusterHash, CustomCommand},
};

use super::{
    Batch, Losses, Reply, TairError,
    connection::{Answers, ConnectionOptions, ConnectionPool, Decode, resp},
    fred_clients::{self, ClientOptions},
    settings::Settings,
};

/// Number of connections.
const CONNECTIONS: usize = 2;

/// Connections that carry batches.
#[derive(Debug)]
pub(super) enum Pipelines {
    Single { pool: ConnectionPool<Reply>, timeout: Duration },
    Cluster(Pool),
}

impl Pipelines {
    /// Starts to connect. Commands that waited for `stale` are not sent any more. Counts lost connections in
    /// `losses`.
    pub(super) fn connect(
        settings: &Settings,
        options: &ClientOptions,
        stale: Duration,
        losses: &Losses,
    ) -> Result<Self, TairError> {
        if settings.spread {
            let options = ClientOptions { clients: CONNECTIONS, ..options.clone() };
            return Ok(Self::Cluster(fred_clients::pool(settings, &options, losses)?));
        }
        let connection = ConnectionOptions {
            endpoint: settings.endpoint.clone(),
            connect_timeout: settings.connect_timeout,
            unresponsive: options.unresponsive.min(stale),
        };
        let pool = ConnectionPool::connect(&connection, CONNECTIONS, losses, &[]);
        Ok(Self::Single { pool, timeout: options.timeout })
    }

    /// Waits until there is a connection.
    pub(super) async fn wait_for_connect(&self) -> Result<(), TairError> {
        match self {
            Self::Single { pool, .. } => {
                pool.wait_for_connect().await;
                Ok(())
            }
            Self::Cluster(pool) => Ok(pool.wait_for_connect().await?),
        }
    }

    /// Returns the answer to each command of `batch`.
    pub(super) async fn answers(&self, batch: &Batch) -> Result<Answers<Reply>, TairError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Single { pool, timeout } => {
                let call = pool.call(batch.len(), |out| out.extend_from_slice(batch.bytes()));
                let called = tokio::time::timeout(*timeout, call).await;
                let mut answers = called.unwrap_or(Err(TairError::Timeout))?;
                answers.iter_mut().filter_map(|answer| answer.as_mut().err()).for_each(TairError::advise);
                Ok(answers)
            }
            Self::Cluster(pool) => cluster_answers(pool, batch).await,
        }
    }

    /// Closes the connections.
    pub(super) async fn quit(self) {
        if let Self::Cluster(pool) = self {
            let _ = pool.quit().await;
        }
    }
}

/// Sends `batch` by a pipeline of `fred`, which routes each command to its node.
async fn cluster_answers(pool: &Pool, batch: &Batch) -> Result<Answers<Reply>, TairError> {
    let pipeline = Pipeline::from(pool.next_connected().clone());
    for mut args in batch.commands() {
        let name = String::from_utf8_lossy(&args.remove(0)).into_owned();
        let command = CustomCommand::new(name, ClusterHash::FirstKey, false);
        // The pipeline only queues the command.
        let _: Value = pipeline.custom(command, args).await?;
    }
    let values = pipeline.try_all::<Value>().await;
    let is_complete = values.len() == batch.len();
    let mut answers = values.into_iter().map(|value| Ok(reply(value?)));
    if is_complete {
        return Ok(answers.collect());
    }
    match answers.next() {
        Some(Err(error)) => Err(error),
        _ => Err(TairError::Unreachable("answers are missing".to_owned())),
    }
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Integer(number) => Reply::Number(number),
        Value::Array(values) => Reply::Texts(values.into_iter().map(Value::into_bytes).collect()),
        Value::Queued => Reply::Done,
        value => Reply::Text(value.into_bytes()),
    }
}

impl Decode for Reply {
    fn decode(reply: resp::RawReply<'_>) -> Result<Self, &'static str> {
        Ok(match reply {
            resp::RawReply::Array(parts) => {
                Self::Texts(parts.into_iter().map(|part| part.map(Bytes::copy_from_slice)).collect())
            }
            resp::RawReply::Text(text) => Self::Text(text.map(Bytes::copy_from_slice)),
            resp::RawReply::Number(number) => Self::Number(number),
            resp::RawReply::Status | resp::RawReply::Error(_) => Self::Done,
        })
    }
}
