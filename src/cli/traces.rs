//! Traces of a command, which environment variables of OpenTelemetry turn on.

use crate::{
    config::{LoadedTraceConfig, TraceConfig},
    telemetry::{Metrics, Span, SpanKind, Traces, start_traces},
};

/// Starts traces if the environment has the endpoint of a collector. The log must be started.
pub(super) fn start(metrics: &Metrics) -> Option<Traces> {
    let LoadedTraceConfig { config, warnings } = TraceConfig::from_vars(std::env::vars());
    for warning in warnings {
        tracing::warn!(warning, "invalid environment variable");
    }
    start_traces(config?, metrics.trace_spans.clone())
}

/// Runs the `work` of a batch command as one span, and sends the spans before it returns.
pub(super) async fn traced<T, E>(
    command: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let traces = start(&Metrics::unobserved());
    let mut span = Span::root(command, SpanKind::Internal, None);
    let result = span.around(Box::pin(work)).await;
    span.fail_on(&result);
    drop(span);
    if let Some(traces) = traces {
        traces.flush().await;
    }
    result
}
