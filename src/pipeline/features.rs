//! The views at an instant as one Parquet file, for models of the user's own: a build whose snapshot goes no further than the
//! temporary folder.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{BuildError, Built, build_into, scratch};
use crate::{
    config::{Config, LakeConfig},
    lake::Lake,
    snapshot::{FileKind, Manifest, SnapshotError, writer::customers_properties},
    telemetry::Progress,
};

/// Writes what the views said at `as_of` into the file `out`: one row a customer, a struct column per view, as in the `customers`
/// files of a snapshot. The file appears when it is complete.
///
/// # Errors
/// As [`super::build`], or of the file.
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
    let built = Box::pin(build_into(lake, &local, config, Some(as_of), progress)).await?;
    let (manifest, out) = (built.manifest.clone(), out.to_path_buf());
    let failed =
        |object: &Path, source| SnapshotError::Write { object: object.display().to_string(), source };
    let shown = out.clone();
    let copied = tokio::task::spawn_blocking(move || copy(&folder, &manifest, &out)).await?;
    copied.map_err(|source| failed(&shown, source))?;
    Ok(built)
}

/// Copies the typed parts of `manifest` in the lake at `folder` into one file.
fn copy(
    folder: &Path,
    manifest: &Manifest,
    out: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let beside = PathBuf::from(format!("{}.part", out.display()));
    let mut writer = None;
    for part in manifest.files.iter().filter(|file| file.kind == FileKind::Customers) {
        let file = File::open(folder.join(manifest.id.path(&part.path).as_ref()))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let schema = reader.schema().clone();
        let writer = match &mut writer {
            Some(writer) => writer,
            none => {
                let made =
                    ArrowWriter::try_new(File::create(&beside)?, schema, Some(customers_properties()))?;
                none.insert(made)
            }
        };
        for batch in reader.build()? {
            writer.write(&batch?)?;
        }
    }
    writer.ok_or("there are no customers at that instant")?.close()?;
    Ok(std::fs::rename(&beside, out)?)
}
