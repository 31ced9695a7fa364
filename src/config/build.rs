//! `[build]`: memory, threads and temporary files of a build.

use std::path::PathBuf;

use serde::Deserialize;

use super::units::bytes;

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
        }
    }
}
