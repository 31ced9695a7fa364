//! The layers around the router, from the outside in: lifecycle (request id, deadline, panics, metrics,
//! access log), CORS, compression, gate (API key, scope, rate limit), cache control.

use crate::{
    config::{Config, KeyConfig},
    telemetry::Metrics,
};

mod cache_control;
mod compression;
mod cors;
mod gate;
mod lifecycle;
mod request_id;

use cache_control::CacheControl;
use cors::Cors;
use gate::Gate;
pub(super) use lifecycle::respond;
use request_id::RequestIds;

/// The state of the layers.
#[derive(Debug)]
pub(super) struct Layers {
    request_ids: RequestIds,
    cors: Option<Cors>,
    gate: Gate,
    cache_control: CacheControl,
}

impl Layers {
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        Self {
            request_ids: RequestIds::default(),
            cors: Cors::new(&config.http.cors_origins),
            cache_control: CacheControl::new(&config.http),
            gate: Gate::new(config, metrics),
        }
    }

    /// Replaces the API keys, as [`Gate::replace_keys`] does.
    pub(super) fn replace_keys(&self, keys: &[KeyConfig], metrics: &Metrics) -> bool {
        self.gate.replace_keys(keys, metrics)
    }
}
