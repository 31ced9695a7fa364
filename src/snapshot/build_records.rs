//! Records of builds: a small object in the lake for each run of `larder build`, so that every replica can
//! tell how the last builds went.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{SnapshotError, SnapshotId, rfc3339};
use crate::lake::Lake;

/// Folder of the records.
pub(super) const FOLDER: &str = "builds";
/// Form of the time in the names of records, which sort by time.
const TIME: &str = "%Y%m%dT%H%M%S%.3fZ";
/// Number of records that are kept.
const KEPT: usize = 100;
/// Number of records that are read at a time.
const READS: usize = 8;

/// Outcome of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildOutcome {
    /// The snapshot was built and published.
    Published,
    /// The snapshot was built; it was not to be published.
    Built,
    /// The snapshot was built and held back by the publish gate.
    HeldBack,
    /// There is no new snapshot, or it could not be published.
    Failed,
}

/// Cause of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildTrigger {
    /// A call of `larder build`.
    Command,
    /// A time of `--every`.
    Every,
    /// New or changed raw files, seen by `--watch`.
    Watch,
}

/// The record of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuildRecord {
    /// Start of the build.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-12-10T02:00:00Z")]
    pub started_at: DateTime<Utc>,
    /// End of the build and of the publish.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-12-10T02:00:14Z")]
    pub ended_at: DateTime<Utc>,
    /// Outcome.
    pub outcome: BuildOutcome,
    /// Cause.
    pub trigger: BuildTrigger,
    /// The snapshot; null if there is none.
    #[schema(value_type = Option<String>, example = "20111209T125000Z-5f0c2a9e")]
    pub snapshot: Option<SnapshotId>,
    /// Why the build failed or was held back; null otherwise.
    #[schema(example = json!(null))]
    pub error: Option<String>,
    /// Name of the machine.
    #[schema(example = "larder-build-28371")]
    pub host: String,
}

impl BuildRecord {
    /// Writes the record, and removes the oldest ones beyond the number that is kept.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`], [`SnapshotError::Write`], or [`SnapshotError::Random`].
    pub async fn write(&self, lake: &Lake) -> Result<(), SnapshotError> {
        let id = SnapshotId::generate(self.started_at)?;
        let (_, random) = id.as_str().split_once('-').unwrap_or_default();
        let path = Path::from(format!("{FOLDER}/{}-{random}.json", self.started_at.format(TIME)));
        let text = serde_json::to_vec(self)
            .map_err(|error| SnapshotError::Write { object: path.to_string(), source: error.into() })?;
        lake.put(&path, Bytes::from(text)).await?;
        for old in paths(lake).await?.iter().skip(KEPT) {
            lake.delete(old).await?;
        }
        Ok(())
    }

    /// Reads at most `limit` records, newest first.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`], or [`SnapshotError::Damaged`].
    pub async fn list(lake: &Lake, limit: usize) -> Result<Vec<Self>, SnapshotError> {
        let paths: Vec<Path> = paths(lake).await?.into_iter().take(limit).collect();
        let lake = lake.clone();
        let read = move |path: Path| {
            let lake = lake.clone();
            async move { read(&lake, &path).await }
        };
        let reads = stream::iter(paths).map(read).buffered(READS);
        let records: Vec<Result<Option<Self>, SnapshotError>> = reads.collect().await;
        records.into_iter().filter_map(Result::transpose).collect()
    }
}

/// Returns the paths of all records, newest first. Names begin with the start of the build.
async fn paths(lake: &Lake) -> Result<Vec<Path>, SnapshotError> {
    let objects = lake.list(&Path::from(FOLDER)).await?;
    let is_record = |path: &Path| {
        let name = path.filename().and_then(|name| name.strip_suffix(".json"));
        name.and_then(|name| name.split_once('-')).is_some_and(|(time, _)| time.ends_with('Z'))
    };
    let mut paths: Vec<Path> = objects.into_iter().map(|object| object.location).filter(is_record).collect();
    paths.reverse();
    Ok(paths)
}

/// Reads a record; `None` if it was removed meanwhile.
async fn read(lake: &Lake, path: &Path) -> Result<Option<BuildRecord>, SnapshotError> {
    let bytes = match lake.get(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| SnapshotError::damaged(path, error.to_string()))
}
