//! What every request goes through: an id, a deadline, the metrics, and one line in the log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{App, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from the caller.
const MAX_REQUEST_ID: usize = 128;

/// Makes request ids: unlike those of other processes and unlike each other.
#[derive(Debug)]
pub(super) struct RequestIds {
    start: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let start =
            u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or(0) ^ u64::from(std::process::id()).rotate_left(40);
        Self { start, next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    fn make(&self) -> HeaderValue {
        let id = format!("{:016x}-{:x}", self.start, self.next.fetch_add(1, Ordering::Relaxed));
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
    }
}

pub(super) async fn request(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let since = Instant::now();
    let given = request.headers().get(&REQUEST_ID);
    let given =
        given.filter(|id| id.len() <= MAX_REQUEST_ID && id.as_bytes().iter().all(u8::is_ascii_graphic)).cloned();
    let id = given.unwrap_or_else(|| app.request_ids.make());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    app.metrics.http_open.inc();
    let open = Open(&app);
    let answered = tokio::time::timeout(app.config.timeout, next.run(request)).await;
    drop(open);
    let mut response = answered.unwrap_or_else(|_| {
        Problem::timeout(format!("it took longer than {} ms", app.config.timeout.as_millis())).into_response()
    });
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let seconds = since.elapsed().as_secs_f64();
    let status = response.status();
    app.metrics.http_requests.with_label_values(&[known(method.as_str()), route, status.as_str()]).inc();
    app.metrics.http_seconds.with_label_values(&[route]).observe(seconds);
    // The template, not the path: ids are personal data.
    tracing::info!(
        request_id = id.to_str().unwrap_or_default(),
        method = method.as_str(),
        route,
        status = status.as_u16(),
        micros = since.elapsed().as_micros(),
        "request"
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Counts a request as open, also when its client goes away.
struct Open<'a>(&'a App);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.http_open.dec();
    }
}

/// The method as a label; a client may invent others.
fn known(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method,
        _ => "other",
    }
}
