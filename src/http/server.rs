//! The listener: accepts connections, closes idle and stalled ones, and drains on shutdown.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::Router;
use futures::stream::{FuturesUnordered, StreamExt};
use http_body_util::BodyExt;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

use super::{
    App, Tls,
    layers::{self, Peer},
    route_table::PROBES,
    router,
};
use crate::{open_files, telemetry::LogThrottle, workers::Workers};

mod activity;
mod connections;

use activity::{Activity, CountedStream, Inactivity};
use connections::{Connections, Place};

/// Size of the buffer of a connection in bytes. A larger head may be refused, and one of twice the size is.
const BUFFER: usize = 32 << 10;
/// The longest time that a connection beyond a bound is open.
const SPARE_TIME: Duration = Duration::from_secs(2);
/// Bytes that the kernel keeps for a client besides those under way to it. By default it keeps megabytes, and
/// asks for more only when a third is gone: for a slow client that looks as if it read nothing for minutes.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 256 << 10;
/// The longest time for which a new connection waits for its first request before a worker gets it.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// The pause after a failed accept, for example when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections of `listener`, each on one of the `workers`, until `stop` ends.
///
/// A connection that begins with a probe is served here instead, since a worker may have a thousand requests
/// before it. The first other request is the last one on such a connection.
///
/// Then `/readyz` answers 503, open requests finish, and connections still open after the drain time are
/// closed.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    app: Arc<App>,
    workers: &Workers,
    stop: impl Future<Output = ()>,
) {
    let router = router(Arc::clone(&app));
    let graceful = GracefulShutdown::new();
    let tls = tls.map(Arc::new);
    let watched = tls.clone().map(|tls| {
        let app = Arc::clone(&app);
        tokio::spawn(async move { tls.watch(&app.reload).await })
    });
    let draining = async {
        stop.await;
        tracing::info!("shutting down: /readyz now fails");
        app.draining.store(true, Ordering::Relaxed);
        let delay = app.live.load().drain_delay;
        tokio::time::sleep(delay).await;
    };
    tokio::pin!(draining);
    let throttle = LogThrottle::default();
    let connections = Connections::new(&app.config, open_files::raise_limit(), &app.metrics);
    let start = |accepted: Accepted| {
        let begins_with_probe = accepted.begins_with_probe;
        let (tls, watcher) = (tls.clone(), graceful.watcher());
        let served = connection(accepted, tls, watcher, Arc::clone(&app), router.clone());
        if begins_with_probe {
            tokio::spawn(served);
        } else {
            workers.spawn(served);
        }
    };
    let mut starting = FuturesUnordered::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(accepted) = starting.next() => {
                start(accepted);
                continue;
            }
            () = &mut draining => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let mut admitted = pin!(connections.admit(peer.ip()));
                let place = loop {
                    tokio::select! {
                        place = &mut admitted => break place,
                        Some(accepted) = starting.next() => start(accepted),
                    }
                };
                let accepted = Accepted { stream, client: peer.ip(), place, begins_with_probe: false };
                if accepted.place.is_spare() {
                    // Gets the answer to a probe, or 503.
                    start(Accepted { begins_with_probe: true, ..accepted });
                } else {
                    starting.push(accepted.with_first_request(tls.is_some()));
                }
            }
            Err(error) => {
                throttle.log(&error.to_string(), |suppressed| {
                    tracing::warn!(%error, suppressed, "accept failed");
                });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while let Some(accepted) = starting.next().await {
        start(accepted);
    }
    let drain = app.live.load().drain;
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = drain.as_secs(), "drain time exceeded: open requests dropped");
    }
    if let Some(watched) = watched {
        watched.abort();
    }
}

/// Limits what the kernel keeps for the client of `stream`. Only Linux has the limit.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only Linux has the limit"))]
fn limit_unsent(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT: a slow client may seem not to read");
    }
}

/// A connection that was accepted.
struct Accepted {
    stream: TcpStream,
    client: IpAddr,
    place: Place,
    begins_with_probe: bool,
}

