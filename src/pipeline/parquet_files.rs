//! Views from Parquet files of another engine: the files are copied from the lake and staged as Arrow files,
//! which the build reads instead.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, new_null_array},
    compute::cast,
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{
    error::ViewError,
    query::schema_of,
    raw::files::data_files,
    staged_table::StagedTable,
    staging::{StagedFile, create, staging},
};
use crate::{lake::Lake, views::ViewDefinition};

/// Number of rows of a batch.
const BATCH_ROWS: usize = 8_192;

/// Returns the definition of the view `name`, which selects all columns of its files.
pub(super) fn view(name: &str) -> ViewDefinition {
    ViewDefinition {
        name: name.to_owned(),
        description: "Parquet files of another engine.".to_owned(),
        columns: BTreeMap::new(),
        step: false,
        sql: format!("SELECT * FROM {}", table_name(name)),
        file: None,
    }
}

/// Returns the table name of the files of `view` in its SQL.
pub(super) fn table_name(view: &str) -> String {
    format!("parquet_{view}")
}

/// Stages the rows of the Parquet files in `place` as a table of `partitions` partitions. A column that a
/// file lacks is null for its rows.
pub(super) async fn stage(
    lake: &Lake,
    view: &str,
    place: &str,
    partitions: usize,
    scratch: &Path,
) -> Result<StagedTable, ViewError> {
    let listed = ParquetFiles {
        view: view.to_owned(),
        place: place.to_owned(),
        folder: scratch.join(format!("parquet-{view}")),
        copies: Vec::new(),
    };
    let copied = listed.copy(lake).await?;
    let panicked = copied.failed("a thread of the build panicked");
    let staged = tokio::task::spawn_blocking(move || copied.stage(partitions.max(1))).await;
    Ok(StagedTable::unordered(staged.map_err(|_| panicked)??))
}

/// Parquet files of a view.
struct ParquetFiles {
    view: String,
    place: String,
    folder: PathBuf,
    /// Name in the lake and path of the copy, for each file.
    copies: Vec<(String, PathBuf)>,
}

impl ParquetFiles {
    fn failed(&self, why: impl Into<String>) -> ViewError {
        ViewError::Parquet { view: self.view.clone(), place: self.place.clone(), why: why.into() }
    }

    /// Copies the files to the folder.
    async fn copy(mut self, lake: &Lake) -> Result<Self, ViewError> {
        let (store, path) = lake.locate(&self.place).map_err(|error| self.failed(error.to_string()))?;
        let single = store.head(&path).await.map_err(|error| self.failed(error.to_string()))?;
        let listed = match single {
            Some(file) => vec![file],
            None => data_files(&store, &path).await.map_err(|error| self.failed(error.to_string()))?,
        };
        std::fs::create_dir_all(&self.folder).map_err(|error| staging(&self.folder, error))?;
        for file in listed.iter().filter(|file| file.location.extension() == Some("parquet")) {
            let target = self.folder.join(format!("{:05}.parquet", self.copies.len()));
            let mut out = File::create(&target).map_err(|error| staging(&target, error))?;
            let mut chunks =
                store.stream(&file.location).await.map_err(|error| self.failed(error.to_string()))?;
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| self.failed(error.to_string()))?;
                std::io::Write::write_all(&mut out, &chunk).map_err(|error| staging(&target, error))?;
            }
            self.copies.push((file.location.to_string(), target));
        }
        if self.copies.is_empty() { Err(self.failed("there are no .parquet files")) } else { Ok(self) }
    }

    /// Distributes the rows over `partitions` Arrow files, batch by batch, and removes the copies.
    fn stage(&self, partitions: usize) -> Result<Vec<StagedFile>, ViewError> {
        let schema = self.schema()?;
        let path = |partition: usize| self.folder.join(format!("{partition:05}.arrow"));
        let mut writers = (0..partitions)
            .map(|partition| Ok((create(&path(partition), &schema)?, 0)))
            .collect::<Result<Vec<_>, ViewError>>()?;
        let mut next = 0;
        for (name, copy) in &self.copies {
            let broken = |error: &dyn std::fmt::Display| self.failed(format!("{name}: {error}"));
            let reader = open(copy).and_then(|file| Ok(file.with_batch_size(BATCH_ROWS).build()?));
            for batch in reader.map_err(|error| broken(&error))? {
                let batch = batch.and_then(|batch| fit(&batch, &schema)).map_err(|error| broken(&error))?;
                let (writer, rows) = &mut writers[next % partitions];
                writer.write(&batch).map_err(|error| staging(&path(next % partitions), error))?;
                *rows += batch.num_rows();
                next += 1;
            }
            std::fs::remove_file(copy).map_err(|error| staging(copy, error))?;
        }
        let files = writers.into_iter().enumerate().map(|(partition, (mut writer, rows))| {
            let path = path(partition);
            writer.finish().map_err(|error| staging(&path, error))?;
            Ok(StagedFile { path, schema: Arc::clone(&schema), rows })
        });
        files.collect()
    }

    /// Returns the schema with all columns of all files, in types that can be served.
    fn schema(&self) -> Result<SchemaRef, ViewError> {
        let mut all = Schema::empty();
        for (name, copy) in &self.copies {
            let schema = open(copy).map(|file| {
                let plain = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), true);
                Schema::new(file.schema().fields().iter().map(plain).collect::<Vec<_>>())
            });
            let merged = schema.and_then(|schema| Schema::try_merge([all, schema]));
            all = merged.map_err(|error| self.failed(format!("{name}: {error}")))?;
        }
        let served = schema_of(&self.view, &all)?;
        let nullable = served.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Ok(Arc::new(Schema::new(nullable.collect::<Vec<_>>())))
    }
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, ArrowError> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?)
}

/// Casts `batch` to `schema`. Missing columns are null.
fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}
