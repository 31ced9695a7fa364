//! Compares the predictions of earlier snapshots with what happened since.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{Array, AsArray},
    compute::cast,
    datatypes::{DataType, Float64Type},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use super::{features::VIEW, training_cuts::outcomes};
use crate::{
    lake::Lake,
    pipeline::{
        BuildError,
        id_hash::is_sampled,
        learning::metrics::{auc, figures, mean, rounded, share},
        query::Session,
    },
    snapshot::{
        self, Manifest, SnapshotError, SnapshotFiles, SnapshotId, Warning,
        column_scan::{column, text_column},
        models::SeenPredictions,
        writer::ID,
    },
};

/// Ages in days of the snapshots to compare.
const AGES: [i64; 3] = [30, 60, 90];
/// Greatest difference from these ages.
const TOLERANCE: TimeDelta = TimeDelta::days(10);
/// Greatest number of customers of a snapshot that are compared.
const MAX_CUSTOMERS: u64 = 200_000;
/// Least AUC of a finished prediction, relative to the AUC that its model card promised.
const MAX_AUC_LOSS: f64 = 0.05;
/// Greatest calibration error of a finished prediction without a warning.
const MAX_CALIBRATION_ERROR: f64 = 0.1;

/// Compares earlier snapshots of `lake` with the orders in `session` up to `as_of`, oldest snapshot first. A
/// snapshot that cannot be read is a warning.
///
/// # Errors
/// Fails if the lake cannot be listed, or if a query fails.
pub(super) async fn compare(
    lake: &Lake,
    session: &Session,
    as_of: DateTime<Utc>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<SeenPredictions>, BuildError> {
    let mut compared = Vec::new();
    for id in chosen(snapshot::ids(lake).await?, as_of) {
        let manifest = match Manifest::read(lake, &id).await {
            Ok(manifest) => Arc::new(manifest),
            Err(SnapshotError::Unknown { .. }) => continue,
            Err(error) => {
                warnings.push(unreadable(&id, &error));
                continue;
            }
        };
        let Some(card) = manifest.models.churn.clone() else { continue };
        let predictions = match Predictions::read(&SnapshotFiles::offline(lake, &manifest)).await {
            Ok(predictions) => predictions,
            Err(error) => {
                warnings.push(unreadable(&id, &error));
                continue;
            }
        };
        let horizon = TimeDelta::days(card.horizon_days.into());
        let until = as_of.min(manifest.as_of + horizon);
        let happened = outcomes(session, &predictions.ids, manifest.as_of, until).await?;
        let churned: Vec<bool> = predictions.ids.iter().map(|id| !happened.contains_key(id)).collect();
        let seen = predictions.seen(&manifest, &churned, until - manifest.as_of, horizon);
        warnings.extend(fallen_off(&seen, promised_auc(&card)));
        compared.push(seen);
    }
    Ok(compared)
}

fn unreadable(id: &SnapshotId, error: &SnapshotError) -> Warning {
    Warning::new("churn", format!("the predictions of the snapshot {id} cannot be read: {error}"))
}

/// Returns for each of [`AGES`] the snapshot with the nearest as-of time, oldest first.
fn chosen(ids: Vec<SnapshotId>, as_of: DateTime<Utc>) -> BTreeSet<SnapshotId> {
    let timed: Vec<(DateTime<Utc>, SnapshotId)> =
        ids.into_iter().filter_map(|id| Some((id.as_of()?, id))).collect();
    let nearest = |age: &i64| {
        let wanted = as_of - TimeDelta::days(*age);
        let distance = |at: DateTime<Utc>| (at - wanted).abs();
        let near = timed.iter().filter(|(at, _)| distance(*at) <= TOLERANCE);
        near.min_by_key(|(at, id)| (distance(*at), id.clone())).map(|(_, id)| id.clone())
    };
    AGES.iter().filter_map(nearest).collect()
}

/// Returns the AUC of the served model on the latest measured cutoff.
fn promised_auc(card: &snapshot::models::ChurnModel) -> Option<f64> {
    let model = card.cuts.last()?.candidates.iter().find(|figures| figures.name == "model")?;
    Some(model.auc)
}

/// Returns a warning if a finished prediction was worse than promised.
fn fallen_off(seen: &SeenPredictions, promised_auc: Option<f64>) -> Option<Warning> {
    let error = seen.calibration_error?;
    let (id, least) = (&seen.snapshot, promised_auc.map_or(0.0, |auc| auc - MAX_AUC_LOSS));
    let message = if seen.auc < least {
        format!(
            "the predictions of the snapshot {id} had an AUC of {:.3} in hindsight; its model card says \
             {:.3}",
            seen.auc,
            least + MAX_AUC_LOSS
        )
    } else if error > MAX_CALIBRATION_ERROR {
        format!("the predictions of the snapshot {id} had a calibration error of {error:.3} in hindsight")
    } else {
        return None;
    };
    Some(Warning::new("churn_fallen_off", message))
}

/// The churn probabilities of a snapshot, of all customers or of a sample by the hash of the id.
#[derive(Default)]
struct Predictions {
    ids: Vec<String>,
    probabilities: Vec<f64>,
}

impl Predictions {
    async fn read(files: &SnapshotFiles) -> Result<Self, SnapshotError> {
        let name = format!("{VIEW}.probability");
        let one_in = files.manifest().customers.div_ceil(MAX_CUSTOMERS).max(1);
        let mut batches = files.columns_with_id(&[&name]);
        let mut read = Self::default();
        while let Some(batch) = batches.next().await.transpose()? {
            let probabilities = column(&batch, &name).and_then(|one| cast(&one, &DataType::Float64).ok());
            let (Some(ids), Some(probabilities)) = (text_column(&batch, ID), probabilities) else { continue };
            let probabilities = probabilities.as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let id = ids.value(row);
                if probabilities.is_valid(row) && is_sampled(id, one_in) {
                    read.ids.push(id.to_owned());
                    read.probabilities.push(probabilities.value(row));
                }
            }
        }
        Ok(read)
    }

    /// Returns the figures after `observed` of `horizon`.
    fn seen(
        self,
        manifest: &Manifest,
        churned: &[bool],
        observed: TimeDelta,
        horizon: TimeDelta,
    ) -> SeenPredictions {
        let is_finished = observed >= horizon;
        let error = || figures("model", &self.probabilities, churned).calibration_error;
        SeenPredictions {
            snapshot: manifest.id.clone(),
            as_of: manifest.as_of,
            observed_days: u32::try_from(observed.num_days()).unwrap_or(0),
            finished: is_finished,
            customers: churned.len() as u64,
            predicted: rounded(mean(self.probabilities.iter().copied())),
            churned: rounded(share(churned)),
            auc: rounded(auc(&self.probabilities, churned)),
            calibration_error: is_finished.then(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_snapshot_of_each_age_is_chosen_once() {
        let as_of: DateTime<Utc> = "2025-06-30T12:00:00Z".parse().expect("a time");
        let id = |age: i64| SnapshotId::new(as_of - TimeDelta::days(age), 7);
        let found = |ages: &[i64]| {
            let found = chosen(ages.iter().copied().map(id).collect(), as_of);
            found.iter().map(|id| (as_of - id.as_of().expect("a time")).num_days()).collect::<Vec<i64>>()
        };
        assert_eq!(found(&[1, 8, 29, 32, 61, 88, 95]), [88, 61, 29]);
        assert_eq!(found(&[0, 15, 45, 101]), Vec::<i64>::new());
        assert_eq!(found(&[40, 75, 100]), [100, 40]);
    }

    #[test]
    fn predictions_that_fell_off_are_a_warning() {
        let seen = |auc: f64, calibration_error: Option<f64>| SeenPredictions {
            snapshot: SnapshotId::new(DateTime::UNIX_EPOCH, 1),
            as_of: DateTime::UNIX_EPOCH,
            observed_days: 90,
            finished: calibration_error.is_some(),
            customers: 100,
            predicted: 0.5,
            churned: 0.5,
            auc,
            calibration_error,
        };
        let says = |seen: &SeenPredictions| fallen_off(seen, Some(0.8)).map(|warning| warning.to_string());
        assert!(says(&seen(0.7, Some(0.02))).is_some_and(|text| text.contains("AUC of 0.700")));
        assert!(says(&seen(0.79, Some(0.2))).is_some_and(|text| text.contains("calibration error of 0.200")));
        assert_eq!(says(&seen(0.76, Some(0.05))), None);
        assert_eq!(says(&seen(0.5, None)), None);
    }
}
