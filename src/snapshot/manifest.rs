//! The manifest of a snapshot: contents, sources, and statistics of the build.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{SnapshotError, SnapshotId, models::Models, rfc3339};
use crate::{
    feature::{FeatureView, SegmentKind},
    lake::Lake,
};

/// Format of manifests and parts that this version writes. Since format 2, rows hold instants in place of
/// day counts.
pub const FORMAT: u32 = 2;
/// Oldest format that this version reads.
const OLDEST_FORMAT: u32 = 1;

/// Contents of a snapshot, sources, and statistics of the build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    /// Format of the manifest and the parts.
    #[schema(example = 2)]
    pub format: u32,
    /// The snapshot's id.
    pub id: SnapshotId,
    /// Snapshot that this one was rewritten from, to remove erased customers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten_from: Option<SnapshotId>,
    /// Version of Larder that built the snapshot.
    #[schema(example = "0.1.0")]
    pub larder: String,
    /// Instant that the features describe. Later data is excluded.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-12-09T12:50:00Z")]
    pub as_of: DateTime<Utc>,
    /// End of the build.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-12-10T02:00:12Z")]
    pub created_at: DateTime<Utc>,
    /// SHA-256 over the hashes of all parts. Equal fingerprints mean equal data.
    #[schema(example = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab")]
    pub fingerprint: String,
    /// Number of customers.
    #[schema(example = 4372)]
    pub customers: u64,
    /// Views with their features, in the order of the columns of `rows`.
    pub views: Vec<FeatureView>,
    /// Quintile edges of the RFM scores, by measure; absent if the snapshot has no `rfm` steps.
    #[serde(default)]
    #[schema(
        value_type = HashMap<String, Vec<String>>,
        example = json!({"recency_days": ["17", "33.6", "72.2", "180.2"]})
    )]
    pub edges: Edges,
    /// Model cards.
    #[serde(default)]
    pub models: Models,
    /// Segments with their figures, sorted by name.
    pub segments: Vec<SegmentStats>,
    /// Fates of the lines of raw data, by table.
    pub counts: BTreeMap<String, TableCounts>,
    /// Warnings of the build.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Figures for the plausibility check of the next build.
    #[serde(default)]
    pub quality: Quality,
    /// Raw files of the build.
    pub sources: Vec<RawSource>,
    /// Files of the snapshot.
    pub files: Vec<FileEntry>,
    /// File with the statistics of the features; absent in snapshots of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub statistics: Option<StatisticsFile>,
    /// Stages of the build, in their order.
    pub stages: Vec<Stage>,
}

/// The four exact quintile edges of each measure, as decimal text.
pub type Edges = BTreeMap<String, Vec<String>>;

/// A segment and its figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SegmentStats {
    /// Name of the segment.
    #[schema(example = "champions")]
    pub name: String,
    /// Kind of segment.
    pub kind: SegmentKind,
    /// Condition of membership.
    #[schema(example = "R 5, F 4 to 5")]
    pub definition: String,
    /// Number of members.
    #[schema(example = 604)]
    pub size: u64,
    /// Share of all customers, 0 to 1.
    #[schema(example = 0.138_152)]
    pub share: f64,
    /// Exact sum of `rfm.monetary` over the members, as decimal text.
    #[schema(example = "4188912.83")]
    pub revenue: String,
    /// Mean recency score; null if no member has a score.
    #[schema(example = 5.0)]
    pub mean_r_score: Option<f64>,
    /// Mean frequency score; null if no member has a score.
    #[schema(example = 4.8)]
    pub mean_f_score: Option<f64>,
    /// Mean monetary score; null if no member has a score.
    #[schema(example = 4.6)]
    pub mean_m_score: Option<f64>,
}

/// Fates of the lines of a raw table. Every line has exactly one fate. Lines in `duplicates` also have a
/// fate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableCounts {
    /// Number of records, bad lines included.
    #[schema(example = 541_909)]
    pub lines: u64,
    /// Number of lines as `wc -l` counts them, with headers, empty lines and line breaks within quotes; for
    /// Parquet, number of rows.
    #[serde(default)]
    #[schema(example = 541_922)]
    pub physical_lines: u64,
    /// Number of lines by fate: `purchase`, `return`, `reduction` (a negative price), `neither`,
    /// `no_customer`, `bad`, `after_as_of`, `kept`, `replaced`, `forgotten` (the line of an erased customer).
    #[schema(example = json!({"purchase": 397_884, "return": 8_905, "no_customer": 135_080, "neither": 40}))]
    pub fates: BTreeMap<String, u64>,
    /// Sum of quantity times price by fate, for transactions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"purchase": "8911407.904", "return": "-611342.09"}))]
    pub amounts: BTreeMap<String, String>,
    /// Number of lines that equal an earlier line. They are kept.
    #[schema(example = 5_225)]
    pub duplicates: u64,
    /// Causes of bad lines, most frequent first.
    #[serde(default)]
    pub bad_causes: Vec<BadCause>,
}

