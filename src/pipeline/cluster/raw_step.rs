//! The step that reads raw files: workers check and sort their lines, and put the runs into the kept staging.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ClusterError, driver::Cluster, results::ItemResult};
use crate::pipeline::{
    raw::{Table, TableSpec, files::RawFile},
    staging::kept::KeptStaging,
};

/// Name of the step.
pub(super) const STEP: &str = "raw";

/// A raw file that a worker is to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RawItem {
    /// Id of the build.
    pub(super) build: String,
    /// Number of the item in its step.
    pub(super) number: usize,
    /// Name of the table.
    pub(super) table: String,
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) version: String,
    /// Latest time of an event that is accepted, in microseconds.
    pub(super) newest: i64,
    /// Version of the erasure list.
    pub(super) erasure: String,
}

impl Cluster {
    /// Has workers read those of `files` whose content is not known to `kept`, and notes the hash of their
    /// content. A file that a worker cannot read is left to the driver.
    pub(in crate::pipeline) async fn read_raw(
        &self,
        files: &mut [RawFile],
        specs: &BTreeMap<Table, TableSpec>,
        kept: &KeptStaging,
        erasure: &str,
    ) -> Result<(), ClusterError> {
        let mut open: Vec<usize> = (0..files.len()).filter(|at| kept.is_unread(&files[*at])).collect();
        // The largest first, so that no worker begins with a large file at the end.
        open.sort_by_key(|at| std::cmp::Reverse(files[*at].bytes));
        let mut items = Vec::new();
        let mut places = Vec::new();
        for at in open {
            let file = &files[at];
            let (Some(spec), Some(version)) = (specs.get(&file.table), &file.version) else { continue };
            let item = RawItem {
                build: self.build().to_owned(),
                number: items.len(),
                table: file.table.name().to_owned(),
                path: file.shown.clone(),
                bytes: file.bytes,
                version: version.clone(),
                newest: spec.times.newest,
                erasure: erasure.to_owned(),
            };
            items.push(serde_json::to_string(&item).unwrap_or_default());
            places.push(at);
        }
        let results = self.run(STEP, &items).await?;
        for (at, result) in places.into_iter().zip(results) {
            match result {
                ItemResult::Done(sha256) => files[at].sha256 = Some(sha256),
                ItemResult::BadInput(why) => {
                    tracing::warn!(file = files[at].shown, why, "the driver reads a file itself");
                }
                ItemResult::Failed { worker, why } => {
                    return Err(ClusterError::Worker { step: STEP, worker, why });
                }
            }
        }
        Ok(())
    }
}
