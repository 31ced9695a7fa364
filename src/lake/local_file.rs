//! Local files and the lake: the path of an object in a folder lake, and the upload of a file.

use std::path::{Path as FsPath, PathBuf};

use object_store::path::Path;
use tokio::io::AsyncWriteExt;

use super::{Lake, LakeError};

impl Lake {
    /// Returns the local path of the object at `path`, if the lake is a folder.
    #[must_use]
    pub fn local_path(&self, path: &Path) -> Option<PathBuf> {
        self.folder.as_ref().and_then(|folder| folder.store.path_to_filesystem(path).ok())
    }

    /// Writes the content of the file `from` to the object at `path`. A folder lake shares the file instead
    /// of copying the content where the file system can, so the file must not be changed afterwards.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub async fn upload(&self, from: &FsPath, path: &Path) -> Result<(), LakeError> {
        let failed = |source: std::io::Error| LakeError::Store {
            action: "write",
            path: path.to_string(),
            source: object_store::Error::Generic { store: "lake", source: source.into() },
        };
        if let Some(local) = self.local_path(path) {
            let is_linked = local.parent().is_none_or(|parent| std::fs::create_dir_all(parent).is_ok())
                && (!local.exists() || std::fs::remove_file(&local).is_ok())
                && std::fs::hard_link(from, &local).is_ok();
            if is_linked {
                return Ok(());
            }
        }
        let mut file = tokio::fs::File::open(from).await.map_err(failed)?;
        let mut writer = self.writer(path);
        tokio::io::copy(&mut file, &mut writer).await.map_err(failed)?;
        writer.shutdown().await.map_err(failed)
    }
}
