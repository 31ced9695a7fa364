//! Connections of workers to the driver. A worker has one connection; a worker whose connection is closed is
//! lost.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
};
use tonic::{
    codegen::http::Extensions,
    transport::server::{Connected, TlsConnectInfo},
};

/// The workers that are connected, and those that were refused.
#[derive(Debug, Default)]
pub(super) struct ConnectedWorkers {
    /// Number of connections by worker.
    connected: Mutex<BTreeMap<String, usize>>,
    /// Reasons by worker.
    refused: Mutex<BTreeMap<String, String>>,
    /// Number of changes.
    changes: watch::Sender<u64>,
    /// Ids of lost workers.
    lost: Mutex<Vec<String>>,
}

impl ConnectedWorkers {
    /// Returns the number of connected workers.
    pub(super) fn count(&self) -> usize {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns a receiver that sees when a worker comes, is lost or is refused.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns the workers that were lost since the last call.
    pub(super) fn take_lost(&self) -> Vec<String> {
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes why `worker` was refused, and returns whether that is new.
    pub(super) fn refuse(&self, worker: &str, why: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = refused.insert(worker.to_owned(), why.to_owned()).is_none();
        drop(refused);
        self.changes.send_modify(|changes| *changes += 1);
        is_new
    }

    /// Returns the refused workers and the reasons, as the end of a message.
    pub(super) fn refusals(&self) -> String {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let all = refused.iter().map(|(worker, why)| format!("; worker {worker} was refused: {why}"));
        all.collect::<Vec<_>>().concat()
    }

    fn add(&self, worker: &str) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        *connected.entry(worker.to_owned()).or_default() += 1;
        drop(connected);
        tracing::info!(worker, "worker connected");
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn remove(&self, worker: &str) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connections) = connected.get_mut(worker) else { return };
        *connections -= 1;
        if *connections > 0 {
            return;
        }
        connected.remove(worker);
        drop(connected);
        tracing::warn!(worker, "worker lost");
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(worker.to_owned());
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// The worker at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer(Arc<PeerState>);

#[derive(Debug)]
struct PeerState {
    workers: Arc<ConnectedWorkers>,
    /// Set by the first accepted request.
    worker: OnceLock<String>,
}

impl Peer {
    /// Returns the peer of the request with the given extensions.
    pub(super) fn of(extensions: &Extensions) -> Option<&Self> {
        let over_tls = || extensions.get::<TlsConnectInfo<Self>>().map(TlsConnectInfo::get_ref);
        extensions.get::<Self>().or_else(over_tls)
    }

    /// Notes that `worker` is at the other end.
    pub(super) fn accept(&self, worker: &str) {
        if self.0.worker.set(worker.to_owned()).is_ok() {
            self.0.workers.add(worker);
        }
    }
}

/// Connection of a worker. When it is dropped, the worker is lost.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: Peer,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, workers: &Arc<ConnectedWorkers>) -> Self {
        let state = PeerState { workers: Arc::clone(workers), worker: OnceLock::new() };
        Self { stream, peer: Peer(Arc::new(state)) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(worker) = self.peer.0.worker.get() {
            self.peer.0.workers.remove(worker);
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
