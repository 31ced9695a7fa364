//! Leaves out features of the user's views that say little, before the views are computed at every cut.
//!
//! A feature is measured alone, on a sample of customers of one cut: the cut whose outcome was known at the
//! held-out cut, so that the choice does not use the outcomes that the model is measured on.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    ChurnContext,
    feature_query::FeatureQuery,
    features::{BUILT_IN, FeatureSource},
    inputs::INPUTS,
    training_cuts::{CustomerSample, CutReader},
};
use crate::pipeline::{BuildError, learning::metrics::auc};

/// Greatest number of the user's features that the model reads.
const MAX_OWN: usize = 24;
/// Least distance of a feature's AUC from 0.5, times the share of customers for whom it is known.
const MIN_SEPARATION: f64 = 0.005;
/// Number of customers to measure on.
const ROWS: u64 = 5_000;

/// The features that the model reads, and the number of those that were left out.
pub(super) struct Screened {
    pub(super) sources: Vec<FeatureSource>,
    pub(super) left_out: usize,
}

impl Screened {
    /// Returns a caveat for the model card if features were left out.
    pub(super) fn caveat(&self) -> Option<String> {
        let kept = self.sources.len() - BUILT_IN.len();
        (self.left_out > 0).then(|| {
            format!(
                "of {} features of your own views, the {kept} that tell churn best are read; [churn] inputs \
                 and exclude choose others",
                kept + self.left_out
            )
        })
    }
}

/// Chooses among the user's features if there are more than [`MAX_OWN`]. `times` are those of all cuts,
/// oldest first.
///
/// # Errors
/// Fails if the staging cannot be read or a query fails.
pub(super) async fn screen(
    context: &ChurnContext<'_>,
    horizon: TimeDelta,
    customers: usize,
    times: &[DateTime<Utc>],
    mut sources: Vec<FeatureSource>,
    available: &BTreeSet<String>,
) -> Result<Screened, BuildError> {
    let own = sources.len() - BUILT_IN.len();
    let ended: Vec<DateTime<Utc>> =
        times.iter().copied().filter(|at| *at + horizon <= context.as_of).collect();
    let (true, Some(held_out)) = (own > MAX_OWN, ended.last()) else {
        return Ok(Screened { sources, left_out: 0 });
    };
    let at = ended.iter().rfind(|at| **at + horizon <= *held_out).unwrap_or(held_out);
    let sample = CustomerSample::new(customers, 1, context.past.staged.partitions, ROWS);
    let threads = context.past.staged.threads;
    let one_in = sample.one_in;
    let features = FeatureQuery { sources: &sources, available, one_in, with_demand: false, threads };
    let reader = CutReader { session: context.session, past: context.past, horizon, features, sample };
    let cut = reader.read(*at).await?.cut;
    let rows = &cut.rows;
    let churned = rows.churned(super::horizon::days(horizon));
    let mut ranked: Vec<(f64, usize)> = rows.columns[INPUTS.len()..]
        .iter()
        .map(|column| separation(column, &churned))
        .zip(BUILT_IN.len()..)
        .filter(|(separation, _)| *separation >= MIN_SEPARATION)
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let kept: BTreeSet<usize> = ranked.into_iter().take(MAX_OWN).map(|(_, at)| at).collect();
    let mut place = 0;
    sources.retain(|_| {
        place += 1;
        place <= BUILT_IN.len() || kept.contains(&(place - 1))
    });
    let left_out = own - (sources.len() - BUILT_IN.len());
    Ok(Screened { sources, left_out })
}

/// Returns how far the AUC of `column` is from 0.5, times the share of known values.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn separation(column: &[f64], churned: &[bool]) -> f64 {
    let (known, outcomes): (Vec<f64>, Vec<bool>) =
        column.iter().zip(churned).filter(|(value, _)| value.is_finite()).map(|(v, c)| (*v, *c)).unzip();
    (auc(&known, &outcomes) - 0.5).abs() * known.len() as f64 / column.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separation_counts_known_values_only() {
        let churned = [true, true, false, false];
        assert!((separation(&[1.0, 2.0, 3.0, 4.0], &churned) - 0.5).abs() < 1e-12);
        assert!((separation(&[1.0, f64::NAN, 3.0, f64::NAN], &churned) - 0.25).abs() < 1e-12);
        assert!(separation(&[f64::NAN; 4], &churned).abs() < 1e-12);
        assert!(separation(&[5.0; 4], &churned).abs() < 1e-12);
    }
}
