//! Snapshots: a snapshot is one immutable build of all views at one `as_of` instant, with a manifest;
//! `CURRENT` names the snapshot that readers get.
//!
//! This module knows the lake and the layout of its folders, but nothing of raw data, SQL, Tair or HTTP.
//!
//! ```text
//! snapshots/<id>/manifest.json              written last: a folder without a manifest is no snapshot
//! snapshots/<id>/customers/part-00000.parquet  typed columns, for analysis
//! snapshots/<id>/rows/part-00000.parquet       JSON texts, ready to serve
//! snapshots/<id>/rankings/<segment>.parquet    members, best first
//! snapshots/<id>/products/part-00000.parquet   names and similar products
//! snapshots/<id>/purchases/part-00000.parquet  purchase lines of each customer
//! snapshots/<id>/purchases/events-00000.parquet  who has events of a product, category or name, and when
//! snapshots/<id>/statistics.json               statistics of the features
//! snapshots/<id>/models/churn.json             the churn model, if later builds may use it
//! CURRENT                                   {publish, snapshot, previous, published_at, lake, recent}
//! builds/<time>-<random>.json               what became of a build
//! forgotten/<time>-<random>.json            {ids, at}: customers to erase
//! exports/…                                 files of `larder export --out lake:exports/…`
//! ```

use std::{fmt, str::FromStr, sync::Arc};

use chrono::{DateTime, NaiveDateTime, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    lake::LakeError,
    workers::{self, Canceled, Cancellation},
};

mod activation;
pub mod aligned_scan;
pub mod audience_loader;
pub mod block;
mod block_scan;
mod build_lease;
mod build_records;
mod chunks;
pub mod column_scan;
mod current;
pub mod event_files;
pub mod files;
pub mod footer;
mod forgotten;
mod holdings;
mod manifest;
pub mod models;
mod personal_features;
mod quality;
pub mod ranking_pages;
mod raw_listing;
pub mod reader;
mod retention;
mod rewrite;
pub mod row_scan;
mod segment_tally;
pub mod staged;
mod statistics;
pub mod text_page;
pub mod writer;

pub use activation::publish_to_lake;
pub use build_lease::BuildLease;
pub use build_records::{BuildOutcome, BuildRecord, BuildTrigger};
pub use current::{Current, GRACE, Retired, check_newer, read_current, replace_previous};
pub use files::{LakeReads, SnapshotFiles};
pub use forgotten::{ErasureCall, Forgotten};
pub use holdings::{Holding, holdings};
pub use manifest::{
    BadCause, Edges, FORMAT, FileEntry, FileKind, Manifest, Quality, RawSource, SegmentStats, Stage,
    StatisticsFile, TableCounts, Warning, hex,
};
pub use raw_listing::{ListedFile, pending, raw_files};
pub use retention::{Pruned, ids, list, prune, remove, remove_unused};
pub use rewrite::{rewrite, without_erased};
pub use segment_tally::SegmentTally;
pub use statistics::{Statistics, ViewStatistics, write_statistics};

/// Name of the list of all customers with a churn probability, by value at risk. No segment has this name.
pub const CHURN_LIST: &str = "churn";
/// Greatest length of the time in a snapshot id, in bytes.
const LONGEST_TIME: usize = 20;
/// Number of characters of a malformed snapshot id that an error shows.
const MAX_SHOWN: usize = 64;
/// Folder of all snapshots.
pub const FOLDER: &str = "snapshots";

/// Folder of the exports that `larder export` writes into the lake. `larder forget` names its files.
pub const EXPORTS: &str = "exports";

/// Checks whether an export may be written to `path`: a file in the folder of exports, none of whose names is
/// hidden. Everything else in a lake belongs to Larder, to raw files or to other programs.
#[must_use]
pub fn is_export(path: &Path) -> bool {
    let mut names = path.parts();
    names.next().is_some_and(|first| first.as_ref() == EXPORTS)
        && path.parts().count() > 1
        && names.all(|name| !name.as_ref().starts_with('.'))
}

/// Id of a snapshot: `<as_of>-<random>`, for example `20111209T125000Z-5f0c2a9e`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "20111209T125000Z-5f0c2a9e")]
pub struct SnapshotId(String);

impl SnapshotId {
    /// Composes the id of a build at `as_of`; `random` distinguishes builds of the same instant.
    #[must_use]
    pub fn new(as_of: DateTime<Utc>, random: u32) -> Self {
        Self(format!("{}-{random:08x}", as_of.format("%Y%m%dT%H%M%SZ")))
    }

