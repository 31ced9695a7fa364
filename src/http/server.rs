//! The listener: accepts connections, closes idle and stalled ones, and drains on shutdown.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::Router;
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
/// The pause after a failed accept, for example when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections of `listener`, each on one of the `workers`, until `stop` ends.
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
    let watched = tls.clone().map(|tls| tokio::spawn(async move { tls.watch().await }));
    let draining = async {
        stop.await;
        tracing::info!("shutting down: /readyz now fails");
        app.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(app.config.drain_delay).await;
    };
    tokio::pin!(draining);
    let throttle = LogThrottle::default();
    let connections = Connections::new(&app.config, open_files::raise_limit(), &app.metrics);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut draining => break,
        };
        match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer.ip()))) {
            Ok((stream, client)) => {
                let place = connections.admit(client).await;
                let accepted = Accepted { stream, client, place };
                let (tls, watcher) = (tls.clone(), graceful.watcher());
                workers.spawn(connection(accepted, tls, watcher, Arc::clone(&app), router.clone()));
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
    if tokio::time::timeout(app.config.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = app.config.drain.as_secs(), "drain time exceeded: open requests dropped");
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
    stream: std::net::TcpStream,
    client: IpAddr,
    place: Place,
}

/// Serves one connection, after a TLS handshake where TLS is configured.
async fn connection(
    accepted: Accepted,
    tls: Option<Arc<Tls>>,
    watcher: Watcher,
    app: Arc<App>,
    router: Router,
) {
    let Accepted { stream, client, place } = accepted;
    let is_spare = place.is_spare();
    let peer = Peer::new(client, is_spare);
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
    stream: std::net::TcpStream,
    peer: Peer,
    tls: Option<Arc<Tls>>,
    watcher: Watcher,
    app: Arc<App>,
    router: Router,
) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "cannot register a connection with the reactor"),
    };
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
