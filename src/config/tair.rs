//! `[tair]`: the online store.

use std::{fmt, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{passwords::shown_url, units::duration};

/// The `[tair]` section.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TairConfig {
    /// URL of Tair or Redis, with user, password, host and port. The scheme is `redis://`, `rediss://` (TLS),
    /// `redis-cluster://` or `rediss-cluster://`.
    ///
    /// Default: `"redis://127.0.0.1:6379"`.
    pub url: String,
    /// File with the password, for example a mounted secret. The URL then has none. The file is read when a
    /// process connects; a line break at the end is not part of the password.
    ///
    /// Default: the password in `url`. Example: `"/run/secrets/tair"`.
    pub password_file: Option<PathBuf>,
    /// Prefix of every key in Tair; each lake needs its own.
    ///
    /// Default: `"larder"`.
    pub namespace: String,
    /// Number of connections to each server.
    ///
    /// Default: `2`. Unit: connections.
    pub pool: usize,
    /// Deadline of a read. A batch has this much time for every 100 customers. A slower read falls back to
    /// the snapshot.
    ///
    /// Default: `"50ms"`.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Deadline of a connection attempt.
    ///
    /// Default: `"1s"`.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// Longest time without an answer before a connection is closed as unresponsive.
    ///
    /// Default: `"1500ms"`.
    #[serde(deserialize_with = "duration")]
    pub unresponsive: Duration,
    /// PEM file with the CA certificates to trust, as the Tair console offers for download.
    ///
    /// Default: the CA certificates of the system. Example: `"/etc/larder/tair-ca.pem"`.
    pub ca_file: Option<PathBuf>,
    /// Number of consecutive failed reads that open the circuit breaker.
    ///
    /// Default: `5`. Unit: reads.
    pub breaker_failures: u32,
    /// Time that the circuit breaker stays open. Meanwhile all reads go to the snapshot.
    ///
    /// Default: `"500ms"`.
    #[serde(deserialize_with = "duration")]
    pub breaker_pause: Duration,
    /// Time that a publisher may write to Tair without renewing its lease.
    ///
    /// Default: `"15s"`.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
}

impl Default for TairConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            password_file: None,
            namespace: "larder".to_owned(),
            pool: 2,
            timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            unresponsive: Duration::from_millis(1_500),
            ca_file: None,
            breaker_failures: 5,
            breaker_pause: Duration::from_millis(500),
            lease: Duration::from_secs(15),
        }
    }
}

impl fmt::Debug for TairConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TairConfig")
            .field("url", &shown_url(&self.url))
            .field("password_file", &self.password_file)
            .field("namespace", &self.namespace)
            .field("pool", &self.pool)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("unresponsive", &self.unresponsive)
            .field("ca_file", &self.ca_file)
            .field("breaker_failures", &self.breaker_failures)
            .field("breaker_pause", &self.breaker_pause)
            .field("lease", &self.lease)
            .finish()
    }
}
