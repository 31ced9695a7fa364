//! Sending of spans to the collector, in batches and apart from the work that makes spans.

use std::{sync::Arc, time::Duration};

use hyper::{Method, body::Bytes};
use tokio::time::Instant;

use super::{protobuf, queue::SpanQueue, span::FinishedSpan};
use crate::{
    config::{TraceConfig, shown_url},
    telemetry::{
        known::KnownCounters,
        labels::SpanOutcome,
        post::{PostClient, PostError},
        throttle::LogThrottle,
    },
};

/// Longest time for sending the last spans when the process ends.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a batch is sent again, which doubles with each attempt.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Statuses of a collector that takes the batch later.
const RETRIED: [u16; 4] = [429, 502, 503, 504];

/// Type of the bodies.
const CONTENT_TYPE: (&str, &str) = ("content-type", "application/x-protobuf");

/// Sends the spans of a queue.
#[derive(Debug)]
pub(super) struct Exporter {
    config: TraceConfig,
    counters: KnownCounters<SpanOutcome>,
    queue: Arc<SpanQueue>,
    client: PostClient,
    throttle: LogThrottle,
}

impl Exporter {
    pub(super) fn new(
        config: TraceConfig,
        counters: KnownCounters<SpanOutcome>,
        queue: Arc<SpanQueue>,
    ) -> Self {
        let headers = config.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let client = PostClient::new(&config.endpoint, headers.chain([CONTENT_TYPE]));
        Self { config, counters, queue, client, throttle: LogThrottle::default() }
    }

    /// Sends batches until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        loop {
            self.queue.ready(self.config.delay).await;
            // Looked at first, so that spans that came before the end are not left.
            let is_last = self.queue.is_closed();
            for batch in self.queue.take().chunks(self.config.batch) {
                self.export(batch).await;
            }
            if is_last {
                return;
            }
        }
    }

    /// Sends a batch. Tries again within the time for a batch, unless the process is about to end.
    async fn export(&mut self, batch: &[FinishedSpan]) {
        let body = Bytes::from(protobuf::request(&self.config.resource, batch));
        let deadline = Instant::now() + self.config.batch_timeout;
        let mut backoff = FIRST_BACKOFF;
        let outcome = loop {
            let sent = self.client.send(Method::POST, body.clone(), self.config.timeout).await;
            let Err(error) = sent else { break SpanOutcome::Exported };
            if !is_transient(&error) || Instant::now() + backoff > deadline || self.queue.is_closed() {
                self.throttle.log("", |suppressed| {
                    let endpoint = shown_url(self.config.endpoint.as_str());
                    tracing::warn!(endpoint, %error, suppressed, "cannot send traces; spans are lost");
                });
                break SpanOutcome::Failed;
            }
            let _ = tokio::time::timeout(backoff, self.queue.closed()).await;
            backoff *= 2;
        };
        self.counters.of(outcome).inc_by(batch.len() as u64);
    }
}

/// Whether the collector may take the batch later.
fn is_transient(error: &PostError) -> bool {
    match error {
        PostError::Refused { status, .. } => RETRIED.contains(status),
        PostError::Request(_) => false,
        PostError::Connect(_) | PostError::Exchange(_) | PostError::Timeout(_) => true,
    }
}