/// Cause of bad lines in a raw table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BadCause {
    /// Reason that the lines share.
    #[schema(example = "column `Quantity`: expected a whole number")]
    pub cause: String,
    /// Number of lines.
    #[schema(example = 17)]
    pub lines: u64,
    /// First few lines, each with file, line number and value. Values may be personal, so only their form is
    /// shown: letters as `a` or `A`, digits as `9`.
    #[schema(example = json!(["raw/transactions/2011-12.csv.gz, line 17: found a value like `9.9`"]))]
    pub examples: Vec<String>,
}

/// Warning of a build: a possible mistake in the raw data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// Kind of the warning, a word for programs.
    #[schema(example = "overlapping_files")]
    pub kind: String,
    /// Message for users, with counts and sums.
    #[schema(
        example = "70 lines of transactions (1234.5 in all) equal a line of another file and count again"
    )]
    pub message: String,
    /// Customer that the message is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "17850")]
    pub customer_id: Option<String>,
}

impl Warning {
    /// Creates a warning of `kind` that is about no single customer.
    #[must_use]
    pub fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into(), customer_id: None }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.customer_id.as_ref().map_or(Ok(()), |id| write!(f, ": `{id}`"))
    }
}

/// Figures that reveal an implausible build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Quality {
    /// Share of customers whose feature is null, by `view.feature`.
    #[schema(example = json!({"profile.email": 0.12}))]
    pub null_shares: BTreeMap<String, f64>,
}

/// A raw file that a build read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Source)]
pub struct RawSource {
    /// Raw table.
    #[schema(example = "transactions")]
    pub table: String,
    /// Path of the file.
    #[schema(example = "raw/transactions/2011-12.csv.gz")]
    pub path: String,
    /// Size in bytes.
    #[schema(example = 367_784)]
    pub bytes: u64,
    /// SHA-256 of its content.
    #[schema(example = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c")]
    pub sha256: String,
    /// Number of records, bad lines included.
    #[schema(example = 25_525)]
    pub lines: u64,
    /// Number of lines as `wc -l` counts them; for Parquet, number of rows.
    #[serde(default)]
    #[schema(example = 25_526)]
    pub physical_lines: u64,
    /// File with the same content that was read instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "raw/transactions/2011-12.csv.gz")]
    pub same_as: Option<String>,
}

/// Purpose of a file of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Typed columns, for analysis.
    Customers,
    /// JSON texts, ready to serve.
    Rows,
    /// Members of a segment or of the list `churn`, best first.
    Ranking,
    /// Names and similar products, ready to serve.
    Products,
    /// Lines of purchases, by customer.
    Purchases,
    /// Customers and times of orders and interactions, by what they were about.
    Events,
    /// A purpose that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    /// Path in the folder of the snapshot.
    #[schema(example = "rows/part-00000.parquet")]
    pub path: String,
    /// Purpose.
    pub kind: FileKind,
    /// Segment of a ranking, or `churn` for the list of all customers by value at risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "champions")]
    pub segment: Option<String>,
    /// Number of rows.
    #[schema(example = 4372)]
    pub rows: u64,
    /// Size in bytes.
    #[schema(example = 412_345)]
    pub bytes: u64,
    /// SHA-256 of its content.
    #[schema(example = "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730")]
    pub sha256: String,
    /// Size of the Parquet footer in bytes, length field and magic number included.
    #[schema(example = 4_096)]
    pub footer_bytes: u64,
    /// CRC-32 of the footer.
    #[schema(example = 3_735_928_559_u32)]
    pub footer_crc32: u32,
    /// Id of the first customer (customers, rows and purchases) or product (products), or first key (events).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "12346")]
    pub first: Option<String>,
    /// Id of the last customer (customers, rows and purchases) or product (products), or last key (events).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "18287")]
    pub last: Option<String>,
}

/// The file with the statistics of the features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatisticsFile {
    /// Path in the folder of the snapshot.
    #[schema(example = "statistics.json")]
    pub path: String,
    /// Size in bytes.
    #[schema(example = 48_112)]
    pub bytes: u64,
    /// SHA-256 of its content.
    #[schema(example = "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730")]
    pub sha256: String,
}

