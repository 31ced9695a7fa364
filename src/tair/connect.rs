//! From settings to connected clients.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fred::{
    clients::Pool,
    error::ErrorKind,
    prelude::{Client, ClientLike, EventInterface},
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject},
    },
    types::{
        RespVersion,
        config::{
            ClusterDiscoveryPolicy, Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy,
            ServerConfig, TcpConfig, TlsConfig, UnresponsiveConfig,
        },
    },
};
use url::Url;

use super::{Losses, TairError, losses::masked, probe, with_advice};
use crate::config::TairConfig;

/// The first pause before connecting, in milliseconds, which `fred` waits for the first time too; it doubles up to the second.
const FIRST_PAUSE: u32 = 1;
const LONGEST_PAUSE: u32 = 1_000;
/// What is added to each pause at most, so that not all replicas come at once.
const JITTER: u32 = 10;
/// Commands that may wait for a connection before more are refused.
const QUEUE: usize = 50_000;

/// How a pool of clients is to behave.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// The deadline of a command.
    pub(super) timeout: Duration,
    /// Tries of one command.
    pub(super) attempts: u32,
    pub(super) clients: usize,
    /// How long the server may owe an answer.
    pub(super) unresponsive: Duration,
}

/// What the settings say, checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    config: Config,
    /// Host and port, for messages.
    pub(super) server: String,
    pub(super) connect_timeout: Duration,
    /// Whether keys lie in slots, even if all of them are on one server.
    pub(super) clustered: bool,
    /// Where the server is, or the one that is asked for the others first.
    pub(super) address: Address,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// A server, and how to introduce oneself.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: Option<u8>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Settings {
    pub(super) fn new(config: &TairConfig) -> Result<Self, TairError> {
        let wrong = |why: &str| TairError::Setting(why.to_owned());
        // What is wrong with a URL is told without the URL: it holds a password.
        let url = Url::parse(&config.url)
            .map_err(|error| TairError::Setting(format!("`url` is no URL: {error}")))?;
        let (clustered, tls) = match url.scheme() {
            "redis" => (false, false),
            "rediss" => (false, true),
            "redis-cluster" => (true, false),
            "rediss-cluster" => (true, true),
            _ => {
                return Err(wrong(
                    "`url` must begin with redis://, rediss://, redis-cluster:// or rediss-cluster://",
                ));
            }
        };
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("`url` names no host"))?;
        let port = url.port().unwrap_or(6379);
        let server = if clustered {
            ServerConfig::new_clustered(vec![(host, port)])
        } else {
            ServerConfig::new_centralized(host, port)
        };
        let decoded = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            Some(text).filter(|text| !text.is_empty())
        };
        let database = match url.path().trim_matches('/') {
            "" => None,
            number => Some(
                number.parse().map_err(|_| wrong("the path of `url` must be the number of a database"))?,
            ),
        };
        if config.namespace.is_empty() || config.namespace.contains(['{', '}']) {
            return Err(wrong("`namespace` must not be empty nor hold braces"));
        }
        let tls = if tls { Some(Arc::new(tls_config(config.ca_file.as_ref())?)) } else { None };
        let config_ = Config {
            username: decoded(url.username()),
            password: url.password().and_then(decoded),
            server,
            database,
            // The second version is the one that every proxy understands.
            version: RespVersion::RESP2,
            // The service starts while Tair is down.
            fail_fast: false,
            tls: tls.as_ref().map(|tls| TlsConfig::from(tls.as_ref().clone())),
            ..Config::default()
        };
        let address = Address {
            // An IPv6 address stands in brackets in a URL.
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            user: config_.username.clone(),
            password: config_.password.clone(),
            // A cluster has only one.
            database: database.filter(|_| !clustered),
        };
        let (server, connect_timeout) = (format!("{host}:{port}"), config.connect_timeout);
        Ok(Self { config: config_, server, connect_timeout, clustered, address, tls })
    }

    /// Where the one server is that is spoken to without TLS, if it is so.
    pub(super) fn plain(&self) -> Option<&Address> {
        Some(&self.address).filter(|_| !self.clustered && self.tls.is_none())
    }

    /// Whether keys may lie on several servers.
    pub(super) fn is_spread(&self) -> bool {
        self.config.server.is_clustered()
    }

    /// The same, for a cluster as it turns out to be; nothing where it does not say.
    pub(super) async fn look(&self) -> Option<Self> {
        if !self.clustered {
            return Some(self.clone());
        }
        let lone = probe::is_lone(self).await?;
        let host = self.config.server.hosts().into_iter().next()?;
        let server = if lone {
            ServerConfig::Centralized { server: host }
        } else {
            ServerConfig::Clustered { hosts: vec![host], policy: ClusterDiscoveryPolicy::default() }
        };
        let config = Config { server, database: None, ..self.config.clone() };
        Some(Self { config, ..self.clone() })
    }

    /// A pool whose clients connect from now on, and for ever again. What breaks is noted in `losses`.
    pub(super) fn pool(&self, manner: &Manner, losses: &Losses) -> Result<Pool, TairError> {
        let (performance, connection, policy) = self.parts(manner);
        let pool = Pool::new(
            self.config.clone(),
            Some(performance),
            Some(connection),
            Some(policy),
            manner.clients.max(1),
        )
        .map_err(|error| TairError::Setting(error.details().to_owned()))?;
        for client in pool.clients() {
            self.note_losses(client, losses);
        }
        pool.connect();
        Ok(pool)
    }

    /// One client, connecting from now on.
    pub(super) fn client(&self, manner: &Manner, losses: &Losses) -> Client {
        let (performance, connection, policy) = self.parts(manner);
        let client = Client::new(self.config.clone(), Some(performance), Some(connection), Some(policy));
        self.note_losses(&client, losses);
        client.connect();
        client
    }

    /// Notes in `losses` what breaks, and what was said then.
    fn note_losses(&self, client: &Client, losses: &Losses) {
        use tokio::sync::broadcast::error::RecvError;
        let (mut errors, losses, password) =
            (client.error_rx(), losses.clone(), self.config.password.clone());
        tokio::spawn(async move {
            loop {
                match errors.recv().await {
                    // It tells of the others that wait, and not why.
                    Ok((error, _)) if *error.kind() == ErrorKind::Canceled => losses.count_one(),
                    Ok((error, server)) => {
                        losses.count_one();
                        let why = with_advice(&masked(reason(&error), password.as_deref()));
                        losses.remember(&why);
                        if server.is_some() {
                            losses.warn_lost(&why);
                        } else {
                            tracing::debug!(why, "cannot connect to Tair");
                        }
                    }
                    Err(RecvError::Lagged(_)) => losses.count_one(),
                    // Ends with the client.
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    fn parts(&self, manner: &Manner) -> (PerformanceConfig, ConnectionConfig, ReconnectPolicy) {
        let performance =
            PerformanceConfig { default_command_timeout: manner.timeout, ..PerformanceConfig::default() };
        let connection = ConnectionConfig {
            connection_timeout: self.connect_timeout,
            internal_command_timeout: self.connect_timeout,
            max_command_attempts: manner.attempts,
            max_command_buffer_len: QUEUE,
            reconnect_on_auth_error: true,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(manner.unresponsive),
                interval: manner.unresponsive / 4,
            },
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let policy = ReconnectPolicy::Exponential {
            attempts: 0,
            max_attempts: 0,
            min_delay: FIRST_PAUSE,
            max_delay: LONGEST_PAUSE,
            base: 2,
            jitter: JITTER,
        };
        (performance, connection, policy)
    }
}

/// Why a connection failed, in the server's words where `fred` has others for them.
fn reason(error: &fred::error::Error) -> &str {
    match error.details() {
        _ if *error.kind() == ErrorKind::Timeout => "the server does not answer",
        "Invalid or missing cluster state." => "CLUSTERDOWN The cluster is down: its state is not ok",
        details if details.contains("InvalidContentType") => "the server does not speak TLS",
        details => details,
    }
}

fn tls_config(ca_file: Option<&PathBuf>) -> Result<ClientConfig, TairError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let failed = |error: &dyn std::fmt::Display| {
                TairError::Setting(format!("`ca_file` {} cannot be read: {error}", file.display()))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
                roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(fred::rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(TairError::Setting(
            "there is no certificate to trust; `ca_file` may name one".to_owned(),
        ));
    }
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| TairError::Setting(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_told_without_its_secret() {
        for url in ["rediss//x", "http://user:secret@host", "redis://", "redis://user:secret@host/x"] {
            let error = Settings::new(&TairConfig { url: url.to_owned(), ..TairConfig::default() });
            let text = error.expect_err(url).to_string();
            assert!(!text.contains("secret"), "{text}");
        }
        let url = "redis://user:p%40ss+=w@host:1/2".to_owned();
        let settings = Settings::new(&TairConfig { url, ..TairConfig::default() }).expect("valid");
        assert_eq!(settings.config.password.as_deref(), Some("p@ss+=w"));
        assert_eq!(settings.config.database, Some(2));
    }
}
