//! The folder of a local lake, and the check that symbolic links do not lead out of it: whoever may add a raw
//! file must not be able to have other files of the machine read.

use std::{
    collections::BTreeSet,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use object_store::{local::LocalFileSystem, path::Path};

use super::LakeError;

/// Folder of a local lake.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// Path without symbolic links.
    pub(super) path: Arc<FsPath>,
    pub(super) store: Arc<LocalFileSystem>,
}

impl Folder {
    /// Refuses the object at `object` if it is outside of the folder. A missing object is not an error here.
    ///
    /// # Errors
    /// [`LakeError::Outside`].
    pub(super) fn check(&self, object: &Path) -> Result<(), LakeError> {
        let Ok(place) = self.store.path_to_filesystem(object) else { return Ok(()) };
        if self.holds(&place) { Ok(()) } else { Err(LakeError::Outside { path: object.to_string() }) }
    }

    /// Refuses the first of `objects` that is outside of the folder. Each folder is looked at once, and an
    /// object only if it is a link.
    ///
    /// # Errors
    /// [`LakeError::Outside`].
    pub(super) fn check_all<'a>(&self, objects: impl Iterator<Item = &'a Path>) -> Result<(), LakeError> {
        let mut checked: BTreeSet<PathBuf> = BTreeSet::new();
        for object in objects {
            let Ok(place) = self.store.path_to_filesystem(object) else { continue };
            let parent = place.parent().unwrap_or(&self.path);
            let is_inside = checked.contains(parent) || self.holds(parent);
            if !is_inside || (place.is_symlink() && !self.holds(&place)) {
                return Err(LakeError::Outside { path: object.to_string() });
            }
            checked.insert(parent.to_path_buf());
        }
        Ok(())
    }

    /// Checks whether `place` is in the folder, after all symbolic links. A missing place counts as inside.
    fn holds(&self, place: &FsPath) -> bool {
        place.canonicalize().map_or(true, |real| real.starts_with(&self.path))
    }
}
