//! Settings of the REST service that may change while it runs.

use std::time::Duration;

use crate::config::HttpConfig;

/// Values of the settings of the same names in `[http]`. Reads of a customer from memory need none of them.
#[derive(Debug)]
pub(super) struct LiveSettings {
    pub(super) timeout: Duration,
    pub(super) body_limit: u64,
    pub(super) drain: Duration,
    pub(super) drain_delay: Duration,
}

impl LiveSettings {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let HttpConfig { timeout, body_limit, drain, drain_delay, .. } = *config;
        Self { timeout, body_limit, drain, drain_delay }
    }
}
