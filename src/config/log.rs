//! `[log]`: format, level and audit file of the log.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error};

/// The `[log]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Format of log lines: `text`, `json`, or `ecs` for JSON with the names of the Elastic Common Schema.
    ///
    /// Default: `"text"`.
    pub format: LogFormat,
    /// Level (`error`, `warn`, `info`, `debug`, `trace`) or a filter such as `info,larder=debug`.
    ///
    /// Default: `"info"`.
    pub level: String,
    /// File for the audit log, which records the callers that read personal data.
    ///
    /// Default: the log itself. Example: `"/var/log/larder/audit.log"`.
    pub audit: Option<PathBuf>,
    /// Share of the requests that are logged, 0 to 1. Requests that are answered with 400 or more are always
    /// logged, and so is every read of personal data.
    ///
    /// Default: `1`. Unit: share. Example: `0.01`.
    #[serde(deserialize_with = "share")]
    pub requests: f64,
}

/// Reads a share.
fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(from)?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err(D::Error::custom("expected a number from 0 to 1"))
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for reading in a terminal.
    Text,
    /// One JSON object per line.
    Json,
    /// One JSON object per line, with the field names of the Elastic Common Schema.
    Ecs,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned(), audit: None, requests: 1.0 }
    }
}
