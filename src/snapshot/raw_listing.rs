//! The raw files of a lake as they are listed, beside those that a snapshot was built from.

use std::collections::HashMap;

use object_store::{ObjectMeta, path::Path};

use super::{RawSource, SnapshotError};
use crate::lake::Lake;

/// A raw file as the lake lists it. A changed file has another size, tag or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    path: String,
    bytes: u64,
    version: String,
}

impl ListedFile {
    fn new(object: ObjectMeta) -> Self {
        let version = object.e_tag.unwrap_or_else(|| object.last_modified.to_rfc3339());
        Self { path: object.location.to_string(), bytes: object.size, version }
    }
}

/// Lists the files under `raw/`, sorted by path, without hidden ones.
///
/// # Errors
/// [`SnapshotError::Lake`].
pub async fn raw_files(lake: &Lake) -> Result<Vec<ListedFile>, SnapshotError> {
    let is_hidden = |path: &Path| path.parts().any(|part| part.as_ref().starts_with(['.', '_']));
    let objects = lake.list(&Path::from("raw")).await?;
    Ok(objects.into_iter().filter(|object| !is_hidden(&object.location)).map(ListedFile::new).collect())
}

/// Returns the number of `files` that are not among `sources`, or that have another size.
#[must_use]
pub fn pending(files: &[ListedFile], sources: &[RawSource]) -> u64 {
    let read: HashMap<&str, u64> =
        sources.iter().map(|source| (source.path.as_str(), source.bytes)).collect();
    files.iter().filter(|file| read.get(file.path.as_str()) != Some(&file.bytes)).count() as u64
}
