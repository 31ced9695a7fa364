//! Metrics whose labels are resolved once, and gauges that may be absent.

use std::marker::PhantomData;

use prometheus::{
    GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::labels::KnownLabel;

/// Counters of every value of the label `L`.
#[derive(Debug, Clone)]
pub struct KnownCounters<L> {
    family: IntCounterVec,
    counters: Vec<IntCounter>,
    label: PhantomData<L>,
}

impl<L: KnownLabel> KnownCounters<L> {
    pub(super) fn new(family: IntCounterVec) -> Self {
        let counters = L::ALL.iter().map(|value| family.with_label_values(&[value.as_str()])).collect();
        Self { family, counters, label: PhantomData }
    }

    /// Returns the counter of `value`.
    #[must_use]
    pub fn of(&self, value: L) -> &IntCounter {
        &self.counters[value.index()]
    }
}

/// Gauges of every value of the label `L`.
#[derive(Debug, Clone)]
pub struct KnownGauges<L> {
    family: IntGaugeVec,
    gauges: Vec<IntGauge>,
    label: PhantomData<L>,
}

impl<L: KnownLabel> KnownGauges<L> {
    pub(super) fn new(family: IntGaugeVec) -> Self {
        let gauges = L::ALL.iter().map(|value| family.with_label_values(&[value.as_str()])).collect();
        Self { family, gauges, label: PhantomData }
    }

    /// Returns the gauge of `value`.
    #[must_use]
    pub fn of(&self, value: L) -> &IntGauge {
        &self.gauges[value.index()]
    }
}

/// A gauge that is absent while its value is unknown.
#[derive(Debug, Clone)]
pub struct OptionalGauge(GaugeVec);

impl OptionalGauge {
    pub(super) fn new(family: GaugeVec) -> Self {
        Self(family)
    }

    /// Sets the value; `None` makes the gauge absent.
    pub fn set(&self, value: Option<f64>) {
        match value {
            Some(value) => self.0.with_label_values::<&str>(&[]).set(value),
            None => self.0.reset(),
        }
    }
}

impl<L: KnownLabel + Send + Sync> Collector for KnownCounters<L> {
    fn desc(&self) -> Vec<&Desc> {
        self.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.family.collect()
    }
}

impl<L: KnownLabel + Send + Sync> Collector for KnownGauges<L> {
    fn desc(&self) -> Vec<&Desc> {
        self.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.family.collect()
    }
}

impl Collector for OptionalGauge {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}
