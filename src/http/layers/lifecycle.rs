//! The life of a request: request id, route, trace, deadline, panics, metrics, access log and audit log.
//!
//! This outermost layer is one function in front of the router. As layers inside the router the same duties
//! cost an allocation and a clone each per request.

use std::{
    convert::Infallible, future::poll_fn, panic::AssertUnwindSafe, pin::pin, task::Poll, time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use hyper::body::Incoming;
use tower::{Layer, Service, service_fn};

use super::{
    Layers, Peer, compression::compressed, gate::Admission, request_id::REQUEST_ID, request_span::RequestSpan,
};
use crate::{
    http::{
        App,
        access::Access,
        extract::{ReceivedBody, drop_short_body},
        problem::{self, Problem},
        reply::audit::{AuditNote, AuditedRequest},
        route_table::{Need, Route},
        routes::customer,
    },
    telemetry::{AccessLogEntry, ShedReason},
};

/// The `Strict-Transport-Security` of answers over TLS: a year.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// Answers one request.
pub(crate) async fn respond(
    app: &App,
    router: &Router,
    peer: &Peer,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let start = Instant::now();
    let layers = &app.layers;
    let id = layers.request_ids.of(request.headers());
    let method = request.method().clone();
    let route = app.routes.find(request.uri().path());
    let span = RequestSpan::start(&method, request.headers(), route);
    let open = OpenRequest::new(app);
    let cors = layers.cors.as_ref();
    let is_preflight = cors.is_some_and(|cors| cors.is_preflight(&request));
    let need = if is_preflight { Need::Public } else { route.need };
    let callers = layers.gate.callers();
    let Admission { access, mut refusal } = match check_connection(app, route, peer, &request) {
        Ok(()) => callers.admit(need, request.headers(), start),
        Err(problem) => Admission { access: None, refusal: Some(problem) },
    };
    let arrival = Arrival { at: start, route, access, peer };
    let cors = cors.and_then(|cors| cors.layer(&request));
    let compresses =
        app.config.compression && !route.is_stored && request.headers().contains_key(header::ACCEPT_ENCODING);
    let mut response = if cors.is_none() && !compresses && !span.is_recorded() {
        dispatch_in_time(app, router, arrival, refusal, request).await
    } else {
        let mut handler =
            service_fn(|request| dispatch_in_time(app, router, arrival, refusal.take(), request).map(Ok));
        // In a box, so that the future of a request without these layers is small: it is moved once.
        let layered = Box::pin(async move {
            match cors {
                Some(cors) if compresses => compressed(cors.layer(handler), request, &layers.bodies).await,
                Some(cors) => cors.layer(handler).call(request).await,
                None if compresses => compressed(handler, request, &layers.bodies).await,
                None => handler.call(request).await,
            }
        });
        let Ok::<_, Infallible>(response) = span.around(layered).await;
        response
    };
    drop(open);
    if is_preflight {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    let elapsed = start.elapsed();
    route.count(&app.metrics, &method, response.status());
    route.seconds(&app.metrics, response.status()).observe(elapsed.as_secs_f64());
    let answered = AccessLogEntry {
        request_id: id.to_str().unwrap_or_default(),
        client: &peer.client,
        method: method.as_str(),
        route: &route.template,
        status: response.status().as_u16(),
        key: access.and_then(Access::key),
        trace_id: span.trace_id(),
        micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    };
    answered.log();
    span.end(response.status());
    if response.status() == StatusCode::UNAUTHORIZED {
        layers.throttle.log(&peer.client, |suppressed| {
            tracing::warn!(client = %peer.client, route = route.template, suppressed, "unauthorized request");
        });
    }
    let personal = response.extensions_mut().remove::<AuditNote>();
    if let (Some(note), Some(access)) = (&personal, access) {
        let (audit_id, route) = (&layers.request_ids.make(), route.template.as_str());
        note.log(&AuditedRequest { audit_id, request_id: &id, access, client: &peer.client, route });
    }
    if route.need != Need::Public {
        layers.cache_control.mark(&mut response, personal.is_some(), callers.has_keys());
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if app.config.tls.is_some() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT_TRANSPORT));
    }
    if peer.is_beside_listener && !route.is_probe {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(REQUEST_ID, id);
    Ok(response)
}

/// Checks that a request may come over its connection, by any caller.
fn check_connection<B>(app: &App, route: &Route, peer: &Peer, request: &Request<B>) -> Result<(), Problem> {
    if peer.is_spare && !route.is_probe {
        app.metrics.http_shed.of(ShedReason::Connections).inc();
        return Err(Problem::busy("there are too many connections; try again later"));
    }
    app.layers.loopback.as_ref().map_or(Ok(()), |loopback| loopback.check(request))
}

/// Answers as [`dispatch`] does, but within the deadline; a panic becomes an answer too.
async fn dispatch_in_time(
    app: &App,
    router: &Router,
    arrival: Arrival<'_>,
    refusal: Option<Problem>,
    request: Request<Incoming>,
) -> Response {
    let handling = dispatch(app, router, arrival, refusal, request);
    let mut handled = pin!(AssertUnwindSafe(handling).catch_unwind());
    // Most answers are ready at the first poll and need no timer.
    let mut timer = pin!(None);
    let outcome = poll_fn(|context| {
        if let Poll::Ready(outcome) = handled.as_mut().poll(context) {
            return Poll::Ready(Ok(outcome));
        }
        // Must not poll the handling again: it may have yielded to other requests.
        if timer.is_none() {
            timer.set(Some(tokio::time::sleep_until((arrival.at + app.live.load().timeout).into())));
        }
        timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(context).map(Err))
    });
    let outcome = outcome.await;
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(cause)) => problem::panicked(cause.as_ref()),
        Err(()) => {
            let limit = app.live.load().timeout.as_millis();
            Problem::timeout(format!("the request took longer than {limit} ms")).into_response()
        }
    }
}

