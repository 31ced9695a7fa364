//! `[log]`: format, level and audit file of the log.

use std::path::PathBuf;

use serde::Deserialize;

/// The `[log]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Format of log lines.
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
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for reading in a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned(), audit: None }
    }
}
