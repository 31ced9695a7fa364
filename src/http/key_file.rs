//! The API keys of a running service, which follow the configuration files.

use std::time::Duration;

use super::App;
use crate::{
    config::{Config, ConfigError},
    telemetry::LogThrottle,
};

/// Interval between looks at the files, unless [`App::reload`] asks for one.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

impl App {
    /// Replaces the keys whenever `[[keys]]` changes in the files of `config`, forever. If a file is
    /// unusable, logs the error and keeps the old keys. Other settings of the files wait for SIGHUP.
    pub async fn watch_keys(&self, config: &Config) {
        if config.files.is_empty() {
            return;
        }
        let (mut keys, mut before) = (config.keys.clone(), Vec::new());
        let throttle = LogThrottle::default();
        loop {
            let _ = tokio::time::timeout(RELOAD_INTERVAL, self.reload.notified()).await;
            let files = config.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || files.read()).await else { continue };
            let texts = match read {
                Ok(texts) if texts == before => continue,
                Ok(texts) => texts,
                Err(error) => {
                    before.clear();
                    throttle.log(&error.to_string(), |suppressed| log_unusable(&error, suppressed));
                    continue;
                }
            };
            match Config::keys_in(&texts) {
                Ok(found) if found == keys => {}
                Ok(found) if self.layers.replace_keys(&found, &self.metrics) => {
                    tracing::info!(keys = found.len(), "API keys reloaded");
                    keys = found;
                }
                Ok(_) => tracing::error!(
                    "API keys not reloaded: the first key and the last one take effect at the next start"
                ),
                Err(error) => log_unusable(&error, None),
            }
            before = texts;
        }
    }
}

/// Logs that the files are unusable.
fn log_unusable(error: &ConfigError, suppressed: Option<u64>) {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, source, suppressed, "API keys not reloaded; the old ones stay in use");
}
