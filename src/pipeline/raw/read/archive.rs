//! Reader of ZIP archives: each file in the archive is read as if it lay in the folder.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use tempfile::NamedTempFile;
use zip::{ZipArchive, result::ZipError};

use super::reader::{FileReader, unreadable};
use crate::{
    pipeline::raw::{
        error::RawError,
        format::{FileFormat, FileKind},
    },
    snapshot::Warning,
};

/// Copies `source` to a temporary file in the folder `scratch`, and rewinds the copy.
pub(crate) fn spool(source: &mut (impl Read + ?Sized), scratch: &Path) -> io::Result<File> {
    let mut copy = tempfile::tempfile_in(scratch)?;
    io::copy(source, &mut copy)?;
    copy.rewind()?;
    Ok(copy)
}

/// Copies `source` to a temporary file in the folder `scratch` that other readers open by its path.
pub(crate) fn spool_named(source: &mut (impl Read + ?Sized), scratch: &Path) -> io::Result<NamedTempFile> {
    let mut copy = NamedTempFile::new_in(scratch)?;
    io::copy(source, &mut copy)?;
    Ok(copy)
}

/// Calls `each` with name, kind and content of each file in the archive `source` that holds data. Returns the
/// names of the files with unknown formats.
pub(crate) fn for_each_member<E: From<io::Error>>(
    source: &mut dyn Read,
    scratch: &Path,
    mut each: impl FnMut(&str, FileKind, &mut dyn Read) -> Result<(), E>,
) -> Result<Vec<String>, E> {
    let failed = |error: ZipError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut archive = ZipArchive::new(spool(source, scratch)?).map_err(failed)?;
    let names = archive.file_names().map(|name| name.map(std::borrow::Cow::into_owned));
    let mut names: Vec<String> = names.collect::<Result<_, _>>().map_err(failed)?;
    names.sort();
    let mut unknown = Vec::new();
    for name in names {
        let is_hidden = name.split('/').any(|part| part.starts_with(['_', '.']));
        if name.ends_with('/') || is_hidden {
            continue;
        }
        match FileKind::of(&name).filter(|kind| kind.format != FileFormat::Archive) {
            None => unknown.push(name),
            Some(kind) => each(&name, kind, &mut archive.by_name(&name).map_err(failed)?)?,
        }
    }
    Ok(unknown)
}

/// An error of the archive or of one of its files.
enum ArchiveError {
    Archive(io::Error),
    File(RawError),
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

impl FileReader<'_> {
    /// Reads all files of an archive.
    pub(super) fn read_archive(&mut self, source: &mut dyn Read, scratch: &Path) -> Result<(), RawError> {
        let (archive, spec) = (self.file.clone(), self.spec);
        let mut read = 0_u64;
        let unknown = for_each_member(source, scratch, |name, kind, content| {
            read += 1;
            self.file = Cow::Owned(format!("{archive}/{name}"));
            self.spec = spec.of_file(&self.file);
            self.begin();
            self.read_kind(kind, content, scratch).map_err(ArchiveError::File)
        });
        let unknown = unknown.map_err(|error| match error {
            ArchiveError::Archive(error) => unreadable(&archive, 0, &error),
            ArchiveError::File(error) => error,
        })?;
        (self.file, self.spec) = (archive, spec);
        if let Some(first) = unknown.first() {
            let message = format!(
                "skipped {} files in {} with unknown formats, for example {first}",
                unknown.len(),
                self.file
            );
            self.warnings.push(Warning::new("skipped_files", message));
        }
        if read == 0 {
            let why = format!("it holds no file whose name ends in {}", FileKind::NAMES);
            return Err(unreadable(&self.file, 0, &why));
        }
        Ok(())
    }
}
