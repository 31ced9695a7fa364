//! Files with personal data, which only the user who writes them may read.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

/// Creates a file, or empties an existing one, and lets only its owner read it.
///
/// # Errors
/// The errors of the file system.
pub fn create(path: &Path) -> io::Result<File> {
    let file = open(OpenOptions::new().write(true).create(true).truncate(true), path)?;
    restrict(&file)?;
    Ok(file)
}

/// Opens a file to append to it. A new file can be read only by its owner; an existing one keeps its
/// permissions, which an operator may have changed for a log collector.
///
/// # Errors
/// The errors of the file system.
pub fn append(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().create(true).append(true), path)
}

/// Permissions of a private file.
#[cfg(unix)]
const MODE: u32 = 0o600;

#[cfg(unix)]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(MODE).open(path)
}

#[cfg(not(unix))]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

#[cfg(unix)]
fn restrict(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(MODE))
}

#[cfg(not(unix))]
fn restrict(_file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_may_read_new_and_replaced_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        let path = folder.path().join("new");
        append(&path).expect("a file");
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("permissions");
        append(&path).expect("a file");
        assert_eq!(mode(&path), 0o640);
        create(&path).expect("a file");
        assert_eq!(mode(&path), 0o600);
    }
}
