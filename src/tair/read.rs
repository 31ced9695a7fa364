//! Client of readers: one round trip for a customer, one pipeline for many, and a deadline for each call.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use fred::{
    clients::{Pool, WithOptions},
    prelude::{Client, ClientLike, ClusterInterface, KeysInterface, ListInterface},
    types::config::Options,
};
use futures::{StreamExt, future::join_all, stream};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{
    Keys, Losses, PAGE, TairError,
    codec::{self, Marker, PUBLISH, Publishing, StoredRow},
    connection::resp,
    fred_clients::{self, ClientOptions},
    row_connections::{RowConnections, WireReply},
    settings::Settings,
};
use crate::{
    config::TairConfig,
    feature::FeatureView,
    telemetry::{LogThrottle, Span, SpanKind},
    workers::Workers,
};

/// Number of customers that may take as long as the deadline of one read.
const CUSTOMERS_PER_TIMEOUT: usize = 100;
/// Interval at which the clients are checked.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which a cluster is checked until its nodes are known.
const ROUTING_INTERVAL: Duration = Duration::from_millis(100);
/// Time without a successful check after which the clients are replaced.
const STUCK: Duration = Duration::from_secs(15);

/// Client that reads from Tair.
#[derive(Debug)]
pub struct Tair {
    keys: Keys,
    /// Prefix of all keys of customers.
    prefix: String,
    settings: Settings,
    server: String,
    /// Connections for rows and records.
    rows: RowConnections,
    /// Clients of `fred` for lists, which also know the nodes of a cluster.
    pool: ArcSwap<Pool>,
    pool_options: ClientOptions,
    call_options: Options,
    losses: Losses,
}

/// Fields of a customer's Hash that hold the views of a snapshot, in its order.
#[derive(Debug, Clone)]
pub struct Fields {
    count: usize,
    /// Field names as encoded arguments.
    encoded: Vec<u8>,
}

impl Fields {
    /// Returns the fields of `views`, followed by [`PUBLISH`].
    #[must_use]
    pub fn new(views: &[FeatureView]) -> Self {
        let mut fields = Self { count: 0, encoded: Vec::new() };
        for name in views.iter().map(codec::field).chain([PUBLISH.to_owned()]) {
            resp::text(name.as_bytes(), &mut fields.encoded);
            fields.count += 1;
        }
        fields
    }

    /// Appends the `HMGET` for the fields of customer `id`, whose key begins with `prefix`.
    fn hmget(&self, prefix: &str, id: &str, out: &mut Vec<u8>) {
        resp::head(b'*', 2 + self.count, out);
        resp::text(b"HMGET", out);
        resp::joined(prefix.as_bytes(), id.as_bytes(), out);
        out.extend_from_slice(&self.encoded);
    }
}

/// Number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Number of all connections.
    pub all: usize,
    /// Number of connections that are up.
    pub connected: usize,
}

impl Tair {
    /// Starts to connect to the Tair of `config`, and reconnects forever. The connections for rows live on
    /// the `workers` in turn, if there are any. Must be called within a runtime.
    ///
    /// # Errors
    /// [`TairError::Setting`].
    pub fn connect(config: &TairConfig, workers: Option<&Workers>) -> Result<Arc<Self>, TairError> {
        let settings = Settings::new(config)?;
        let losses = Losses::default();
        let rows = RowConnections::connect(&settings, config.unresponsive, config.pool, &losses, workers);
        let pool_options = ClientOptions {
            timeout: config.timeout,
            attempts: 1,
            clients: 1,
            unresponsive: config.unresponsive,
        };
        let pool = ArcSwap::from_pointee(fred_clients::pool(&settings, &pool_options, &losses)?);
        // No call waits for a connection: the snapshot answers meanwhile.
        let call_options = Options { fail_fast: true, timeout: Some(config.timeout), ..Options::default() };
        let keys = Keys::new(&config.namespace);
        let (prefix, server) = (keys.customer(""), settings.endpoint.to_string());
        Ok(Arc::new(Self { keys, prefix, settings, server, rows, pool, pool_options, call_options, losses }))
    }

