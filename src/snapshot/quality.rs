//! Whether a snapshot is plausible beside the one before: an export that was cut off, or lost a column,
//! should not reach readers.

use super::{Manifest, Quality, SegmentStats};
use crate::{
    config::{QualityMetric, QualityRule},
    feature::SegmentKind,
};

/// To how much of what it was a number may fall.
const FALL: f64 = 0.5;
/// Customers with a feature from which on their share says something.
const FEWEST: f64 = 5.0;

impl Manifest {
    /// Returns why the snapshot should not be published: what of it is implausible beside `before`, and
    /// which of `rules` it breaks.
    #[must_use]
    pub fn implausible(&self, before: Option<&Self>, rules: &[QualityRule]) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.customers == 0 {
            reasons.push("it has no customers".to_owned());
        }
        if let Some(before) = before {
            for metric in [QualityMetric::Customers, QualityMetric::Revenue] {
                let (Some(now), Some(then)) = (self.metric(&metric), before.metric(&metric)) else {
                    continue;
                };
                if then > 0.0 && now < then * FALL {
                    reasons.push(format!("{metric} fell from {then} to {now}"));
                }
            }
            reasons.extend(self.emptied(before));
        }
        reasons.extend(rules.iter().filter_map(|rule| self.broken(rule, before)));
        reasons
    }

    /// Returns the features that far fewer customers have than `before`.
    fn emptied(&self, before: &Self) -> Vec<String> {
        let Quality { null_shares: now } = &self.quality;
        // A snapshot of an older version does not know.
        let known = before.quality.null_shares.iter().filter(|_| self.customers > 0);
        let emptied = known.filter_map(|(feature, share)| {
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let customers = (1.0 - share) * before.customers as f64;
            let then = 1.0 - share;
            match now.get(feature) {
                _ if customers < FEWEST => None,
                None => Some(format!(
                    "the feature {feature} is gone, which {:.1} % of the customers had",
                    then * 100.0
                )),
                Some(share) if 1.0 - share < then * FALL => Some(format!(
                    "{feature} is there for {:.1} % of the customers, before for {:.1} %",
                    (1.0 - share) * 100.0,
                    then * 100.0
                )),
                Some(_) => None,
            }
        });
        emptied.collect()
    }

    /// Says how the snapshot breaks `rule`, if it does. A rule about the snapshot before holds where there
    /// is none.
    fn broken(&self, rule: &QualityRule, before: Option<&Self>) -> Option<String> {
        let Some(value) = self.metric(&rule.metric) else {
            return Some(format!(
                "the rule `{}` cannot be checked: the snapshot has no {}",
                rule.text, rule.metric
            ));
        };
        let limit = if rule.of_previous { before?.metric(&rule.metric)? * rule.factor } else { rule.factor };
        (!rule.comparator.holds(value, limit)).then(|| {
            let beside = if rule.of_previous { format!(", compared with {limit}") } else { String::new() };
            format!("the rule `{}` does not hold: {} is {value}{beside}", rule.text, rule.metric)
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "compared with shares of others")]
    fn metric(&self, metric: &QualityMetric) -> Option<f64> {
        match metric {
            QualityMetric::Customers => Some(self.customers as f64),
            QualityMetric::Revenue => {
                let rfm = self.segments.iter().filter(|segment| segment.kind == SegmentKind::Rfm);
                rfm.clone().next()?;
                let revenue = |segment: &SegmentStats| segment.revenue.parse::<f64>().unwrap_or(0.0);
                Some((rfm.map(revenue).sum::<f64>() * 1e4).round() / 1e4)
            }
            QualityMetric::Lines(table) => {
                Some(self.counts.get(table).map_or(0.0, |counts| counts.lines as f64))
            }
            QualityMetric::NullShare(feature) => self.quality.null_shares.get(feature).copied(),
            QualityMetric::Segment(name) => Some(self.segment(name)?.size as f64),
        }
    }
}
