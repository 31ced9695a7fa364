//! Validated settings of a Tair connection: the endpoint, TLS, and whether the server is a cluster.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fred::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use url::Url;

use super::{TairError, endpoint::Endpoint, single_node};
use crate::config::TairConfig;

/// Default port of Redis.
const PORT: u16 = 6379;

/// Validated settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The server, or the cluster node that is asked for the other nodes first.
    pub(super) endpoint: Endpoint,
    pub(super) connect_timeout: Duration,
    /// Whether the URL is that of a cluster, so that keys of one command must be in one slot.
    pub(super) clustered: bool,
    /// Whether keys may be on several servers. A cluster of one node is used like a single server.
    pub(super) spread: bool,
}

impl Settings {
    /// Validates `config`. Errors do not quote the URL, since it may hold a password.
    pub(super) fn new(config: &TairConfig) -> Result<Self, TairError> {
        let invalid = |why: &str| TairError::Setting(why.to_owned());
        let url = Url::parse(&config.url)
            .map_err(|error| TairError::Setting(format!("`url` is not a URL: {error}")))?;
        let (clustered, encrypted) = match url.scheme() {
            "redis" => (false, false),
            "rediss" => (false, true),
            "redis-cluster" => (true, false),
            "rediss-cluster" => (true, true),
            _ => {
                return Err(invalid(
                    "`url` must begin with redis://, rediss://, redis-cluster:// or rediss-cluster://",
                ));
            }
        };
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() {
            return Err(invalid("`url` has no host"));
        }
        let decode = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            if text.is_empty() { None } else { Some(text) }
        };
        let database = match url.path().trim_matches('/') {
            "" => None,
            text => {
                let number = text.parse();
                Some(number.map_err(|_| invalid("the path of `url` must be the number of a database"))?)
            }
        };
        if config.namespace.is_empty() || config.namespace.contains(['{', '}']) {
            return Err(invalid("`namespace` must not be empty or contain braces"));
        }
        let password = password(config, url.password().and_then(decode))?;
        let tls = if encrypted { Some(Arc::new(tls_config(config.ca_file.as_ref())?)) } else { None };
        let endpoint = Endpoint {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(PORT),
            tls,
            user: decode(url.username()),
            password,
            // A cluster has only one database.
            database: if clustered { None } else { database },
        };
        Ok(Self { endpoint, connect_timeout: config.connect_timeout, clustered, spread: clustered })
    }

    /// Returns the settings for a cluster as it turns out to be: of one node or of several. Returns `None` if
    /// the cluster does not answer.
    pub(super) async fn look(&self) -> Option<Self> {
        if !self.clustered {
            return Some(self.clone());
        }
        let is_single = single_node::is_single(&self.endpoint, self.connect_timeout).await?;
        Some(Self { spread: !is_single, ..self.clone() })
    }
}

/// Returns the password of the URL, or reads the password file.
fn password(config: &TairConfig, in_url: Option<String>) -> Result<Option<String>, TairError> {
    let Some(file) = &config.password_file else { return Ok(in_url) };
    if in_url.is_some() {
        return Err(TairError::Setting("`url` has a password, and there is a `password_file`".to_owned()));
    }
    let failed =
        |why: String| TairError::Setting(format!("cannot read `password_file` {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failed("the file is empty".to_owned())),
        password => Ok(Some(password.to_owned())),
    }
}

/// Creates the TLS configuration that trusts the certificates of `ca_file`, or those of the system.
fn tls_config(ca_file: Option<&PathBuf>) -> Result<ClientConfig, TairError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let failed = |error: &dyn std::fmt::Display| {
                TairError::Setting(format!("cannot read `ca_file` {}: {error}", file.display()))
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
        return Err(TairError::Setting("no trusted certificates; set `ca_file`".to_owned()));
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
    fn invalid_url_error_hides_password() {
        for url in ["rediss//x", "http://user:secret@host", "redis://", "redis://user:secret@host/x"] {
            let error = Settings::new(&TairConfig { url: url.to_owned(), ..TairConfig::default() });
            let text = error.expect_err(url).to_string();
            assert!(!text.contains("secret"), "{text}");
        }
        let url = "redis://user:p%40ss+=w@host:1/2".to_owned();
        let settings = Settings::new(&TairConfig { url, ..TairConfig::default() }).expect("valid");
        assert_eq!(settings.endpoint.password.as_deref(), Some("p@ss+=w"));
        assert_eq!(settings.endpoint.database, Some(2));
    }

    #[test]
    fn password_comes_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        let config = |url: &str| TairConfig {
            url: url.to_owned(),
            password_file: Some(file.clone()),
            ..TairConfig::default()
        };
        let failed = |url: &str| Settings::new(&config(url)).expect_err(url).to_string();
        assert!(failed("redis://user@host").contains("password_file"));
        std::fs::write(&file, "\n").expect("written");
        assert!(failed("redis://user@host").contains("empty"));
        std::fs::write(&file, "p@ss w\r\n").expect("written");
        let settings = Settings::new(&config("redis://user@host")).expect("valid");
        assert_eq!(settings.endpoint.password.as_deref(), Some("p@ss w"));
        assert!(failed("redis://user:secret@host").contains("has a password"));
    }
}
