//! Spans that wait for the collector.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::span::FinishedSpan;
use crate::telemetry::{known::KnownCounters, labels::SpanOutcome};

/// A bounded queue. A span that finds the queue full is dropped and counted.
#[derive(Debug)]
pub(super) struct SpanQueue {
    spans: Mutex<Vec<FinishedSpan>>,
    limit: usize,
    batch: usize,
    is_closed: AtomicBool,
    changed: Notify,
    counters: KnownCounters<SpanOutcome>,
}

impl SpanQueue {
    /// Creates a queue of at most `limit` spans, which wakes the exporter for every `batch` of spans.
    pub(super) fn new(limit: usize, batch: usize, counters: KnownCounters<SpanOutcome>) -> Self {
        let (spans, changed) = (Mutex::default(), Notify::new());
        Self { spans, limit, batch, is_closed: AtomicBool::new(false), changed, counters }
    }

    /// Adds a span.
    pub(super) fn push(&self, span: FinishedSpan) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() >= self.limit || self.is_closed() {
            self.counters.of(SpanOutcome::Dropped).inc();
            return;
        }
        spans.push(span);
        if spans.len() == self.batch {
            self.changed.notify_one();
        }
    }

    /// Takes all spans.
    pub(super) fn take(&self) -> Vec<FinishedSpan> {
        std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses further spans.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Waits until there is a batch, the queue is closed, or `delay` has passed.
    pub(super) async fn ready(&self, delay: Duration) {
        let has_batch = || self.spans.lock().unwrap_or_else(PoisonError::into_inner).len() >= self.batch;
        if !self.is_closed() && !has_batch() {
            let _ = tokio::time::timeout(delay, self.changed.notified()).await;
        }
    }

    /// Waits until the queue is closed.
    pub(super) async fn closed(&self) {
        while !self.is_closed() {
            self.changed.notified().await;
        }
    }
}
