//! Settings of a build that follow from the configuration and the size of the raw data.

use std::collections::BTreeSet;

use crate::{
    config::Config,
    pipeline::{parquet_files, raw::files::RawFile, staging::sorted_run},
    views::{self, ViewDefinition, ViewFileError},
};

/// Returns the number of partitions of the staging. Only the size of the raw data counts, so that the result
/// does not depend on the machine.
pub(super) fn partitions(files: &[RawFile]) -> usize {
    const PARTITION_BYTES: u64 = 64 << 20;
    let uncompressed =
        |file: &RawFile| if file.kind.is_compressed() { file.bytes.saturating_mul(8) } else { file.bytes };
    let bytes: u64 = files.iter().map(uncompressed).sum();
    let most = 1 << sorted_run::BUCKET_BITS;
    usize::try_from(bytes / PARTITION_BYTES).unwrap_or(usize::MAX).clamp(4, most).next_power_of_two()
}

/// Returns the number of threads of a build.
pub(super) fn threads(config: &Config) -> usize {
    config.build.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Loads the definitions of all views: built-in, SQL files and Parquet files.
pub(super) fn definitions(config: &Config) -> Result<Vec<ViewDefinition>, ViewFileError> {
    let folder = config.views.folder.as_ref().map(|folder| config.resolve(folder));
    let mut views = views::load(folder.as_deref(), config.views.parquet.keys())?;
    // A view of the folder with the name of Parquet files reads these files by its own SQL.
    let own: BTreeSet<String> = views.iter().map(|view| view.name.clone()).collect();
    let plain = config.views.parquet.keys().filter(|name| !own.contains(*name));
    views.extend(plain.map(|name| parquet_files::view(name)));
    Ok(views)
}
