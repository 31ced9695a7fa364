//! The manifest: what a snapshot holds, what it was made from, and how.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{SnapshotError, SnapshotId, models::Models, rfc3339};
use crate::{
    config::ColumnRef,
    feature::{FeatureView, SegmentKind, feature_name},
    lake::Lake,
};

/// The format of manifests and parts that this version writes and reads.
pub const FORMAT: u32 = 1;

/// What a snapshot holds, what it was made from, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    /// The format of manifest and parts.
    #[schema(example = 1)]
    pub format: u32,
    /// The snapshot's id.
    pub id: SnapshotId,
    /// The snapshot that this one was written from, without customers who were forgotten since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten_from: Option<SnapshotId>,
    /// The version of Larder that built it.
    #[schema(example = "0.1.0")]
    pub larder: String,
    /// The instant that the features describe: nothing later entered them.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-12-09T12:50:00Z")]
    pub as_of: DateTime<Utc>,
    /// When the build ended.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-12-10T02:00:12Z")]
    pub created_at: DateTime<Utc>,
    /// SHA-256 over the hashes of all parts: equal fingerprints, equal data.
    #[schema(example = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab")]
    pub fingerprint: String,
    /// How many customers it holds.
    #[schema(example = 4372)]
    pub customers: u64,
    /// The views with their features, in the order in which rows store them.
    pub views: Vec<FeatureView>,
    /// The quintile edges that RFM scores were counted with, by measure; absent where the snapshot has no
    /// `rfm` steps.
    #[serde(default)]
    #[schema(value_type = HashMap<String, Vec<String>>, example = json!({"recency_days": ["17", "33.6", "72.2", "180.2"]}))]
    pub edges: Edges,
    /// The models and their cards.
    #[serde(default)]
    pub models: Models,
    /// The segments and their figures, by name.
    pub segments: Vec<SegmentStats>,
    /// What became of every line of raw data, by table.
    pub counts: BTreeMap<String, TableCounts>,
    /// Warnings of the build.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Figures that the next build is compared with before it is published.
    #[serde(default)]
    pub quality: Quality,
    /// The raw files that were read.
    pub sources: Vec<Source>,
    /// The files of this snapshot.
    pub files: Vec<FileEntry>,
    /// How long each stage of the build took.
    pub stages: Vec<Stage>,
}

/// Quintile edges, exact, as decimal text: measure → the four edges.
pub type Edges = BTreeMap<String, Vec<String>>;

/// A segment and its figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SegmentStats {
    /// The segment's name.
    #[schema(example = "champions")]
    pub name: String,
    /// Its kind.
    pub kind: SegmentKind,
    /// Who is in it.
    #[schema(example = "R 5, F 4 to 5")]
    pub definition: String,
    /// How many customers are in it.
    #[schema(example = 604)]
    pub size: u64,
    /// Their share of all customers, 0 to 1.
    #[schema(example = 0.138_152)]
    pub share: f64,
    /// Their `rfm.monetary`, summed exactly; decimal text.
    #[schema(example = "4188912.83")]
    pub revenue: String,
    /// Mean recency score; null where no member has one.
    #[schema(example = 5.0)]
    pub mean_r_score: Option<f64>,
    /// Mean frequency score.
    #[schema(example = 4.8)]
    pub mean_f_score: Option<f64>,
    /// Mean monetary score.
    #[schema(example = 4.6)]
    pub mean_m_score: Option<f64>,
}

/// What became of the lines of a raw table. Every line is in exactly one of the fates; `duplicate` counts
/// lines that are kept and in a fate as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableCounts {
    /// Records read, and the lines that are none.
    #[schema(example = 541_909)]
    pub lines: u64,
    /// Lines of the files as `wc -l` counts them, with headers, empty lines and line breaks within quotes;
    /// rows of Parquet.
    #[serde(default)]
    #[schema(example = 541_922)]
    pub physical_lines: u64,
    /// Fate → lines: `purchase`, `return`, `reduction` (a negative price), `neither`, `no_customer`, `bad`,
    /// `after_as_of`, `kept`, `replaced`, `forgotten` (of a customer who is to be forgotten).
    #[schema(example = json!({"purchase": 397_884, "return": 8_905, "no_customer": 135_080, "neither": 40}))]
    pub fates: BTreeMap<String, u64>,
    /// Fate → sum of quantity times price, of transactions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"purchase": "8911407.904", "return": "-611342.09"}))]
    pub amounts: BTreeMap<String, String>,
    /// Lines that equal an earlier one; they are kept.
    #[schema(example = 5_225)]
    pub duplicates: u64,
    /// Why lines are bad, the most frequent cause first.
    #[serde(default)]
    pub bad_causes: Vec<BadCause>,
}

