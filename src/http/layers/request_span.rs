//! The span of a request in traces, and the trace of the caller.

use axum::http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::{
    http::route_table::Route,
    telemetry::{Span, SpanKind, TraceId, TraceParent},
};

/// The header by which a caller hands its trace on.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with further facts about the trace, which browsers send along.
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The span of a request, which is recorded or not.
#[derive(Debug)]
pub(super) struct RequestSpan {
    span: Span,
    caller: Option<TraceParent>,
}

impl RequestSpan {
    /// Begins the span of a request to `route`. Probes have none: each would be a trace. The path is left
    /// out, since it may have the id of a customer.
    pub(super) fn start(method: &Method, headers: &HeaderMap, route: &Route) -> Self {
        let caller = headers.get(&TRACEPARENT).and_then(|value| TraceParent::parse(value.as_bytes()));
        let mut span = if route.is_probe {
            Span::default()
        } else {
            Span::root("HTTP", SpanKind::Server, caller.as_ref())
        };
        if span.is_recorded() {
            let method = known_method(method);
            let name = method.unwrap_or("HTTP");
            if route.is_unmatched() {
                span.rename(name.to_owned());
            } else {
                span.rename(format!("{name} {}", route.template));
                span.set("http.route", route.template.clone());
            }
            span.set("http.request.method", method.unwrap_or("_OTHER"));
        }
        Self { span, caller }
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.span.is_recorded()
    }

    /// Returns the trace of the caller, or else the trace that the request is recorded in.
    pub(super) fn trace_id(&self) -> Option<TraceId> {
        self.caller.map(|caller| caller.trace_id).or_else(|| self.span.trace_id())
    }

    /// Makes the span the current one of `work`.
    pub(super) fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.span.around(work)
    }

    /// Ends the span of a request that is answered with `status`.
    pub(super) fn end(mut self, status: StatusCode) {
        self.span.set("http.response.status_code", u64::from(status.as_u16()));
        if self.span.is_recorded() && status.is_server_error() {
            self.span.set("error.type", status.as_str().to_owned());
            self.span.fail();
        }
    }
}

/// Returns the name of a method of HTTP; clients may invent others.
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}
