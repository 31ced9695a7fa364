//! Whether a build trains a model anew, or uses what an earlier build learned: the model card in the manifest
//! of the current snapshot.
//!
//! A model is used again only if the setting `retrain` asks for it, so that a build without the setting
//! depends on nothing but its input. It is used for data up to `retrain` newer than the data that it was
//! trained on, with the same settings and the same code of models and of readers of raw files.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::{
    config::RawConfig,
    lake::Lake,
    snapshot::{Manifest, SnapshotError, models::Training, read_current},
};

/// Hash of the code of the models and of the readers of raw files, and of the versions of all libraries.
const CODE: &str = env!("MODELS_HASH");
/// Number of hexadecimal digits of the hash of settings.
const DIGITS: usize = 16;

/// Reads the manifest of the current snapshot, if any model is used for longer than one build. A manifest
/// that is missing or cannot be read is the same as none: the models are trained.
pub(super) async fn previous(lake: &Lake, retrain: &[Duration]) -> Option<Manifest> {
    if retrain.iter().all(Duration::is_zero) {
        return None;
    }
    let read = async {
        match read_current(lake).await? {
            Some(current) => Ok::<_, SnapshotError>(Some(Manifest::read(lake, &current.snapshot).await?)),
            None => Ok(None),
        }
    };
    read.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the models of the current snapshot; training anew");
        None
    })
}

/// Returns the training of a model by this build at `as_of`. `settings` is the text of all settings that the
/// model depends on besides those of `raw`.
pub(super) fn training(as_of: DateTime<Utc>, raw: &RawConfig, settings: &str) -> Training {
    let hash = format!("{:x}", Sha256::digest(format!("{CODE}\n{raw:?}\n{settings}")));
    Training { at: as_of, age_days: 0.0, settings: hash[..DIGITS].to_owned() }
}

/// Returns the training `earlier` with its age, if its model is to be used in place of one of the training
/// `new`; `None` if a model must be trained.
pub(super) fn kept(earlier: Option<&Training>, new: &Training, retrain: Duration) -> Option<Training> {
    let earlier = earlier?;
    let age = (new.at - earlier.at).to_std().ok()?;
    if earlier.settings != new.settings || age >= retrain {
        return None;
    }
    let days = age.as_secs_f64() / 86_400.0;
    Some(Training { age_days: (days * 100.0).round() / 100.0, ..earlier.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn trained(day: u64, raw: &RawConfig, settings: &str) -> Training {
        training(DateTime::UNIX_EPOCH + DAY * u32::try_from(day).expect("few"), raw, settings)
    }

    #[test]
    fn model_is_kept_until_it_is_old_or_settings_change() {
        let raw = RawConfig::default();
        let first = trained(10, &raw, "a");
        let is_kept = |new: &Training| kept(Some(&first), new, 7 * DAY).map(|kept| (kept.at, kept.age_days));
        assert_eq!(is_kept(&first), Some((first.at, 0.0)));
        assert_eq!(is_kept(&trained(16, &raw, "a")), Some((first.at, 6.0)));
        assert_eq!(is_kept(&trained(17, &raw, "a")), None);
        assert_eq!(is_kept(&trained(9, &raw, "a")), None, "data before the training");
        assert_eq!(is_kept(&trained(11, &raw, "b")), None);
        let zone = RawConfig { zone: "Asia/Shanghai".to_owned(), ..RawConfig::default() };
        assert_eq!(is_kept(&trained(11, &zone, "a")), None);
        assert_eq!(kept(Some(&first), &first, Duration::ZERO), None);
        assert_eq!(kept(None, &first, DAY), None);
    }
}
