//! Export of all features at an as-of time to one Parquet file, for training models outside Larder: a build
//! whose snapshot is written to a temporary folder.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{
    build::{Build, Built, Lakes, scratch},
    error::BuildError,
};
use crate::{
    config::{Config, LakeConfig},
    lake::Lake,
    snapshot::{FileKind, Manifest, SnapshotError, writer::customers_properties},
    telemetry::Progress,
};

/// Writes the features at `as_of` to the file `out`: one row per customer and one struct column per view, as
/// in the `customers` parts of a snapshot. The file appears under its name when it is complete.
///
/// # Errors
/// Fails if the build does ([`super::build()`]), or if the file cannot be written.
pub async fn features(
    lake: &Lake,
    config: &Config,
    as_of: DateTime<Utc>,
    out: &Path,
    progress: &Progress,
) -> Result<Built, BuildError> {
    let scratch = scratch(config)?;
    let folder = scratch.path().join("features");
    let url = folder.display().to_string();
    let local = Lake::open(&LakeConfig { url, ..LakeConfig::default() }, Path::new(""))
        .map_err(SnapshotError::from)?;
    let lakes = Lakes { raw: lake, snapshots: &local };
    let built = Box::pin(Build::run(lakes, config, Some(as_of), progress)).await?;
    let (manifest, out) = (built.manifest.clone(), out.to_path_buf());
    let failed =
        |object: &Path, source| SnapshotError::Write { object: object.display().to_string(), source };
    let shown = out.clone();
    let copied = tokio::task::spawn_blocking(move || copy(&folder, &manifest, &out)).await?;
    copied.map_err(|source| failed(&shown, source))?;
    Ok(built)
}

/// Copies the `customers` parts of `manifest` from the lake in `folder` into one file.
fn copy(
    folder: &Path,
    manifest: &Manifest,
    out: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let partial = PathBuf::from(format!("{}.part", out.display()));
    let mut writer = None;
    for part in manifest.files.iter().filter(|file| file.kind == FileKind::Customers) {
        let file = File::open(folder.join(manifest.id.path(&part.path).as_ref()))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let schema = reader.schema().clone();
        let writer = match &mut writer {
            Some(writer) => writer,
            none => {
                let made =
                    ArrowWriter::try_new(File::create(&partial)?, schema, Some(customers_properties()))?;
                none.insert(made)
            }
        };
        for batch in reader.build()? {
            writer.write(&batch?)?;
        }
    }
    writer.ok_or("the snapshot at this as-of time has no customers")?.close()?;
    Ok(std::fs::rename(&partial, out)?)
}
