//! Handles of the per-tier read metrics, resolved once so that a read does not look up labels.

use prometheus::{Histogram, IntCounter};

use crate::{feature::Tier, telemetry::Metrics};

/// Read metrics of all tiers.
#[derive(Debug)]
pub(super) struct ReadMetrics {
    pub(super) memory: TierMetrics,
    pub(super) tair: TierMetrics,
    pub(super) snapshot: TierMetrics,
}

/// Read metrics of one tier.
#[derive(Debug)]
pub(super) struct TierMetrics {
    pub(super) hits: IntCounter,
    pub(super) misses: IntCounter,
    pub(super) errors: IntCounter,
    pub(super) seconds: Histogram,
}

impl ReadMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let tier_metrics = |tier: Tier| {
            let counter = |outcome| metrics.reads.with_label_values(&[tier.as_str(), outcome]);
            TierMetrics {
                hits: counter("hit"),
                misses: counter("miss"),
                errors: counter("error"),
                seconds: metrics.read_seconds.with_label_values(&[tier.as_str()]),
            }
        };
        Self {
            memory: tier_metrics(Tier::Memory),
            tair: tier_metrics(Tier::Tair),
            snapshot: tier_metrics(Tier::Snapshot),
        }
    }
}
