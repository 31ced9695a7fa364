//! The publisher's side: pipelines of bounded size, patience, and the records that say how far a publish is.

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
    connect::{Manner, Settings},
    pipelines::Pipelines,
    read::parse,
};
use crate::config::TairConfig;

/// How long a publisher waits for its first connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The deadline of one pipeline.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Keys of one step of a scan.
const SCAN: u32 = 1_000;

/// Writes into Tair.
#[derive(Debug)]
pub struct Writer {
    keys: Keys,
    settings: Settings,
    pipelines: Pipelines,
    /// For what needs one connection.
    single: Client,
    losses: Losses,
    lease: Duration,
}

impl Writer {
    /// Connects to the Tair of `config`.
    ///
    /// # Errors
    /// [`TairError::Setting`], [`TairError::Unreachable`].
    pub async fn connect(config: &TairConfig) -> Result<Self, TairError> {
        let settings = Settings::new(config)?;
        let settings = settings.look().await.unwrap_or(settings);
        let manner = Manner { timeout: TIMEOUT, attempts: 2, clients: 1, unresponsive: TIMEOUT };
        // Apart, since the lease must not be given up for a connection that it does not use.
        let (losses, others) = (Losses::default(), Losses::default());
        // Where the lease is lost, another waits as long before it writes: nothing may be sent after that.
        let pipelines = Pipelines::connect(&settings, &manner, config.lease * 3 / 4, &others)?;
        // No second try: what was sent must not be sent again on another connection.
        let single = settings.client(&Manner { attempts: 1, ..manner }, &losses);
        let connected = async {
            single.wait_for_connect().await?;
            pipelines.connected().await
        };
        match tokio::time::timeout(CONNECT, connected).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let last = losses.last().or_else(|| others.last());
                let last = last.map(|last| format!(": {last}")).unwrap_or_default();
                let why =
                    format!("no connection to {} within {} s{last}", settings.server, CONNECT.as_secs());
                return Err(TairError::Unreachable(why));
            }
        }
        let keys = Keys::new(&config.namespace);
        Ok(Self { keys, settings, pipelines, single, losses, lease: config.lease })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Takes the right to write.
    ///
    /// # Errors
    /// [`TairError::Busy`] where another publisher works, or of the server.
    pub async fn lease(&self, token: String) -> Result<Lease, TairError> {
        Lease::take(self.single.clone(), self.losses.clone(), &self.keys, token, self.lease).await
    }

    async fn record<T: DeserializeOwned>(&self, key: String) -> Result<Option<T>, TairError> {
        let found: Result<Option<Bytes>, TairError> = self.single.get(&key).await.map_err(Into::into);
        match found {
            Ok(found) => parse(&key, found),
            // It is not ours, whatever it is.
            Err(error) if error.is_wrong_type() => {
                Err(TairError::Content { key, why: "it is of another type".to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// The publish that readers get. What is no such record counts as none.
    ///
    /// # Errors
    /// Of the server.
    pub async fn marker(&self) -> Result<Option<Marker>, TairError> {
        known(self.record(self.keys.current()).await)
    }

    /// The publish that was left unfinished.
    ///
    /// # Errors
    /// Of the server, or of a record that is none.
    pub async fn publishing(&self) -> Result<Option<Publishing>, TairError> {
        self.record(self.keys.publishing()).await
    }

    /// Says which publish is under way.
    ///
    /// # Errors
    /// Of the server.
    pub async fn set_publishing(&self, publishing: &Publishing) -> Result<(), TairError> {
        let key = self.keys.publishing();
        Ok(self.single.set::<(), _, _>(&key, json(&key, publishing)?, None, None, false).await?)
    }

    /// Says that none is.
    ///
    /// # Errors
    /// Of the server.
    pub async fn clear_publishing(&self) -> Result<(), TairError> {
        Ok(self.single.unlink::<(), _>(self.keys.publishing()).await?)
    }

    /// Makes `marker` the publish that readers get, if the lease is still held.
    ///
    /// # Errors
    /// [`TairError::LeaseLost`], or of the server.
    pub async fn flip(&self, lease: &Lease, marker: &Marker) -> Result<(), TairError> {
        let key = self.keys.current();
        match lease.set(&key, json(&key, marker)?).await {
            Err(error) if error.is_passing() => match self.marker().await? {
                Some(found) if found == *marker => Ok(()),
                _ => Err(error),
            },
            done => done,
        }
    }

    /// The indexes there are, by publish.
    ///
    /// # Errors
    /// Of the server, or of a record that is none.
    pub async fn indexes(&self) -> Result<BTreeMap<u64, Index>, TairError> {
        let key = self.keys.indexes();
        let mut indexes = BTreeMap::new();
        for (number, index) in self.by_publish(&key).await? {
            indexes.insert(number, parse(&key, index)?.unwrap_or_default());
        }
        Ok(indexes)
    }

    /// The publishes whose index is there whole, each with its snapshot and the version of the list of the forgotten.
    ///
    /// # Errors
    /// As [`Writer::indexes`].
    pub async fn whole_indexes(&self) -> Result<BTreeMap<u64, (String, String)>, TairError> {
        let found = self.by_publish(&self.keys.whole_indexes()).await?;
        let of = |(number, entry): (u64, Option<Bytes>)| {
            let entry = String::from_utf8_lossy(&entry.unwrap_or_default()).into_owned();
            entry.split_once(' ').map(|(snapshot, list)| (number, (snapshot.to_owned(), list.to_owned())))
        };
        Ok(found.into_iter().filter_map(of).collect())
    }

    /// What the Hash `key` holds by publish.
    async fn by_publish(&self, key: &str) -> Result<Vec<(u64, Option<Bytes>)>, TairError> {
        let publishes: Vec<String> = self.single.hkeys(key).await?;
        if publishes.is_empty() {
            return Ok(Vec::new());
        }
        let found: Vec<Option<Bytes>> = self.single.hmget(key, publishes.clone()).await?;
        let number = |(publish, found): (String, Option<Bytes>)| {
            let wrong = |_| TairError::Content {
                key: key.to_owned(),
                why: format!("`{publish}` is no publish number"),
            };
            Ok((publish.parse::<u64>().map_err(wrong)?, found))
        };
        publishes.into_iter().zip(found).map(number).collect()
    }

    /// Whether a key can be given another name, or copied: in a cluster both lie in different slots.
    #[must_use]
    pub fn moves_keys(&self) -> bool {
        !self.settings.clustered
    }

    /// Notes that the index of `publish` is there whole, as `snapshot` has it less the customers of the list of the version `forgotten`.
    ///
    /// # Errors
    /// Of the server.
    pub async fn note_whole(&self, publish: u64, snapshot: &str, forgotten: &str) -> Result<(), TairError> {
        let entry = (publish.to_string(), format!("{snapshot} {forgotten}"));
        Ok(self.single.hset::<(), _, _>(self.keys.whole_indexes(), entry).await?)
    }

    /// Notes that it is not so any more.
    ///
    /// # Errors
    /// Of the server.
    pub async fn forget_whole(&self, publish: u64) -> Result<(), TairError> {
        Ok(self.single.hdel::<(), _, _>(self.keys.whole_indexes(), publish.to_string()).await?)
    }

    /// Notes what belongs to the index of `publish`, before it is written.
    ///
    /// # Errors
    /// Of the server.
    pub async fn note_index(&self, publish: u64, index: &Index) -> Result<(), TairError> {
        let key = self.keys.indexes();
        let entry = (publish.to_string(), json(&key, index)?);
        Ok(self.single.hset::<(), _, _>(&key, entry).await?)
    }

    /// Forgets the index of `publish`, after it was removed.
    ///
    /// # Errors
    /// Of the server.
    pub async fn forget_index(&self, publish: u64) -> Result<(), TairError> {
        Ok(self.single.hdel::<(), _, _>(self.keys.indexes(), publish.to_string()).await?)
    }

    /// The version of the list of the forgotten by which everybody on it was taken out.
    ///
    /// # Errors
    /// Of the server.
    pub async fn forgotten(&self) -> Result<Option<String>, TairError> {
        Ok(self.single.get(self.keys.forgotten()).await?)
    }

    /// Notes it.
    ///
    /// # Errors
    /// Of the server.
    pub async fn set_forgotten(&self, version: &str) -> Result<(), TairError> {
        Ok(self.single.set::<(), _, _>(self.keys.forgotten(), version, None, None, false).await?)
    }

    /// Replaces what `larder:views` says, by `views` (name and description of the columns) and nothing else.
    ///
    /// # Errors
    /// Of the server.
    pub async fn set_views(&self, views: &[(String, String)]) -> Result<(), TairError> {
        let key = self.keys.views();
        let there: Vec<String> = self.single.hkeys(&key).await?;
        self.single.hset::<(), _, _>(&key, views.to_vec()).await?;
        let gone: Vec<String> =
            there.into_iter().filter(|name| views.iter().all(|view| view.0 != *name)).collect();
        if gone.is_empty() { Ok(()) } else { Ok(self.single.hdel::<(), _, _>(&key, gone).await?) }
    }

    /// Sends `batch`. A key of another type gives way.
    ///
    /// # Errors
    /// The first one; which of the others were carried out is not known.
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

    /// Sends `batch` and gives the answer to each command.
    ///
    /// # Errors
    /// Of the connection, or of a batch that was not carried out as a whole.
    pub async fn answers(&self, batch: &Batch) -> Result<Vec<Result<Reply, TairError>>, TairError> {
        self.pipelines.answers(batch).await
    }

    /// All keys of customers, handed to `each` in bounded portions and in no order; a key may come twice.
    ///
    /// # Errors
    /// Of the servers.
    pub async fn scan_customers(&self, mut each: impl FnMut(Vec<String>)) -> Result<(), TairError> {
        let pattern = self.keys.customers_pattern();
        let nodes: Vec<Option<Server>> = if self.settings.is_spread() {
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
                    .scan_page(cursor, pattern.clone(), Some(SCAN), None)
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

    /// Ends the connections.
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
