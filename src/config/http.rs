//! `[http]`

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use super::{bytes, duration};

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; default `127.0.0.1:8080`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Lets requests without a key have the scopes `features` and `metrics`, and no other; default false. Without it, a service that has
    /// keys wants one, and a service that has none listens on loopback only, where everything is allowed.
    pub anonymous: bool,
    /// How long a request may take; default `10s`.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// The largest request body; default `1MiB`.
    #[serde(deserialize_with = "bytes")]
    pub body_limit: u64,
    /// How long open requests may go on after a stop signal; default `20s`.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// How long `/readyz` says no before connections are no longer accepted; default `0s`.
    #[serde(deserialize_with = "duration")]
    pub drain_delay: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            anonymous: false,
            timeout: Duration::from_secs(10),
            body_limit: 1 << 20,
            drain: Duration::from_secs(20),
            drain_delay: Duration::ZERO,
        }
    }
}
