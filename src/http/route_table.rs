//! The endpoints with the scope that each needs, and the table that finds the route of a path.

use std::sync::{Arc, OnceLock};

use axum::http::{Method, StatusCode};
use prometheus::{Histogram, IntCounter};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::App;
use crate::{config::Scope, telemetry::Metrics};

/// The label of requests whose path matches no route.
const UNMATCHED: &str = "unmatched";

/// Classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The endpoints that operators and orchestrators ask, which answer under any load.
pub(super) const PROBES: &[&str] = &["/healthz", "/readyz", "/health", "/metrics"];
/// Endpoints with a scope whose answers are short.
const SHORT: &[&str] = &["/v1/customers/{id}", "/v1/customers/{id}/segments", "/v1/access", "/metrics"];
/// Endpoints whose answers are stored compressed, besides those below `/docs`.
const STORED: &[&str] = &["/openapi.json", "/", "/console/{*file}"];

/// The permission that a caller needs for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// No permission.
    Public,
    /// An API key with this scope, unless anonymous callers have the scope.
    Scope(Scope),
}

/// Handlers, their documentation, and the permission that each path needs.
pub(super) struct Endpoints {
    pub(super) router: OpenApiRouter<Arc<App>>,
    pub(super) needs: Vec<(String, Need)>,
}

impl Endpoints {
    /// Starts with a document that has no paths yet.
    pub(super) fn new(head: OpenApi) -> Self {
        Self { router: OpenApiRouter::with_openapi(head), needs: Vec::new() }
    }

    /// Adds a documented endpoint.
    pub(super) fn add(mut self, need: Need, endpoint: UtoipaMethodRouter<Arc<App>>) -> Self {
        self.needs.extend(endpoint.1.paths.keys().map(|path| (path.clone(), need)));
        self.router = self.router.routes(endpoint);
        self
    }

    /// Adds paths whose handlers are not part of the OpenAPI document.
    pub(super) fn add_undocumented(mut self, need: Need, paths: &[&str]) -> Self {
        self.needs.extend(paths.iter().map(|path| ((*path).to_owned(), need)));
        self
    }
}

/// Finds the route of a path. The metrics of each route are looked up once and kept.
#[derive(Debug)]
pub(super) struct RouteTable {
    templates: matchit::Router<usize>,
    routes: Vec<Route>,
}

/// A route: its permission and its metrics.
#[derive(Debug)]
pub(super) struct Route {
    /// The path template, such as `/v1/customers/{id}`.
    pub(super) template: String,
    pub(super) need: Need,
    /// Duration of answers by class of the status: 1xx to 5xx.
    seconds: [OnceLock<Histogram>; CLASSES.len()],
    /// Whether the answers are stored in compressed form already.
    pub(super) is_stored: bool,
    /// Whether the endpoint answers also on a connection beyond a bound.
    pub(super) is_probe: bool,
    /// Whether an answer may take long to make, so that requests wait for their turn.
    pub(super) is_paced: bool,
    /// Counter of GET requests answered with 200, which are nearly all.
    reads: OnceLock<IntCounter>,
}

impl RouteTable {
    pub(super) fn new(endpoints: Endpoints) -> Self {
        let route = |template: String, need| Route {
            need,
            seconds: Default::default(),
            is_stored: STORED.contains(&template.as_str()) || template.starts_with("/docs"),
            is_probe: PROBES.contains(&template.as_str()),
            is_paced: !SHORT.contains(&template.as_str()) && need != Need::Public,
            reads: OnceLock::new(),
            template,
        };
        let unmatched = route(UNMATCHED.to_owned(), Need::Public);
        let mut table = Self { templates: matchit::Router::new(), routes: vec![unmatched] };
        for (template, need) in endpoints.needs {
            if table.templates.insert(&template, table.routes.len()).is_ok() {
                table.routes.push(route(template, need));
            }
        }
        table
    }

    /// Returns the route of `path`, or the route of unmatched paths.
    pub(super) fn find(&self, path: &str) -> &Route {
        &self.routes[self.templates.at(path).map_or(0, |found| *found.value)]
    }
}

impl Route {
    /// Whether no endpoint has the path.
    pub(super) fn is_unmatched(&self) -> bool {
        self.template == UNMATCHED
    }

    /// Returns the durations of answers with statuses of the class of `status`.
    pub(super) fn seconds(&self, metrics: &Metrics, status: StatusCode) -> &Histogram {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.seconds[class]
            .get_or_init(|| metrics.http_seconds.with_label_values(&[&*self.template, CLASSES[class]]))
    }

    /// Counts a request by method and status.
    pub(super) fn count(&self, metrics: &Metrics, method: &Method, status: StatusCode) {
        let counter = || {
            metrics.http_requests.with_label_values(&[method_label(method), &self.template, status.as_str()])
        };
        if *method == Method::GET && status == StatusCode::OK {
            self.reads.get_or_init(counter).inc();
        } else {
            counter().inc();
        }
    }
}

/// Returns the label of a method; clients may invent methods without end.
fn method_label(method: &Method) -> &str {
    match method.as_str() {
        name @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => name,
        _ => "other",
    }
}
