//! The log and the metrics. Knows nothing of the rest of the crate; everything else may count here.
//!
//! One log line looks like `2026-01-02T03:04:05Z INFO request method=GET route=/v1/segments status=200 …`, as text or JSON.
//! Never in it: feature values, keys, bodies; ids of customers only in the lines of the audit, which can have a file of their own.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

mod log;
mod request;
mod seldom;

pub use log::{AUDIT, Log, LogError, start_log};
pub use request::Answered;
pub use seldom::Seldom;

/// Buckets from 100 µs to 10 s.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Declares the metrics: name, labels, and the comment of the field as its help.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal [$($label:literal),*];)+) => {
        /// Every metric of the process, in a registry of its own.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Metrics {
            /// Metrics that nobody looks at, for work that is counted elsewhere.
            #[must_use]
            pub fn unobserved() -> Self {
                Self::new().unwrap_or_else(|error| unreachable!("the metrics are declared once each: {error}"))
            }

            /// Makes and registers the metrics.
            ///
            /// # Errors
            /// Of a name that is declared twice or is no name.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(let $field = <$kind as Make>::make(concat!("larder_", $name), concat!($($help),+).trim(), &[$($label),*])?;
                registry.register(Box::new($field.clone()))?;)+
                #[cfg(target_os = "linux")]
                registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
                Ok(Self { registry, $($field),+ })
            }
        }
    };
}

