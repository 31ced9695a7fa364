//! The build: raw files → staging → views → a snapshot in the lake.
//!
//! The build writes nothing to the lake before the raw data has passed its checks, and writes the manifest
//! last. A build that crashes therefore leaves no folder that a reader would take for a snapshot. Only this
//! module uses DataFusion. It does not depend on `serving`.
//!
//! ```text
//! raw ──▶ staging ──▶ query (views) ──▶ models ──▶ segments, audiences ──▶ parts ──▶ manifest
//! ```

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};

use crate::{config::Config, lake::Lake, snapshot::TableCounts, telemetry::Progress};

mod audiences;
mod build;
mod churn;
#[cfg(feature = "cluster")]
pub mod cluster;
mod column_reader;
mod customer_ids;
mod data_warnings;
mod days_since;
mod encode;
mod error;
mod exclude_patterns;
mod features;
mod id_hash;
pub mod inspect;
mod is_product;
mod learning;
mod memberships;
mod memory_watch;
mod open_files;
mod parallel;
mod parquet_files;
mod parts;
mod past;
mod personal_columns;
mod purchase_card;
mod purchases;
mod query;
pub mod raw;
mod recommend;
mod required_columns;
mod retrain;
mod segments;
mod staged_table;
mod staging;
mod subject;
mod value;
mod value_aggregates;
mod view_files;

#[cfg(feature = "cluster")]
pub use build::work;
use build::{Build, Lakes};
pub use build::{Built, ViewPlan};
pub use error::{BuildError, NamedAudienceError, ViewError};
pub use features::{FeaturesFile, features};
use raw::{RawError, TableSpec, files::RawFile};
use staging::{
    Scratch,
    line_buffer::RunLimits,
    lines::{self, ReadInput, ReadPurpose},
};
pub use subject::{SubjectLine, SubjectLines, raw_lines};

/// Checks every line of `file` as a build does, and returns the line counts. Keeps no data.
///
/// # Errors
/// Fails where a build would refuse the file.
pub async fn check_file(
    file: &RawFile,
    config: &Config,
    progress: &Progress,
) -> Result<TableCounts, RawError> {
    progress.enter("check", file.bytes);
    let spec = TableSpec::new(file.table, &config.raw)?;
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let input = ReadInput {
        files: vec![file.clone()],
        specs: BTreeMap::from([(file.table, spec)]),
        threads: 1,
        max_bad_share: config.raw.max_bad_share,
        limits: RunLimits::new(config.build.memory_limit, 1),
        scratch: scratch.path().to_path_buf(),
        progress: Arc::clone(&progress.done),
        forgotten: Arc::default(),
        purpose: ReadPurpose::Check,
    };
    let outcome = lines::read(input).await?;
    Ok(outcome.counts.get(file.table.name()).cloned().unwrap_or_default())
}

/// Builds a snapshot of the data known at `as_of` (the newest event if `None`) and writes it to the lake. The
/// snapshot is not activated: [`crate::publish`] does that.
///
/// # Errors
/// Fails if the raw data, a view, an audience or the lake does. The lake then has no new snapshot.
pub async fn build(
    lake: &Lake,
    config: &Config,
    as_of: Option<DateTime<Utc>>,
    progress: &Progress,
) -> Result<Built, BuildError> {
    let lakes = Lakes { raw: lake, snapshots: lake };
    Box::pin(Build::run(lakes, config, as_of, progress)).await
}
