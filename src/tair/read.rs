//! The reader's side: one round trip for a customer, pipelines for many, an own deadline for each call.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use fred::{
    clients::{Pipeline, Pool, WithOptions},
    prelude::{Client, ClientLike, HashesInterface, KeysInterface, ListInterface, Value},
    types::{Key, MultipleKeys, config::Options},
};
use futures::{StreamExt, future::join_all, stream};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{
    Keys, Losses, PAGE, TairError,
    codec::{self, Marker, PUBLISH, Publishing, StoredRow},
    connect::{Manner, Settings},
    wire::{self, Wire, resp},
};
use crate::{config::TairConfig, feature::FeatureView, telemetry::Seldom, workers::Workers};

/// Customers of one pipeline.
const PIPELINE: usize = 250;
/// Customers that may take as long as the deadline of a read.
const TIMED: usize = 100;
/// How often every connection is looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How long a client may be without a good answer before it is thrown away.
const STUCK: Duration = Duration::from_secs(15);

/// Reads from Tair.
#[derive(Debug)]
pub struct Tair {
    keys: Keys,
    /// What the keys of customers begin with.
    prefix: String,
    settings: Settings,
    manner: Manner,
    pool: ArcSwap<Pool>,
    options: Options,
    /// For rows, where one server is spoken to without TLS.
    wire: Option<Wire<Found>>,
    losses: Losses,
}

/// An answer to one command over the wire.
type Answer = Result<Found, TairError>;

/// What a command over the wire found.
#[derive(Debug, Clone)]
enum Found {
    /// By `HMGET`.
    Row(Option<StoredRow>),
    /// By `GET`.
    Text(Option<Bytes>),
}

impl wire::Answered for Found {
    fn take(reply: resp::Reply<'_>) -> Result<Self, &'static str> {
        match reply {
            resp::Reply::Array(parts) => Ok(Self::Row(codec::row(&parts))),
            resp::Reply::Text(text) => Ok(Self::Text(text.map(Bytes::copy_from_slice))),
            _ => Err("the server answers with what nobody asked for"),
        }
    }
}

/// The fields of a customer that hold the views of a snapshot, in its order.
#[derive(Debug, Clone)]
pub struct Fields {
    keys: Vec<Key>,
    /// The same as they go over the wire.
    wire: Vec<u8>,
}

impl Fields {
    /// Those of `views`.
    #[must_use]
    pub fn new(views: &[FeatureView]) -> Self {
        let names = views.iter().map(codec::field).chain([PUBLISH.to_owned()]);
        let mut fields = Self { keys: Vec::new(), wire: Vec::new() };
        for name in names {
            resp::text(name.as_bytes(), &mut fields.wire);
            fields.keys.push(name.into());
        }
        fields
    }

    fn keys(&self) -> MultipleKeys {
        MultipleKeys::from(self.keys.clone())
    }

    /// Appends the command that asks for them of the customer `id`, whose key begins with `prefix`.
    fn hmget(&self, prefix: &str, id: &str, out: &mut Vec<u8>) {
        resp::head(b'*', 2 + self.keys.len(), out);
        resp::text(b"HMGET", out);
        resp::joined(prefix.as_bytes(), id.as_bytes(), out);
        out.extend_from_slice(&self.wire);
    }
}

/// How many connections there are, and how many of them stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Clients of the pool.
    pub all: usize,
    /// Those with a connection.
    pub connected: usize,
}

impl Tair {
    /// Begins to connect to the Tair of `config`, and goes on until it succeeds. Rows are read over connections
    /// that live on the `workers`, if there are any, by turns. Must be called within the runtime.
    ///
    /// # Errors
    /// [`TairError::Setting`].
    pub fn connect(config: &TairConfig, workers: Option<&Workers>) -> Result<Arc<Self>, TairError> {
        let settings = Settings::new(config)?;
        let losses = Losses::default();
        let wire = settings.plain().cloned().map(|address| {
            let (connect_timeout, unresponsive) = (settings.connect_timeout, config.unresponsive);
            Wire::connect(
                &wire::Manner { address, connect_timeout, unresponsive },
                config.pool,
                &losses,
                workers,
            )
        });
        let clients = if wire.is_some() { 1 } else { config.pool };
        let manner =
            Manner { timeout: config.timeout, attempts: 1, clients, unresponsive: config.unresponsive };
        let pool = ArcSwap::from_pointee(settings.pool(&manner, &losses)?);
        // What waits for a connection is of no use: the snapshot answers meanwhile.
        let options = Options { fail_fast: true, timeout: Some(config.timeout), ..Options::default() };
        let keys = Keys::new(&config.namespace);
        let prefix = keys.customer("");
        Ok(Arc::new(Self { keys, prefix, settings, manner, pool, options, wire, losses }))
    }

