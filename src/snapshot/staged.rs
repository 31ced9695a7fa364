//! Kept staging in the lake: folders with the sorted lines of raw files.
//!
//! Builds write and read the folders. This module knows their names, and what an erasure and a removal of old
//! snapshots need.

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    path::PathBuf,
};

use arrow::array::AsArray;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    file::reader::ChunkReader,
};
use serde::Deserialize;

use super::SnapshotError;
use crate::{feature::CustomerId, lake::Lake};

/// Folder of the kept staging.
const FOLDER: &str = "staged";
/// Name of the manifest of a folder, which is written last.
pub const MANIFEST: &str = "manifest.json";
/// Name of the file with the guest lines of a folder.
pub const GUESTS: &str = "guests.parquet";
/// Beginning of the names of folders that builds share with workers.
const BUILD_FOLDER: &str = "build-";
/// Minimum age of a folder that is not in the index before the folder is removed: a build may be writing the
/// folder.
const UNLISTED: TimeDelta = TimeDelta::days(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Returns the path of the index.
#[must_use]
pub fn index_path() -> Path {
    Path::from(format!("{FOLDER}/index.json"))
}

/// Returns the path of the object `name` in `folder`.
#[must_use]
pub fn object_path(folder: &str, name: &str) -> Path {
    Path::from(format!("{FOLDER}/{folder}/{name}"))
}

/// Returns the name of the folder with the temporary files that the driver and the workers of the build
/// `build` share.
#[must_use]
pub fn build_folder(build: &str) -> String {
    format!("{BUILD_FOLDER}{build}")
}

/// Returns the name of a run.
#[must_use]
pub fn run_name(number: usize) -> String {
    format!("part-{number:03}.parquet")
}

/// Number and size of the folders of the kept staging.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct StagedSize {
    /// Number of raw files.
    pub files: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// Returns the size of the kept staging.
///
/// # Errors
/// [`SnapshotError::Lake`].
pub async fn size(lake: &Lake) -> Result<StagedSize, SnapshotError> {
    let objects = lake.list(&Path::from(FOLDER)).await?;
    let folders = objects.iter().filter_map(|object| folder_of(&object.location));
    let folders: BTreeSet<String> = folders.filter(|folder| !folder.starts_with(BUILD_FOLDER)).collect();
    Ok(StagedSize { files: folders.len() as u64, bytes: objects.iter().map(|object| object.size).sum() })
}

/// Returns the name of the folder of the object at `path`, or `None` for the index.
fn folder_of(path: &Path) -> Option<String> {
    let parts: Vec<_> = path.parts().collect();
    (parts.len() == 3).then(|| parts[1].as_ref().to_owned())
}

/// Removes the folders that hold one of the customers `ids`; builds read the raw files again. Folders that a
/// build shared with workers more than a day ago are removed in any case: that build was killed. Returns the
/// names of the folders.
///
/// # Errors
/// [`SnapshotError::Lake`]; earlier removals stand. A folder that cannot be read is removed.
pub async fn remove_holding<'a>(
    lake: &Lake,
    ids: impl Iterator<Item = &'a CustomerId>,
) -> Result<Vec<String>, SnapshotError> {
    let ids: HashSet<&str> = ids.map(CustomerId::as_str).collect();
    let mut removed = Vec::new();
    if ids.is_empty() {
        return Ok(removed);
    }
    for folder in lake.folders(&Path::from(FOLDER)).await? {
        let is_shared = folder.starts_with(BUILD_FOLDER);
        if is_shared && !is_old(lake, &folder, Utc::now()).await? {
            let why = "a build on a cluster is running or was killed, and its temporary files may have the \
                       customers; a running build removes them at its end, for a killed one repeat the \
                       erasure in a day";
            tracing::warn!(folder, "{why}");
        } else if is_shared || holds(lake, &folder, &ids).await? {
            remove(lake, &folder).await?;
            removed.push(folder);
        }
    }
    Ok(removed)
}

