//! The REST API: the map of all URLs, and the state that handlers share.
//!
//! A request passes `layers`, is matched by `route_table`, and reaches one file of `routes`. A handler
//! takes its arguments from `extract`, makes one call to [`crate::serving`], and answers through `reply`.
//! Only this layer knows axum and status codes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use axum::{Router, routing::get};
use tokio::sync::Notify;
use utoipa::OpenApi;
use utoipa_axum::routes;

use crate::{
    config::{Config, HttpConfig, Scope},
    serving::Serving,
    telemetry::Metrics,
};

mod access;
mod extract;
mod key_file;
mod layers;
mod live_settings;
pub mod openapi;
mod problem;
mod reply;
mod route_table;
mod routes;
mod server;
mod tls;

pub(crate) use extract::cursor::fuzz as fuzz_cursor;
pub use problem::Problem;
pub use server::serve;
pub use tls::{Tls, TlsError};

use live_settings::LiveSettings;
use route_table::{Endpoints, Need, RouteTable};
use routes::{
    audiences, builds, caller, changes, churn, console, customer, customer_batch, customer_history,
    customer_segments, docs, exports, feast, migration, models, overlap, probes, purchases, recommendations,
    segment_history, segments, snapshots, statistics, views,
};

/// The state that handlers and layers share.
#[derive(Debug)]
pub struct App {
    serving: Arc<Serving>,
    metrics: Arc<Metrics>,
    config: HttpConfig,
    /// Settings that follow the configuration files.
    live: ArcSwap<LiveSettings>,
    /// Least count that callers without the scope `pii` are shown.
    min_count: usize,
    feast: feast::Feast,
    routes: RouteTable,
    layers: layers::Layers,
    document: openapi::CurrentDocument,
    draining: AtomicBool,
    /// Wakes the tasks that look at files for changes.
    reload: Notify,
}

impl App {
    /// Makes the state of a service that answers from `serving`.
    #[must_use]
    pub fn new(serving: Arc<Serving>, metrics: Arc<Metrics>, config: &Config) -> Arc<Self> {
        Arc::new(Self {
            routes: RouteTable::new(endpoints(&config.http)),
            layers: layers::Layers::new(config, &metrics),
            document: openapi::CurrentDocument::default(),
            feast: feast::Feast::new(config.feast.clone()),
            config: config.http.clone(),
            live: ArcSwap::from_pointee(LiveSettings::new(&config.http)),
            min_count: config.privacy.min_count,
            draining: AtomicBool::new(false),
            reload: Notify::new(),
            serving,
            metrics,
        })
    }

    /// Reads changed API keys and certificates now, and not with the next look at the files.
    pub fn reload(&self) {
        self.reload.notify_waiters();
    }

    /// Changes the settings that may change while the service runs to those of `config`.
    pub fn apply(&self, config: &HttpConfig) {
        self.live.store(Arc::new(LiveSettings::new(config)));
        self.layers.set_anonymous_rate(config.anonymous_rate, &self.metrics);
    }

    /// Whether a snapshot is active, a tier can answer, and the process is not shutting down.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let answers = self.serving.lake_answers() || self.serving.online().is_some_and(|tair| tair.used);
        self.serving.current().is_ok() && answers && !self.draining.load(Ordering::Relaxed)
    }
}

/// Returns every endpoint with the scope that a caller needs for it. A path that is not listed here is not
/// served. The console, and the OpenAPI document with its page, are left out if `config` says so.
fn endpoints(config: &HttpConfig) -> Endpoints {
    const FEATURES: Need = Need::Scope(Scope::Features);
    const EXPORT: Need = Need::Scope(Scope::Export);
    const ADMIN: Need = Need::Scope(Scope::Admin);
    const METRICS: Need = Need::Scope(Scope::Metrics);
    let endpoints = Endpoints::new(openapi::Head::openapi())
        .add(FEATURES, routes!(customer::get_customer))
        .add(FEATURES, routes!(customer_batch::get_customers))
        .add(FEATURES, routes!(customer_segments::get_customer_segments))
        .add(FEATURES, routes!(customer_history::get_customer_history))
        .add(FEATURES, routes!(purchases::get_customer_purchases))
        .add(FEATURES, routes!(recommendations::get_recommendations))
        .add(FEATURES, routes!(recommendations::get_similar_products))
        .add(FEATURES, routes!(segments::list_segments))
        .add(FEATURES, routes!(segments::get_segment))
        .add(FEATURES, routes!(segments::list_segment_customers))
        .add(FEATURES, routes!(segment_history::get_segment_history))
        .add(FEATURES, routes!(changes::list_segment_changes))
        .add(FEATURES, routes!(changes::list_value_changes))
        .add(FEATURES, routes!(churn::list_churn))
        .add(FEATURES, routes!(audiences::query_audience, audiences::get_audience))
        .add(EXPORT, routes!(exports::export_segment))
        .add(EXPORT, routes!(exports::changes::export_segment_changes))
        .add(EXPORT, routes!(exports::export_churn))
        .add(EXPORT, routes!(exports::export_audience, exports::export_audience_by_address))
        .add(FEATURES, routes!(migration::get_migration))
        .add(FEATURES, routes!(overlap::get_overlap))
        .add(FEATURES, routes!(views::list_views))
        .add(FEATURES, routes!(statistics::get_view_statistics))
        .add(FEATURES, routes!(models::get_model))
        .add(FEATURES, routes!(snapshots::list_snapshots))
        // A manifest names raw files and quotes bad lines.
        .add(ADMIN, routes!(snapshots::get_snapshot))
        .add(ADMIN, routes!(builds::list_builds))
        .add(FEATURES, routes!(feast::get_online_features))
        .add(FEATURES, routes!(caller::get_access))
        .add(Need::Public, routes!(feast::feast_health))
        .add(Need::Public, routes!(probes::health))
        .add(Need::Public, routes!(probes::ready))
        .add(METRICS, routes!(probes::metrics));
    let endpoints =
        if config.console { endpoints.add_undocumented(Need::Public, console::PATHS) } else { endpoints };
    if !config.docs {
        return endpoints;
    }
    endpoints.add(Need::Public, routes!(openapi::openapi)).add_undocumented(Need::Public, docs::PATHS)
}

/// Returns the router of all endpoints.
fn router(app: Arc<App>) -> Router {
    let router = Router::from(endpoints(&app.config).router);
    let router = if app.config.console { router.merge(console::router()) } else { router };
    let router = if app.config.docs { router.merge(docs::router()) } else { router };
    router
        // `batch` may be a customer's id: GET reads that customer, POST the batch.
        .route("/v1/customers/batch", get(customer::get_customer_named_batch))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(app)
}
