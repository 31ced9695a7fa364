//! Prometheus metrics of the process.

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

/// Upper bounds of the histogram buckets, in seconds: 100 µs to 10 s.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Declares the metrics: field, type, name and labels. The comment of a field is also the help text of its
/// metric.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal [$($label:literal),*];)+) => {
        /// All metrics of the process, with their registry.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Metrics {
            /// Creates metrics that are never scraped, for work outside the server.
            #[must_use]
            pub fn unobserved() -> Self {
                Self::new().unwrap_or_else(|error| unreachable!("every metric is declared once: {error}"))
            }

            /// Creates and registers the metrics.
            ///
            /// # Errors
            /// If a name is declared twice or is not a valid metric name.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(let $field = <$kind as NewMetric>::create(
                    concat!("larder_", $name),
                    concat!($($help),+).trim(),
                    &[$($label),*],
                )?;
                registry.register(Box::new($field.clone()))?;)+
                #[cfg(target_os = "linux")]
                registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
                Ok(Self { registry, $($field),+ })
            }
        }
    };
}

metrics! {
    /// Number of HTTP requests by method, route template and status.
    http_requests: IntCounterVec = "http_requests_total" ["method", "route", "status"];
    /// Time from the request head to the response head in seconds, by route template.
    http_seconds: HistogramVec = "http_request_duration_seconds" ["route"];
    /// Number of HTTP requests in flight.
    http_open: IntGauge = "http_requests_open" [];
    /// Number of open HTTP connections.
    http_connections: IntGauge = "http_connections_open" [];
    /// Number of HTTP requests answered with 503 by a bound, by reason: connections (beyond the number of
    /// connections), queue (too many requests wait) or bodies (no memory for the body or the answer).
    http_shed: IntCounterVec = "http_requests_shed_total" ["reason"];
    /// Number of requests to routes that need a scope, by API key (or `anonymous`) and outcome: passed,
    /// forbidden (the key lacks the scope) or limited (rate limit exceeded).
    key_requests: IntCounterVec = "key_requests_total" ["key", "outcome"];
    /// Number of reads of one customer by tier and outcome: hit, miss or error.
    reads: IntCounterVec = "reads_total" ["tier", "outcome"];
    /// Duration of reads from a tier in seconds, one observation per call (one customer or one batch).
    read_seconds: HistogramVec = "read_duration_seconds" ["tier"];
    /// Number of snapshot blocks and footers found in the block cache.
    cache_hits: IntCounter = "cache_hits_total" [];
    /// Number of snapshot blocks and footers read from the lake because the block cache did not have them.
    cache_misses: IntCounter = "cache_misses_total" [];
    /// Share of block cache lookups that were hits since the process started, 0 to 1.
    cache_hit_ratio: Gauge = "cache_hit_ratio" [];
    /// Bytes of snapshot blocks and footers in memory.
    cache_bytes: IntGauge = "cache_bytes" [];
    /// Bytes of ids, columns, orders and sets of audiences in memory.
    audience_bytes: IntGauge = "audience_bytes" [];
    /// Bytes of customer rows in the memory tier.
    memory_bytes: IntGauge = "memory_bytes" [];
    /// Number of reads that Tair did not answer, by reason: miss, timeout, unreachable (no connection),
    /// refused, content (malformed value), breaker (circuit breaker open), behind (Tair holds an older
    /// publish), reconnected (state unknown since a reconnect), unknown (state never read), ahead (row of an
    /// unknown newer publish), foreign (Tair holds the customers of another lake).
    fallbacks: IntCounterVec = "tair_fallbacks_total" ["reason"];
    /// Number of connections to Tair by state: connected or broken.
    tair_connections: IntGaugeVec = "tair_connections" ["state"];
    /// Whether reads are sent to Tair: 1 or 0.
    tair_used: IntGauge = "tair_used" [];
    /// Whether the circuit breaker of Tair is open: 1 or 0.
    tair_breaker_open: IntGauge = "tair_breaker_open" [];
    /// Number of the publish that Tair holds.
    tair_publish: IntGauge = "tair_publish_number" [];
    /// Seconds since the as-of time of the snapshot that Tair holds.
    tair_age: Gauge = "tair_snapshot_age_seconds" [];
    /// Number of the publish into Tair that is running or has failed; 0 if the last publish succeeded.
    tair_publishing: IntGauge = "tair_publishing_number" [];
    /// Whether the last publish into Tair has failed: 1 or 0.
    tair_publishing_failed: IntGauge = "tair_publishing_failed" [];
    /// Share of the customers that the running or failed publish has processed, 0 to 1.
    tair_publishing_ratio: Gauge = "tair_publishing_ratio" [];
    /// Number of range reads from the lake.
    lake_reads: IntCounter = "lake_reads_total" [];
    /// Bytes read from the lake.
    lake_read_bytes: IntCounter = "lake_read_bytes_total" [];
    /// Number of failed reads from the lake, by reason: missing, damaged, timeout or store.
    lake_errors: IntCounterVec = "lake_errors_total" ["reason"];
    /// Number of exports that ended, by outcome: finished, left (receiver disconnected), idle (receiver too
    /// slow) or failed.
    exports: IntCounterVec = "exports_total" ["outcome"];
    /// Number of running exports.
    exports_open: IntGauge = "exports_open" [];
    /// Number of polls of `CURRENT` and the erasure list, by outcome: unchanged, swapped (snapshot
    /// activated), forgot (erasure list applied) or error.
    polls: IntCounterVec = "current_polls_total" ["outcome"];
    /// Seconds since the as-of time of the current snapshot.
    snapshot_age: Gauge = "snapshot_age_seconds" [];
    /// Seconds since the current snapshot was published.
    published_age: Gauge = "snapshot_published_age_seconds" [];
    /// Number of customers in the current snapshot.
    snapshot_customers: IntGauge = "snapshot_customers" [];
    /// Number of customers on the erasure list, who are not served.
    forgotten: IntGauge = "forgotten_customers" [];
    /// Number of the publish that is served.
    publish: IntGauge = "publish_number" [];
    /// Duration of each stage of the current snapshot's build in seconds.
    build_seconds: GaugeVec = "build_stage_seconds" ["stage"];
}

