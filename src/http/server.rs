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
use tokio::net::{TcpListener, TcpStream};

use super::{App, observe, router};
use crate::workers::Workers;

/// The longest that a client may take for the head of a request; an idle connection is closed after it too.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// The pause after an accept that failed, as it does when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves on `listener`, each connection on one of the `workers`, until `stop` ends; then `/readyz` says no, open requests finish, and what is
/// still open after the configured time is dropped.
pub async fn serve(listener: TcpListener, app: Arc<App>, workers: &Workers, stop: impl Future<Output = ()>) {
    let router = router(Arc::clone(&app));
    let graceful = GracefulShutdown::new();
    let draining = async {
        stop.await;
        tracing::info!("stops: not ready any more");
        app.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(app.config.drain_delay).await;
    };
    tokio::pin!(draining);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.and_then(|(stream, _)| stream.into_std()),
            () = &mut draining => break,
        };
        match stream {
            Ok(stream) => workers.spawn(connection(stream, router.clone(), Arc::clone(&app), graceful.watcher())),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(app.config.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = app.config.drain.as_secs(), "stopped while requests were open");
    }
}

/// Answers the requests of one connection.
async fn connection(stream: std::net::TcpStream, router: Router, app: Arc<App>, watcher: Watcher) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "cannot take a connection over"),
    };
    let _ = stream.set_nodelay(true);
    let turns = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&turns);
    let service = service_fn(move |request| {
        let (app, router, turn) = (Arc::clone(&app), router.clone(), Turn::begin(&counted));
        async move {
            let answer = observe::answer(app, router, request).await?;
            Ok::<_, Infallible>(answer.map(|body| Answered { body, _turn: turn }))
        }
    });
    let mut connections = http1::Builder::new();
    // The watch below does it: a timer for each request's head costs more than many an answer.
    connections.header_read_timeout(None);
    tokio::select! {
        ended = watcher.watch(connections.serve_connection(TokioIo::new(stream), service)) => if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        },
        () = idle(&turns) => tracing::debug!("closed a connection that sent no request"),
    }
}

/// Ends when no request began or ended for the time that a client may take for a request's head. `turns` is odd while one is open.
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
struct Turn(Arc<AtomicU64>);

impl Turn {
    fn begin(turns: &Arc<AtomicU64>) -> Self {
        turns.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(turns))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
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