/// Why lines of a raw table are bad.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BadCause {
    /// The reason that they share.
    #[schema(example = "column `Quantity`: expected a whole number")]
    pub cause: String,
    /// How many lines.
    #[schema(example = 17)]
    pub lines: u64,
    /// The first few, each with file, line and what was found. Of the values, which may be personal, there
    /// is the form: letters as `a` or `A`, digits as `9`.
    #[schema(example = json!(["raw/transactions/2011-12.csv.gz, line 17: found a value like `9.9`"]))]
    pub examples: Vec<String>,
}

/// An observation of a build that is no error and may point to a mistake in the raw data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// Its kind, a word for programs.
    #[schema(example = "overlapping_files")]
    pub kind: String,
    /// The observation, with counts and sums.
    #[schema(
        example = "70 lines of transactions (1234.5 in all) equal a line of another file and count again"
    )]
    pub message: String,
    /// The customer whom the message is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "17850")]
    pub customer_id: Option<String>,
}

impl Warning {
    /// Makes a warning of `kind` that is about no one customer.
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

/// Figures by which an implausible build is recognised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Quality {
    /// The share of customers for whom a feature is null, by `view.feature`.
    #[schema(example = json!({"profile.email": 0.12}))]
    pub null_shares: BTreeMap<String, f64>,
}

/// A raw file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Source {
    /// The raw table.
    #[schema(example = "transactions")]
    pub table: String,
    /// Where it lies.
    #[schema(example = "raw/transactions/2011-12.csv.gz")]
    pub path: String,
    /// Its size in bytes.
    #[schema(example = 367_784)]
    pub bytes: u64,
    /// SHA-256 of its content.
    #[schema(example = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c")]
    pub sha256: String,
    /// Its records, and the lines that are none.
    #[schema(example = 25_525)]
    pub lines: u64,
    /// Its lines as `wc -l` counts them; rows of Parquet.
    #[serde(default)]
    #[schema(example = 25_526)]
    pub physical_lines: u64,
    /// The file with the same content that was read in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "raw/transactions/2011-12.csv.gz")]
    pub same_as: Option<String>,
}

/// What a file of a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Typed, for analysis.
    Customers,
    /// Ready to serve.
    Rows,
    /// The members of a segment, or of the list `churn`, best first.
    Ranking,
    /// Names and similar products, ready to serve.
    Products,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    /// Its path in the snapshot's folder.
    #[schema(example = "rows/part-00000.parquet")]
    pub path: String,
    /// What it is for.
    pub kind: FileKind,
    /// The segment of a ranking, or `churn` for the list of all by value at risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "champions")]
    pub segment: Option<String>,
    /// Its rows.
    #[schema(example = 4372)]
    pub rows: u64,
    /// Its size in bytes.
    #[schema(example = 412_345)]
    pub bytes: u64,
    /// SHA-256 of its content.
    #[schema(example = "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730")]
    pub sha256: String,
    /// The size of its Parquet footer, with length and magic, in bytes.
    #[schema(example = 4_096)]
    pub footer_bytes: u64,
    /// CRC-32 of those bytes.
    #[schema(example = 3_735_928_559_u32)]
    pub footer_crc32: u32,
    /// The id of its first customer (customers and rows) or product (products).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "12346")]
    pub first: Option<String>,
    /// The id of its last customer (customers and rows) or product (products).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "18287")]
    pub last: Option<String>,
}

/// A stage of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// Its name.
    #[schema(example = "raw")]
    pub name: String,
    /// How long it took, in seconds.
    #[schema(example = 1.25)]
    pub seconds: f64,
}