    /// Returns host and port of the server, or of the cluster node in the URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns how many connections were lost so far. State that was read before a loss may be that of
    /// another server.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.losses.count()
    }

    /// Returns the number of connections for rows.
    #[must_use]
    pub fn connections(&self) -> Connections {
        let (all, connected) = self.rows.counts();
        Connections { all, connected }
    }

    fn client(&self) -> WithOptions<Client> {
        self.pool.load().next_connected().with_options(&self.call_options)
    }

    /// Runs a call of `fred` within the deadline, which `fred` itself does not always keep.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, fred::error::Error>>,
    ) -> Result<T, TairError> {
        tokio::time::timeout(self.pool_options.timeout, call)
            .await
            .map_err(|_| TairError::Timeout)?
            .map_err(Into::into)
    }

    /// Returns the deadline of a read of `count` rows. A batch is more work than a row, here and in the
    /// server.
    fn deadline(&self, count: usize) -> Duration {
        let timeouts = u32::try_from(count.div_ceil(CUSTOMERS_PER_TIMEOUT)).unwrap_or(u32::MAX);
        self.pool_options.timeout * timeouts.max(1)
    }

    /// Returns the record `key` as read over each connection.
    async fn records<T: DeserializeOwned>(&self, key: String) -> Result<Vec<Option<T>>, TairError> {
        let answers = self.rows.get(&key, self.pool_options.timeout).await?;
        let is_cut_off = self.connections().connected == 0 && answers.iter().all(Result::is_err);
        if answers.is_empty() || is_cut_off {
            let last = self.losses.last_error().map(|last| format!(": {last}")).unwrap_or_default();
            return Err(TairError::Unreachable(format!("there is no connection{last}")));
        }
        let records = answers.into_iter().map(|answer| match answer? {
            WireReply::Text(text) => parse(&key, text),
            WireReply::Row(_) => {
                Err(TairError::Content { key: key.clone(), why: "the key is not a string".to_owned() })
            }
        });
        records.collect()
    }

    /// Returns the publish that readers get, and the publish in progress. If connections disagree, the older
    /// publish counts.
    ///
    /// # Errors
    /// Errors of the server, or [`TairError::Content`].
    pub async fn markers(&self) -> Result<(Option<Marker>, Option<Publishing>), TairError> {
        let (current, publishing) =
            tokio::join!(self.records::<Marker>(self.keys.current()), self.records(self.keys.publishing()));
        // The current publish is read no later than the one in progress, so a publish that is activated in
        // between is in one of the two records.
        let oldest =
            current?.into_iter().min_by_key(|marker| marker.as_ref().map_or(0, |marker| marker.publish));
        Ok((oldest.flatten(), publishing?.into_iter().flatten().next()))
    }

    /// Returns the row of a customer, or `None` if there is no row with these fields.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn row(&self, id: &str, fields: &Fields) -> Result<Option<StoredRow>, TairError> {
        self.rows(&[id], fields).await.pop().unwrap_or(Err(TairError::Timeout))
    }

    /// Returns the rows of several customers, in the order of `ids`.
    pub async fn rows(&self, ids: &[&str], fields: &Fields) -> Vec<Result<Option<StoredRow>, TairError>> {
        let key = |at: usize| self.keys.customer(ids[at]);
        let write = |at: usize, out: &mut Vec<u8>| fields.hmget(&self.prefix, ids[at], out);
        let mut span = self.round_trip("HMGET", ids.len());
        let answers = self.rows.call(ids.len(), self.deadline(ids.len()), key, write).await;
        if answers.iter().all(Result::is_err) {
            span.fail();
        }
        drop(span);
        let rows = answers.into_iter().map(|answer| match answer? {
            WireReply::Row(row) => Ok(row),
            WireReply::Text(_) => Ok(None),
        });
        rows.collect()
    }

    /// Begins the span of a round trip with `count` commands.
    fn round_trip(&self, command: &'static str, count: usize) -> Span {
        let mut span = Span::child(command, SpanKind::Client);
        if span.is_recorded() {
            span.set("db.system.name", "redis");
            span.set("db.operation.name", command);
            if count > 1 {
                span.set("db.operation.batch.size", count as u64);
            }
            span.set("server.address", self.settings.endpoint.host.clone());
            span.set("server.port", u64::from(self.settings.endpoint.port));
        }
        span
    }

    /// Returns the ids of at most `limit` members of `segment` from rank `offset` (counted from 0), in the
    /// index of publish `publish`. The id of an erased customer is empty.
    ///
    /// # Errors
    /// Errors of the server.
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
            let rank = |rank: usize| i64::try_from(rank).unwrap_or(i64::MAX);
            let key = self.keys.ranking(publish, segment, page);
            let mut span = self.round_trip("LRANGE", 1);
            let ids = self.bounded(self.client().lrange(key, rank(from), rank(to))).await;
            span.fail_on(&ids);
            ids
        });
        let pages: Vec<Result<Vec<String>, TairError>> = stream::iter(pages).buffered(4).collect().await;
        pages.into_iter().collect::<Result<Vec<_>, _>>().map(|pages| pages.concat())
    }

    /// Follows the nodes of a cluster, and replaces clients that stay without an answer, forever. `fred`
    /// recovers from most failures; this method handles the remaining ones, and clusters that grow from one
    /// node or shrink to one.
    pub async fn watch(&self) {
        let (mut last_success, warnings) = (Instant::now(), LogThrottle::default());
        let mut settings = self.settings.clone();
        loop {
            self.rows.follow(&settings, &self.pool.load());
            let interval = if self.rows.is_routed() { WATCH_INTERVAL } else { ROUTING_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.rows.redirected() => {
                    tracing::info!("cluster redirect: reading the slot map again");
                    let pool = self.pool.load_full();
                    let sync = pool.next().sync_cluster();
                    let _ = tokio::time::timeout(self.settings.connect_timeout, sync).await;
                    self.rows.follow(&settings, &self.pool.load());
                    tokio::time::sleep(ROUTING_INTERVAL).await;
                    continue;
                }
            }
            if self.clients_answer().await {
                last_success = Instant::now();
            } else if let Some(other) = settings.look().await
                && other.spread != settings.spread
            {
                last_success = Instant::now();
                settings = other;
                let nodes = if settings.spread { "several" } else { "one" };
                tracing::info!(nodes, "cluster size changed");
                self.replace_clients(&settings);
            } else if last_success.elapsed() > STUCK {
                last_success = Instant::now();
                warnings.log("", |suppressed| {
                    tracing::warn!(suppressed, "replacing the connections to Tair, which do not answer");
                });
                self.replace_clients(&settings);
            }
        }
    }

    /// Checks whether all clients of the pool answer.
    async fn clients_answer(&self) -> bool {
        let pool = self.pool.load_full();
        let checks = pool.clients().iter().map(|client| {
            let bounded = client.with_options(&self.call_options);
            async move { self.bounded(bounded.get::<Option<Bytes>, _>(self.keys.current())).await }
        });
        join_all(checks).await.iter().all(Result::is_ok)
    }

    /// Replaces the clients of the pool.
    fn replace_clients(&self, settings: &Settings) {
        match fred_clients::pool(settings, &self.pool_options, &self.losses) {
            Ok(fresh) => {
                self.losses.count_one();
                let pool = self.pool.swap(Arc::new(fresh));
                tokio::spawn(async move { drop(pool.quit().await) });
            }
            Err(error) => tracing::error!(%error, "cannot create connections to Tair"),
        }
    }
}

/// Parses a record in JSON.
pub(super) fn parse<T: DeserializeOwned>(key: &str, text: Option<Bytes>) -> Result<Option<T>, TairError> {
    let invalid =
        |error: serde_json::Error| TairError::Content { key: key.to_owned(), why: error.to_string() };
    text.map(|text| serde_json::from_slice(&text).map_err(invalid)).transpose()
}
