//! TLS with a certificate and a key in PEM files, which are reloaded when they change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{io, net::TcpStream, sync::Notify};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

use crate::config::TlsConfig;

/// Time limit of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval between checks of the files.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// The reason why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file has no certificate, or no key.
    #[error("{path} has no {what} in PEM format")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The missing item.
        what: &'static str,
    },
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("{certificate} and {key} cannot be used")]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
}

/// The current certificate and key.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// Names the file and the mistake in it.
    pub fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        let files = PemFiles::read(config)?;
        Ok(Self { current: ArcSwap::from_pointee(files.server(config)?), config: config.clone() })
    }

    /// Reloads the files when they change, forever; `reload` asks for a look at the files. If the new files
    /// are unusable, logs the error and keeps the old ones.
    pub(super) async fn watch(&self, reload: &Notify) {
        let mut known = PemFiles::read(&self.config).ok();
        loop {
            let _ = tokio::time::timeout(RELOAD_INTERVAL, reload.notified()).await;
            let found = PemFiles::read(&self.config);
            if found.as_ref().is_ok_and(|found| known.as_ref() == Some(found)) {
                continue;
            }
            match found.and_then(|found| Ok((found.server(&self.config)?, found))) {
                Ok((server, found)) => {
                    let certificate = self.config.certificate.display();
                    tracing::info!(%certificate, "TLS certificate reloaded");
                    self.current.store(Arc::new(server));
                    known = Some(found);
                }
                Err(error) => {
                    let source =
                        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%error, source, "TLS certificate not reloaded; the old one stays in use");
                }
            }
        }
    }

    /// Performs the TLS handshake with the client of `stream`.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(self.current.load_full()).accept(stream))
            .await?
    }
}

/// The content of the two files.
#[derive(PartialEq, Eq)]
struct PemFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl PemFiles {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source })
        };
        Ok(Self { certificate: read(&config.certificate)?, key: read(&config.key)? })
    }

    fn server(&self, config: &TlsConfig) -> Result<ServerConfig, TlsError> {
        let missing = |path: &PathBuf, what| TlsError::Pem { path: path.clone(), what };
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = match chain {
            Ok(chain) if !chain.is_empty() => chain,
            _ => return Err(missing(&config.certificate, "certificate")),
        };
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| missing(&config.key, "private key"))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let server = builder.with_safe_default_protocol_versions();
        let server = server.and_then(|server| server.with_no_client_auth().with_single_cert(chain, key));
        let mut server = server.map_err(|source| TlsError::Unusable {
            certificate: config.certificate.clone(),
            key: config.key.clone(),
            source,
        })?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(server)
    }
}
