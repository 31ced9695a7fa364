//! Traces: spans of requests, builds and publishes, sent to a collector over OTLP (HTTP with Protocol
//! Buffers).
//!
//! Larder has no crate of OpenTelemetry for this: a request that is not recorded costs a check of an option,
//! and the encoding is a page of code. Spans are made at the places that are worth seeing, and not for every
//! event of the log.

use std::sync::{Arc, OnceLock};

use tokio::task::JoinHandle;

use super::{known::KnownCounters, labels::SpanOutcome};
use crate::config::{Sampler, TraceConfig, shown_url};

mod exporter;
mod ids;
mod protobuf;
mod queue;
mod span;

use exporter::{Exporter, FLUSH_TIMEOUT};
pub use ids::{TraceId, TraceParent};
use queue::SpanQueue;
pub use span::{AttributeValue, Span, SpanKind, in_current_span};

/// The state of traces; empty while traces are off.
static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Takes spans while the process runs.
#[derive(Debug)]
struct Tracer {
    sampler: Sampler,
    queue: Arc<SpanQueue>,
}

impl Tracer {
    /// Decides whether the trace is recorded.
    fn samples(&self, trace_id: TraceId, caller: Option<&TraceParent>) -> bool {
        match caller {
            Some(caller) if self.sampler.follows_parent => caller.is_sampled,
            _ => is_in_share(self.sampler.share, trace_id),
        }
    }
}

/// Checks whether a trace is among the `share` that is recorded. The id decides, as in other implementations
/// of OpenTelemetry, so that all services of a trace decide alike.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "63 bits of the id, and a share")]
fn is_in_share(share: f64, trace_id: TraceId) -> bool {
    const ALL: f64 = 9_223_372_036_854_775_808.0; // 2^63
    (trace_id.0 as u64 >> 1) < (share * ALL) as u64
}

/// Running traces. [`Traces::flush`] sends the last spans.
#[derive(Debug)]
#[must_use = "the last spans are sent by `flush`"]
pub struct Traces {
    queue: Arc<SpanQueue>,
    exporting: JoinHandle<()>,
}

/// Starts traces, once in a process. Must be called within a runtime. `spans` counts what becomes of spans.
pub fn start_traces(config: TraceConfig, spans: KnownCounters<SpanOutcome>) -> Option<Traces> {
    let queue = Arc::new(SpanQueue::new(config.queue, config.batch, spans.clone()));
    let tracer = Tracer { sampler: config.sampler, queue: Arc::clone(&queue) };
    TRACER.set(tracer).ok()?;
    let Sampler { share, follows_parent } = config.sampler;
    let endpoint = shown_url(config.endpoint.as_str());
    tracing::info!(endpoint, share, follows_parent, "traces are sent to a collector");
    let exporting = tokio::spawn(Exporter::new(config, spans, Arc::clone(&queue)).run());
    Some(Traces { queue, exporting })
}

impl Traces {
    /// Sends the spans that have ended, and ends the sending. Takes a few seconds at most.
    pub async fn flush(self) {
        self.queue.close();
        let abort = self.exporting.abort_handle();
        if tokio::time::timeout(FLUSH_TIMEOUT, self.exporting).await.is_err() {
            abort.abort();
            tracing::warn!("the collector of traces did not take the last spans in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_traces_is_decided_by_the_id() {
        let first = TraceId(u128::from(u64::MAX) << 64);
        let (half, last) = (TraceId(1 << 63), TraceId(u128::MAX));
        let taken = |share: f64| [first, half, last].map(|id| is_in_share(share, id));
        assert_eq!(taken(0.0), [false; 3]);
        assert_eq!(taken(0.5), [true, false, false]);
        assert_eq!(taken(0.75), [true, true, false]);
        assert_eq!(taken(1.0), [true; 3]);
    }
}
