//! SIGHUP: settings of a running service that follow the configuration files.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    causes::with_causes,
    config::{Config, LoadedConfig, Settings, without_passwords},
    http,
    serving::Serving,
    telemetry::reload_log,
};

/// Settings that take effect without a restart. API keys and certificates are watched on their own.
const LIVE: &[&str] = &[
    "http.anonymous_rate",
    "http.body_limit",
    "http.drain",
    "http.drain_delay",
    "http.timeout",
    "keys",
    "log.level",
    "log.requests",
    "serving.lake_timeout",
];

/// Installs the handler of SIGHUP, which else ends the process.
pub(super) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// A running service whose configuration is read again.
pub(super) struct Reload {
    pub(super) app: Arc<http::App>,
    pub(super) serving: Arc<Serving>,
    /// Configuration at the start.
    pub(super) config: Config,
    /// Settings at the start.
    pub(super) settings: Settings,
}

impl Reload {
    /// Reads the configuration again on each of the signals `hangups`, forever.
    pub(super) async fn repeat(self, mut hangups: Signal) {
        let mut in_effect = self.settings.clone();
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP: looking at the configuration, API keys and certificates");
            self.app.reload();
            let main = self.config.files.main.clone();
            let load = move || Config::load_with_settings(main.as_deref(), std::env::vars());
            let Ok(loaded) = tokio::task::spawn_blocking(load).await else { continue };
            match loaded.map_err(Into::into).and_then(|found| self.apply(found, &in_effect)) {
                Ok(settings) => in_effect = settings,
                Err(error) => {
                    let error = without_passwords(&with_causes(error.as_ref()));
                    tracing::error!(error, "configuration not reloaded; the old one stays in use");
                }
            }
        }
    }

    /// Applies the settings that may change, and warns of the others. Returns the settings if they are valid,
    /// and else changes nothing.
    fn apply(&self, found: LoadedConfig, in_effect: &Settings) -> anyhow::Result<Settings> {
        let LoadedConfig { config, settings } = found;
        let is_live = |setting: &String| LIVE.contains(&setting.as_str());
        let changed: Vec<String> = settings.differences(in_effect).into_iter().filter(is_live).collect();
        // First, since only this can fail. `larder demo` has a level of its own, which stays unless changed.
        if changed.iter().any(|setting| setting.starts_with("log.")) {
            reload_log(&config.log)?;
        }
        self.app.apply(&config.http);
        self.serving.set_lake_timeout(config.serving.lake_timeout);
        tracing::info!(changed = changed.join(", "), "configuration reloaded");
        // The others are compared with the start, so that each reload names all that wait for a restart.
        for setting in settings.differences(&self.settings).iter().filter(|setting| !is_live(setting)) {
            tracing::warn!(setting, "setting changed; restart to apply");
        }
        Ok(settings)
    }
}
