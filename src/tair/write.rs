//! The publisher's side: pipelines of bounded size, patience, and the records that say how far a publish is.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use fred::{
    clients::{Pipeline, Pool},
    prelude::{Client, ClientLike, ClusterInterface, HashesInterface, KeysInterface, Value},
    types::{ClusterHash, CustomCommand, config::Server},
};
use futures::future::join_all;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Keys, Lease, Losses, TairError,
    codec::{Index, Marker, Publishing},
    connect::{Manner, Settings},
    read::parse,
};
use crate::config::TairConfig;

/// How long a publisher waits for its first connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The deadline of one pipeline.
const TIMEOUT: Duration = Duration::from_secs(10);
const CLIENTS: usize = 2;
/// Keys of one step of a scan.
const SCAN: u32 = 1_000;

/// One command of a pipeline; the first argument is its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The command's name.
    pub command: &'static str,
    /// The key and what follows it.
    pub args: Vec<Bytes>,
}

impl Write {
    /// The command that removes `key`.
    #[must_use]
    pub fn remove(key: String) -> Self {
        Self { command: "UNLINK", args: vec![key.into()] }
    }
}

/// The answer to one command.
#[derive(Debug, Clone)]
pub struct Reply(Value);

impl Reply {
    /// The number that it is.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.0.as_u64()
    }

    /// The texts of the list that it is.
    #[must_use]
    pub fn texts(self) -> Vec<Option<Bytes>> {
        self.0.into_array().into_iter().map(Value::into_bytes).collect()
    }
}

/// Writes into Tair.
#[derive(Debug)]
pub struct Writer {
    keys: Keys,
    settings: Settings,
    pool: Pool,
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
        let manner = Manner { timeout: TIMEOUT, attempts: 2, clients: CLIENTS, unresponsive: TIMEOUT };
        let losses = Losses::default();
        let pool = settings.pool(&manner, &losses)?;
        // No second try: what was sent must not be sent again on another connection.
        let single = settings.client(&Manner { attempts: 1, clients: 1, ..manner }, &losses);
        let connected = async {
            pool.wait_for_connect().await?;
            single.wait_for_connect().await
        };
        match tokio::time::timeout(CONNECT, connected).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(TairError::Unreachable(format!("no connection within {} s", CONNECT.as_secs()))),
        }
        let keys = Keys::new(&config.namespace);
        Ok(Self { keys, settings, pool, single, losses, lease: config.lease })
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
        let publishes: Vec<String> = self.single.hkeys(&key).await?;
        let mut indexes = BTreeMap::new();
        if publishes.is_empty() {
            return Ok(indexes);
        }
        let found: Vec<Option<Bytes>> = self.single.hmget(&key, publishes.clone()).await?;
        for (publish, index) in publishes.into_iter().zip(found) {
            let wrong = || TairError::Content { key: key.clone(), why: format!("`{publish}` is no publish number") };
            let number = publish.parse().map_err(|_| wrong())?;
            indexes.insert(number, parse(&key, index)?.unwrap_or_default());
        }
        Ok(indexes)
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
        let gone: Vec<String> = there.into_iter().filter(|name| views.iter().all(|view| view.0 != *name)).collect();
        if gone.is_empty() { Ok(()) } else { Ok(self.single.hdel::<(), _, _>(&key, gone).await?) }
    }

    /// Sends `writes` as one pipeline. A key of another type gives way.
    ///
    /// # Errors
    /// The first one; which of the others were carried out is not known.
    pub async fn send(&self, writes: &[Write]) -> Result<(), TairError> {
        let mut gone = Vec::new();
        for (write, answer) in writes.iter().zip(self.pipeline(writes).await?) {
            match answer {
                Ok(_) => {}
                Err(error) if error.is_wrong_type() => {
                    gone.push(Write { command: "UNLINK", args: write.args[..1].to_vec() });
                    gone.push(write.clone());
                }
                Err(error) => return Err(error),
            }
        }
        if !gone.is_empty() {
            self.pipeline(&gone).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Ok(())
    }

    /// Sends `commands` as one pipeline and gives the answer to each.
    ///
    /// # Errors
    /// Of the connection, or of a pipeline that was not carried out as a whole.
    pub async fn pipeline(&self, commands: &[Write]) -> Result<Vec<Result<Reply, TairError>>, TairError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = Pipeline::from(self.pool.next_connected().clone());
        for write in commands {
            let command = CustomCommand::new_static(write.command, ClusterHash::FirstKey, false);
            // Only queued here.
            let _: Value = pipeline.custom(command, write.args.clone()).await?;
        }
        let answers = pipeline.try_all::<Value>().await;
        match (
            answers.len() == commands.len(),
            answers.into_iter().map(|answer| answer.map(Reply).map_err(TairError::from)),
        ) {
            (true, answers) => Ok(answers.collect()),
            (false, mut answers) => match answers.next() {
                Some(Err(error)) => Err(error),
                _ => Err(TairError::Unreachable("answers are missing".to_owned())),
            },
        }
    }

    /// All keys of customers, handed to `each` in bounded portions and in no order; a key may come twice.
    ///
    /// # Errors
    /// Of the servers.
    pub async fn scan_customers(&self, mut each: impl FnMut(Vec<String>)) -> Result<(), TairError> {
        let pattern = self.keys.customers_pattern();
        let nodes: Vec<Option<Server>> = if self.settings.clustered {
            let state = self.single.cached_cluster_state();
            state.iter().flat_map(fred::types::cluster::ClusterRouting::unique_primary_nodes).map(Some).collect()
        } else {
            vec![None]
        };
        let scans = nodes.iter().map(|node| async {
            let options = fred::types::config::Options { cluster_node: node.clone(), ..Default::default() };
            let client = self.single.with_options(&options);
            let (mut cursor, mut pages) = ("0".to_owned(), Vec::new());
            loop {
                let page: (String, Vec<String>) =
                    client.scan_page(cursor, pattern.clone(), Some(SCAN), None).await.map_err(TairError::from)?;
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
        let _ = self.pool.quit().await;
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
    serde_json::to_string(value).map_err(|error| TairError::Content { key: key.to_owned(), why: error.to_string() })
}
