//! Errors of raw data.

use super::format::FileKind;
use crate::{lake::LakeError, snapshot::BadCause};

/// Reason why raw data cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// `zone` of `[raw]` is not a time zone.
    #[error("`{zone}` in [raw] is not an IANA time zone such as Europe/London")]
    Zone {
        /// Configured zone.
        zone: String,
    },
    /// A setting is invalid.
    #[error("in [raw.{table}]: {why}")]
    Setting {
        /// Name of the table.
        table: &'static str,
        /// Reason.
        why: String,
    },
    /// A required table has no files.
    #[error("there are no {table} in {place}; {remedy}")]
    NoFiles {
        /// Name of the table.
        table: &'static str,
        /// Folder or URL that was searched.
        place: String,
        /// Advice to the operator.
        remedy: String,
    },
    /// A file name has no known extension.
    #[error("{file}: unknown format; names must end in {}", FileKind::NAMES)]
    Format {
        /// Name of the file.
        file: String,
    },
    /// A file lacks a required column.
    #[error(
        "{file}: there is no column `{source_name}`, expected as {table}.{column}; {found}; map it in \
         [raw.{table}] columns"
    )]
    MissingColumn {
        /// Name of the file.
        file: String,
        /// Name of the table.
        table: &'static str,
        /// Name of the column in Larder.
        column: String,
        /// Name that the column should have in the file.
        source_name: String,
        /// Columns of the file, or the reason why they are not shown.
        found: String,
    },
    /// A file has two columns of one name.
    #[error("{file}: there are two columns `{column}`; rename one of them")]
    DuplicateColumn {
        /// Name of the file.
        file: String,
        /// Name of the column.
        column: String,
    },
    /// Two columns of a file may be the same column of the table.
    #[error(
        "{file}: both `{first}` and `{second}` may be {table}.{column}; name one of them in [raw.{table}] \
         columns"
    )]
    AmbiguousColumn {
        /// Name of the file.
        file: String,
        /// Name of the table.
        table: &'static str,
        /// Name of the column in Larder.
        column: String,
        /// Name of one column.
        first: String,
        /// Name of the other column.
        second: String,
    },
    /// Amounts in several currencies cannot be added.
    #[error(
        "transactions are in several currencies: {}; set `base` and `rates` in [raw.currency]",
        currencies.join(", ")
    )]
    Currencies {
        /// Currencies, each with the place of its first line.
        currencies: Vec<String>,
    },
    /// Two columns of a file have the same feature name.
    #[error(
        "{file}: the columns `{first}` and `{second}` would both be the feature `{name}`; give one of them \
         another name by `columns` in [raw.customers], such as columns = {{ other_name = \"{second}\" }}"
    )]
    SameName {
        /// Name of the file.
        file: String,
        /// Name of one column.
        first: String,
        /// Name of the other column.
        second: String,
        /// Feature name.
        name: String,
    },
    /// A Delta table cannot be read.
    #[error("{place} is a Delta table that cannot be read: {why}")]
    Delta {
        /// Name of the folder.
        place: String,
        /// Description of the problem.
        why: String,
    },
    /// A folder is a table of another engine.
    #[error(
        "{place} is a table in {format} format, whose log decides which of its files are valid; reading all \
         files would give wrong numbers. Export the table as Parquet, CSV or JSON lines into a folder of its \
         own"
    )]
    TableFormat {
        /// Name of the folder.
        place: String,
        /// Format of the table.
        format: &'static str,
    },
    /// The limit of open files is too low.
    #[error(
        "the build may have {needed} files open at a time, and the system allows {allowed}; raise the limit \
         (`ulimit -n {needed}`, LimitNOFILE={needed} of a systemd unit), or lower `threads` in [build]"
    )]
    OpenFiles {
        /// Maximum number of files that the build has open.
        needed: u64,
        /// Hard limit of the system.
        allowed: u64,
    },
    /// A Parquet column has the wrong type.
    #[error("{file}, column `{column}`: expected {expected}, found the type {found}")]
    ColumnType {
        /// Name of the file.
        file: String,
        /// Name of the column.
        column: String,
        /// Expected type.
        expected: &'static str,
        /// Type in the file.
        found: String,
    },
    /// A file cannot be read.
    #[error("{file}{}: cannot be read: {why}", after(*line))]
    Unreadable {
        /// Name of the file.
        file: String,
        /// Number of the last line read, or 0.
        line: u64,
        /// Reason.
        why: String,
    },
    /// The share of bad lines is too high.
    #[error(
        "{bad} of {lines} lines of {table} are bad, more than the share of {limit} that [raw] max_bad_share \
         allows: {}",
        causes_shown(causes)
    )]
    TooManyBad {
        /// Name of the table.
        table: &'static str,
        /// Number of bad lines.
        bad: u64,
        /// Number of all lines.
        lines: u64,
        /// Maximum share of bad lines.
        limit: f64,
        /// Causes with examples.
        causes: Vec<BadCause>,
    },
    /// The lake failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Reading or writing a temporary file failed.
    #[error("cannot use the temporary file or folder {place}")]
    Staging {
        /// File or folder.
        place: String,
        /// Reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn after(line: u64) -> String {
    if line == 0 { String::new() } else { format!(", after line {line}") }
}

/// Maximum number of causes in an error.
const CAUSES: usize = 5;

/// Lists the first causes, each with an example.
fn causes_shown(causes: &[BadCause]) -> String {
    let shown = causes.iter().take(CAUSES).map(|cause| {
        let example = cause.examples.first().map(|example| format!(" ({example})")).unwrap_or_default();
        let lines = if cause.lines == 1 { "1 line".to_owned() } else { format!("{} lines", cause.lines) };
        format!("{lines}: {}{example}", cause.cause)
    });
    let mut parts: Vec<String> = shown.collect();
    if causes.len() > CAUSES {
        parts.push(format!("and {} more causes", causes.len() - CAUSES));
    }
    parts.join("; ")
}
