//! Requests that send a body to one URL over HTTP or HTTPS: to a collector of traces, to a Pushgateway.

use std::{io, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use url::{Position, Url};

/// Largest part of an answer that is read, in bytes.
const ANSWER: usize = 4 << 10;

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// The connection failed.
    #[error("{}", with_cause(.0))]
    Exchange(#[from] hyper::Error),
    /// A header is malformed.
    #[error("the request cannot be sent: {0}")]
    Request(#[from] hyper::http::Error),
    /// No answer in time.
    #[error("no answer in {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The answer is a failure.
    #[error("the answer is {status}: {text}")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// Start of the answer.
        text: String,
    },
}

fn with_cause(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Client of one URL, which keeps its connection.
#[derive(Debug)]
pub struct PostClient {
    url: Url,
    headers: Vec<(String, String)>,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
}

/// A connection; it is closed when dropped.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PostClient {
    /// Creates a client that sends `headers` with each request. Trusts the certificates that the system does.
    pub fn new<'a>(url: &Url, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let tls = if url.scheme() == "https" { tls_config() } else { None };
        Self { url: url.clone(), headers, tls, connection: None }
    }

    /// Sends `body` with `method`, and waits at most `timeout` for the answer.
    ///
    /// # Errors
    /// [`PostError`].
    pub async fn send(&mut self, method: Method, body: Bytes, timeout: Duration) -> Result<(), PostError> {
        let sent = tokio::time::timeout(timeout, self.exchange(method, body)).await;
        let sent = sent.unwrap_or(Err(PostError::Timeout(timeout)));
        if sent.is_err() {
            self.connection = None;
        }
        sent
    }

    async fn exchange(&mut self, method: Method, body: Bytes) -> Result<(), PostError> {
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.sender.is_closed() => kept,
            _ => self.connect().await?,
        };
        connection.sender.ready().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(&self.url[Position::BeforePath..Position::AfterQuery])
            .header(header::HOST, &self.url[Position::BeforeHost..Position::AfterPort]);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = connection.sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER).collect().await;
        if !status.is_success() {
            let answer = answer.map(Collected::to_bytes).unwrap_or_default();
            let text = String::from_utf8_lossy(&answer).trim().to_owned();
            return Err(PostError::Refused { status: status.as_u16(), text });
        }
        if answer.is_ok() {
            self.connection = Some(connection);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, PostError> {
        let host = self.url.host_str().unwrap_or_default();
        // Brackets enclose an IPv6 address.
        let host = host.trim_matches(['[', ']']).to_owned();
        let stream =
            TcpStream::connect((host.as_str(), self.url.port_or_known_default().unwrap_or(80))).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                handshake(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?).await
            }
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Connection, PostError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(async move {
        // The request in flight gets the error.
        let _ = connection.await;
    });
    Ok(Connection { sender, task })
}

/// Returns settings that trust the certificates of the system.
fn tls_config() -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    // The versions are those of the provider.
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
