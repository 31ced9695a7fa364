//! Temporary files of a build that its driver and workers share: objects in the lake, removed at the end of
//! the build.

use std::{io::Write, path::Path as FsPath};

use bytes::Bytes;
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    lake::{Content, Lake},
    pipeline::cluster::Failure,
    snapshot::staged,
};

/// The shared files of one build.
#[derive(Debug, Clone)]
pub(super) struct SharedFiles {
    lake: Lake,
    /// Folder of the build.
    folder: String,
}

impl SharedFiles {
    pub(super) fn new(lake: Lake, build: &str) -> Self {
        Self { lake, folder: staged::build_folder(build) }
    }

    /// Writes the JSON of `value` as the file `name`.
    pub(super) async fn put(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let bytes = Bytes::from(serde_json::to_vec(value)?);
        Ok(self.lake.put(&staged::object_path(&self.folder, name), bytes).await?)
    }

    /// Reads the file `name`, which [`SharedFiles::put`] has written.
    pub(super) async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        let bytes = self.lake.get(&staged::object_path(&self.folder, name)).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Shares a local file under its name. The file must not be changed afterwards.
    pub(super) async fn share(&self, local: &FsPath) -> Result<(), Failure> {
        let name = local.file_name().and_then(|name| name.to_str()).ok_or("the file has no name")?;
        Ok(self.lake.upload(local, &staged::object_path(&self.folder, name)).await?)
    }

    /// Puts the file `name` into the local folder `to`, unless it is there. Returns the size in bytes.
    pub(super) async fn fetch(&self, name: &str, to: &FsPath) -> Result<u64, Failure> {
        let local = to.join(name);
        if !local.exists() {
            self.copy(name, &local).await?;
        }
        Ok(std::fs::metadata(&local)?.len())
    }

    /// Copies the file `name` to `local`. Whoever sees the copy under its name sees all of it.
    async fn copy(&self, name: &str, local: &FsPath) -> Result<(), Failure> {
        let path = staged::object_path(&self.folder, name);
        let content = self.lake.content(&path).await?;
        if let Some(shared) = self.lake.local_path(&path)
            && std::fs::hard_link(&shared, local).is_ok()
        {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(local.parent().ok_or("the copy has no folder")?)?;
        match content {
            Content::File(mut shared) => drop(std::io::copy(&mut shared, &mut file)?),
            Content::Stream(mut stream) => {
                while let Some(chunk) = stream.next().await {
                    file.write_all(&chunk?)?;
                }
            }
        }
        file.persist(local)?;
        Ok(())
    }
}
