//! The layers around the router, from the outside in: lifecycle (request id, trace, deadline, panics,
//! metrics, access log), loopback guard, CORS, compression, gate (API key, scope, rate limit), queue, cache
//! control.

use std::{num::NonZeroU32, sync::Arc};

use crate::{
    config::{Config, KeyConfig},
    telemetry::{LogThrottle, Metrics},
};

mod bodies;
mod cache_control;
mod compression;
mod cors;
mod gate;
mod lifecycle;
mod loopback;
mod pace;
mod peer;
mod request_id;
mod request_span;
mod unsent;

use bodies::Bodies;
use cache_control::CacheControl;
use cors::Cors;
use gate::Gate;
pub(super) use lifecycle::respond;
use loopback::LoopbackGuard;
use pace::Queue;
pub(super) use peer::Peer;
use request_id::RequestIds;

/// The state of the layers.
#[derive(Debug)]
pub(super) struct Layers {
    request_ids: RequestIds,
    loopback: Option<LoopbackGuard>,
    cors: Option<Cors>,
    gate: Gate,
    cache_control: CacheControl,
    queue: Queue,
    bodies: Arc<Bodies>,
    /// Limit of log lines about refused callers.
    throttle: LogThrottle,
}

impl Layers {
    /// Whether callers have API keys.
    pub(super) fn has_keys(&self) -> bool {
        self.gate.callers().has_keys()
    }

    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        Self {
            request_ids: RequestIds::default(),
            loopback: LoopbackGuard::new(config),
            cors: Cors::new(&config.http.cors_origins),
            cache_control: CacheControl::new(&config.http),
            gate: Gate::new(config, metrics),
            queue: Queue::new(config.http.queue.get()),
            bodies: Arc::new(Bodies::new(config.http.bodies)),
            throttle: LogThrottle::default(),
        }
    }

    /// Logs that a connection was closed because the client does not read its answers.
    pub(super) fn log_unread(&self, peer: &Peer) {
        self.throttle.log(&format!("unread {}", peer.client), |suppressed| {
            let why = "the client reads no answers";
            tracing::warn!(client = %peer.client, why, suppressed, "connection closed");
        });
    }

    /// Changes the rate limit of callers without a key.
    pub(super) fn set_anonymous_rate(&self, rate: Option<NonZeroU32>, metrics: &Metrics) {
        self.gate.set_anonymous_rate(rate, metrics);
    }

    /// Replaces the API keys, as [`Gate::replace_keys`] does.
    pub(super) fn replace_keys(&self, keys: &[KeyConfig], metrics: &Metrics) -> bool {
        self.gate.replace_keys(keys, metrics)
    }
}
