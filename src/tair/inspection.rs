//! The state of the server, as far as the configured user may ask.

use std::time::{Duration, Instant};

use fred::{
    prelude::{ClientLike, KeysInterface},
    types::{Expiration, InfoKind},
};

use super::{TairError, Writer};

/// Time after which the server removes the key that the inspection writes, in seconds.
const PROBE_EXPIRY: i64 = 10;

/// State of the server.
#[derive(Debug)]
pub struct Inspection {
    /// Time of one round trip.
    pub latency: Duration,
    /// Version of the protocol's reference server that the server claims to be.
    pub version: Option<String>,
    /// Whether the server is a cluster.
    pub is_cluster: bool,
    /// Setting `maxmemory-policy`.
    pub memory_policy: Option<String>,
    /// Memory in use in bytes.
    pub used_memory: Option<u64>,
    /// Limit of the memory in bytes; 0 is no limit.
    pub memory_limit: Option<u64>,
    /// Whether the user may read.
    pub reads: Result<(), TairError>,
    /// Whether the user may write.
    pub writes: Result<(), TairError>,
}

impl Writer {
    /// Inspects the server. Writes and removes one key.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn inspect(&self) -> Result<Inspection, TairError> {
        let since = Instant::now();
        self.single.ping::<()>(None).await?;
        let latency = since.elapsed();
        let (server, memory) = (self.info(InfoKind::Server).await, self.info(InfoKind::Memory).await);
        let number = |name: &str| entry(&memory, name)?.parse().ok();
        Ok(Inspection {
            latency,
            version: entry(&server, "redis_version").map(str::to_owned),
            is_cluster: self.settings.clustered,
            memory_policy: entry(&memory, "maxmemory_policy").map(str::to_owned),
            used_memory: number("used_memory"),
            memory_limit: number("maxmemory"),
            reads: self
                .single
                .get::<Option<bytes::Bytes>, _>(self.keys.current())
                .await
                .map(drop)
                .map_err(Into::into),
            writes: self.write_probe().await,
        })
    }

    async fn write_probe(&self) -> Result<(), TairError> {
        let (key, expiry) = (self.keys.probe(), Some(Expiration::EX(PROBE_EXPIRY)));
        self.single.set::<(), _, _>(&key, "", expiry, None, false).await?;
        Ok(self.single.unlink::<(), _>(&key).await?)
    }

    /// Returns a part of the server's own description, which is empty if the user may not read it.
    async fn info(&self, kind: InfoKind) -> String {
        self.single.info(Some(kind)).await.unwrap_or_default()
    }
}

/// Returns the value of `name` in the lines of an `INFO` answer.
fn entry<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
