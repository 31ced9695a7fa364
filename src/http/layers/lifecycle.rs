//! The life of a request: request id, route, deadline, panics, metrics, access log and audit log.
//!
//! This outermost layer is one function in front of the router. As layers inside the router the same duties
//! cost an allocation and a clone each per request.

use std::{
    convert::Infallible, future::poll_fn, net::SocketAddr, panic::AssertUnwindSafe, pin::pin, task::Poll,
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use hyper::body::Incoming;
use tower::{Layer, Service, service_fn};

use super::{compression::compressed, gate::Admission, request_id::REQUEST_ID};
use crate::{
    http::{
        App,
        access::Access,
        problem::{self, Problem},
        reply::audit::{AuditNote, AuditedRequest},
        route_table::{Need, Route},
        routes::customer,
    },
    telemetry::AccessLogEntry,
};

/// Answers one request.
pub(crate) async fn respond(
    app: &App,
    router: &Router,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let start = Instant::now();
    let layers = &app.layers;
    let id = layers.request_ids.of(request.headers());
    let client = request.extensions().get::<SocketAddr>().copied();
    let method = request.method().clone();
    let route = app.routes.find(request.uri().path());
    let open = OpenRequest::new(app);
    let cors = layers.cors.as_ref();
    let is_preflight = cors.is_some_and(|cors| cors.is_preflight(&request));
    let need = if is_preflight { Need::Public } else { route.need };
    let callers = layers.gate.callers();
    let Admission { access, mut refusal } = callers.admit(need, request.headers(), start);
    let mut handler = service_fn(|request| {
        let refusal = refusal.take();
        guard(app, dispatch(app, router, route, access, refusal, request)).map(Ok)
    });
    let cors = cors.and_then(|cors| cors.layer(&request));
    let compresses = app.config.compression && request.headers().contains_key(header::ACCEPT_ENCODING);
    let Ok::<_, Infallible>(mut response) = match (cors, compresses) {
        (None, false) => handler.call(request).await,
        (None, true) => compressed(handler, request).await,
        (Some(cors), false) => cors.layer(handler).call(request).await,
        (Some(cors), true) => compressed(cors.layer(handler), request).await,
    };
    drop(open);
    if is_preflight {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    let elapsed = start.elapsed();
    route.count(&app.metrics, &method, response.status());
    route.seconds.observe(elapsed.as_secs_f64());
    let answered = AccessLogEntry {
        request_id: id.to_str().unwrap_or_default(),
        method: method.as_str(),
        route: &route.template,
        status: response.status().as_u16(),
        key: access.and_then(Access::key),
        client,
        micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    };
    answered.log();
    let personal = response.extensions_mut().remove::<AuditNote>();
    if let (Some(note), Some(access)) = (&personal, access) {
        let (audit_id, route) = (&layers.request_ids.make(), route.template.as_str());
        note.log(&AuditedRequest { audit_id, request_id: &id, access, client, route });
    }
    if route.need != Need::Public {
        layers.cache_control.mark(&mut response, personal.is_some(), callers.has_keys());
    }
    response.headers_mut().insert(REQUEST_ID, id);
    Ok(response)
}

/// Awaits an answer within the deadline; a panic becomes an answer too.
async fn guard(app: &App, handling: impl Future<Output = Response>) -> Response {
    let mut handled = pin!(AssertUnwindSafe(handling).catch_unwind());
    // Most answers are ready at the first poll and need no timer.
    let outcome = match poll_fn(|context| Poll::Ready(handled.as_mut().poll(context))).await {
        Poll::Ready(outcome) => Ok(outcome),
        Poll::Pending => tokio::time::timeout(app.config.timeout, handled).await,
    };
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(cause)) => problem::panicked(cause.as_ref()),
        Err(_) => {
            let limit = app.config.timeout.as_millis();
            Problem::timeout(format!("the request took longer than {limit} ms")).into_response()
        }
    }
}

/// Answers a refused request, a path without a route, one customer directly, and all else through the router.
async fn dispatch(
    app: &App,
    router: &Router,
    route: &Route,
    access: Option<&Access>,
    refusal: Option<Problem>,
    mut request: Request<Incoming>,
) -> Response {
    if let Some(problem) = refusal {
        return problem.into_response();
    }
    if route.is_unmatched() {
        return problem::not_found(request.uri().path()).into_response();
    }
    if let Some(access) = access {
        if let Some(id) = customer::direct_id(&request) {
            return customer::answer_directly(app, access, &id, request.headers()).await.into_response();
        }
        request.extensions_mut().insert(access.clone());
    }
    let Ok(response) = router.clone().call(request.map(Body::new)).await;
    response
}

/// Counts a request as open until dropped, also when the client closes the connection.
struct OpenRequest<'a>(&'a App);

impl<'a> OpenRequest<'a> {
    fn new(app: &'a App) -> Self {
        app.metrics.http_open.inc();
        Self(app)
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.0.metrics.http_open.dec();
    }
}
