//! The step that reads raw files: workers check and sort their lines, and put the runs into the kept staging.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use serde::{Deserialize, Serialize};

use super::{ClusterWorkers, worker_build::WorkerBuild};
use crate::{
    causes::with_causes,
    config::RawConfig,
    pipeline::{
        cluster::{ClusterError, Failure, ItemResult},
        raw::{Table, TableSpec, files::RawFile},
        staging::{
            kept::KeptStaging,
            line_buffer::RunLimits,
            lines::{self, ReadInput, ReadPurpose},
        },
    },
    snapshot::rfc3339,
};

/// Name of the step.
pub(super) const STEP: &str = "raw";

/// A raw file that a worker is to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RawItem {
    table: Table,
    path: String,
    bytes: u64,
    version: String,
    /// Latest time of an event that is accepted, in microseconds.
    newest: i64,
    /// Version of the erasure list.
    erasure: String,
}

impl ClusterWorkers {
    /// Has workers read those of `files` whose content is not known to `kept`, and notes the hash of their
    /// content. A file that a worker cannot read is left to the driver.
    pub(super) async fn raw_step(
        &self,
        files: &mut [RawFile],
        specs: &BTreeMap<Table, TableSpec>,
        kept: &KeptStaging,
        erasure: &str,
    ) -> Result<(), ClusterError> {
        let mut open: Vec<usize> = (0..files.len()).filter(|at| kept.is_unread(&files[*at])).collect();
        // The largest first, so that no worker begins with a large file at the end.
        open.sort_by_key(|at| std::cmp::Reverse(files[*at].bytes));
        let (mut items, mut places) = (Vec::new(), Vec::new());
        for at in open {
            let file = &files[at];
            let (Some(spec), Some(version)) = (specs.get(&file.table), &file.version) else { continue };
            let item = RawItem {
                table: file.table,
                path: file.shown.clone(),
                bytes: file.bytes,
                version: version.clone(),
                newest: spec.times.newest,
                erasure: erasure.to_owned(),
            };
            items.push(serde_json::to_string(&item).unwrap_or_default());
            places.push(at);
        }
        let results = self.cluster.run(STEP, items).await?;
        for (at, result) in places.into_iter().zip(results) {
            match result {
                ItemResult::Done(sha256) => files[at].sha256 = Some(sha256),
                ItemResult::Left(why) => {
                    tracing::warn!(file = files[at].shown, why, "the driver reads a file itself");
                }
            }
        }
        Ok(())
    }
}

/// Reads a raw file, and puts its lines into the kept staging.
pub(super) async fn read(build: &WorkerBuild, input: &str) -> Result<ItemResult, Failure> {
    let item: RawItem = serde_json::from_str(input)?;
    let raw = build.raw_files().await?;
    if raw.forgotten.version() != item.erasure {
        return Ok(ItemResult::Left("the erasure list changed while the build ran".to_owned()));
    }
    let Some(file) = raw.find(item.table, &item.path, item.bytes, &item.version) else {
        return Ok(ItemResult::Left("a worker does not see the file as the driver does".to_owned()));
    };
    let (config, slots) = (&build.worker.config, build.worker.slots);
    let spec = TableSpec::new(file.table, &accepting(&config.raw, item.newest)?)?;
    let folder = tempfile::tempdir_in(build.folder.path())?;
    let kept = KeptStaging::without_index(&build.worker.lake, Arc::clone(&raw.forgotten), folder.path());
    let input = ReadInput {
        files: vec![file.clone()],
        specs: BTreeMap::from([(file.table, spec)]),
        threads: 1,
        max_bad_share: config.raw.max_bad_share,
        limits: RunLimits::new(build.worker.memory, slots),
        scratch: folder.path().to_path_buf(),
        progress: Arc::new(AtomicU64::new(0)),
        forgotten: Arc::clone(&raw.forgotten),
        purpose: ReadPurpose::Build { partitions: 1, kept: None },
    };
    let read = lines::keep(input, &kept).await?;
    tracing::info!(file = item.path, bytes = item.bytes, "raw file read");
    match read {
        Ok(sha256) => Ok(ItemResult::Done(sha256)),
        Err(error) => Ok(ItemResult::Left(with_causes(&error))),
    }
}

/// Returns the settings `raw` with `newest`, in microseconds, as the latest time that is accepted.
pub(super) fn accepting(raw: &RawConfig, newest: i64) -> Result<RawConfig, Failure> {
    let newest = chrono::DateTime::from_timestamp_micros(newest).ok_or("a time is out of range")?;
    Ok(RawConfig { newest: Some(rfc3339::format(newest)), ..raw.clone() })
}
