//! Client of publishers: pipelines with a long deadline, the lease, and the records of publishes and indexes.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use fred::{
    prelude::{Client, ClientLike, ClusterInterface, HashesInterface, KeysInterface},
    types::config::Server,
};
use futures::future::join_all;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Batch, Keys, Lease, Losses, Reply, TairError,
    codec::{Index, Marker, Publishing},
    fred_clients::{self, ClientOptions},
    pipelines::Pipelines,
    read::parse,
    settings::Settings,
};
use crate::config::TairConfig;

/// Time that a publisher waits for its first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Deadline of one pipeline.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Number of keys of one step of a scan.
const SCAN_COUNT: u32 = 1_000;

/// Record of a complete index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeIndex {
    /// Snapshot that the index was built from.
    pub snapshot: String,
    /// Version of the erasure list that the index was built with.
    pub forgotten: String,
}

/// Client that writes into Tair.
#[derive(Debug)]
pub struct Writer {
    pub(super) keys: Keys,
    pub(super) settings: Settings,
    pipelines: Pipelines,
    /// Client for the lease and the records, which need a single connection.
    pub(super) single: Client,
    losses: Losses,
    lease: Duration,
}

impl Writer {
    /// Connects to the Tair of `config`.
    ///
    /// # Errors
    /// [`TairError::Setting`], [`TairError::Unreachable`].
    pub async fn connect(config: &TairConfig) -> Result<Self, TairError> {
        let mut settings = Settings::new(config)?;
        if let Some(found) = settings.look().await {
            settings = found;
        }
        let options = ClientOptions { timeout: TIMEOUT, attempts: 2, clients: 1, unresponsive: TIMEOUT };
        // Counted separately: a lost pipeline connection must not cost the lease.
        let (losses, others) = (Losses::default(), Losses::default());
        // After a lost lease, the next publisher waits for the lease length before it writes. Commands older
        // than three quarters of it must not be sent any more.
        let pipelines = Pipelines::connect(&settings, &options, config.lease * 3 / 4, &others)?;
        // No retries: a command of the lease must not be repeated on another connection.
        let options = ClientOptions { attempts: 1, ..options };
        let single = fred_clients::client(&settings, &options, &losses);
        let connected = async {
            single.wait_for_connect().await?;
            pipelines.wait_for_connect().await
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let last = losses.last_error().or_else(|| others.last_error());
                let reason = last.map(|last| format!(": {last}")).unwrap_or_default();
                let why = format!(
                    "no connection to {} within {} s{reason}",
                    settings.endpoint,
                    CONNECT_TIMEOUT.as_secs()
                );
                return Err(TairError::Unreachable(why));
            }
        }
        let keys = Keys::new(&config.namespace);
        Ok(Self { keys, settings, pipelines, single, losses, lease: config.lease })
    }

    /// Returns the keys of the namespace.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Acquires the publish lease.
    ///
    /// # Errors
    /// [`TairError::Busy`] if another publisher holds the lease, or errors of the server.
    pub async fn lease(&self, token: String) -> Result<Lease, TairError> {
        Lease::acquire(self.single.clone(), self.losses.clone(), &self.keys, token, self.lease).await
    }

    async fn record<T: DeserializeOwned>(&self, key: String) -> Result<Option<T>, TairError> {
        let found: Result<Option<Bytes>, TairError> = self.single.get(&key).await.map_err(Into::into);
        match found {
            Ok(found) => parse(&key, found),
            Err(error) if error.is_wrong_type() => {
                Err(TairError::Content { key, why: "the key has another type".to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the publish that readers get. An invalid record counts as none.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn marker(&self) -> Result<Option<Marker>, TairError> {
        known(self.record(self.keys.current()).await)
    }

    /// Returns the publish that is in progress or unfinished.
    ///
    /// # Errors
    /// Errors of the server, or [`TairError::Content`].
    pub async fn publishing(&self) -> Result<Option<Publishing>, TairError> {
        self.record(self.keys.publishing()).await
    }

    /// Records the publish in progress.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn set_publishing(&self, publishing: &Publishing) -> Result<(), TairError> {
        let key = self.keys.publishing();
        Ok(self.single.set::<(), _, _>(&key, json(&key, publishing)?, None, None, false).await?)
    }

    /// Removes the record of a publish in progress.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn clear_publishing(&self) -> Result<(), TairError> {
        Ok(self.single.unlink::<(), _>(self.keys.publishing()).await?)
    }

    /// Makes `marker` the publish that readers get, if the lease is still held.
    ///
    /// # Errors
    /// [`TairError::LeaseLost`], or errors of the server.
    pub async fn activate(&self, lease: &Lease, marker: &Marker) -> Result<(), TairError> {
        let key = self.keys.current();
        match lease.set_if_held(&key, json(&key, marker)?).await {
            Err(error) if error.is_transient() => match self.marker().await? {
                Some(found) if found == *marker => Ok(()),
                _ => Err(error),
            },
            done => done,
        }
    }

    /// Returns the indexes in Tair by publish number.
    ///
    /// # Errors
    /// Errors of the server, or [`TairError::Content`].
    pub async fn indexes(&self) -> Result<BTreeMap<u64, Index>, TairError> {
        let key = self.keys.indexes();
        let mut indexes = BTreeMap::new();
        for (number, index) in self.by_publish(&key).await? {
            indexes.insert(number, parse(&key, index)?.unwrap_or_default());
        }
        Ok(indexes)
    }

    /// Returns the complete indexes by publish number.
    ///
    /// # Errors
    /// As [`Writer::indexes`].
    pub async fn whole_indexes(&self) -> Result<BTreeMap<u64, WholeIndex>, TairError> {
        let entries = self.by_publish(&self.keys.whole_indexes()).await?;
        let decode = |(number, entry): (u64, Option<Bytes>)| {
            let entry = String::from_utf8_lossy(&entry.unwrap_or_default()).into_owned();
            let (snapshot, forgotten) = entry.split_once(' ')?;
            Some((number, WholeIndex { snapshot: snapshot.to_owned(), forgotten: forgotten.to_owned() }))
        };
        Ok(entries.into_iter().filter_map(decode).collect())
    }

    /// Returns the entries of the Hash `key`, whose fields are publish numbers.
    async fn by_publish(&self, key: &str) -> Result<Vec<(u64, Option<Bytes>)>, TairError> {
        let publishes: Vec<String> = self.single.hkeys(key).await?;
        if publishes.is_empty() {
            return Ok(Vec::new());
        }
        let found: Vec<Option<Bytes>> = self.single.hmget(key, publishes.clone()).await?;
        let number = |(publish, found): (String, Option<Bytes>)| {
            let wrong = |_| TairError::Content {
                key: key.to_owned(),
                why: format!("`{publish}` is not a publish number"),
            };
            Ok((publish.parse::<u64>().map_err(wrong)?, found))
        };
        publishes.into_iter().zip(found).map(number).collect()
    }

    /// Checks whether keys can be renamed and copied. In a cluster both keys would be in different slots.
    #[must_use]
    pub fn moves_keys(&self) -> bool {
        !self.settings.clustered
    }

    /// Records that the index of `publish` is complete: built from `snapshot` with the erasure list of
    /// version `forgotten`.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn note_whole(&self, publish: u64, snapshot: &str, forgotten: &str) -> Result<(), TairError> {
        let entry = (publish.to_string(), format!("{snapshot} {forgotten}"));
        Ok(self.single.hset::<(), _, _>(self.keys.whole_indexes(), entry).await?)
    }

    /// Removes the record that the index of `publish` is complete.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn forget_whole(&self, publish: u64) -> Result<(), TairError> {
        Ok(self.single.hdel::<(), _, _>(self.keys.whole_indexes(), publish.to_string()).await?)
    }

    /// Records the lists of the index of `publish`, before they are written.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn note_index(&self, publish: u64, index: &Index) -> Result<(), TairError> {
        let key = self.keys.indexes();
        let entry = (publish.to_string(), json(&key, index)?);
        Ok(self.single.hset::<(), _, _>(&key, entry).await?)
    }

    /// Removes the record of the index of `publish`, after its keys were removed.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn forget_index(&self, publish: u64) -> Result<(), TairError> {
        Ok(self.single.hdel::<(), _, _>(self.keys.indexes(), publish.to_string()).await?)
    }

    /// Returns the version of the erasure list that this Tair was last purged against.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn forgotten(&self) -> Result<Option<String>, TairError> {
        Ok(self.single.get(self.keys.forgotten()).await?)
    }

    /// Records the version of the erasure list that this Tair was purged against.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn set_forgotten(&self, version: &str) -> Result<(), TairError> {
        Ok(self.single.set::<(), _, _>(self.keys.forgotten(), version, None, None, false).await?)
    }

    /// Replaces the content of `larder:views` by `views`, pairs of name and columns.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn set_views(&self, views: &[(String, String)]) -> Result<(), TairError> {
        let key = self.keys.views();
        let there: Vec<String> = self.single.hkeys(&key).await?;
        self.single.hset::<(), _, _>(&key, views.to_vec()).await?;
        let gone: Vec<String> =
            there.into_iter().filter(|name| views.iter().all(|view| view.0 != *name)).collect();
        if gone.is_empty() { Ok(()) } else { Ok(self.single.hdel::<(), _, _>(&key, gone).await?) }
    }

    /// Sends `batch`. A key that holds another type is removed and written again.
    ///
    /// # Errors
    /// The first error. The other commands may or may not have been executed.
    pub async fn send(&self, batch: &Batch) -> Result<(), TairError> {
        let mut wrong = Batch::default();
        for (at, answer) in self.pipelines.answers(batch).await?.into_iter().enumerate() {
            match answer {
                Ok(_) => {}
                Err(error) if error.is_wrong_type() => wrong.replace(batch, at),
                Err(error) => return Err(error),
            }
        }
        self.pipelines.answers(&wrong).await?.into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Sends `batch` and returns the answer to each command.
    ///
    /// # Errors
    /// Errors of the connection, or of a batch that was not executed as a whole.
    pub async fn answers(&self, batch: &Batch) -> Result<Vec<Result<Reply, TairError>>, TairError> {
        self.pipelines.answers(batch).await
    }

    /// Scans the keys of all customers and passes them to `each` in bounded pages, unordered. A key may occur
    /// twice.
    ///
    /// # Errors
    /// Errors of the servers.
    pub async fn scan_customers(&self, mut each: impl FnMut(Vec<String>)) -> Result<(), TairError> {
        let pattern = self.keys.customers_pattern();
        let nodes: Vec<Option<Server>> = if self.settings.spread {
            let state = self.single.cached_cluster_state();
            state
                .iter()
                .flat_map(fred::types::cluster::ClusterRouting::unique_primary_nodes)
                .map(Some)
                .collect()
        } else {
            vec![None]
        };
        let scans = nodes.iter().map(|node| async {
            let options = fred::types::config::Options { cluster_node: node.clone(), ..Default::default() };
            let client = self.single.with_options(&options);
            let (mut cursor, mut pages) = ("0".to_owned(), Vec::new());
            loop {
                let page: (String, Vec<String>) = client
                    .scan_page(cursor, pattern.clone(), Some(SCAN_COUNT), None)
                    .await
                    .map_err(TairError::from)?;
                cursor = page.0;
                pages.push(page.1);
                if cursor == "0" {
                    return Ok::<_, TairError>(pages);
                }
            }
        });
        for pages in join_all(scans).await {
            pages?.into_iter().for_each(&mut each);
        }
        Ok(())
    }

    /// Closes the connections.
    pub async fn quit(self) {
        self.pipelines.quit().await;
        let _ = self.single.quit().await;
    }
}

fn known<T>(found: Result<Option<T>, TairError>) -> Result<Option<T>, TairError> {
    match found {
        Err(TairError::Content { .. }) => Ok(None),
        found => found,
    }
}

fn json(key: &str, value: &impl Serialize) -> Result<String, TairError> {
    serde_json::to_string(value)
        .map_err(|error| TairError::Content { key: key.to_owned(), why: error.to_string() })
}
