//! A file of a snapshot with a fitted model, which later builds may use instead of training anew.

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{
    lake::Lake,
    snapshot::{SnapshotError, SnapshotId},
};

/// A file with a fitted model. Its content is internal to the version that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelFile {
    /// Path in the folder of the snapshot.
    #[schema(example = "models/churn.json")]
    pub path: String,
    /// Size in bytes.
    #[schema(example = 210_441)]
    pub bytes: u64,
    /// SHA-256 of its content.
    #[schema(example = "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730")]
    pub sha256: String,
}

fn sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

impl ModelFile {
    /// Writes the model `name` into the folder of the snapshot `id`.
    ///
    /// # Errors
    /// Fails if the lake cannot be written.
    pub async fn write(
        lake: &Lake,
        id: &SnapshotId,
        name: &str,
        content: Vec<u8>,
    ) -> Result<Self, SnapshotError> {
        let path = format!("models/{name}.json");
        let file = Self { bytes: content.len() as u64, sha256: sha256(&content), path };
        lake.put(&file.place(id), content.into()).await?;
        Ok(file)
    }

    fn place(&self, id: &SnapshotId) -> Path {
        id.path(&self.path)
    }

    /// Reads the content; `None` if it is missing or damaged.
    pub async fn read(&self, lake: &Lake, id: &SnapshotId) -> Option<Vec<u8>> {
        match lake.get(&self.place(id)).await {
            Ok(content) if sha256(&content) == self.sha256 => Some(content.into()),
            Ok(_) => {
                tracing::warn!(snapshot = %id, path = self.path, "a model is damaged: wrong SHA-256");
                None
            }
            Err(error) => {
                tracing::warn!(snapshot = %id, path = self.path, %error, "cannot read a model");
                None
            }
        }
    }
}
