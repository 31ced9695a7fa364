//! `[build]`: memory, threads and temporary files of a build.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::units::{bytes, duration};

/// Engine of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildEngine {
    /// One process does all work.
    #[default]
    Local,
    /// Workers on other machines do a part of the work.
    Cluster,
}

/// The `[build.tls]` section: mutual TLS between a build and its workers, which need it beyond loopback.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildTls {
    /// PEM file with the certificate chain of this machine, leaf first. The certificate must name the host by
    /// which workers reach the build.
    ///
    /// Required. Example: `"/etc/larder/build/cert.pem"`.
    pub certificate: PathBuf,
    /// PEM file with the private key of the certificate.
    ///
    /// Required. Example: `"/etc/larder/build/key.pem"`.
    pub key: PathBuf,
    /// PEM file with the certificate authority that signed the certificates of the build and all workers.
    ///
    /// Required. Example: `"/etc/larder/build/ca.pem"`.
    pub ca: PathBuf,
}

/// The `[build]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildConfig {
    /// Memory for sorts, joins and aggregations before they spill to disk.
    ///
    /// Default: `"1GiB"`.
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    /// Limit of the resident memory of a build, in every stage. A build above the limit is stopped, and the
    /// error names the stage. The memory is sampled, so a build may be above the limit for a moment.
    ///
    /// Default: `"3GiB"`.
    #[serde(deserialize_with = "bytes")]
    pub memory_limit: u64,
    /// Number of worker threads, also of `serve`.
    ///
    /// Default: one per core. Unit: threads. Example: `4`.
    pub threads: Option<usize>,
    /// Folder for temporary files of a build.
    ///
    /// Default: the temporary folder of the system. Example: `"/var/tmp/larder"`.
    pub staging: Option<PathBuf>,
    /// Whether checked lines are kept in `staged/` of the lake. The next build reads only new raw files then.
    ///
    /// Default: `true`.
    pub keep_staging: bool,
    /// Whether a build reads unchanged raw files, too. It compares their content with the kept staging, since
    /// size, entity tag and modification time may not tell. `larder build --verify-raw` does so once.
    ///
    /// Default: `false`.
    pub verify_raw: bool,
    /// Whether snapshots have the purchases and events of each customer. Without them, audiences have no
    /// `bought` and `did`, and there is no `/v1/customers/{id}/purchases`.
    ///
    /// Default: `true`.
    pub purchases: bool,
    /// Engine of a build: `"local"` or `"cluster"`. On a cluster, processes of `larder worker` read the raw
    /// files, derive the tables, run views, forecast the customer value and make recommendations; the
    /// snapshot is the same. A cluster needs the cargo feature `cluster`.
    ///
    /// Default: `"local"`.
    pub engine: BuildEngine,
    /// Address on which a build with the engine `"cluster"` listens for workers. Beyond loopback it needs
    /// `[build.tls]`.
    ///
    /// Default: none. Example: `"10.0.0.5:7070"`.
    pub listen: Option<String>,
    /// Number of workers that must be connected before a build begins. Later it goes on with fewer.
    ///
    /// Default: `1`. Unit: workers.
    pub workers: usize,
    /// Longest time that a build waits for workers, and a worker for a build.
    ///
    /// Default: `"5m"`.
    #[serde(deserialize_with = "duration")]
    pub worker_timeout: Duration,
    /// `[build.tls]`: mutual TLS between a build and its workers.
    pub tls: Option<BuildTls>,
}

impl Default for BuildConfig {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            memory_limit: 3 << 30,
            threads: None,
            staging: None,
            keep_staging: true,
            verify_raw: false,
            purchases: true,
            engine: BuildEngine::Local,
            listen: None,
            workers: 1,
            worker_timeout: Duration::from_mins(5),
            tls: None,
        }
    }
}