/// A request that has arrived.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    at: Instant,
    route: &'a Route,
    access: Option<&'a Access>,
    peer: &'a Peer,
}

/// Answers a refused request, a path without a route, one customer directly, and all else through the router.
async fn dispatch(
    app: &App,
    router: &Router,
    arrival: Arrival<'_>,
    refusal: Option<Problem>,
    mut request: Request<Incoming>,
) -> Response {
    let Arrival { route, access, .. } = arrival;
    if let Some(problem) = refusal {
        return problem.into_response();
    }
    if route.is_unmatched() {
        return problem::not_found(request.uri().path(), app.config.docs).into_response();
    }
    if let Some(access) = access {
        if let Some(id) = customer::direct_id(&request) {
            return customer::answer_directly(app, access, &id, request.headers()).await.into_response();
        }
        request.extensions_mut().insert(access.clone());
    }
    if route.is_paced {
        // In a box, so that the future of a short request is small.
        let answer = Box::pin(answer_in_turns(app, router, arrival, request));
        return answer.await.unwrap_or_else(Problem::into_response);
    }
    let Ok(response) = router.clone().call(request.map(Body::new)).await;
    response
}

/// Receives the body, waits for the turn of the thread, and answers through the router.
async fn answer_in_turns(
    app: &App,
    router: &Router,
    arrival: Arrival<'_>,
    request: Request<Incoming>,
) -> Result<Response, Problem> {
    let Layers { queue, bodies, .. } = &app.layers;
    let shed = |reason| app.metrics.http_shed.of(reason).inc();
    let enter = || queue.enter().inspect_err(|_| shed(ShedReason::Queue));
    let (mut parts, body) = request.into_parts();
    let mut place = match enter() {
        Ok(place) => place,
        Err(problem) => {
            drop_short_body(body).await;
            return Err(problem);
        }
    };
    let mut memory = bodies.body();
    let body = if parts.method == Method::POST {
        // A slow body takes no place from requests that are complete.
        drop(place);
        let hold = |bytes| memory.hold(bytes).inspect_err(|_| shed(ShedReason::Bodies));
        let limit = app.live.load().body_limit;
        let received = ReceivedBody::receive(&parts.headers, body, limit, hold).await;
        parts.extensions.insert(received);
        place = enter()?;
        Body::empty()
    } else {
        Body::new(body)
    };
    let answer = async {
        memory.check_room()?;
        let Ok(response) = router.clone().call(Request::from_parts(parts, body)).await;
        bodies.hold_answer(response, &arrival.peer.pace)
    };
    let answer = place.in_turns(&arrival.peer.pace, arrival.at, answer).await;
    answer.inspect_err(|_| shed(ShedReason::Bodies))
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
