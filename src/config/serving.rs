//! `[serving]`: memory budgets and deadlines of reads.

use std::time::Duration;

use serde::Deserialize;

use super::units::{bytes, duration};

/// The `[serving]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServingConfig {
    /// Memory for Parquet footers and decoded blocks of snapshots.
    ///
    /// Default: `"512MiB"`.
    #[serde(deserialize_with = "bytes")]
    pub cache: u64,
    /// Memory for the columns and sets that audience queries read. Entries that are used least are
    /// evicted first and are read from the snapshot again when needed.
    ///
    /// Default: `"512MiB"`.
    #[serde(deserialize_with = "bytes")]
    pub audience_memory: u64,
    /// Memory for recently read rows (the memory tier); `0` turns the memory tier off.
    ///
    /// Default: `"64MiB"`.
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    /// Memory for results of snapshot comparisons.
    ///
    /// Default: `"64MiB"`.
    #[serde(deserialize_with = "bytes")]
    pub comparisons: u64,
    /// Time to live of a row in the memory tier.
    ///
    /// Default: `"10s"`.
    #[serde(deserialize_with = "duration")]
    pub memory_ttl: Duration,
    /// Interval at which `CURRENT` and the erasure list are polled.
    ///
    /// Default: `"2s"`.
    #[serde(deserialize_with = "duration")]
    pub poll: Duration,
    /// Largest number of concurrent reads from the lake.
    ///
    /// Default: `32`. Unit: reads.
    pub lake_reads: usize,
    /// Deadline of one read from the lake.
    ///
    /// Default: `"5s"`.
    #[serde(deserialize_with = "duration")]
    pub lake_timeout: Duration,
    /// Largest number of concurrent exports.
    ///
    /// Default: `2`. Unit: exports.
    pub exports: usize,
    /// Longest time that a receiver of an export may read nothing before the export is aborted.
    ///
    /// Default: `"30s"`.
    #[serde(deserialize_with = "duration")]
    pub export_idle: Duration,
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self {
            cache: 512 << 20,
            audience_memory: 512 << 20,
            memory: 64 << 20,
            comparisons: 64 << 20,
            memory_ttl: Duration::from_secs(10),
            poll: Duration::from_secs(2),
            lake_reads: 32,
            lake_timeout: Duration::from_secs(5),
            exports: 2,
            export_idle: Duration::from_secs(30),
        }
    }
}
