//! Spans of reads from a tier, in traces.

use crate::{
    feature::Tier,
    telemetry::{Span, SpanKind},
};

/// A read from a tier, as a span of a trace. The span ends when dropped, without an outcome if the read was
/// canceled.
#[derive(Debug)]
pub(super) struct TierSpan(Span);

impl TierSpan {
    /// Begins a read from `tier`.
    pub(super) fn start(tier: Tier) -> Self {
        let name = match tier {
            Tier::Memory => "read memory",
            Tier::Tair => "read tair",
            Tier::Snapshot => "read snapshot",
        };
        Self(Span::child(name, SpanKind::Internal).with("larder.tier", tier.as_str()))
    }

    /// Makes the span the current one of `work`.
    pub(super) fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.0.around(work)
    }

    /// Ends a read of one value with an outcome: hit, miss, error or the reason why Tair has no row.
    pub(super) fn end(mut self, outcome: &'static str) {
        self.0.set("larder.outcome", outcome);
    }

    /// Ends a read from the snapshot.
    pub(super) fn end_with<T, E>(self, read: &Result<Option<T>, E>) {
        self.end(match read {
            Ok(Some(_)) => "hit",
            Ok(None) => "miss",
            Err(_) => "error",
        });
    }

    /// Ends a read of several values, of which `hits` were found.
    pub(super) fn end_batch(mut self, asked: usize, hits: usize) {
        self.0.set("larder.asked", asked as u64);
        self.0.set("larder.hits", hits as u64);
    }
}
