//! The churn horizon in days, and the parts of it that models learn.

use chrono::TimeDelta;

/// Number of equal parts that the horizon is divided into for learning.
const PARTS: i32 = 2;

/// Returns the whole days of `horizon`.
#[expect(clippy::cast_precision_loss, reason = "days")]
pub(super) fn days(horizon: TimeDelta) -> f64 {
    horizon.num_days() as f64
}

/// Returns the parts of `horizon` in whole days, shortest first; the last one is the whole horizon.
pub(super) fn parts(horizon: TimeDelta) -> Vec<TimeDelta> {
    let mut parts: Vec<TimeDelta> =
        (1..=PARTS).map(|part| TimeDelta::days((horizon * part / PARTS).num_days().max(1))).collect();
    parts.dedup();
    parts
}
