//! Assembly of a snapshot's manifest from the results of all stages.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    feature::FeatureView,
    snapshot::{
        Edges, FORMAT, FileEntry, Manifest, Quality, RawSource, SegmentStats, SnapshotId, Stage,
        StatisticsFile, TableCounts, Warning, models::Models, rfc3339,
    },
};

/// A snapshot whose data files are written.
#[derive(Debug)]
pub(super) struct WrittenSnapshot {
    pub(super) id: SnapshotId,
    pub(super) as_of: DateTime<Utc>,
    pub(super) views: Vec<FeatureView>,
    pub(super) models: Models,
    pub(super) customers: u64,
    pub(super) null_shares: BTreeMap<String, f64>,
    pub(super) files: Vec<FileEntry>,
    pub(super) statistics: Option<StatisticsFile>,
    pub(super) segments: Vec<SegmentStats>,
    pub(super) edges: Edges,
    pub(super) counts: BTreeMap<String, TableCounts>,
    pub(super) sources: Vec<RawSource>,
    pub(super) warnings: Vec<Warning>,
}

impl WrittenSnapshot {
    /// Assembles the manifest of the files written so far.
    pub(super) fn manifest(&self, stages: &[Stage]) -> Manifest {
        Manifest {
            format: FORMAT,
            id: self.id.clone(),
            rewritten_from: None,
            larder: env!("CARGO_PKG_VERSION").to_owned(),
            as_of: self.as_of,
            created_at: rfc3339::now(),
            fingerprint: Manifest::fingerprint_of(&self.files),
            customers: self.customers,
            views: self.views.clone(),
            edges: self.edges.clone(),
            models: self.models.clone(),
            segments: self.segments.clone(),
            counts: self.counts.clone(),
            warnings: self.warnings.clone(),
            quality: Quality { null_shares: self.null_shares.clone() },
            sources: self.sources.clone(),
            files: self.files.clone(),
            statistics: self.statistics.clone(),
            stages: stages.to_vec(),
        }
    }
}
