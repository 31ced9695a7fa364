//! The API keys of a running service, which follow the configuration file.

use std::time::Duration;

use super::App;
use crate::{config::Config, telemetry::LogThrottle};

/// Interval between looks at the file.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

impl App {
    /// Replaces the keys whenever `[[keys]]` changes in the file of `config`, forever. If the file is
    /// unusable, logs the error and keeps the old keys. Other settings of the file do not change.
    pub async fn watch_keys(&self, config: &Config) {
        let Some(file) = &config.file else { return };
        let (mut keys, mut before) = (config.keys.clone(), String::new());
        let throttle = LogThrottle::default();
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let text = match tokio::fs::read_to_string(file).await {
                Ok(text) if text == before => continue,
                Ok(text) => text,
                Err(error) => {
                    throttle.log(&error.to_string(), |suppressed| {
                        let file = file.display();
                        tracing::error!(%file, %error, suppressed, "cannot read the API keys");
                    });
                    continue;
                }
            };
            match Config::parse(&text, &file.display().to_string(), []) {
                Ok(found) if found.keys == keys => {}
                Ok(found) if self.layers.replace_keys(&found.keys, &self.metrics) => {
                    tracing::info!(keys = found.keys.len(), "API keys reloaded");
                    keys = found.keys;
                }
                Ok(_) => tracing::error!(
                    "API keys not reloaded: the first key and the last one take effect at the next start"
                ),
                Err(error) => {
                    let source =
                        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%error, source, "API keys not reloaded; the old ones stay in use");
                }
            }
            before = text;
        }
    }
}