impl Metrics {
    /// Renders all metrics in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let (hits, misses) = (self.cache_hits.get(), self.cache_misses.get());
        #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
        self.cache_hit_ratio.set(if hits == 0 { 0.0 } else { hits as f64 / (hits + misses) as f64 });
        let mut text = String::new();
        match TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// Metric types that the `metrics!` macro can create.
trait NewMetric: Sized + Collector + Clone {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error>;
}

macro_rules! metric_without_labels {
    ($($kind:ident),+) => {
        $(impl NewMetric for $kind {
            fn create(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
                Self::new(name, help)
            }
        })+
    };
}

macro_rules! metric_with_labels {
    ($($kind:ident),+) => {
        $(impl NewMetric for $kind {
            fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
                Self::new(Opts::new(name, help), labels)
            }
        })+
    };
}

metric_without_labels!(IntCounter, IntGauge, Gauge);
metric_with_labels!(IntCounterVec, IntGaugeVec, GaugeVec);

impl NewMetric for HistogramVec {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_with_names_and_help() {
        let metrics = Metrics::new().expect("every metric is declared once");
        metrics.reads.with_label_values(&["snapshot", "hit"]).inc();
        metrics.cache_hits.inc_by(3);
        metrics.cache_misses.inc();
        let text = metrics.render();
        assert!(text.contains("larder_reads_total{outcome=\"hit\",tier=\"snapshot\"} 1"), "{text}");
        assert!(text.contains("larder_cache_hit_ratio 0.75"), "{text}");
        assert!(
            text.contains("# HELP larder_http_requests_open Number of HTTP requests in flight."),
            "{text}"
        );
    }
}
