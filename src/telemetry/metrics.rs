//! Prometheus metrics of the process.

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

use super::{
    known::{KnownCounters, KnownGauges, OptionalGauge},
    labels::{
        CacheName, ExportOutcome, FallbackReason, KnownLabel, LakeFault, PollOutcome, ShedReason, SpanOutcome,
    },
};

/// Upper bounds of the histogram buckets in seconds: 1 µs to 10 s. Answers over HTTP take longer than the
/// first [`FASTER_THAN_HTTP`] bounds.
const SECONDS: &[f64] = &[
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
];
/// Number of the bounds below 10 µs.
const FASTER_THAN_HTTP: usize = 3;
/// Cargo features of this binary.
const FEATURES: &str = if cfg!(feature = "delta") {
    "build,delta"
} else if cfg!(feature = "build") {
    "build"
} else {
    ""
};

/// Declares the metrics: field, type, name and labels. The comment of a field is also the help text of its
/// metric.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal [$($label:literal),*];)+) => {
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
                let metrics = Self { registry, $($field),+ };
                metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), FEATURES]).set(1);
                Ok(metrics)
            }
        }
    };
}

metrics! {
    /// Number of HTTP requests by method, route template and status.
    http_requests: IntCounterVec = "http_requests_total" ["method", "route", "status"];
    /// Time from the request head to the response head in seconds, by route template and class of the status,
    /// such as 2xx.
    http_seconds: HistogramVec = "http_request_duration_seconds" ["route", "status"];
    /// Number of HTTP requests in flight.
    http_open: IntGauge = "http_requests_open" [];
    /// Number of open HTTP connections.
    http_connections: IntGauge = "http_connections_open" [];
    /// Number of HTTP requests answered with 503 by a bound, by reason: connections (beyond the number of
    /// connections), queue (too many requests wait) or bodies (no memory for the body or the answer).
    http_shed: KnownCounters<ShedReason> = "http_requests_shed_total" ["reason"];
    /// Number of requests to routes that need a scope, by API key (or `anonymous`) and outcome: passed,
    /// forbidden (the key lacks the scope), limited (rate limit exceeded) or expired.
    key_requests: IntCounterVec = "key_requests_total" ["key", "outcome"];
    /// Number of reads of one customer by tier and outcome: hit, miss or error.
    reads: IntCounterVec = "reads_total" ["tier", "outcome"];
    /// Duration of reads from a tier in seconds, one observation per call (one customer or one batch).
    read_seconds: HistogramVec = "read_duration_seconds" ["tier"];
    /// Number of values found in a cache, by cache.
    cache_hits: IntCounterVec = "cache_hits_total" ["cache"];
    /// Number of values that a cache did not have, by cache.
    cache_misses: IntCounterVec = "cache_misses_total" ["cache"];
    /// Bytes in a cache, by cache: blocks (of snapshots), audiences (their ids, columns, orders and sets),
    /// memory (customer rows of the memory tier) or comparisons (of snapshots).
    cache_bytes: KnownGauges<CacheName> = "cache_bytes" ["cache"];
    /// Largest number of bytes in a cache, by cache; 0 if the cache is off.
    cache_limit_bytes: KnownGauges<CacheName> = "cache_limit_bytes" ["cache"];
    /// Number of reads that Tair did not answer, by reason: miss, timeout, unreachable (no connection),
    /// refused, content (malformed value), breaker (circuit breaker open), behind (Tair holds an older
    /// publish), reconnected (state unknown since a reconnect), unknown (state never read), ahead (row of an
    /// unknown newer publish), foreign (Tair holds the customers of another lake) or other.
    fallbacks: KnownCounters<FallbackReason> = "tair_fallbacks_total" ["reason"];
    /// Number of connections to Tair by state: connected or broken.
    tair_connections: IntGaugeVec = "tair_connections" ["state"];
    /// Whether reads are sent to Tair: 1 or 0. Absent without Tair.
    tair_used: OptionalGauge = "tair_used" [];
    /// Whether the circuit breaker of Tair is open: 1 or 0. Absent without Tair.
    tair_breaker_open: OptionalGauge = "tair_breaker_open" [];
    /// Number of the publish that Tair holds. Absent while unknown.
    tair_publish: OptionalGauge = "tair_publish_number" [];
    /// As-of time of the snapshot that Tair holds, in seconds since 1970. Absent while unknown.
    tair_as_of: OptionalGauge = "tair_snapshot_as_of_timestamp_seconds" [];
    /// Number of the publish into Tair that is running or has failed; 0 if the last publish succeeded. Absent
    /// without Tair.
    tair_publishing: OptionalGauge = "tair_publishing_number" [];
    /// Whether the last publish into Tair has failed: 1 or 0. Absent without Tair.
    tair_publishing_failed: OptionalGauge = "tair_publishing_failed" [];
    /// Share of the customers that the running or failed publish has processed, 0 to 1. Absent without Tair.
    tair_publishing_ratio: OptionalGauge = "tair_publishing_ratio" [];
    /// Number of range reads from the lake.
    lake_reads: IntCounter = "lake_reads_total" [];
    /// Bytes read from the lake.
    lake_read_bytes: IntCounter = "lake_read_bytes_total" [];
    /// Number of failed reads from the lake, by reason: missing, damaged, timeout or store.
    lake_errors: KnownCounters<LakeFault> = "lake_errors_total" ["reason"];
    /// Number of reads from the lake that wait for a permit.
    lake_waiting: IntGauge = "lake_reads_waiting" [];
    /// Number of exports that ended, by outcome: finished, left (receiver disconnected), idle (receiver too
    /// slow) or failed.
    exports: KnownCounters<ExportOutcome> = "exports_total" ["outcome"];
    /// Number of running exports.
    exports_open: IntGauge = "exports_open" [];
    /// Number of polls of `CURRENT` and the erasure list, by outcome: unchanged, swapped (snapshot
    /// activated), forgot (erasure list applied) or error.
    polls: KnownCounters<PollOutcome> = "current_polls_total" ["outcome"];
    /// Seconds since the served snapshot was published. Absent until a snapshot is served.
    snapshot_age: OptionalGauge = "snapshot_age_seconds" [];
    /// Time of the publish that is served, in seconds since 1970. Absent until a snapshot is served.
    snapshot_published: OptionalGauge = "snapshot_published_timestamp_seconds" [];
    /// As-of time of the served snapshot, in seconds since 1970. Absent until a snapshot is served.
    snapshot_as_of: OptionalGauge = "snapshot_as_of_timestamp_seconds" [];
    /// Number of customers in the served snapshot, without erased ones. Absent until a snapshot is served.
    snapshot_customers: OptionalGauge = "snapshot_customers" [];
    /// Number of customers on the erasure list, who are not served. Absent until a snapshot is served.
    forgotten: OptionalGauge = "forgotten_customers" [];
    /// Number of the publish that is served. Absent until a snapshot is served.
    publish: OptionalGauge = "publish_number" [];
    /// Duration of each stage of the served snapshot's build in seconds.
    build_seconds: GaugeVec = "build_stage_seconds" ["stage"];
    /// Number of files under `raw/` that the served snapshot was not built from, counted once a minute.
    /// Absent while unknown.
    raw_pending: OptionalGauge = "raw_pending_files" [];
    /// Time when the last build ended. Absent while unknown.
    last_build: OptionalGauge = "last_build_timestamp_seconds" [];
    /// Time when the last build that did not fail ended. Absent while unknown.
    last_good_build: OptionalGauge = "last_good_build_timestamp_seconds" [];
    /// Whether the last build failed: 1 or 0. Absent while unknown.
    last_build_failed: OptionalGauge = "last_build_failed" [];
    /// Number of spans of traces by outcome: exported, dropped (too many wait for the collector) or failed
    /// (the collector did not take the span).
    trace_spans: KnownCounters<SpanOutcome> = "trace_spans_total" ["outcome"];
    /// Version and Cargo features of the program; the value is 1.
    build_info: IntGaugeVec = "build_info" ["version", "features"];
}

