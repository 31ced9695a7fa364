//! Compression of large answers, by gzip or zstd, for callers that accept it.
//!
//! `tower-http` chooses the encoding and compresses. The work happens on a blocking thread: a reactor thread
//! that compresses a megabyte would keep all its other connections waiting.

use std::{
    convert::Infallible,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::header,
    response::Response,
};
use futures::{StreamExt, executor::block_on, stream};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Incoming};
use tokio::sync::{Semaphore, mpsc};
use tower::{Service, service_fn};
use tower_http::compression::{
    Compression,
    predicate::{DefaultPredicate, Predicate, SizeAbove},
};

use super::bodies::Bodies;

/// The smallest body in bytes that is compressed. A customer's row is smaller, and faster sent as it is.
const MIN_SIZE: u64 = 8 << 10;
/// Chunks of a streamed body that may wait for the client.
const WAITING_CHUNKS: usize = 4;

type BoxError = Box<dyn Error + Send + Sync>;
/// A message of the compressing thread: a chunk or an error, and `None` when the body is complete. Without
/// `None` the thread has stopped early, and the body must not look complete.
type Chunk = Option<Result<Bytes, BoxError>>;

/// Calls `handler`, and compresses its answer with an encoding that the request accepts.
///
/// The compressed bytes count as `bodies`, as those of the answer do.
pub(super) async fn compressed<S>(
    mut handler: S,
    request: Request<Incoming>,
    bodies: &Arc<Bodies>,
) -> Result<Response, Infallible>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    // A body of known size is in memory already; only a streamed one has to wait for a slow client.
    let streamed = AtomicBool::new(false);
    let is_streamed = &streamed;
    let handler = service_fn(move |request| {
        let answer = handler.call(request);
        async move {
            let response = answer.await?;
            is_streamed.store(response.body().size_hint().exact().is_none(), Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let predicate = DefaultPredicate::new().and(SizeAbove::new(MIN_SIZE));
    let response = Compression::new(handler).compress_when(predicate).call(request).await?;
    if !response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(response.map(Body::new));
    }
    let waiting = if streamed.into_inner() { WAITING_CHUNKS } else { Semaphore::MAX_PERMITS };
    Ok(response.map(|body| off_reactor(body, waiting, Arc::clone(bodies))))
}

/// Returns a body whose chunks a blocking thread makes from `body`, at most `waiting` ahead of the client.
fn off_reactor<B>(body: B, waiting: usize, bodies: Arc<Bodies>) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(waiting);
    tokio::task::spawn_blocking(move || block_on(send_chunks(body, sender, &bodies)));
    let chunks = stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        let stopped = || Some(Err("the compressing thread stopped".into()));
        let chunk = receiver.recv().await.unwrap_or_else(stopped)?;
        let receiver = chunk.is_ok().then_some(receiver);
        Some((chunk, receiver))
    });
    Body::from_stream(chunks)
}

/// Sends the chunks of `body` until it ends, fails, or the client closes the connection.
async fn send_chunks<B>(body: B, sender: mpsc::Sender<Chunk>, bodies: &Arc<Bodies>)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let mut chunks = std::pin::pin!(body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map(|bytes| bodies.count(bytes)).map_err(Into::into);
        if sender.send(Some(chunk)).await.is_err() {
            return;
        }
    }
    let _ = sender.send(None).await;
}
