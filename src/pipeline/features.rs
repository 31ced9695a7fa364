//! Export of all features at an as-of time to one Parquet file, for training models outside Larder: a build
//! whose snapshot is written to a temporary folder.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StructArray, new_null_array},
    error::ArrowError,
};
use chrono::{DateTime, Utc};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{
    build::{Build, Built, Lakes},
    error::BuildError,
    staging::Scratch,
};
use crate::{
    config::{Config, LakeConfig},
    lake::Lake,
    private_file,
    snapshot::{FileKind, Manifest, SnapshotError, writer::customers_properties},
    telemetry::Progress,
};

/// The file that [`features`] writes.
#[derive(Debug, Clone, Copy)]
pub struct FeaturesFile<'a> {
    /// Path of the file.
    pub path: &'a Path,
    /// Whether personal values are written; else they are null.
    pub with_personal: bool,
}

/// Writes the features at `as_of` to the file `out`: one row per customer and one struct column per view, as
/// in the `customers` parts of a snapshot. The file appears
/// under its name when it is complete.
///
/// # Errors
/// Fails if the build does ([`super::build()`]), or if the file cannot be written.
pub async fn features(
    lake: &Lake,
    config: &Config,
    as_of: DateTime<Utc>,
    out: &FeaturesFile<'_>,
    progress: &Progress,
) -> Result<Built, BuildError> {
    let scratch = Scratch::configured(config)?;
    let folder = scratch.path().join("features");
    let url = folder.display().to_string();
    let local = Lake::open(&LakeConfig { url, ..LakeConfig::default() }, Path::new(""))
        .map_err(SnapshotError::from)?;
    let lakes = Lakes { raw: lake, snapshots: &local };
    let built = Box::pin(Build::run(lakes, config, Some(as_of), progress)).await?;
    let (manifest, with_personal, out) = (built.manifest.clone(), out.with_personal, out.path.to_path_buf());
    let failed =
        |object: &Path, source| SnapshotError::Write { object: object.display().to_string(), source };
    let shown = out.clone();
    let copied = tokio::task::spawn_blocking(move || copy(&folder, &manifest, with_personal, &out)).await?;
    copied.map_err(|source| failed(&shown, source))?;
    Ok(built)
}

/// Copies the `customers` parts of `manifest` from the lake in `folder` into one file.
fn copy(
    folder: &Path,
    manifest: &Manifest,
    with_personal: bool,
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
                let made = ArrowWriter::try_new(
                    private_file::create(&partial)?,
                    schema,
                    Some(customers_properties()),
                )?;
                none.insert(made)
            }
        };
        for batch in reader.build()? {
            let batch = batch?;
            writer.write(&if with_personal { batch } else { masked(&batch, manifest)? })?;
        }
    }
    writer.ok_or("the snapshot at this as-of time has no customers")?.close()?;
    Ok(std::fs::rename(&partial, out)?)
}

/// Returns `batch`, a struct column a view, with null in place of personal values.
fn masked(batch: &RecordBatch, manifest: &Manifest) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let Some(view) = column.as_struct_opt() else { return Ok(Arc::clone(column)) };
        let values = view.fields().iter().zip(view.columns()).map(|(feature, values)| {
            if manifest.is_personal(field.name(), feature.name()) {
                new_null_array(values.data_type(), values.len())
            } else {
                Arc::clone(values)
            }
        });
        let masked = StructArray::try_new(view.fields().clone(), values.collect(), view.nulls().cloned())?;
        Ok(Arc::new(masked) as ArrayRef)
    });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, ArrowError>>()?;
    RecordBatch::try_new(schema, columns)
}
