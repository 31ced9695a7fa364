//! Views from Parquet files of another engine: the files are copied from the lake and staged as Arrow files,
//! which the build reads instead.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringArray, new_null_array},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{
    error::ViewError,
    query::{ID, schema_of},
    raw::files::{data_files, folder_columns},
    staged_table::StagedTable,
    staging::{StagedFile, create, staging},
};
use crate::{feature::normal_id, lake::Lake, views::ViewDefinition};

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
    copies: Vec<FileCopy>,
}

/// A copy of a file.
struct FileCopy {
    /// Name in the lake.
    name: String,
    path: PathBuf,
    /// Columns that the folders of the file tell.
    folder_columns: Vec<(String, String)>,
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
            let folder_columns = folder_columns(&file.location, &path);
            self.copies.push(FileCopy { name: file.location.to_string(), path: target, folder_columns });
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
        for copy in &self.copies {
            let broken = |error: &dyn std::fmt::Display| self.failed(format!("{}: {error}", copy.name));
            let reader = open(&copy.path).and_then(|file| Ok(file.with_batch_size(BATCH_ROWS).build()?));
            for batch in reader.map_err(|error| broken(&error))? {
                let batch = batch.and_then(|batch| fit(&batch, &schema, &copy.folder_columns));
                let batch = batch.map_err(|error| broken(&error))?;
                let (writer, rows) = &mut writers[next % partitions];
                writer.write(&batch).map_err(|error| staging(&path(next % partitions), error))?;
                *rows += batch.num_rows();
                next += 1;
            }
            std::fs::remove_file(&copy.path).map_err(|error| staging(&copy.path, error))?;
        }
        let files = writers.into_iter().enumerate().map(|(partition, (mut writer, rows))| {
            let path = path(partition);
            writer.finish().map_err(|error| staging(&path, error))?;
            Ok(StagedFile { path, schema: Arc::clone(&schema), rows })
        });
        files.collect()
    }

    /// Returns the schema with all columns of all files, in types that can be served and that hold the values
    /// of all files. Customer ids are text.
    fn schema(&self) -> Result<SchemaRef, ViewError> {
        let mut all: Vec<Field> = Vec::new();
        for copy in &self.copies {
            let file = open(&copy.path).map_err(|error| self.failed(format!("{}: {error}", copy.name)))?;
            let served = schema_of(&self.view, file.schema())?;
            let folders = copy.folder_columns.iter().map(|(name, _)| (name, DataType::Utf8, false));
            let is_own = |name: &&String| served.field_with_name(name).is_ok();
            let folders = folders.filter(|(name, ..)| !is_own(name));
            let own = file.schema().fields().iter().zip(served.fields()).map(|(found, field)| {
                let is_id = field.name() == ID && field.data_type().is_numeric();
                let data_type = if is_id { DataType::Utf8 } else { field.data_type().clone() };
                (field.name(), data_type, *found.data_type() == DataType::Null)
            });
            for (name, data_type, is_null) in own.chain(folders) {
                let known = all.iter_mut().find(|known| known.name() == name);
                let merged = match &known {
                    // A column of nulls alone has the type that the other files say.
                    Some(known) if is_null => Some(known.data_type().clone()),
                    Some(known) if known.metadata().contains_key(NULLS) => Some(data_type.clone()),
                    Some(known) => widened(known.data_type(), &data_type),
                    None => Some(data_type.clone()),
                };
                let Some(merged) = merged else {
                    let before = known.map(|known| known.data_type().to_string()).unwrap_or_default();
                    return Err(self.failed(format!(
                        "{}: column `{name}` is {data_type} here and {before} in files before; no type holds \
                         the values of both",
                        copy.name
                    )));
                };
                let field = Field::new(name, merged, true);
                let marked = HashMap::from([(NULLS.to_owned(), String::new())]);
                match known {
                    Some(known) if !is_null => *known = field,
                    Some(_) => {}
                    None if is_null => all.push(field.with_metadata(marked)),
                    None => all.push(field),
                }
            }
        }
        let plain = all.into_iter().map(|field| field.with_metadata(HashMap::new()));
        Ok(Arc::new(Schema::new(plain.collect::<Vec<_>>())))
    }
}

/// Metadata of a column of which only nulls are known.
const NULLS: &str = "nulls";

/// Returns the type that holds all values of both types exactly, or `None`.
fn widened(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Decimal128, Float64, Int32, Int64};
    // Digits before and after the decimal point.
    let digits = |data_type: &DataType| match data_type {
        Int32 => Some((10, 0)),
        Int64 => Some((19, 0)),
        Decimal128(precision, scale) => Some((i16::from(*precision) - i16::from(*scale), i16::from(*scale))),
        _ => None,
    };
    match (a, b) {
        _ if a == b => Some(a.clone()),
        (Int32 | Int64, Int32 | Int64) => Some(Int64),
        // A double holds all integers of 32 bits.
        (Int32, Float64) | (Float64, Int32) => Some(Float64),
        _ => {
            let ((whole, scale), (other, other_scale)) = (digits(a)?, digits(b)?);
            let scale = scale.max(other_scale);
            let precision = u8::try_from(whole.max(other) + scale).ok().filter(|digits| *digits <= 38)?;
            Some(Decimal128(precision, i8::try_from(scale).ok()?))
        }
    }
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, ArrowError> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?)
}

/// Casts `batch` to `schema`. Columns that the file lacks have the value of a folder, or are null.
fn fit(
    batch: &RecordBatch,
    schema: &SchemaRef,
    folder_columns: &[(String, String)],
) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef, ArrowError> {
        if let Some(column) = batch.column_by_name(field.name()) {
            let column = cast(column, field.data_type())?;
            return if field.name() == ID { normal_ids(&column) } else { Ok(column) };
        }
        match folder_columns.iter().find(|(name, _)| name == field.name()) {
            Some((_, value)) if !value.is_empty() => {
                Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))))
            }
            _ => Ok(new_null_array(field.data_type(), rows)),
        }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// Returns the ids of a text column by the rule for ids: `17850.0` is `17850`.
fn normal_ids(ids: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(texts) = ids.as_string_opt::<i32>() else { return Ok(Arc::clone(ids)) };
    let normal = texts.iter().map(|id| id.map(normal_id).transpose()).collect::<Result<StringArray, _>>();
    Ok(Arc::new(normal.map_err(|error| ArrowError::CastError(format!("column `{ID}`: {error}")))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_widen_where_no_value_changes() {
        use DataType::{Boolean, Decimal128, Float64, Int32, Int64, Utf8};
        for (a, b, expected) in [
            (Int32, Int64, Some(Int64)),
            (Int32, Float64, Some(Float64)),
            (Int64, Float64, None),
            (Decimal128(10, 2), Decimal128(8, 4), Some(Decimal128(12, 4))),
            (Int64, Decimal128(10, 2), Some(Decimal128(21, 2))),
            (Decimal128(38, 0), Decimal128(38, 10), None),
            (Utf8, Int32, None),
            (Boolean, Boolean, Some(Boolean)),
        ] {
            assert_eq!((widened(&a, &b), widened(&b, &a)), (expected.clone(), expected), "{a} {b}");
        }
    }
}