    /// Returns the as-of time, to the second.
    #[must_use]
    pub fn as_of(&self) -> Option<DateTime<Utc>> {
        let (at, _) = self.0.split_once('-')?;
        Some(NaiveDateTime::parse_from_str(at, "%Y%m%dT%H%M%SZ").ok()?.and_utc())
    }

    /// Generates the id of a build at `as_of`.
    ///
    /// # Errors
    /// [`SnapshotError::Random`].
    pub fn generate(as_of: DateTime<Utc>) -> Result<Self, SnapshotError> {
        Ok(Self::new(as_of, getrandom::u32()?))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path of `file` in the snapshot's folder.
    #[must_use]
    pub fn path(&self, file: &str) -> Path {
        Path::from(format!("{FOLDER}/{}/{file}", self.0))
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SnapshotId {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        let well_formed = text.split_once('-').is_some_and(|(time, random)| {
            (16..=LONGEST_TIME).contains(&time.len())
                && time.ends_with('Z')
                && time.bytes().all(|b| b.is_ascii_digit() || b == b'T' || b == b'Z')
                && random.len() == 8
                && random.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if well_formed {
            return Ok(Self(text.to_owned()));
        }
        Err(SnapshotError::Id { text: text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect() })
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = SnapshotError;

    fn try_from(text: String) -> Result<Self, SnapshotError> {
        text.parse()
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.0
    }
}

/// Failure of reading, writing or publishing a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Malformed snapshot id.
    #[error("`{text}` is no snapshot id; an id looks like 20111209T125000Z-5f0c2a9e")]
    Id {
        /// The text.
        text: String,
    },
    /// Missing snapshot.
    #[error("there is no snapshot {id}")]
    Unknown {
        /// The id.
        id: SnapshotId,
    },
    /// Failure of the lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Declaration of a personal column that the snapshot cannot keep.
    #[error("the configuration does not fit snapshot {id}: {why}")]
    Personal {
        /// Id of the snapshot.
        id: SnapshotId,
        /// The column and the reason.
        why: String,
    },
    /// Wrong content of an object.
    #[error("{object} is damaged: {why}")]
    Damaged {
        /// Path of the object.
        object: String,
        /// The difference to a correct content.
        why: String,
    },
    /// Manifest format that this version does not read.
    #[error("{object} has format {found}, this version reads the formats {oldest} to {newest}")]
    Format {
        /// Path of the manifest.
        object: String,
        /// Format of the manifest.
        found: u32,
        /// Oldest format that this version reads.
        oldest: u32,
        /// Newest format that this version reads.
        newest: u32,
    },
    /// File whose purpose this version does not know, and from which it cannot remove customers.
    #[error("{object} is of a kind that this version does not know; use the version that built the snapshot")]
    UnknownKind {
        /// Path of the object.
        object: String,
    },
    /// Failure to encode or write a file.
    #[error("cannot write {object}")]
    Write {
        /// Path of the object.
        object: String,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Publish of a snapshot that is older than the current snapshot.
    #[error(
        "snapshot {id} has as_of {as_of}, older than {current} of the current snapshot; \
         --force publishes it anyway"
    )]
    Older {
        /// Id of the snapshot.
        id: SnapshotId,
        /// `as_of` of the snapshot.
        as_of: DateTime<Utc>,
        /// `as_of` of the current snapshot.
        current: DateTime<Utc>,
    },
    /// Deadline of a read on the lake exceeded, including the wait for a permit.
    #[error("reading {object} took longer than {millis} ms")]
    Timeout {
        /// Path of the object.
        object: String,
        /// Deadline in milliseconds.
        millis: u128,
    },
    /// Conflict with another publish, which wrote `CURRENT` first.
    #[error("CURRENT already has publish {found}, this publish has number {number}; publish again")]
    Overtaken {
        /// Number of this publish.
        number: u64,
        /// Number in `CURRENT`.
        found: u64,
    },
    /// Missing current snapshot, before the first publish.
    #[error("there is no current snapshot; `larder build` makes one")]
    NoCurrent,
    /// Missing previous snapshot in `CURRENT`.
    #[error("there is no previous snapshot to roll back to")]
    NoPrevious,
    /// Failure of the random number generator of the operating system.
    #[error("cannot get random numbers from the operating system")]
    Random(#[from] getrandom::Error),
    /// Panic of a task, or cancellation because the process is shutting down.
    #[error("the task to {task} panicked or was canceled")]
    Task {
        /// The work of the task, as a verb phrase.
        task: &'static str,
        /// Cause.
        source: tokio::task::JoinError,
    },
    /// A bug in Larder.
    #[error("internal error: {why}")]
    Internal {
        /// The broken expectation.
        why: &'static str,
    },
    /// A failed read that several readers waited for.
    #[error(transparent)]
    Shared(Arc<SnapshotError>),
}

impl SnapshotError {
    /// Reports that the content of `object` is wrong.
    fn damaged(object: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { object: object.to_string(), why: why.into() }
    }

    /// Unwraps an error that several readers may have waited for.
    #[must_use]
    pub fn shared(error: Arc<Self>) -> Self {
        Arc::try_unwrap(error).unwrap_or_else(Self::Shared)
    }
}

/// Runs `work` on a thread for computations; `task` names the work in errors, as a verb phrase. `work` must
/// not wait for another computation.
///
/// # Errors
/// [`SnapshotError::Task`].
pub(crate) async fn run_blocking<T: Send + 'static>(
    task: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SnapshotError> {
    workers::compute(move |_| work()).await.map_err(|source| SnapshotError::Task { task, source })
}

/// Runs `work` as [`run_blocking`] does. `work` checks between its steps whether its result is still awaited.
///
/// # Errors
/// [`SnapshotError::Task`].
pub(crate) async fn run_cancelable<T: Send + 'static>(
    task: &'static str,
    work: impl FnOnce(&Cancellation) -> Result<T, Canceled> + Send + 'static,
) -> Result<T, SnapshotError> {
    let worked = workers::compute(work).await.map_err(|source| SnapshotError::Task { task, source })?;
    worked.map_err(|Canceled| SnapshotError::Internal { why: "a computation stopped that is awaited" })
}

/// Returns a random text: a lease token, or the name of a lake.
///
/// # Errors
/// [`SnapshotError::Random`].
pub fn token() -> Result<String, SnapshotError> {
    Ok(format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?))
}

/// Times in RFC 3339, in UTC with `Z`, with as many fractional digits of a second as needed.
pub mod rfc3339 {
    use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, SubsecRound, Utc};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Returns the current time, to the millisecond: stored records need no finer time.
    #[must_use]
    pub fn now() -> DateTime<Utc> {
        Utc::now().trunc_subsecs(3)
    }

    /// Formats a time.
    #[must_use]
    pub fn format(time: DateTime<Utc>) -> String {
        time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    /// Parses a time, or a date as its first instant in UTC.
    #[must_use]
    pub fn instant(text: &str) -> Option<DateTime<Utc>> {
        let date = || Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc());
        DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok().or_else(date)
    }

    /// Serializes a time, for `#[serde(with)]`.
    ///
    /// # Errors
    /// Any error of the serializer.
    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*time))
    }

    /// Deserializes a time, for `#[serde(with)]`.
    ///
    /// # Errors
    /// A text that is no time in RFC 3339.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
        let text = String::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text).map(|time| time.to_utc()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_id_round_trips_and_rejects_other_texts() {
        let as_of = DateTime::from_timestamp(1_323_435_000, 0).expect("a time");
        let id = SnapshotId::new(as_of, 0x5f0c_2a9e);
        assert_eq!(id.as_str(), "20111209T125000Z-5f0c2a9e");
        assert_eq!(id.as_str().parse::<SnapshotId>().expect("its own text"), id);
        for text in
            ["", "latest", "../../etc/passwd", "20111209T125000Z-5f0c2a9", "20111209T125000Z-5f0c2a9e/x"]
        {
            assert!(text.parse::<SnapshotId>().is_err(), "{text}");
        }
        let long = format!("{}T125000Z-5f0c2a9e", "2".repeat(5_000));
        let error = long.parse::<SnapshotId>().expect_err("the time is too long").to_string();
        assert!(error.len() < 200, "{error}");
    }

    #[test]
    fn shared_error_keeps_its_kind() {
        let error = Arc::new(SnapshotError::Timeout { object: "rows".to_owned(), millis: 5 });
        let shared = SnapshotError::shared(Arc::clone(&error));
        let SnapshotError::Shared(inner) = &shared else { panic!("{shared}") };
        assert!(matches!(**inner, SnapshotError::Timeout { .. }));
        assert_eq!(shared.to_string(), "reading rows took longer than 5 ms");
        drop(shared);
        assert!(matches!(SnapshotError::shared(error), SnapshotError::Timeout { .. }));
    }
}
