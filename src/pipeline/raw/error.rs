//! Why raw data cannot be read.

use crate::{lake::LakeError, snapshot::BadCause};

/// The reasons why raw data cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// `[raw]` names a zone that does not exist.
    #[error("`{zone}` in [raw] is no IANA time zone such as Europe/London")]
    Zone {
        /// The zone.
        zone: String,
    },
    /// A setting that cannot be.
    #[error("in [raw.{table}]: {why}")]
    Setting {
        /// The table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
    /// No file of a table that is needed.
    #[error("there are no {table} in {place}; `larder upload {table} FILE…` puts some there")]
    NoFiles {
        /// The table.
        table: &'static str,
        /// Where they were looked for.
        place: String,
    },
    /// A file whose name tells no known format.
    #[error(
        "{file}: cannot tell its format; names end in .csv, .jsonl, .ndjson, .json (these also with .gz) or .parquet"
    )]
    Format {
        /// The file.
        file: String,
    },
    /// A file without a column that it needs.
    #[error(
        "{file}: there is no column `{source_name}`, expected as {table}.{column}; {found}; map it in [raw.{table}] columns"
    )]
    MissingColumn {
        /// The file.
        file: String,
        /// The table.
        table: &'static str,
        /// Larder's name.
        column: String,
        /// The name looked for.
        source_name: String,
        /// The columns found, or why they are not shown.
        found: String,
    },
    /// A header that has a column twice.
    #[error("{file}: there are two columns `{column}`; rename one of them")]
    DuplicateColumn {
        /// The file.
        file: String,
        /// The column.
        column: String,
    },
    /// Two columns of a file that would be one feature.
    #[error(
        "{file}: the columns `{first}` and `{second}` would both be the feature `{name}`; give one of them another name by \
         `columns` in [raw.customers], such as columns = {{ other_name = \"{second}\" }}"
    )]
    SameName {
        /// The file.
        file: String,
        /// A column.
        first: String,
        /// Another.
        second: String,
        /// The name that they share.
        name: String,
    },
    /// A folder that another engine keeps a table in.
    #[error(
        "{place} is a table of {format}, whose log says which of its files count; read as loose files it would give wrong \
         numbers. Export the table as Parquet, CSV or JSON lines into a folder of its own"
    )]
    TableFormat {
        /// The folder.
        place: String,
        /// Its format.
        format: &'static str,
    },
    /// More open files than the system allows.
    #[error(
        "the build may have {needed} files open at a time, and the system allows {allowed}; raise the limit (`ulimit -n \
         {needed}`, LimitNOFILE={needed} of a systemd unit), or lower `threads` in [build]"
    )]
    OpenFiles {
        /// The number that a build of this size needs.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// A Parquet column of a type that cannot be read as what it should be.
    #[error("{file}, column `{column}`: expected {expected}, found the type {found}")]
    ColumnType {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// What was expected.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A file that cannot be read on.
    #[error("{file}{}: cannot be read: {why}", after(*line))]
    Unreadable {
        /// The file.
        file: String,
        /// The last line read.
        line: u64,
        /// Why.
        why: String,
    },
    /// Too many bad lines.
    #[error(
        "{bad} of {lines} lines of {table} are bad, more than the share of {limit} that [raw] max_bad_share allows: {}",
        causes_shown(causes)
    )]
    TooManyBad {
        /// The table.
        table: &'static str,
        /// Bad lines.
        bad: u64,
        /// All lines.
        lines: u64,
        /// The share allowed.
        limit: f64,
        /// Why, with examples.
        causes: Vec<BadCause>,
    },
    /// The lake failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A temporary file failed.
    #[error("cannot keep temporary data in {place}")]
    Staging {
        /// The folder.
        place: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn after(line: u64) -> String {
    if line == 0 { String::new() } else { format!(", after line {line}") }
}

/// Causes that an error names.
const CAUSES: usize = 5;

fn causes_shown(causes: &[BadCause]) -> String {
    let shown = causes.iter().take(CAUSES).map(|cause| {
        let example = cause.examples.first().map(|example| format!(" ({example})")).unwrap_or_default();
        let lines = if cause.lines == 1 { "1 line".to_owned() } else { format!("{} lines", cause.lines) };
        format!("{lines}: {}{example}", cause.cause)
    });
    let more = causes
        .len()
        .checked_sub(CAUSES)
        .filter(|more| *more > 0)
        .map(|more| format!("and {more} causes more"));
    shown.chain(more).collect::<Vec<_>>().join("; ")
}
