//! Opening of a connection: TCP, TLS where the URL asks for it, authentication, and the choice of the
//! database.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use fred::rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::resp::{self, RawReply};
use crate::tair::{
    endpoint::Endpoint,
    losses::{NO_TLS, TLS_FAILED, masked},
};

/// Stream to a server, encrypted or not.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Reason why a connection could not be opened.
#[derive(Debug)]
pub(in crate::tair) enum ConnectError {
    /// The server rejects this client: its credentials, or the server's certificate is not trusted.
    Rejected(String),
    /// The server cannot be reached or does not answer.
    Failed(String),
}

impl From<std::io::Error> for ConnectError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Opens a connection within `timeout` and checks that the server answers.
pub(super) async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Stream, ConnectError> {
    let connecting = async {
        let mut stream = open(endpoint).await?;
        // An unresponsive server still accepts connections, so the handshake waits for a reply.
        match greet(&mut stream, endpoint, &[b"PING"]).await? {
            Err(error) if is_rejection(&error) => Err(ConnectError::Rejected(error)),
            // A user who may not run PING has shown that the server answers.
            _ => Ok(stream),
        }
    };
    let timed_out = || ConnectError::Failed("the server does not answer".to_owned());
    tokio::time::timeout(timeout, connecting).await.unwrap_or_else(|_| Err(timed_out()))
}

/// Opens a connection and returns the answer to `command`: its text, or the error answer.
pub(in crate::tair) async fn ask_once(
    endpoint: &Endpoint,
    command: &[&[u8]],
) -> Result<Result<Vec<u8>, String>, ConnectError> {
    let mut stream = open(endpoint).await?;
    greet(&mut stream, endpoint, command).await
}

/// Opens a TCP connection, encrypted if the endpoint has TLS.
async fn open(endpoint: &Endpoint) -> Result<Stream, ConnectError> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = &endpoint.tls else { return Ok(Stream::Plain(stream)) };
    let rejected = |error: &dyn std::fmt::Display| ConnectError::Rejected(format!("{TLS_FAILED}{error}"));
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| rejected(&error))?;
    match TlsConnector::from(Arc::clone(tls)).connect(name, stream).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error) if error.to_string().contains("InvalidContentType") => Err(rejected(&NO_TLS)),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(rejected(&error)),
        Err(error) => Err(ConnectError::Failed(format!("{TLS_FAILED}{error}"))),
    }
}

/// Authenticates, selects the database, and runs `command`. Returns the text that answers it, or the error
/// answer.
async fn greet(
    stream: &mut Stream,
    endpoint: &Endpoint,
    command: &[&[u8]],
) -> Result<Result<Vec<u8>, String>, ConnectError> {
    let mut commands: Vec<Vec<&[u8]>> = Vec::new();
    if let Some(password) = &endpoint.password {
        let user = endpoint.user.as_ref().map(String::as_bytes);
        commands.push([b"AUTH".as_slice()].into_iter().chain(user).chain([password.as_bytes()]).collect());
    }
    let database = endpoint.database.map(|number| number.to_string());
    if let Some(number) = &database {
        commands.push(vec![b"SELECT", number.as_bytes()]);
    }
    let before = commands.len();
    commands.push(command.to_vec());
    let mut out = Vec::new();
    for command in &commands {
        resp::command(command, &mut out);
    }
    let write = async {
        stream.write_all(&out).await?;
        stream.flush().await
    };
    // A server that is full sends an error and closes the connection. The error is still to be read.
    let written = write.await;
    let mut input = BytesMut::new();
    for _ in 0..before {
        if let Err(error) = answer(stream, &mut input, endpoint).await? {
            return Err(ConnectError::Rejected(error));
        }
    }
    let answer = answer(stream, &mut input, endpoint).await?;
    written.map(|()| answer).map_err(ConnectError::from)
}

/// Reads the next answer: its text, if it has one, or the error answer without the password.
async fn answer(
    stream: &mut Stream,
    input: &mut BytesMut,
    endpoint: &Endpoint,
) -> Result<Result<Vec<u8>, String>, ConnectError> {
    loop {
        let parsed = resp::reply(input).map_err(|error| ConnectError::Failed(error.to_owned()))?;
        if let Some((reply, length)) = parsed {
            let answer = match reply {
                RawReply::Error(text) => {
                    Err(masked(&String::from_utf8_lossy(text), endpoint.password.as_deref()))
                }
                RawReply::Text(text) => Ok(text.unwrap_or_default().to_vec()),
                _ => Ok(Vec::new()),
            };
            input.advance(length);
            return Ok(answer);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(ConnectError::Failed("the server closed the connection".to_owned()));
        }
    }
}

/// Checks whether the error answer to the first command means that the connection is of no use.
fn is_rejection(error: &str) -> bool {
    ["DENIED", "ERR max number of clients", "NOAUTH"].iter().any(|word| error.contains(word))
}
