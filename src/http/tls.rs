//! TLS by a certificate and a key in PEM files, which may be replaced while it is served.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{io, net::TcpStream};
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

/// The longest that a client may take to come to terms.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no certificate, or no key.
    #[error("{path} holds no {what} in PEM form")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The two don't go together, or are of a kind that cannot be used.
    #[error("{certificate} and {key} cannot be used")]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The certificate and key that are served with.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it.
    pub fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        let files = Files::read(config)?;
        Ok(Self { current: ArcSwap::from_pointee(files.server(config)?), config: config.clone() })
    }

    /// Looks at the files for ever, and serves with what is new in them. What is no good is complained of, and the old stays.
    pub(super) async fn watch(&self) {
        let mut known = Files::read(&self.config).ok();
        loop {
            tokio::time::sleep(LOOK).await;
            let found = Files::read(&self.config);
            if found.as_ref().is_ok_and(|found| known.as_ref() == Some(found)) {
                continue;
            }
            match found.and_then(|found| Ok((found.server(&self.config)?, found))) {
                Ok((server, found)) => {
                    tracing::info!(certificate = %self.config.certificate.display(), "serves with a new certificate");
                    self.current.store(Arc::new(server));
                    known = Some(found);
                }
                Err(error) => {
                    let source =
                        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%error, source, "cannot take the new certificate; the old one stays");
                }
            }
        }
    }

    /// Comes to terms with the client at the other end of `stream`.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(self.current.load_full()).accept(stream)).await?
    }
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source })
        };
        Ok(Self { certificate: read(&config.certificate)?, key: read(&config.key)? })
    }

    fn server(&self, config: &TlsConfig) -> Result<ServerConfig, TlsError> {
        let no = |path: &PathBuf, what| TlsError::Pem { path: path.clone(), what };
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| no(&config.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| no(&config.key, "private key"))?;
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
