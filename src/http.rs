//! REST: the map of all URLs. A handler extracts, makes one call, and answers.
//!
//! Only this storey knows axum and status codes; it sees [`crate::serving`], never a store.

use std::sync::{Arc, atomic::AtomicBool};

use axum::{Router, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    config::{Config, HttpConfig},
    serving::Serving,
    telemetry::Metrics,
};

mod access;
mod audiences;
mod audit;
mod batch;
mod catalog;
mod churn;
mod compress;
mod conditional;
mod cors;
mod cursor;
mod customer_history;
mod customers;
mod export;
pub mod feast;
mod history;
mod lists;
mod migration;
mod models;
mod observe;
pub mod openapi;
mod overlap;
mod problem;
mod query;
mod recommendations;
mod segments;
mod select;
mod server;
mod service;
mod span;
mod tls;

pub(crate) use cursor::fuzz as fuzz_cursor;
pub use problem::Problem;
pub use server::serve;
pub use tls::{Tls, TlsError};

/// What every handler sees.
#[derive(Debug)]
pub struct App {
    serving: Arc<Serving>,
    metrics: Arc<Metrics>,
    config: HttpConfig,
    feast: feast::Feast,
    request_ids: observe::RequestIds,
    routes: observe::Routes,
    gate: access::Gate,
    caching: observe::Caching,
    draining: AtomicBool,
}

impl App {
    /// What `serving` answers, as `config` says.
    #[must_use]
    pub fn new(serving: Arc<Serving>, metrics: Arc<Metrics>, config: &Config) -> Arc<Self> {
        let request_ids = observe::RequestIds::default();
        let (_, document) = documented().split_for_parts();
        let templates = document.paths.paths.into_keys().chain(openapi::DOCS.map(str::to_owned));
        let routes = observe::Routes::new(templates, &metrics);
        let gate = access::Gate::new(&config.keys, &config.http, &metrics);
        let caching = observe::Caching::new(&config.http, gate.has_keys());
        let feast = feast::Feast::new(config.feast.clone());
        let (config, draining) = (config.http.clone(), AtomicBool::new(false));
        Arc::new(Self { serving, metrics, config, feast, request_ids, routes, gate, caching, draining })
    }
}

/// The documented routes.
fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(customers::customer))
        .routes(routes!(batch::customers))
        .routes(routes!(recommendations::of_customer))
        .routes(routes!(recommendations::similar))
        .routes(routes!(segments::segments))
        .routes(routes!(segments::segment))
        .routes(routes!(segments::members))
        .routes(routes!(churn::churn))
        .routes(routes!(audiences::audience))
        .routes(routes!(export::segment))
        .routes(routes!(export::churn))
        .routes(routes!(export::audience))
        .routes(routes!(history::segment))
        .routes(routes!(migration::migration))
        .routes(routes!(overlap::overlap))
        .routes(routes!(customer_history::customer))
        .routes(routes!(catalog::views))
        .routes(routes!(models::model))
        .routes(routes!(catalog::snapshots))
        .routes(routes!(catalog::snapshot))
        .routes(routes!(feast::online_features))
        .routes(routes!(feast::health))
        .routes(routes!(service::healthz))
        .routes(routes!(service::readyz))
        .routes(routes!(service::metrics))
        .routes(routes!(openapi::document))
}

/// All URLs.
fn router(app: Arc<App>) -> Router {
    let (routes, _) = documented().split_for_parts();
    routes
        // The customer whose id is "batch".
        .route("/v1/customers/batch", get(customers::customer_named_batch))
        .merge(openapi::docs())
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(app)
}