impl Manifest {
    /// Reads the manifest of `id`.
    ///
    /// # Errors
    /// [`SnapshotError::Unknown`] where there is none, else what is wrong with it or with the lake.
    pub async fn read(lake: &Lake, id: &SnapshotId) -> Result<Self, SnapshotError> {
        let path = id.path("manifest.json");
        let bytes = lake.get(&path).await.map_err(|error| match error {
            error if error.is_not_found() => SnapshotError::Unknown { id: id.clone() },
            error => error.into(),
        })?;
        Self::parse(path.as_ref(), &bytes)
    }

    /// The manifest in `bytes`, read from `object`.
    ///
    /// # Errors
    /// Of JSON that is none, and of another format.
    pub fn parse(object: &str, bytes: &[u8]) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let damaged = |error: serde_json::Error| SnapshotError::Damaged {
            object: object.to_owned(),
            why: error.to_string(),
        };
        let Head { format: found } = serde_json::from_slice(bytes).map_err(damaged)?;
        if found != FORMAT {
            return Err(SnapshotError::Format { object: object.to_owned(), found, known: FORMAT });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// Writes the manifest, which makes the snapshot one.
    ///
    /// # Errors
    /// Of the lake.
    pub async fn write(&self, lake: &Lake) -> Result<(), SnapshotError> {
        let path = self.id.path("manifest.json");
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| SnapshotError::Write { object: path.to_string(), source: error.into() })?;
        Ok(lake.put(&path, Bytes::from(text)).await?)
    }

    /// The fingerprint over `files`: SHA-256 over path and hash of each, by path.
    #[must_use]
    pub fn fingerprint_of(files: &[FileEntry]) -> String {
        let mut sorted: Vec<_> = files.iter().collect();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        let mut hash = Sha256::new();
        for file in sorted {
            hash.update(format!("{}\t{}\n", file.path, file.sha256));
        }
        hex(&hash.finalize())
    }

    /// The place of the view `name` among the views.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<usize> {
        self.views.iter().position(|view| view.name == name)
    }

    /// The personal features, each with its view.
    pub fn personal(&self) -> impl Iterator<Item = (&str, &str)> {
        self.views.iter().flat_map(|view| {
            let personal = view.features.iter().filter(|feature| feature.personal);
            personal.map(|feature| (view.name.as_str(), feature.name.as_str()))
        })
    }

    /// Whether `feature` of `view` holds personal data.
    #[must_use]
    pub fn is_personal(&self, view: &str, feature: &str) -> bool {
        self.personal().any(|personal| personal == (view, feature))
    }

    /// Takes for personal what is so in `newer` too: what somebody has declared personal since should not
    /// be read from an older snapshot.
    pub fn mark_personal(&mut self, newer: &Self) {
        self.mark(|view, feature| newer.is_personal(view, feature));
    }

    /// Takes for personal what the configuration declares so.
    pub fn declare_personal(&mut self, columns: &[ColumnRef]) {
        self.mark(|view, feature| {
            columns.iter().any(|column| column.view == view && feature_name(&column.column) == feature)
        });
    }

    fn mark(&mut self, personal: impl Fn(&str, &str) -> bool) {
        for view in &mut self.views {
            for feature in &mut view.features {
                feature.personal |= personal(&view.name, &feature.name);
            }
        }
    }

    /// What is said of who is in `segment` to those who may not see personal data: an audience that asks by
    /// personal features names values of theirs.
    #[must_use]
    pub fn definition_masked<'a>(&self, segment: &'a SegmentStats) -> &'a str {
        let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let names = |(view, feature): (&str, &str)| {
            let name = format!("{view}.{feature}");
            let mut found = segment.definition.match_indices(&name);
            found.any(|(at, _)| !goes_on(&segment.definition[at + name.len()..]))
        };
        let asks = segment.kind == SegmentKind::Audience && self.personal().any(names);
        if asks { "an expression over personal features" } else { &segment.definition }
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

    /// Returns the number of members in the ranking of `list`; 0 if the snapshot has no such ranking.
    #[must_use]
    pub fn ranking_size(&self, list: &str) -> u64 {
        self.ranking(list).map_or(0, |file| self.files[file].rows)
    }

    /// The segment `name`.
    #[must_use]
    pub fn segment(&self, name: &str) -> Option<&SegmentStats> {
        self.segments.iter().find(|segment| segment.name == name)
    }
}

/// Bytes as hexadecimal text.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
