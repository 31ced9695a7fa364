//! How the publisher's commands reach the server: over connections of our own where one server is spoken to without TLS, and over
//! `fred` elsewhere. Whoever sends need not know which.

use std::time::Duration;

use bytes::Bytes;
use fred::{
    clients::{Pipeline, Pool},
    prelude::{ClientLike, Value},
    types::{ClusterHash, CustomCommand},
};

use super::{
    Batch, Losses, Reply, TairError,
    connect::{Manner, Settings},
    wire::{self, Wire, resp},
};

const CLIENTS: usize = 2;

/// Connections that carry batches.
#[derive(Debug)]
pub(super) enum Pipelines {
    Wire { wire: Wire<Reply>, timeout: Duration },
    Fred(Pool),
}

impl Pipelines {
    /// Begins to connect. What was not sent `stale` after it was handed over is not sent any more. What breaks is noted in
    /// `losses`.
    pub(super) fn connect(
        settings: &Settings,
        manner: &Manner,
        stale: Duration,
        losses: &Losses,
    ) -> Result<Self, TairError> {
        let Some(address) = settings.plain().cloned() else {
            return Ok(Self::Fred(settings.pool(&Manner { clients: CLIENTS, ..manner.clone() }, losses)?));
        };
        let unresponsive = manner.unresponsive.min(stale);
        let wire = wire::Manner { address, connect_timeout: settings.connect_timeout, unresponsive };
        Ok(Self::Wire { wire: Wire::connect(&wire, CLIENTS, losses, None), timeout: manner.timeout })
    }

    /// Waits until there is a connection.
    pub(super) async fn connected(&self) -> Result<(), TairError> {
        match self {
            Self::Wire { wire, .. } => {
                wire.up().await;
                Ok(())
            }
            Self::Fred(pool) => Ok(pool.wait_for_connect().await?),
        }
    }

    /// The answer to each command of `batch`.
    pub(super) async fn answers(&self, batch: &Batch) -> Result<Vec<Result<Reply, TairError>>, TairError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let pool = match self {
            Self::Wire { wire, timeout } => {
                let answers = wire.call(batch.len(), |out| out.extend_from_slice(batch.bytes()));
                return tokio::time::timeout(*timeout, answers).await.unwrap_or(Err(TairError::Timeout));
            }
            Self::Fred(pool) => pool,
        };
        let pipeline = Pipeline::from(pool.next_connected().clone());
        for mut args in batch.commands() {
            let name = String::from_utf8_lossy(&args.remove(0)).into_owned();
            // Only queued here.
            let _: Value =
                pipeline.custom(CustomCommand::new(name, ClusterHash::FirstKey, false), args).await?;
        }
        let answers = pipeline.try_all::<Value>().await;
        match (answers.len() == batch.len(), answers.into_iter().map(|answer| Ok(reply(answer?)))) {
            (true, answers) => Ok(answers.collect()),
            (false, mut answers) => match answers.next() {
                Some(Err(error)) => Err(error),
                _ => Err(TairError::Unreachable("answers are missing".to_owned())),
            },
        }
    }

    /// Ends the connections.
    pub(super) async fn quit(self) {
        if let Self::Fred(pool) = self {
            let _ = pool.quit().await;
        }
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

impl wire::Answered for Reply {
    fn take(reply: resp::Reply<'_>) -> Result<Self, &'static str> {
        Ok(match reply {
            resp::Reply::Array(parts) => {
                Self::Texts(parts.into_iter().map(|part| part.map(Bytes::copy_from_slice)).collect())
            }
            resp::Reply::Text(text) => Self::Text(text.map(Bytes::copy_from_slice)),
            resp::Reply::Number(number) => Self::Number(number),
            resp::Reply::Status | resp::Reply::Error(_) => Self::Done,
        })
    }
}
