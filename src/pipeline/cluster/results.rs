//! Results of the items of a step: objects in the lake that workers write last.

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::ClusterError;
use crate::{lake::Lake, snapshot::staged};

/// Result of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::pipeline) enum ItemResult {
    /// The output of the item is in the lake. The text depends on the step.
    Done(String),
    /// The worker cannot do this work, for a reason that other workers may have too. The driver does the
    /// work itself, so that the error is that of a build on one machine.
    Left(String),
}

/// Folder with the results of a build.
#[derive(Debug, Clone)]
pub(super) struct Results {
    lake: Lake,
    /// Id of the build.
    build: String,
}

impl Results {
    pub(super) fn new(lake: Lake, build: String) -> Self {
        Self { lake, build }
    }

    /// Returns the id of the build.
    pub(super) fn build(&self) -> &str {
        &self.build
    }

    fn folder(&self) -> String {
        staged::build_folder(&self.build)
    }

    fn path(&self, step: &str, item: usize) -> Path {
        staged::object_path(&self.folder(), &format!("{step}-{item:06}.json"))
    }

    /// Returns the result of an item, or `None` if there is none.
    pub(super) async fn get(&self, step: &str, item: usize) -> Result<Option<ItemResult>, ClusterError> {
        match self.lake.get(&self.path(step, item)).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the result of an item.
    pub(super) async fn put(&self, step: &str, item: usize, result: &ItemResult) -> Result<(), ClusterError> {
        let bytes = Bytes::from(serde_json::to_vec(result).unwrap_or_default());
        Ok(self.lake.put(&self.path(step, item), bytes).await?)
    }

    /// Removes all results of the build.
    pub(super) async fn remove(&self) -> Result<(), ClusterError> {
        for object in self.lake.list(&staged::object_path(&self.folder(), "")).await? {
            self.lake.delete(&object.location).await?;
        }
        Ok(())
    }
}
