//! What every request goes through: an id, a deadline, the metrics, one line in the log, and a net under handlers that panic.
//!
//! It stands before the router and not inside it: as layers the same things cost an allocation and a clone each per route and
//! request. The handles of a route's metrics are looked up once.

use std::{
    convert::Infallible,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use hyper::body::Incoming;
use prometheus::{Histogram, IntCounter};
use tower_service::Service;

use super::{
    App, Problem,
    access::{self, Access, Admission, Need},
    audit::{self, Shown},
    compress::compress,
    cors, customers, problem,
};
use crate::{
    config::HttpConfig,
    telemetry::{AccessLogEntry, Metrics},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The name, as a route, of all paths that there are not.
pub(super) const UNMATCHED: &str = "unmatched";
/// The longest request id that is taken over from the caller.
const MAX_REQUEST_ID: usize = 128;

/// Makes request ids: unlike those of other processes and unlike each other.
#[derive(Debug)]
pub(super) struct RequestIds {
    start: String,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let nanos = u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or(0);
        let start = format!("{:016x}-", nanos ^ u64::from(std::process::id()).rotate_left(40));
        Self { start, next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    fn make(&self) -> HeaderValue {
        let mut number = itoa::Buffer::new();
        let number = number.format(self.next.fetch_add(1, Ordering::Relaxed));
        let mut id = String::with_capacity(self.start.len() + number.len());
        id.push_str(&self.start);
        id.push_str(number);
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
    }
}

/// The templates of all routes, with the metrics of each.
#[derive(Debug)]
pub(super) struct Routes {
    templates: matchit::Router<usize>,
    routes: Vec<Route>,
}

/// The metrics of one route.
#[derive(Debug)]
struct Route {
    template: String,
    /// What a caller needs for it.
    need: Need,
    seconds: Histogram,
    /// Of GET and 200, which is nearly all there is.
    read: OnceLock<IntCounter>,
}

impl Routes {
    /// The routes of `templates`.
    pub(super) fn new(templates: impl IntoIterator<Item = String>, metrics: &Metrics) -> Self {
        let route = |template: String| {
            let (need, seconds) =
                (access::need(&template), metrics.http_seconds.with_label_values(&[&template]));
            Route { template, need, seconds, read: OnceLock::new() }
        };
        let mut routes =
            Self { templates: matchit::Router::new(), routes: vec![route(UNMATCHED.to_owned())] };
        for template in templates {
            // A template twice is the same route.
            if routes.templates.insert(&template, routes.routes.len()).is_ok() {
                routes.routes.push(route(template));
            }
        }
        routes
    }

    fn of(&self, path: &str) -> &Route {
        &self.routes[self.templates.at(path).map_or(0, |found| *found.value)]
    }
}

impl Route {
    /// Whether it is none of the routes.
    fn is_unmatched(&self) -> bool {
        self.template == UNMATCHED
    }

    fn count(&self, metrics: &Metrics, method: &Method, status: StatusCode) {
        let counter =
            || metrics.http_requests.with_label_values(&[known(method), &self.template, status.as_str()]);
        if *method == Method::GET && status == StatusCode::OK {
            self.read.get_or_init(counter).inc();
        } else {
            counter().inc();
        }
    }
}

/// Answers one request.
pub(super) async fn answer(
    app: &App,
    router: &Router,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let since = Instant::now();
    let given = request.headers().get(&REQUEST_ID);
    let given = given
        .filter(|id| id.len() <= MAX_REQUEST_ID && id.as_bytes().iter().all(u8::is_ascii_graphic))
        .cloned();
    let id = given.unwrap_or_else(|| app.request_ids.make());
    let method = request.method().clone();
    let route = app.routes.of(request.uri().path());
    let origin = cors::origin(&app.config.cors_origins, request.headers());
    let encoding =
        if app.config.compression { request.headers().get(header::ACCEPT_ENCODING).cloned() } else { None };
    let open = Open::new(app);
    let (mut parts, body) = request.into_parts();
    let preflight = origin.as_ref().and_then(|_| cors::preflight(&parts));
    let need = if preflight.is_some() { Need::Public } else { route.need };
    let Admission { access, refused } = app.gate.admit(need, &parts.headers, since);
    let handling = async {
        if let Some(preflight) = preflight {
            return Ok(preflight);
        }
        if let Some(problem) = refused {
            return Ok(problem.into_response());
        }
        // What is not in the table of routes has no way to a handler, whatever the router would say.
        if route.is_unmatched() {
            return Ok(problem::not_found(parts.uri.path()).into_response());
        }
        if let Some(access) = access {
            if let Some(customer) = customers::asked_for(&parts) {
                return Ok(customers::direct(app, access, &customer, &parts.headers).await.into_response());
            }
            parts.extensions.insert(access.clone());
        }
        router.clone().call(Request::from_parts(parts, Body::new(body))).await
    };
    let mut handled = pin!(AssertUnwindSafe(handling).catch_unwind());
    // Most answers are there at once, and need no deadline.
    let answered = match poll_fn(|context| Poll::Ready(handled.as_mut().poll(context))).await {
        Poll::Ready(answered) => Ok(answered),
        Poll::Pending => tokio::time::timeout(app.config.timeout, handled).await,
    };
    drop(open);
    let mut response = match answered {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(cause)) => problem::panicked(cause.as_ref()),
        Err(_) => Problem::timeout(format!("it took longer than {} ms", app.config.timeout.as_millis()))
            .into_response(),
    };
    let elapsed = since.elapsed();
    route.count(&app.metrics, &method, response.status());
    route.seconds.observe(elapsed.as_secs_f64());
    let request = AccessLogEntry {
        request_id: id.to_str().unwrap_or_default(),
        method: method.as_str(),
        route: &route.template,
        status: response.status().as_u16(),
        key: access.and_then(Access::key),
        micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    };
    request.log();
    let shown = response.extensions_mut().remove::<Shown>();
    if let Some(shown) = &shown {
        shown.log(&id, access, &route.template);
    }
    if route.need != Need::Public {
        app.caching.mark(&mut response, shown.is_some());
    }
    cors::mark(&app.config.cors_origins, origin, &mut response);
    if let Some(accepted) = encoding {
        response = compress(accepted, response).await;
    }
    response.headers_mut().insert(REQUEST_ID, id);
    Ok(response)
}

/// What answers say of being kept, by what was configured.
#[derive(Debug)]
pub(super) struct Caching {
    vary: Option<HeaderValue>,
    control: HeaderValue,
}

impl Caching {
    pub(super) fn new(config: &HttpConfig, has_keys: bool) -> Self {
        let vary = has_keys.then_some(HeaderValue::from_static("authorization, x-api-key"));
        let control = match config.max_age.as_secs() {
            0 => HeaderValue::from_static("private, no-cache"),
            seconds => {
                HeaderValue::try_from(format!("private, max-age={seconds}")).unwrap_or(audit::NOT_KEPT)
            }
        };
        Self { vary, control }
    }

    /// Says of `response` how it may be kept, unless it does so itself; one that shows personal data, not at all.
    fn mark(&self, response: &mut Response, shows: bool) {
        if let Some(vary) = &self.vary {
            response.headers_mut().insert(header::VARY, vary.clone());
        }
        let keeps = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
        if shows || !keeps {
            response.headers_mut().insert(header::CACHE_CONTROL, audit::NOT_KEPT);
        } else {
            response.headers_mut().entry(header::CACHE_CONTROL).or_insert_with(|| self.control.clone());
        }
    }
}

/// Counts a request as open, also when its client goes away.
struct Open<'a>(&'a App);

impl<'a> Open<'a> {
    fn new(app: &'a App) -> Self {
        app.metrics.http_open.inc();
        Self(app)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.http_open.dec();
    }
}

/// The method as a label; a client may invent others.
fn known(method: &Method) -> &str {
    match method.as_str() {
        name @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => name,
        _ => "other",
    }
}