/// A stage of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// Name.
    #[schema(example = "raw")]
    pub name: String,
    /// Duration in seconds.
    #[schema(example = 1.25)]
    pub seconds: f64,
    /// Number of rows that the stage produced, and for `raw` the number of lines read; absent for a stage
    /// without rows, and in snapshots of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 541_909)]
    pub rows: Option<u64>,
    /// Number of bytes that the process wrote in the stage, to temporary files and to the lake; absent where
    /// the system does not count them, and in snapshots of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 48_271_360)]
    pub written_bytes: Option<u64>,
    /// Greatest resident memory of the process in the stage, in bytes, by samples; absent where the system
    /// does not tell, and in snapshots of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 402_653_184)]
    pub peak_memory_bytes: Option<u64>,
}

impl Manifest {
    /// Reads the manifest of the snapshot `id`.
    ///
    /// # Errors
    /// [`SnapshotError::Unknown`] if there is no manifest, [`SnapshotError::Lake`], or as
    /// [`Manifest::parse`].
    pub async fn read(lake: &Lake, id: &SnapshotId) -> Result<Self, SnapshotError> {
        let path = id.path("manifest.json");
        let bytes = lake.get(&path).await.map_err(|error| match error {
            error if error.is_not_found() => SnapshotError::Unknown { id: id.clone() },
            error => error.into(),
        })?;
        Self::parse(path.as_ref(), &bytes)
    }

    /// Parses `bytes`, read from `object`.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] for invalid JSON, [`SnapshotError::Format`] for another format.
    pub fn parse(object: &str, bytes: &[u8]) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct FormatOnly {
            format: u32,
        }
        let damaged = |error: serde_json::Error| SnapshotError::Damaged {
            object: object.to_owned(),
            why: error.to_string(),
        };
        let FormatOnly { format: found } = serde_json::from_slice(bytes).map_err(damaged)?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&found) {
            let (oldest, newest) = (OLDEST_FORMAT, FORMAT);
            return Err(SnapshotError::Format { object: object.to_owned(), found, oldest, newest });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// Writes the manifest, which completes the snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`] or [`SnapshotError::Write`].
    pub async fn write(&self, lake: &Lake) -> Result<(), SnapshotError> {
        let path = self.id.path("manifest.json");
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| SnapshotError::Write { object: path.to_string(), source: error.into() })?;
        Ok(lake.put(&path, Bytes::from(text)).await?)
    }

    /// Returns the fingerprint of `files`: SHA-256 over the path and hash of each file, sorted by path.
    #[must_use]
    pub fn fingerprint_of(files: &[FileEntry]) -> String {
        let mut sorted: Vec<_> = files.iter().collect();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        let mut hash = Sha256::new();
        for file in sorted {
            hash.update(format!("{}\t{}\n", file.path, file.sha256));
        }
        format!("{:x}", hash.finalize())
    }

    /// Returns the position of the view `name`.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<usize> {
        self.views.iter().position(|view| view.name == name)
    }

    /// Returns the parts of a kind, sorted by first id, as positions in `files`.
    #[must_use]
    pub fn parts(&self, kind: FileKind) -> Vec<usize> {
        let mut parts: Vec<usize> =
            (0..self.files.len()).filter(|file| self.files[*file].kind == kind).collect();
        parts.sort_by(|a, b| self.files[*a].first.cmp(&self.files[*b].first));
        parts
    }

    /// Returns the ranking of `list`, a segment or [`CHURN_LIST`](super::CHURN_LIST), as a position in
    /// `files`.
    #[must_use]
    pub fn ranking(&self, list: &str) -> Option<usize> {
        let is_ranking =
            |file: &FileEntry| file.kind == FileKind::Ranking && file.segment.as_deref() == Some(list);
        self.files.iter().position(is_ranking)
    }

    /// Checks whether the snapshot has the events that `bought` and `did` count.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.files.iter().any(|file| file.kind == FileKind::Events)
    }

    /// Returns the number of members in the ranking of `list`; 0 if the snapshot has no such ranking.
    #[must_use]
    pub fn ranking_size(&self, list: &str) -> u64 {
        self.ranking(list).map_or(0, |file| self.files[file].rows)
    }

    /// Returns the segment `name`.
    #[must_use]
    pub fn segment(&self, name: &str) -> Option<&SegmentStats> {
        self.segments.iter().find(|segment| segment.name == name)
    }
}

/// Encodes bytes as hexadecimal text.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
