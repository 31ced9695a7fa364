//! The listener: accepts, bounds how long a client may take for a request's head, and drains on a stop signal.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::net::TcpListener;

use super::{App, observe, router};

/// The longest that a client may take for the head of a request; an idle connection is closed after it too.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// The pause after an accept that failed, as it does when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves on `listener` until `stop` ends; then `/readyz` says no, open requests finish, and what is still open after the
/// configured time is dropped.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) {
    let router = router(Arc::clone(&app));
    let graceful = GracefulShutdown::new();
    let mut connections = http1::Builder::new();
    connections.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let draining = async {
        stop.await;
        tracing::info!("stops: not ready any more");
        app.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(app.config.drain_delay).await;
    };
    tokio::pin!(draining);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut draining => break,
        };
        let _ = stream.set_nodelay(true);
        let (router, served) = (router.clone(), Arc::clone(&app));
        let service = service_fn(move |request| observe::answer(Arc::clone(&served), router.clone(), request));
        let connection = connections.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(app.config.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = app.config.drain.as_secs(), "stopped while requests were open");
    }
}
