//! Staged lines of one raw file: the runs, and the counts of the file.

use std::path::PathBuf;

use super::file_outcome::FileOutcome;

/// Staged lines of one raw file.
#[derive(Debug)]
pub(super) struct StagedLines {
    /// SHA-256 of the content.
    pub(super) sha256: String,
    pub(super) outcome: FileOutcome,
    /// Names of the staged attributes, in the order of their numbers.
    pub(super) attributes: Vec<String>,
    /// Files of the runs, in the order of the lines.
    pub(super) runs: Vec<PathBuf>,
    /// Whether the lake has the lines already.
    pub(super) is_kept: bool,
}
