//! Log, metrics and traces of the process, and the progress of long work. Imports only `config` from the
//! rest of the crate.
//!
//! A log line looks like `2026-01-02T03:04:05.000000Z  INFO request request_id="…" method="GET"
//! route="/v1/segments" status=200 …`, as text or JSON. Log lines never contain feature values, API keys or
//! bodies. Customer ids appear only in audit lines, which can go to a separate file.

mod access_log;
mod ecs;
mod known;
mod labels;
mod line_buffer;
mod log;
mod log_filter;
mod metrics;
mod post;
mod progress;
mod throttle;
mod traces;

pub use access_log::AccessLogEntry;
pub use known::{KnownCounters, KnownGauges, OptionalGauge};
pub use labels::{
    CacheName, ExportOutcome, FallbackReason, KnownLabel, LakeFault, PollOutcome, ShedReason, SpanOutcome,
};
pub use log::{AUDIT, Log, LogError, reload_log, start_log};
pub use metrics::Metrics;
pub use post::{PostClient, PostError};
pub use progress::Progress;
pub use throttle::LogThrottle;
pub use traces::{
    AttributeValue, Span, SpanKind, TraceId, TraceParent, Traces, in_current_span, start_traces,
};
