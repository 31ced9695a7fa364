//! Plausibility checks of a snapshot against the previous one, so that a truncated export, or an export that
//! lost a column, does not reach readers.

use super::{Manifest, Quality, SegmentStats};
use crate::{
    config::{QualityMetric, QualityRule},
    feature::SegmentKind,
};

/// Fraction of its previous value below which a number is implausible.
const FALL: f64 = 0.5;
/// Minimum number of customers with a feature at which their share is significant.
const FEWEST: f64 = 5.0;

impl Manifest {
    /// Returns the reasons not to publish the snapshot: implausible differences to `before`, and broken
    /// `rules`.
    #[must_use]
    pub fn implausible(&self, before: Option<&Self>, rules: &[QualityRule]) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.customers == 0 {
            reasons.push("the snapshot has no customers".to_owned());
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

    /// Describes the features that far fewer customers have than in `before`.
    fn emptied(&self, before: &Self) -> Vec<String> {
        let Quality { null_shares: now } = &self.quality;
        // Snapshots of older versions have no shares.
        if self.customers == 0 {
            return Vec::new();
        }
        let emptied = before.quality.null_shares.iter().filter_map(|(feature, share)| {
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let customers = (1.0 - share) * before.customers as f64;
            let then = 1.0 - share;
            match now.get(feature) {
                _ if customers < FEWEST => None,
                None => Some(format!(
                    "feature {feature} is missing, which {:.1} % of the customers had",
                    then * 100.0
                )),
                Some(share) if 1.0 - share < then * FALL => Some(format!(
                    "{feature} is set for {:.1} % of the customers, previously for {:.1} %",
                    (1.0 - share) * 100.0,
                    then * 100.0
                )),
                Some(_) => None,
            }
        });
        emptied.collect()
    }

    /// Describes how the snapshot breaks `rule`, if it does. A rule on the previous snapshot holds if there
    /// is none.
    fn broken(&self, rule: &QualityRule, before: Option<&Self>) -> Option<String> {
        let Some(value) = self.metric(&rule.metric) else {
            return Some(format!(
                "the rule `{}` cannot be checked: the snapshot has no {}",
                rule.text, rule.metric
            ));
        };
        let limit = if rule.of_previous { before?.metric(&rule.metric)? * rule.factor } else { rule.factor };
        if rule.comparator.holds(value, limit) {
            return None;
        }
        let compared = if rule.of_previous { format!(", compared with {limit}") } else { String::new() };
        Some(format!("the rule `{}` does not hold: {} is {value}{compared}", rule.text, rule.metric))
    }

    #[expect(clippy::cast_precision_loss, reason = "precise enough for comparisons")]
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
