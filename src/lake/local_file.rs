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
        if self.local_path(path).is_some_and(|local| link(from, &local).is_ok()) {
            return Ok(());
        }
        let mut file = tokio::fs::File::open(from).await.map_err(failed)?;
        let mut writer = self.writer(path);
        tokio::io::copy(&mut file, &mut writer).await.map_err(failed)?;
        writer.shutdown().await.map_err(failed)
    }
}

/// Gives the file `from` the second name `to`, in place of another file of this name. Readers of `to` see
/// one of the two files at any time.
fn link(from: &FsPath, to: &FsPath) -> std::io::Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Names of this form are unfinished objects to the store.
    let mut name = to.as_os_str().to_owned();
    name.push(format!("#{}", getrandom::u32().map_err(std::io::Error::other)?));
    let unfinished = PathBuf::from(name);
    std::fs::hard_link(from, &unfinished)?;
    let renamed = std::fs::rename(&unfinished, to);
    // If both are names of one file, nothing is renamed.
    let _ = std::fs::remove_file(&unfinished);
    renamed
}
