//! Statistics of all features of a snapshot, in a file beside the parts, which the manifest names.
//!
//! They are computed from the typed parts, a few columns at a time, by the build and again when a snapshot is
//! rewritten without erased customers.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::{
    Manifest, SnapshotError, SnapshotFiles, StatisticsFile, audience_loader::AudienceLoader, hex,
    run_blocking,
};
use crate::{
    audience::{Bitmap, FeatureName, catalog::ValueKind, statistics::FeatureStatistics},
    lake::Lake,
};

/// File with the statistics, in the folder of the snapshot.
const FILE: &str = "statistics.json";
/// Number of values that are read at a time, so that few columns of a large shop, and many of a small one,
/// are read in one pass through the parts.
const VALUES: usize = 4 << 20;
/// Most columns that are read at a time.
const MOST_COLUMNS: usize = 32;
/// Number of columns of texts that are counted at a time.
const TEXT_COLUMNS: usize = 4;
/// Number of passes through the parts at a time.
const PASSES: usize = 4;

/// Statistics of the features of a view, by feature.
pub type ViewStatistics = BTreeMap<String, FeatureStatistics>;

/// Statistics by view.
pub type Statistics = BTreeMap<String, ViewStatistics>;

/// Computes the statistics of the snapshot of `manifest`, whose parts are written, and writes their file.
///
/// # Errors
/// [`SnapshotError::Lake`], [`SnapshotError::Damaged`] or [`SnapshotError::Write`].
pub async fn write_statistics(
    lake: &Lake,
    manifest: &Arc<Manifest>,
) -> Result<StatisticsFile, SnapshotError> {
    let columns = AudienceLoader::new(SnapshotFiles::offline(lake, manifest));
    let (mut texts, mut others) = (Vec::new(), Vec::new());
    for view in &manifest.views {
        for feature in &view.features {
            let is_text = ValueKind::of(&feature.data_type) == ValueKind::Text;
            let names = if is_text { &mut texts } else { &mut others };
            names.push(FeatureName::new(&view.name, &feature.name));
        }
    }
    let together = (VALUES / columns.customers().max(1)).clamp(1, MOST_COLUMNS);
    let texts = texts.chunks(TEXT_COLUMNS).map(|names| of_texts(&columns, names).boxed());
    let passes: Vec<_> =
        texts.chain(others.chunks(together).map(|names| of_values(&columns, names).boxed())).collect();
    let mut passes = stream::iter(passes).buffered(PASSES);
    let mut statistics = Statistics::new();
    while let Some((names, found)) = passes.try_next().await? {
        for (name, of_feature) in names.iter().zip(found) {
            statistics.entry(name.view.clone()).or_default().insert(name.feature.clone(), of_feature);
        }
    }
    for view in &manifest.views {
        statistics.entry(view.name.clone()).or_default();
    }
    let path = manifest.id.path(FILE);
    let text = serde_json::to_vec(&statistics)
        .map_err(|error| SnapshotError::Write { object: path.to_string(), source: error.into() })?;
    let (bytes, sha256) = (text.len() as u64, hex(&Sha256::digest(&text)));
    lake.put(&path, Bytes::from(text)).await?;
    Ok(StatisticsFile { path: FILE.to_owned(), bytes, sha256 })
}

/// Statistics of some features, with the names.
type Found<'a> = (&'a [FeatureName], Vec<FeatureStatistics>);

/// Counts the texts of the features `names`.
async fn of_texts<'a>(
    columns: &AudienceLoader,
    names: &'a [FeatureName],
) -> Result<Found<'a>, SnapshotError> {
    Ok((names, columns.text_statistics(names).await?))
}

/// Computes the statistics of the features `names`, which are no texts.
async fn of_values<'a>(
    columns: &AudienceLoader,
    names: &'a [FeatureName],
) -> Result<Found<'a>, SnapshotError> {
    let mut found = Vec::with_capacity(names.len());
    for column in columns.features_without_lists(names).await? {
        let compute = move || FeatureStatistics::of(&column, &Bitmap::full(column.nulls.len()));
        found.push(run_blocking("compute statistics", compute).await?);
    }
    Ok((names, found))
}

impl SnapshotFiles {
    /// Reads the statistics of the snapshot; `None` if an earlier version wrote it.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`], [`SnapshotError::Timeout`], or [`SnapshotError::Damaged`].
    pub async fn statistics(&self) -> Result<Option<Statistics>, SnapshotError> {
        let Some(file) = &self.manifest.statistics else { return Ok(None) };
        let path = self.manifest.id.path(&file.path);
        let text = self.read_object(&path, 0..file.bytes).await?;
        if hex(&Sha256::digest(&text)) != file.sha256 {
            return Err(SnapshotError::damaged(&path, "checksum mismatch"));
        }
        let statistics = serde_json::from_slice(&text);
        statistics.map(Some).map_err(|error| SnapshotError::damaged(&path, error.to_string()))
    }
}