impl Accepted {
    /// Waits for the first request, and notes whether it is a probe. Over TLS the request is not known yet.
    async fn with_first_request(mut self, is_tls: bool) -> Self {
        if !is_tls {
            let mut start = [0; 32];
            let peeked = tokio::time::timeout(FIRST_REQUEST, self.stream.peek(&mut start)).await;
            self.begins_with_probe = matches!(peeked, Ok(Ok(length)) if is_probe(&start[..length]));
        }
        self
    }
}

/// Returns whether a request whose first bytes are `start` is a probe.
fn is_probe(start: &[u8]) -> bool {
    let Some(path) = start.strip_prefix(b"GET ") else { return false };
    PROBES.iter().any(|probe| path.strip_prefix(probe.as_bytes()).is_some_and(|rest| rest.starts_with(b" ")))
}

/// Serves one connection, after a TLS handshake where TLS is configured.
async fn connection(
    accepted: Accepted,
    tls: Option<Arc<Tls>>,
    watcher: Watcher,
    app: Arc<App>,
    router: Router,
) {
    let Accepted { stream, client, place, begins_with_probe } = accepted;
    // The reactor of the worker takes the stream over.
    let stream = match stream.into_std().and_then(TcpStream::from_std) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "cannot register a connection with the reactor"),
    };
    let is_spare = place.is_spare();
    let peer = Peer::new(client, is_spare, begins_with_probe);
    let served = serve_stream(stream, peer, tls, watcher, app, router);
    if is_spare {
        tokio::select! {
            () = served => {}
            () = place.replaced() => tracing::debug!("connection beyond a bound replaced"),
            () = tokio::time::sleep(SPARE_TIME) => tracing::debug!("connection beyond a bound closed"),
        }
    } else {
        served.await;
    }
}

/// Serves one connection of `peer`.
async fn serve_stream(
    stream: TcpStream,
    peer: Peer,
    tls: Option<Arc<Tls>>,
    watcher: Watcher,
    app: Arc<App>,
    router: Router,
) {
    let _ = stream.set_nodelay(true);
    limit_unsent(&stream);
    match tls {
        None => serve_requests(stream, peer, watcher, app, router).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve_requests(stream, peer, watcher, app, router).await,
            Err(error) => tracing::debug!(%error, "TLS handshake failed"),
        },
    }
}

/// Answers the requests of one connection.
async fn serve_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    watcher: Watcher,
    app: Arc<App>,
    router: Router,
) {
    let activity = Arc::new(Activity::default());
    let stream = CountedStream::new(stream, Arc::clone(&activity));
    let is_spare = peer.is_spare();
    let shared = Arc::new(ConnectionState { app, router, peer, activity: Arc::clone(&activity) });
    let service = service_fn(|request| {
        let turn = Turn::begin(&shared);
        async move {
            let answer = layers::respond(&turn.0.app, &turn.0.router, &turn.0.peer, request).await?;
            // The body keeps its request open.
            let keep_open = move |error| {
                let _ = &turn;
                error
            };
            Ok::<_, Infallible>(answer.map(|body| body.map_err(keep_open)))
        }
    });
    let mut connection = http1::Builder::new();
    // `Activity` limits the time of a head instead, at less cost.
    connection.header_read_timeout(None).max_buf_size(BUFFER).keep_alive(!is_spare);
    let stall = activity::STALL.max(shared.app.serving.export_idle);
    let connection = watcher.watch(connection.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "connection failed");
        },
        inactivity = activity.ended(activity::INTERVAL, stall) => match inactivity {
            Inactivity::NoRequest => tracing::debug!("idle connection closed"),
            Inactivity::NoRead => shared.app.layers.log_unread(&shared.peer),
        },
    }
}

/// The state that the requests of one connection share. Requests clone this per-connection `Arc` instead of
/// the global `Arc<App>`, so that the reference count stays on one core.
struct ConnectionState {
    app: Arc<App>,
    router: Router,
    peer: Peer,
    activity: Arc<Activity>,
}

/// An open request, until the last byte of its answer is handed to the connection.
struct Turn(Arc<ConnectionState>);

impl Turn {
    fn begin(connection: &Arc<ConnectionState>) -> Self {
        connection.activity.begin();
        Self(Arc::clone(connection))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.activity.end();
    }
}