impl Metrics {
    /// Renders all metrics in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
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

metric_without_labels!(IntCounter, IntGauge);
metric_with_labels!(IntCounterVec, IntGaugeVec, GaugeVec);

impl<L: KnownLabel + Send + Sync> NewMetric for KnownCounters<L> {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Ok(Self::new(<IntCounterVec as NewMetric>::create(name, help, labels)?))
    }
}

impl<L: KnownLabel + Send + Sync> NewMetric for KnownGauges<L> {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Ok(Self::new(<IntGaugeVec as NewMetric>::create(name, help, labels)?))
    }
}

impl NewMetric for OptionalGauge {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Ok(Self::new(<GaugeVec as NewMetric>::create(name, help, labels)?))
    }
}

impl NewMetric for HistogramVec {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        let first = if name.starts_with("larder_http") { FASTER_THAN_HTTP } else { 0 };
        Self::new(HistogramOpts::new(name, help).buckets(SECONDS[first..].to_vec()), labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_with_names_and_help() {
        let metrics = Metrics::new().expect("every metric is declared once");
        metrics.reads.with_label_values(&["snapshot", "hit"]).inc();
        let text = metrics.render();
        assert!(text.contains("larder_reads_total{outcome=\"hit\",tier=\"snapshot\"} 1"), "{text}");
        assert!(
            text.contains("# HELP larder_http_requests_open Number of HTTP requests in flight."),
            "{text}"
        );
    }

    #[test]
    fn known_labels_are_zero_from_the_start_and_unknown_values_absent() {
        let metrics = Metrics::unobserved();
        let text = metrics.render();
        for line in
            ["larder_lake_errors_total{reason=\"damaged\"} 0", "larder_exports_total{outcome=\"idle\"} 0"]
        {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("larder_publish_number"), "{text}");
        metrics.publish.set(Some(3.0));
        assert!(metrics.render().contains("\nlarder_publish_number 3\n"));
        metrics.publish.set(None);
        assert!(!metrics.render().contains("larder_publish_number"));
    }
}