/// Checks whether `folder` holds one of the customers `ids`, or cannot be read.
async fn holds(lake: &Lake, folder: &str, ids: &HashSet<&str>) -> Result<bool, SnapshotError> {
    for object in lake.list(&Path::from(format!("{FOLDER}/{folder}"))).await? {
        let is_run = object.location.filename().is_some_and(|name| name.starts_with("part-"));
        if !is_run {
            continue;
        }
        let bytes = lake.get(&object.location).await?;
        let found = ids_of(bytes).and_then(|reader| has_any(reader, ids));
        match found {
            Ok(false) => {}
            Ok(true) => return Ok(true),
            Err(error) => {
                tracing::warn!(object = %object.location, %error, "removing damaged staging");
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Checks whether one of the local files `runs` holds one of the customers `ids`.
///
/// # Errors
/// Fails if a file cannot be read.
pub fn hold_any<'a>(runs: &[PathBuf], ids: impl Iterator<Item = &'a CustomerId>) -> Result<bool, Failure> {
    let ids: HashSet<&str> = ids.map(CustomerId::as_str).collect();
    for run in runs {
        if !ids.is_empty() && has_any(ids_of(File::open(run)?)?, &ids)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns a reader of the customer ids of a run.
fn ids_of(run: impl ChunkReader + 'static) -> Result<ParquetRecordBatchReader, Failure> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(run)?;
    let ids = ProjectionMask::columns(reader.parquet_schema(), ["customer_id"]);
    Ok(reader.with_projection(ids).build()?)
}

fn has_any(reader: ParquetRecordBatchReader, ids: &HashSet<&str>) -> Result<bool, Failure> {
    for batch in reader {
        let batch = batch?;
        let column = batch.column_by_name("customer_id").ok_or("the customer id is missing")?;
        if column.as_string::<i32>().iter().flatten().any(|id| ids.contains(id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The part of the index that names the folders in use.
#[derive(Deserialize)]
struct Listed {
    files: Vec<ListedFile>,
}

#[derive(Deserialize)]
struct ListedFile {
    folder: String,
}

/// Removes the folders that the newest build did not use and that are older than a day. Returns their names.
///
/// # Errors
/// [`SnapshotError::Lake`] or [`SnapshotError::Damaged`]; earlier removals stand.
pub(super) async fn prune(lake: &Lake, now: DateTime<Utc>) -> Result<Vec<String>, SnapshotError> {
    let used: BTreeSet<String> = match lake.get(&index_path()).await {
        Ok(bytes) => {
            let damaged = |error: serde_json::Error| SnapshotError::damaged(&index_path(), error.to_string());
            let index: Listed = serde_json::from_slice(&bytes).map_err(damaged)?;
            index.files.into_iter().map(|file| file.folder).collect()
        }
        Err(error) if error.is_not_found() => BTreeSet::new(),
        Err(error) => return Err(error.into()),
    };
    let mut removed = Vec::new();
    for folder in lake.folders(&Path::from(FOLDER)).await? {
        if !used.contains(&folder) && is_old(lake, &folder, now).await? {
            remove(lake, &folder).await?;
            removed.push(folder);
        }
    }
    Ok(removed)
}

/// Checks whether no build writes `folder` any more.
async fn is_old(lake: &Lake, folder: &str, now: DateTime<Utc>) -> Result<bool, SnapshotError> {
    let objects = lake.list(&Path::from(format!("{FOLDER}/{folder}"))).await?;
    let newest = objects.iter().map(|object| object.last_modified).max();
    Ok(newest.is_some_and(|newest| now - newest > UNLISTED))
}

/// Removes a folder, the manifest first.
async fn remove(lake: &Lake, folder: &str) -> Result<(), SnapshotError> {
    lake.delete(&object_path(folder, MANIFEST)).await?;
    for object in lake.list(&Path::from(format!("{FOLDER}/{folder}"))).await? {
        lake.delete(&object.location).await?;
    }
    Ok(())
}
