//! The listener: accepts, bounds how long a client may take for a request's head, and drains on a stop signal.

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

use super::{App, Tls, observe, router};
use crate::{telemetry::LogThrottle, workers::Workers};

/// The longest that a client may take for the head of a request; an idle connection is closed after it too.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// The pause after an accept that failed, as it does when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves on `listener`, each connection on one of the `workers`, until `stop` ends; then `/readyz` says no, open requests finish, and what is
/// still open after the configured time is dropped.
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
        tracing::info!("stops: not ready any more");
        app.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(app.config.drain_delay).await;
    };
    tokio::pin!(draining);
    let told = LogThrottle::default();
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
                told.log(&error.to_string(), |suppressed| {
                    tracing::warn!(%error, suppressed, "cannot accept a connection");
                });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(app.config.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = app.config.drain.as_secs(), "stopped while requests were open");
    }
    if let Some(watched) = watched {
        watched.abort();
    }
}

/// Takes one connection over, by TLS where that is configured.
async fn connection(
    stream: std::net::TcpStream,
    tls: Option<Arc<Tls>>,
    watcher: Watcher,
    app: Arc<App>,
    router: Router,
) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "cannot take a connection over"),
    };
    let _ = stream.set_nodelay(true);
    match tls {
        None => attend(stream, watcher, app, router).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => attend(stream, watcher, app, router).await,
            Err(error) => tracing::debug!(%error, "a client did not come to terms"),
        },
    }
}

/// Answers what comes on one connection.
async fn attend(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    watcher: Watcher,
    app: Arc<App>,
    router: Router,
) {
    let shared = Arc::new(Connection { app, router, turns: AtomicU64::new(0) });
    let turns = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let turn = Turn::begin(&shared);
        async move {
            let answer = observe::answer(&turn.0.app, &turn.0.router, request).await?;
            Ok::<_, Infallible>(answer.map(|body| Answered { body, _turn: turn }))
        }
    });
    let mut connection = http1::Builder::new();
    // The watch below does it: a timer for each request's head costs more than many an answer.
    connection.header_read_timeout(None);
    let connection = watcher.watch(connection.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        },
        () = idle(&turns.turns) => tracing::debug!("closed a connection that sent no request"),
    }
}

/// What the requests of one connection share. They are counted as references to this, which no other core does, and not as such to
/// what all connections share.
struct Connection {
    app: Arc<App>,
    router: Router,
    /// Requests that began or ended: odd while one is open.
    turns: AtomicU64,
}

/// Ends when no request began or ended for the time that a client may take for a request's head.
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

/// A request that is open, until its answer is on its way to the last byte.
struct Turn(Arc<Connection>);

impl Turn {
    fn begin(connection: &Arc<Connection>) -> Self {
        connection.turns.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connection))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.turns.fetch_add(1, Ordering::Relaxed);
    }
}

/// An answer's body, with its turn.
struct Answered {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Answered {
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
