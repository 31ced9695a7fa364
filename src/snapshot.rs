//! A snapshot: one immutable build of all views, at one `as_of`, with its manifest; and `CURRENT`, which names the one readers get.
//!
//! Knows the lake and the layout of its folders, nothing of raw data, SQL, Tair or HTTP.
//!
//! ```text
//! snapshots/<id>/manifest.json              written last: without it there is no snapshot
//! snapshots/<id>/customers/part-00000.parquet  typed, for analysis
//! snapshots/<id>/rows/part-00000.parquet       ready to serve
//! snapshots/<id>/rankings/<segment>.parquet    members, best first
//! snapshots/<id>/products/part-00000.parquet   names and similar products
//! CURRENT                                   {publish, snapshot, previous, published_at}
//! forgotten/<time>-<random>.json            {ids, at}: customers who are to be forgotten
//! ```

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    str::FromStr,
    sync::Arc,
};

use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lake::LakeError;

pub mod blocks;
pub mod columns;
mod current;
mod erasure;
mod forgotten;
mod manifest;
pub mod models;
mod quality;
pub mod reader;
mod retention;
mod rewrite;
pub mod scan;
pub mod sets;
pub mod stretches;
mod tally;
pub mod texts;
pub mod writer;

pub use current::{
    Current, GRACE, Retired, check_newer, publish_to_lake, read_current, replace_previous, token,
};
pub use erasure::{Holding, holdings};
pub use forgotten::{Call, Forgotten};
pub use manifest::{
    BadCause, Edges, FORMAT, FileEntry, FileKind, Manifest, Quality, SegmentStats, Source, Stage,
    TableCounts, Warning, hex,
};
pub use retention::{Pruned, list, prune, remove};
pub use rewrite::rewrite;
pub use tally::Tally;

/// The list of all customers with a churn probability, by value at risk; no segment has that name.
pub const CHURN_LIST: &str = "churn";
/// The folder of all snapshots.
pub const FOLDER: &str = "snapshots";

/// Whether `path` is a place of Larder's own in the lake, or the one of the raw files that it reads: nothing else may be written there.
#[must_use]
pub fn is_own(path: &Path) -> bool {
    let first = path.parts().next();
    first.is_none_or(|first| [FOLDER, current::OBJECT, forgotten::FOLDER, "raw"].contains(&first.as_ref()))
}

/// A snapshot's id: `<as_of>-<random>`, for example `20111209T125000Z-5f0c2a9e`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "20111209T125000Z-5f0c2a9e")]
pub struct SnapshotId(String);

impl SnapshotId {
    /// The id of a build at `as_of`, told from others by `random`.
    #[must_use]
    pub fn new(as_of: DateTime<Utc>, random: u32) -> Self {
        Self(format!("{}-{random:08x}", as_of.format("%Y%m%dT%H%M%SZ")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of `file` in this snapshot's folder.
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
            time.len() >= 16
                && time.ends_with('Z')
                && time.bytes().all(|b| b.is_ascii_digit() || b == b'T' || b == b'Z')
                && random.len() == 8
                && random.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if well_formed { Ok(Self(text.to_owned())) } else { Err(SnapshotError::Id { text: text.to_owned() }) }
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

/// Why a snapshot could not be read, written or made current.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No id.
    #[error("`{text}` is no snapshot id; one looks like 20111209T125000Z-5f0c2a9e")]
    Id {
        /// What was given.
        text: String,
    },
    /// No snapshot of that id.
    #[error("there is no snapshot {id}")]
    Unknown {
        /// The id.
        id: SnapshotId,
    },
    /// The lake failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// An object does not hold what it should.
    #[error("{object} is damaged: {why}")]
    Damaged {
        /// The object.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// The manifest was written in a format that this version does not read.
    #[error("{object} has format {found}, this version reads format {known}")]
    Format {
        /// The manifest.
        object: String,
        /// Its format.
        found: u32,
        /// The format known.
        known: u32,
    },
    /// A part could not be encoded or written.
    #[error("cannot write {object}")]
    Write {
        /// The object.
        object: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The snapshot is older than the current one.
    #[error(
        "snapshot {id} has as_of {as_of}, older than {current} of the current one; --force publishes it all the same"
    )]
    Older {
        /// The snapshot.
        id: SnapshotId,
        /// Its instant.
        as_of: DateTime<Utc>,
        /// The current one's instant.
        current: DateTime<Utc>,
    },
    /// A read did not end in time, or too many wait already.
    #[error("reading {object} took longer than {millis} ms")]
    Timeout {
        /// The object.
        object: String,
        /// The deadline in milliseconds.
        millis: u128,
    },
    /// Another publish reached `CURRENT` first.
    #[error("CURRENT has publish {found} already, this one has number {number}; publish again")]
    Overtaken {
        /// The number of this publish.
        number: u64,
        /// The number found.
        found: u64,
    },
    /// Nothing has been published.
    #[error("there is no current snapshot; `larder build` makes one")]
    NoCurrent,
    /// `CURRENT` names no previous snapshot.
    #[error("there is no previous snapshot to go back to")]
    NoPrevious,
}

/// A number that nobody else has, most likely.
#[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
fn random() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

impl SnapshotError {
    /// An error that several readers may have waited for, as one's own.
    #[must_use]
    pub fn shared(error: Arc<Self>) -> Self {
        let object = error.to_string();
        Arc::into_inner(error).unwrap_or_else(|| Self::Damaged { object, why: "see the log".to_owned() })
    }
}

/// Times in RFC 3339, UTC, `Z`, with as many digits of a second as there are.
pub mod rfc3339 {
    use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, SubsecRound, Utc};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Now, to the millisecond: finer is of no use in papers.
    #[must_use]
    pub fn now() -> DateTime<Utc> {
        Utc::now().trunc_subsecs(3)
    }

    /// The time as text.
    #[must_use]
    pub fn format(time: DateTime<Utc>) -> String {
        time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    /// The instant that `text` says, or the first of the date that it says, in UTC.
    #[must_use]
    pub fn instant(text: &str) -> Option<DateTime<Utc>> {
        let date = || Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc());
        DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok().or_else(date)
    }

    /// For serde.
    ///
    /// # Errors
    /// Of the serializer.
    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*time))
    }

    /// For serde.
    ///
    /// # Errors
    /// Of a text that is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
        let text = String::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text).map(|time| time.to_utc()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_instant_and_nothing_else_passes() {
        let as_of = DateTime::from_timestamp(1_323_435_000, 0).expect("a time");
        let id = SnapshotId::new(as_of, 0x5f0c_2a9e);
        assert_eq!(id.as_str(), "20111209T125000Z-5f0c2a9e");
        assert_eq!(id.as_str().parse::<SnapshotId>().expect("its own text"), id);
        for text in
            ["", "latest", "../../etc/passwd", "20111209T125000Z-5f0c2a9", "20111209T125000Z-5f0c2a9e/x"]
        {
            assert!(text.parse::<SnapshotId>().is_err(), "{text}");
        }
    }
}
