//! The listener: accepts connections, closes idle ones, and drains on shutdown.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
};
use hyper::{
    body::{Body as HttpBody, Frame, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

use super::{App, Tls, layers, router};
use crate::{telemetry::LogThrottle, workers::Workers};

/// The longest that a client may take to send the head of a request; an idle connection is closed after the
/// same time.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
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
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.and_then(|(stream, _)| stream.into_std()),
            () = &mut draining => break,
        };
        match stream {
            Ok(stream) => {
                let connection =
                    connection(stream, tls.clone(), graceful.watcher(), Arc::clone(&app), router.clone());
                workers.spawn(connection);
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

/// Serves one connection, after a TLS handshake where TLS is configured.
async fn connection(
    stream: std::net::TcpStream,
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
    match tls {
        None => serve_connection(stream, watcher, app, router).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve_connection(stream, watcher, app, router).await,
            Err(error) => tracing::debug!(%error, "TLS handshake failed"),
        },
    }
}

/// Answers the requests of one connection.
async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    watcher: Watcher,
    app: Arc<App>,
    router: Router,
) {
    let shared = Arc::new(ConnectionState { app, router, turns: AtomicU64::new(0) });
    let turns = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let turn = Turn::begin(&shared);
        async move {
            let answer = layers::respond(&turn.0.app, &turn.0.router, request).await?;
            Ok::<_, Infallible>(answer.map(|body| TrackedBody { body, _turn: turn }))
        }
    });
    let mut connection = http1::Builder::new();
    // `idle` watches the connection instead: a timer for each request costs more than many answers.
    connection.header_read_timeout(None);
    let connection = watcher.watch(connection.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "connection failed");
        },
        () = idle(&turns.turns) => tracing::debug!("idle connection closed"),
    }
}

/// The state that the requests of one connection share. Requests clone this per-connection `Arc` instead of
/// the global `Arc<App>`, so that the reference count stays on one core.
struct ConnectionState {
    app: Arc<App>,
    router: Router,
    /// Number of requests that began plus number that ended: odd while a request is open.
    turns: AtomicU64,
}

/// Returns when no request began or ended for [`HEAD_TIMEOUT`] and none is open.
async fn idle(turns: &AtomicU64) {
    let mut before = turns.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(HEAD_TIMEOUT).await;
        let now = turns.load(Ordering::Relaxed);
        if now == before && now.is_multiple_of(2) {
            return;
        }
        before = now;
    }
}

/// An open request, until the last byte of its answer is handed to the connection.
struct Turn(Arc<ConnectionState>);

impl Turn {
    fn begin(connection: &Arc<ConnectionState>) -> Self {
        connection.turns.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connection))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.turns.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body that keeps its request open.
struct TrackedBody {
    body: Body,
    _turn: Turn,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
