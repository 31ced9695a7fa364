//! The handles of the metrics that every read touches, looked up once.

use prometheus::{Histogram, IntCounter};

use crate::{feature::Tier, telemetry::Metrics};

/// Counters and times of all tiers.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) memory: TierCounters,
    pub(super) tair: TierCounters,
    pub(super) snapshot: TierCounters,
}

/// Those of one tier.
#[derive(Debug)]
pub(super) struct TierCounters {
    pub(super) hits: IntCounter,
    pub(super) misses: IntCounter,
    pub(super) errors: IntCounter,
    pub(super) seconds: Histogram,
}

impl Counted {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let of = |tier: Tier| {
            let counter = |outcome| metrics.reads.with_label_values(&[tier.as_str(), outcome]);
            let (hits, misses, errors) = (counter("hit"), counter("miss"), counter("error"));
            TierCounters {
                hits,
                misses,
                errors,
                seconds: metrics.read_seconds.with_label_values(&[tier.as_str()]),
            }
        };
        Self { memory: of(Tier::Memory), tair: of(Tier::Tair), snapshot: of(Tier::Snapshot) }
    }
}
