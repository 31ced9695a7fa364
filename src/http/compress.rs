//! Answers made smaller, by gzip or zstd, for callers that ask for it.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};
use tower_http::compression::{
    Compression,
    predicate::{DefaultPredicate, Predicate, SizeAbove},
};
use tower_service::Service;

/// The size in bytes from which it is worth the time. One customer is less, and quicker sent than made smaller.
const WORTH_IT: u64 = 8 << 10;

/// `response` in an encoding that `accepted` (`Accept-Encoding`) has; as it is where that would not be worth it.
pub(super) async fn compress(accepted: HeaderValue, response: Response) -> Response {
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(header::ACCEPT_ENCODING, accepted);
    let worth_it = DefaultPredicate::new().and(SizeAbove::new(WORTH_IT));
    match Compression::new(Given(response)).compress_when(worth_it).call(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// A service that has one answer, and gives it.
struct Given(Response);

impl Service<Request> for Given {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Ok(std::mem::take(&mut self.0)))
    }
}