    /// Host and port of the server, or of the one that is asked for the others first.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.settings.server
    }

    /// How often a connection broke so far. What was read before may be of another server than what is read now.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.losses.count()
    }

    /// The state of the pool.
    #[must_use]
    pub fn connections(&self) -> Connections {
        if let Some(wire) = &self.wire {
            let (all, connected) = wire.connections();
            return Connections { all, connected };
        }
        let pool = self.pool.load();
        let connected = pool.clients().iter().filter(|client| client.is_connected()).count();
        Connections { all: pool.size(), connected }
    }

    fn client(&self) -> WithOptions<Client> {
        self.pool.load().next_connected().with_options(&self.options)
    }

    /// Within the deadline, whatever the client makes of it.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, fred::error::Error>>,
    ) -> Result<T, TairError> {
        tokio::time::timeout(self.manner.timeout, call)
            .await
            .map_err(|_| TairError::Timeout)?
            .map_err(Into::into)
    }

    /// How long `count` rows may take: a batch is more work than a row, here and in the server.
    fn deadline(&self, count: usize) -> Duration {
        self.manner.timeout * u32::try_from(count.div_ceil(TIMED)).unwrap_or(u32::MAX).max(1)
    }

    /// The answers to the `count` commands that `write` appends.
    async fn ask(&self, wire: &Wire<Found>, count: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<Answer> {
        let answers = tokio::time::timeout(self.deadline(count), wire.call(count, write)).await;
        answers.unwrap_or(Err(TairError::Timeout)).unwrap_or_else(|error| vec![Err(error); count])
    }

    /// The record under `key` as every server has it that may be asked.
    async fn records<T: DeserializeOwned>(&self, key: String) -> Result<Vec<Option<T>>, TairError> {
        let found = match &self.wire {
            None => vec![self.bounded(self.client().get(&key)).await],
            Some(wire) => {
                let found = tokio::time::timeout(self.manner.timeout, wire.get(&key)).await;
                let text = |found| match found {
                    Ok(Found::Text(text)) => Ok(text),
                    Ok(Found::Row(_)) => {
                        Err(TairError::Content { key: key.clone(), why: "it is no text".to_owned() })
                    }
                    Err(error) => Err(error),
                };
                found.map_err(|_| TairError::Timeout)?.into_iter().map(text).collect()
            }
        };
        let cut_off = self.connections().connected == 0 && found.iter().all(Result::is_err);
        if found.is_empty() || cut_off {
            let last = self.losses.last_error().map(|last| format!(": {last}")).unwrap_or_default();
            return Err(TairError::Unreachable(format!("there is no connection{last}")));
        }
        found.into_iter().map(|found| parse(&key, found?)).collect()
    }

    /// The publish that readers get, and the one under way. Where connections tell different things, the older counts.
    ///
    /// # Errors
    /// Of the server, or of a record that is none.
    pub async fn markers(&self) -> Result<(Option<Marker>, Option<Publishing>), TairError> {
        let (current, publishing) =
            tokio::join!(self.records::<Marker>(self.keys.current()), self.records(self.keys.publishing()));
        // The current one was read no later than the other: what ended in between is known by one of them.
        let oldest =
            current?.into_iter().min_by_key(|marker| marker.as_ref().map_or(0, |marker| marker.publish));
        Ok((oldest.flatten(), publishing?.into_iter().flatten().next()))
    }

    /// One customer, or nothing where there is no row with these fields.
    ///
    /// # Errors
    /// Of the server.
    pub async fn row(&self, id: &str, fields: &Fields) -> Result<Option<StoredRow>, TairError> {
        if let Some(wire) = &self.wire {
            let answer = self.ask(wire, 1, |out| fields.hmget(&self.prefix, id, out)).await.pop();
            return answer.map_or(Err(TairError::Timeout), row_of);
        }
        let client = self.client();
        let found: Value = self.bounded(client.hmget(self.keys.customer(id), fields.keys())).await?;
        Ok(stored(found))
    }

    /// Several customers, in the order of `ids`.
    pub async fn rows(&self, ids: &[&str], fields: &Fields) -> Vec<Result<Option<StoredRow>, TairError>> {
        if let Some(wire) = &self.wire {
            let write = |out: &mut Vec<u8>| ids.iter().for_each(|id| fields.hmget(&self.prefix, id, out));
            return self.ask(wire, ids.len(), write).await.into_iter().map(row_of).collect();
        }
        let all = ids.len();
        let pipelines = ids.chunks(PIPELINE).map(|ids| async move {
            let pipeline = Pipeline::from(self.client());
            for id in ids {
                // Only queued here.
                let _: Result<(), _> = pipeline.hmget(self.keys.customer(id), fields.keys()).await;
            }
            let answers = tokio::time::timeout(self.deadline(all), pipeline.try_all::<Value>()).await;
            let mut answers = answers.unwrap_or_else(|_| vec![Err(timed_out())]).into_iter();
            let first = answers.next().unwrap_or_else(|| Err(timed_out()));
            match (first, answers.len() + 1 == ids.len()) {
                // The whole pipeline has one error, each of its commands an answer.
                (Err(error), false) => vec![Err(error.into()); ids.len()],
                (first, _) => std::iter::once(first).chain(answers).map(|found| Ok(stored(found?))).collect(),
            }
        });
        join_all(pipelines).await.into_iter().flatten().collect()
    }

    /// The ids of the members of `segment` of the ranks from `offset` (counted from 0), at most `limit`, as publish `publish` has them.
    ///
    /// # Errors
    /// Of the server.
    pub async fn members(
        &self,
        publish: u64,
        segment: &str,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<String>, TairError> {
        let Ok(offset) = usize::try_from(offset) else { return Ok(Vec::new()) };
        let last = offset.saturating_add(limit.max(1)) - 1;
        let pages = (offset / PAGE..=last / PAGE).map(|page| async move {
            let from = offset.max(page * PAGE) - page * PAGE;
            let to = last.min(page * PAGE + PAGE - 1) - page * PAGE;
            let place = |place: usize| i64::try_from(place).unwrap_or(i64::MAX);
            let key = self.keys.ranking(publish, segment, page);
            let found: Vec<String> = self.bounded(self.client().lrange(key, place(from), place(to))).await?;
            Ok(found)
        });
        let pages: Vec<Result<Vec<String>, TairError>> = stream::iter(pages).buffered(4).collect().await;
        pages.into_iter().collect::<Result<Vec<_>, _>>().map(|pages| pages.concat())
    }

    /// Throws clients away that stay without a good answer, for ever. `fred` heals nearly all by itself; this is for the rest,
    /// and for a cluster that turns out to be one node, or no longer is.
    pub async fn watch(&self) {
        let (mut good, told) = (Instant::now(), Seldom::default());
        let mut settings = self.settings.clone();
        loop {
            tokio::time::sleep(WATCH).await;
            let pool = self.pool.load_full();
            let asked = pool.clients().iter().map(|client| {
                let client = client.with_options(&self.options);
                async move { self.bounded(client.get::<Option<Bytes>, _>(self.keys.current())).await }
            });
            if join_all(asked).await.iter().all(Result::is_ok) {
                good = Instant::now();
            } else if let Some(other) =
                settings.look().await.filter(|other| other.is_spread() != settings.is_spread())
            {
                good = Instant::now();
                settings = other;
                tracing::info!(
                    nodes = if settings.is_spread() { "several" } else { "one" },
                    "looked at the cluster of Tair"
                );
                self.renew(&settings);
            } else if good.elapsed() > STUCK {
                good = Instant::now();
                told.tell("", |suppressed| {
                    tracing::warn!(
                        suppressed,
                        "the connections to Tair stayed without an answer and are made anew"
                    );
                });
                self.renew(&settings);
            }
        }
    }

    /// Takes other clients in the place of those there are.
    fn renew(&self, settings: &Settings) {
        match settings.pool(&self.manner, &self.losses) {
            Ok(fresh) => {
                self.losses.count_one();
                let pool = self.pool.swap(Arc::new(fresh));
                tokio::spawn(async move { drop(pool.quit().await) });
            }
            Err(error) => tracing::error!(%error, "no new connections to Tair"),
        }
    }
}

fn timed_out() -> fred::error::Error {
    fred::error::Error::new(fred::error::ErrorKind::Timeout, "")
}

fn stored(found: Value) -> Option<StoredRow> {
    let Value::Array(values) = found else { return None };
    let answers: Vec<Option<Bytes>> = values.into_iter().map(Value::into_bytes).collect();
    codec::row(&answers.iter().map(Option::as_deref).collect::<Vec<_>>())
}

fn row_of(answer: Answer) -> Result<Option<StoredRow>, TairError> {
    match answer? {
        Found::Row(row) => Ok(row),
        Found::Text(_) => Ok(None),
    }
}

/// A record in JSON.
pub(super) fn parse<T: DeserializeOwned>(key: &str, found: Option<Bytes>) -> Result<Option<T>, TairError> {
    let wrong = |error: serde_json::Error| TairError::Content { key: key.to_owned(), why: error.to_string() };
    found.map(|found| serde_json::from_slice(&found).map_err(wrong)).transpose()
}
