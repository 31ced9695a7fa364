//! Clients of `fred`, which serve everything but the rows of customers: records, lists, the lease, and
//! clusters.

use std::time::Duration;

use fred::{
    clients::Pool,
    error::ErrorKind,
    prelude::{Client, ClientLike, EventInterface},
    types::{
        RespVersion,
        config::{
            Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, ServerConfig, TcpConfig, TlsConfig,
            UnresponsiveConfig,
        },
    },
};
use tokio::sync::broadcast::error::RecvError;

use super::{
    Losses, TairError,
    losses::{NO_TLS, TLS_FAILED, masked, plain},
    settings::Settings,
    with_advice,
};

/// First pause before connecting in milliseconds, also before the first attempt. It doubles with each
/// attempt.
const FIRST_BACKOFF: u32 = 1;
/// Longest pause before connecting in milliseconds.
const MAX_BACKOFF: u32 = 1_000;
/// Maximum random part of each pause in milliseconds, so that replicas do not reconnect at the same time.
const JITTER: u32 = 10;
/// Number of commands that may wait for a connection.
const MAX_QUEUED: usize = 50_000;

/// Options of clients.
#[derive(Debug, Clone)]
pub(super) struct ClientOptions {
    /// Deadline of a command.
    pub(super) timeout: Duration,
    /// Number of attempts of one command.
    pub(super) attempts: u32,
    /// Number of clients of a pool.
    pub(super) clients: usize,
    /// Time after which a connection is closed if an answer is missing.
    pub(super) unresponsive: Duration,
}

/// Creates a pool whose clients reconnect forever. Counts lost connections in `losses`.
pub(super) fn pool(settings: &Settings, options: &ClientOptions, losses: &Losses) -> Result<Pool, TairError> {
    let clients = options.clients.max(1);
    let (performance, connection) = (performance(options), connection(settings, options));
    let pool = Pool::new(config(settings), Some(performance), Some(connection), Some(policy()), clients)
        .map_err(|error| TairError::Setting(error.details().to_owned()))?;
    for client in pool.clients() {
        count_losses(client, settings, losses);
    }
    pool.connect();
    Ok(pool)
}

/// Creates one client, which reconnects forever.
pub(super) fn client(settings: &Settings, options: &ClientOptions, losses: &Losses) -> Client {
    let (performance, connection) = (performance(options), connection(settings, options));
    let client = Client::new(config(settings), Some(performance), Some(connection), Some(policy()));
    count_losses(&client, settings, losses);
    client.connect();
    client
}

/// Counts lost connections of `client` in `losses`, and keeps the reasons.
fn count_losses(client: &Client, settings: &Settings, losses: &Losses) {
    let mut errors = client.error_rx();
    let (losses, password) = (losses.clone(), settings.endpoint.password.clone());
    tokio::spawn(async move {
        loop {
            match errors.recv().await {
                // A canceled command has no reason of its own.
                Ok((error, _)) if *error.kind() == ErrorKind::Canceled => losses.count_one(),
                Ok((error, server)) => {
                    losses.count_one();
                    let error = with_advice(&masked(&reason(&error), password.as_deref()));
                    losses.remember(&error);
                    if server.is_some() {
                        losses.warn_lost(&error);
                    } else {
                        tracing::debug!(error, "cannot connect to Tair");
                    }
                }
                Err(RecvError::Lagged(_)) => losses.count_one(),
                // The client was dropped.
                Err(RecvError::Closed) => return,
            }
        }
    });
}

/// Returns why a connection failed, in the server's words if `fred` replaced them.
fn reason(error: &fred::error::Error) -> String {
    match error.details() {
        _ if *error.kind() == ErrorKind::Timeout => "the server does not answer".to_owned(),
        "Invalid or missing cluster state." => {
            "CLUSTERDOWN The cluster is down: its state is not ok".to_owned()
        }
        details if details.contains("InvalidContentType") => format!("{TLS_FAILED}{NO_TLS}"),
        details if *error.kind() == ErrorKind::Tls || details.contains("InvalidCertificate") => {
            format!("{TLS_FAILED}{}", plain(details))
        }
        details => details.to_owned(),
    }
}

fn config(settings: &Settings) -> Config {
    let endpoint = &settings.endpoint;
    let server = if settings.spread {
        ServerConfig::new_clustered(vec![(endpoint.host.as_str(), endpoint.port)])
    } else {
        ServerConfig::new_centralized(endpoint.host.as_str(), endpoint.port)
    };
    Config {
        username: endpoint.user.clone(),
        password: endpoint.password.clone(),
        server,
        database: endpoint.database,
        // Proxies may not know RESP3.
        version: RespVersion::RESP2,
        // The service starts while Tair is down.
        fail_fast: false,
        tls: endpoint.tls.as_ref().map(|tls| TlsConfig::from(tls.as_ref().clone())),
        ..Config::default()
    }
}

fn performance(options: &ClientOptions) -> PerformanceConfig {
    PerformanceConfig { default_command_timeout: options.timeout, ..PerformanceConfig::default() }
}

fn connection(settings: &Settings, options: &ClientOptions) -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: settings.connect_timeout,
        internal_command_timeout: settings.connect_timeout,
        max_command_attempts: options.attempts,
        max_command_buffer_len: MAX_QUEUED,
        reconnect_on_auth_error: true,
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(options.unresponsive),
            interval: options.unresponsive / 4,
        },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    }
}

fn policy() -> ReconnectPolicy {
    ReconnectPolicy::Exponential {
        attempts: 0,
        max_attempts: 0,
        min_delay: FIRST_BACKOFF,
        max_delay: MAX_BACKOFF,
        base: 2,
        jitter: JITTER,
    }
}