metrics! {
    /// Requests by method, route template and status.
    http_requests: IntCounterVec = "http_requests_total" ["method", "route", "status"];
    /// Time from a request's head to the answer's head, by route template.
    http_seconds: HistogramVec = "http_request_duration_seconds" ["route"];
    /// Requests under way.
    http_open: IntGauge = "http_requests_open" [];
    /// Requests that need a scope by the caller's key (or `anonymous`) and outcome: passed, forbidden (it lacks the scope) or limited (it is
    /// past its rate).
    key_requests: IntCounterVec = "key_requests_total" ["key", "outcome"];
    /// Reads of one customer by the tier that answered or failed, and outcome: hit, miss or error.
    reads: IntCounterVec = "reads_total" ["tier", "outcome"];
    /// Time of a tier's reads, one observation a call (one customer or one batch).
    read_seconds: HistogramVec = "read_duration_seconds" ["tier"];
    /// Blocks and footers of the snapshot found in the cache.
    cache_hits: IntCounter = "cache_hits_total" [];
    /// Blocks and footers of the snapshot that had to be read from the lake.
    cache_misses: IntCounter = "cache_misses_total" [];
    /// Hits over hits and misses since the start.
    cache_hit_ratio: Gauge = "cache_hit_ratio" [];
    /// Bytes that blocks and footers of the snapshot hold in memory.
    cache_bytes: IntGauge = "cache_bytes" [];
    /// Bytes that columns, orders and sets of audiences hold in memory.
    audience_bytes: IntGauge = "audience_bytes" [];
    /// Bytes that rows of the memory tier hold.
    memory_bytes: IntGauge = "memory_bytes" [];
    /// Reads that Tair could not answer, by reason: miss, timeout, unreachable, refused, content, breaker, behind (it holds an older
    /// publish), reconnected (it has not said yet what it holds), unknown (it never said), ahead (a publish under way it has not told of),
    /// foreign (it holds the customers of another lake).
    fallbacks: IntCounterVec = "tair_fallbacks_total" ["reason"];
    /// Connections to Tair by state: connected or broken.
    tair_connections: IntGaugeVec = "tair_connections" ["state"];
    /// Whether reads go to Tair.
    tair_used: IntGauge = "tair_used" [];
    /// Whether the breaker keeps reads from Tair.
    tair_breaker_open: IntGauge = "tair_breaker_open" [];
    /// The number of the publish that Tair holds.
    tair_publish: IntGauge = "tair_publish_number" [];
    /// Seconds from the `as_of` of what Tair holds to now.
    tair_age: Gauge = "tair_snapshot_age_seconds" [];
    /// The number of the publish into Tair that is under way, or that failed; 0 where the last one ended well.
    tair_publishing: IntGauge = "tair_publishing_number" [];
    /// Whether that publish has failed.
    tair_publishing_failed: IntGauge = "tair_publishing_failed" [];
    /// The share of the customers that it has gone through, 0 to 1.
    tair_publishing_ratio: Gauge = "tair_publishing_ratio" [];
    /// Range reads on the lake.
    lake_reads: IntCounter = "lake_reads_total" [];
    /// Bytes read from the lake.
    lake_read_bytes: IntCounter = "lake_read_bytes_total" [];
    /// Reads on the lake that failed, by reason: missing, damaged, timeout or store.
    lake_errors: IntCounterVec = "lake_errors_total" ["reason"];
    /// Exports that ended, by outcome: finished, left (the receiver is gone), idle (it took nothing) or failed.
    exports: IntCounterVec = "exports_total" ["outcome"];
    /// Exports under way.
    exports_open: IntGauge = "exports_open" [];
    /// Looks at `CURRENT` and the list of the forgotten, by outcome: unchanged, swapped, forgot (the list changed) or error.
    polls: IntCounterVec = "current_polls_total" ["outcome"];
    /// Seconds from the served snapshot's `as_of` to now.
    snapshot_age: Gauge = "snapshot_age_seconds" [];
    /// Seconds since the served snapshot was published.
    published_age: Gauge = "snapshot_published_age_seconds" [];
    /// Customers in the served snapshot.
    snapshot_customers: IntGauge = "snapshot_customers" [];
    /// Customers on the list of the forgotten, which are not served.
    forgotten: IntGauge = "forgotten_customers" [];
    /// The number of the publish that is served.
    publish: IntGauge = "publish_number" [];
    /// Seconds that each stage of the served snapshot's build took.
    build_seconds: GaugeVec = "build_stage_seconds" ["stage"];
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let (hits, misses) = (self.cache_hits.get(), self.cache_misses.get());
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        self.cache_hit_ratio.set(if hits == 0 { 0.0 } else { hits as f64 / (hits + misses) as f64 });
        let mut text = String::new();
        match TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// Makes a metric of a kind.
trait Make: Sized + Collector + Clone {
    fn make(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error>;
}

macro_rules! make_plain {
    ($($kind:ident),+) => {
        $(impl Make for $kind {
            fn make(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
                Self::new(name, help)
            }
        })+
    };
}

make_plain!(IntCounter, IntGauge, Gauge);

impl Make for IntCounterVec {
    fn make(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Make for IntGaugeVec {
    fn make(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Make for GaugeVec {
    fn make(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Make for HistogramVec {
    fn make(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)
    }
}

/// How far long work is, for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<String>,
    /// What is done of the stage, in its own unit: bytes, customers.
    pub done: Arc<AtomicU64>,
    /// What there is to do, 0 where nobody knows.
    pub total: AtomicU64,
}

impl Progress {
    /// Starts a stage with `total` to do, 0 where nobody knows.
    pub fn enter(&self, stage: &str, total: u64) {
        if let Ok(mut name) = self.stage.lock() {
            stage.clone_into(&mut name);
        }
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// The stage under way.
    #[must_use]
    pub fn stage(&self) -> String {
        self.stage.lock().map(|name| name.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_names_units_and_help() {
        let metrics = Metrics::new().expect("declared once each");
        metrics.reads.with_label_values(&["snapshot", "hit"]).inc();
        metrics.cache_hits.inc_by(3);
        metrics.cache_misses.inc();
        let text = metrics.render();
        assert!(text.contains("larder_reads_total{outcome=\"hit\",tier=\"snapshot\"} 1"), "{text}");
        assert!(text.contains("larder_cache_hit_ratio 0.75"), "{text}");
        assert!(text.contains("# HELP larder_http_requests_open Requests under way."), "{text}");
    }
}
