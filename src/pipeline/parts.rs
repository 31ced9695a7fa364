//! Writer of a snapshot's parts: joins the staged views by customer and writes them as typed `customers`
//! parts and as `rows` parts, whose rows are ready to serve.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray, UInt32Array},
    buffer::NullBuffer,
    compute::{concat_batches, take},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::{
    encode,
    error::{BuildError, ViewError},
    query::Session,
    raw::RawError,
    staging::{StagedFile, open, staging},
};
use crate::{
    config::Config,
    feature::{Feature, FeatureView},
    lake::Lake,
    snapshot::{
        FileEntry, FileKind, Forgotten, SnapshotError, SnapshotId, Warning,
        writer::{ID, PART_ROWS, PartWriter, customers_properties, rows_properties, rows_schema},
    },
    telemetry::Progress,
    views::{self, ViewDefinition},
};

/// A snapshot being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct SnapshotTarget<'a> {
    pub(super) lake: &'a Lake,
    pub(super) id: &'a SnapshotId,
}

/// A view that is part of the snapshot, with its staged rows.
#[derive(Debug)]
pub(super) struct ServedView {
    pub(super) definition: ViewDefinition,
    pub(super) file: StagedFile,
}

impl ServedView {
    /// Returns the view's entry in the manifest.
    pub(super) fn feature_view(&self, config: &Config) -> FeatureView {
        let view = &self.definition;
        let features = self.file.schema.fields().iter().skip(1).map(|field| {
            let note = view.columns.get(field.name());
            Feature {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                description: note.map(|note| note.description.clone()).unwrap_or_default(),
                personal: note.is_some_and(|note| note.personal),
            }
        });
        let source = if views::is_model(&view.name) {
            "model"
        } else if config.views.parquet.contains_key(&view.name) {
            "parquet"
        } else if view.file.is_some() {
            "sql"
        } else {
            "built-in"
        };
        let (name, description) = (view.name.clone(), view.description.clone());
        FeatureView { name, description, source: source.to_owned(), features: features.collect() }
    }
}

/// The written parts of a snapshot.
#[derive(Debug)]
pub(super) struct WrittenParts {
    /// Number of customers.
    pub(super) customers: u64,
    pub(super) files: Vec<FileEntry>,
    pub(super) warnings: Vec<Warning>,
    /// Share of customers with a null, by `view.feature`.
    pub(super) null_shares: BTreeMap<String, f64>,
}

/// Consecutive customers, sorted by id, with all their views.
#[derive(Debug)]
struct CustomerChunk {
    ids: StringArray,
    /// Columns of each view without the id, and its validity. Customers without a row in the view have nulls.
    views: Vec<(Vec<ArrayRef>, NullBuffer)>,
}

/// Writes the `customers` and `rows` parts, each kind in its own task. `staged` holds a file for each of
/// `views`.
pub(super) async fn write(
    target: SnapshotTarget<'_>,
    session: &Session,
    views: &[FeatureView],
    staged: Vec<StagedFile>,
    forgotten: &Arc<Forgotten>,
    progress: &Progress,
) -> Result<WrittenParts, BuildError> {
    let mut cursors: Vec<ViewCursor> =
        staged.into_iter().map(|file| ViewCursor::new(file, forgotten)).collect::<Result<_, _>>()?;
    let (typed_send, typed_receive) = mpsc::channel(4);
    let (rows_send, rows_receive) = mpsc::channel(4);
    let (lake, id) = (target.lake, target.id);
    let typed_schema = customers_schema(views, &cursors);
    let typed = tokio::spawn(write_customers(lake.clone(), id.clone(), typed_schema, typed_receive));
    let names: Vec<String> = views.iter().map(|view| view.name.clone()).collect();
    let rows = tokio::spawn(write_rows(lake.clone(), id.clone(), names, rows_receive));
    let mut customers = 0;
    let sql = "SELECT customer_id FROM customers ORDER BY customer_id";
    let mut known = session.query("customers", sql).await?;
    while let Some(batch) = known.next().await {
        let batch = batch
            .map_err(|source| ViewError::Sql { view: "customers".to_owned(), source: Box::new(source) })?;
        let ids = batch.column(0).as_string::<i32>().clone();
        if ids.is_empty() {
            continue;
        }
        customers += ids.len() as u64;
        let aligned: Result<Vec<_>, RawError> = cursors.iter_mut().map(|cursor| cursor.align(&ids)).collect();
        let chunk = Arc::new(CustomerChunk { ids, views: aligned? });
        // If a writer has hung up, it has failed. Awaiting its task below returns the error.
        if typed_send.send(Arc::clone(&chunk)).await.is_err() || rows_send.send(chunk).await.is_err() {
            break;
        }
        progress.done.store(customers, Ordering::Relaxed);
    }
    drop((typed_send, rows_send));
    let (typed, rows) = (typed.await?, rows.await?);
    let null_shares =
        cursors.iter().zip(views).flat_map(|(cursor, view)| cursor.null_shares(view, customers)).collect();
    let mut files = typed?;
    files.extend(rows?);
    let warnings =
        cursors.into_iter().zip(views).filter_map(|(cursor, view)| cursor.warning(&view.name)).collect();
    Ok(WrittenParts { customers, files, warnings, null_shares })
}

/// Removes the files that a failed build wrote.
pub(super) async fn discard(target: SnapshotTarget<'_>) {
    let Ok(files) = target.lake.list(&target.id.path("")).await else { return };
    for file in files {
        if let Err(error) = target.lake.delete(&file.location).await {
            tracing::warn!(%error, "could not delete a file of a failed build");
        }
    }
}

fn customers_schema(views: &[FeatureView], cursors: &[ViewCursor]) -> SchemaRef {
    let structs =
        views.iter().zip(cursors).filter(|(view, _)| !view.features.is_empty()).map(|(view, cursor)| {
            Field::new(&view.name, DataType::Struct(cursor.schema.fields()[1..].to_vec().into()), true)
        });
    Arc::new(Schema::new(
        [Field::new(ID, DataType::Utf8, false)].into_iter().chain(structs).collect::<Vec<_>>(),
    ))
}

async fn write_customers(
    lake: Lake,
    id: SnapshotId,
    schema: SchemaRef,
    mut chunks: mpsc::Receiver<Arc<CustomerChunk>>,
) -> Result<Vec<FileEntry>, BuildError> {
    let mut parts = PartFiles::new(lake, id, FileKind::Customers, "customers", Arc::clone(&schema));
    while let Some(chunk) = chunks.recv().await {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(chunk.ids.clone())];
        let with_features = chunk.views.iter().filter(|(columns, _)| !columns.is_empty());
        for ((view, present), field) in with_features.zip(&schema.fields()[1..]) {
            let DataType::Struct(fields) = field.data_type() else { continue };
            columns.push(Arc::new(StructArray::new(fields.clone(), view.clone(), Some(present.clone()))));
        }
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|error| parts.failed(error))?;
        parts.write(batch).await?;
    }
    parts.finish().await
}

async fn write_rows(
    lake: Lake,
    id: SnapshotId,
    views: Vec<String>,
    mut chunks: mpsc::Receiver<Arc<CustomerChunk>>,
) -> Result<Vec<FileEntry>, BuildError> {
    let schema = rows_schema(views.iter().map(String::as_str));
    let mut parts = PartFiles::new(lake, id, FileKind::Rows, "rows", Arc::clone(&schema));
    while let Some(chunk) = chunks.recv().await {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(chunk.ids.clone())];
        for (view, present) in &chunk.views {
            let texts = encode::rows(view, |row| present.is_valid(row), chunk.ids.len())
                .map_err(ViewError::Encode)?;
            columns.push(Arc::new(texts));
        }
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|error| parts.failed(error))?;
        parts.write(batch).await?;
    }
    parts.finish().await
}

/// Writer of the parts of one kind. Begins a new part after [`PART_ROWS`] customers.
struct PartFiles {
    lake: Lake,
    id: SnapshotId,
    kind: FileKind,
    folder: &'static str,
    schema: SchemaRef,
    open: Option<PartWriter>,
    files: Vec<FileEntry>,
}

impl PartFiles {
    fn new(lake: Lake, id: SnapshotId, kind: FileKind, folder: &'static str, schema: SchemaRef) -> Self {
        Self { lake, id, kind, folder, schema, open: None, files: Vec::new() }
    }

    fn failed(&self, error: arrow::error::ArrowError) -> SnapshotError {
        SnapshotError::Write { object: self.folder.to_owned(), source: error.into() }
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), BuildError> {
        let mut start = 0;
        while start < batch.num_rows() {
            let part = match &mut self.open {
                Some(part) => part,
                none => {
                    let path = format!("{}/part-{:05}.parquet", self.folder, self.files.len());
                    let properties =
                        if self.kind == FileKind::Rows { rows_properties() } else { customers_properties() };
                    none.insert(PartWriter::new(
                        &self.lake,
                        &self.id,
                        path,
                        self.kind,
                        Arc::clone(&self.schema),
                        properties,
                    )?)
                }
            };
            let room = PART_ROWS - usize::try_from(part.rows()).unwrap_or(PART_ROWS).min(PART_ROWS);
            let slice = batch.slice(start, room.min(batch.num_rows() - start));
            if self.kind == FileKind::Rows {
                part.write_in_blocks(&slice).await?;
            } else {
                part.write(&slice)?;
            }
            start += slice.num_rows();
            if part.rows() >= PART_ROWS as u64 {
                self.end_part().await?;
            }
        }
        Ok(())
    }

    async fn end_part(&mut self) -> Result<(), BuildError> {
        if let Some(part) = self.open.take() {
            self.files.push(part.finish().await?);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<FileEntry>, BuildError> {
        self.end_part().await?;
        Ok(self.files)
    }
}

/// Reader of a staged view that is sorted by customer, for a merge join with the known customers.
struct ViewCursor {
    schema: SchemaRef,
    path: std::path::PathBuf,
    reader: Box<dyn Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>> + Send>,
    /// Rows that are read and belong to customers after the last chunk.
    rest: RecordBatch,
    /// Number of rows of customers that are not in `customers`.
    unknown_rows: u64,
    /// The first such customer.
    unknown_example: Option<String>,
    /// Number of customers with a null, by feature.
    nulls: Vec<u64>,
    /// Erased customers: not in `customers` either, but never named in a warning.
    forgotten: Arc<Forgotten>,
}

impl ViewCursor {
    fn new(file: StagedFile, forgotten: &Arc<Forgotten>) -> Result<Self, RawError> {
        let reader = Box::new(open(&file.path, None)?);
        let rest = RecordBatch::new_empty(Arc::clone(&file.schema));
        let forgotten = Arc::clone(forgotten);
        let nulls = vec![0; file.schema.fields().len() - 1];
        Ok(Self {
            schema: file.schema,
            path: file.path,
            reader,
            rest,
            unknown_rows: 0,
            unknown_example: None,
            nulls,
            forgotten,
        })
    }

    fn note_unknown(&mut self, id: &str) {
        if !self.forgotten.contains(id) {
            self.unknown_rows += 1;
            self.unknown_example.get_or_insert_with(|| id.to_owned());
        }
    }

    /// Returns the view's columns for exactly `ids`, and which of them have a row.
    fn align(&mut self, ids: &StringArray) -> Result<(Vec<ArrayRef>, NullBuffer), RawError> {
        let path = self.path.clone();
        let failed = |error| staging(&path, error);
        let last = ids.value(ids.len() - 1);
        let mut batches = vec![self.rest.clone()];
        while batches.last().is_none_or(|batch| last_id(batch).is_none_or(|id| id <= last)) {
            match self.reader.next() {
                Some(batch) => batches.push(batch.map_err(failed)?),
                None => break,
            }
        }
        let rows = concat_batches(&self.schema, &batches).map_err(failed)?;
        let found = rows.column(0).as_string::<i32>();
        let mut at = 0;
        let mut indexes = Vec::with_capacity(ids.len());
        for id in (0..ids.len()).map(|row| ids.value(row)) {
            while at < found.len() && found.value(at) < id {
                self.note_unknown(found.value(at));
                at += 1;
            }
            if at < found.len() && found.value(at) == id {
                indexes.push(Some(u32::try_from(at).unwrap_or(u32::MAX)));
                at += 1;
            } else {
                indexes.push(None);
            }
        }
        self.rest = rows.slice(at, rows.num_rows() - at);
        let present = indexes.iter().map(Option::is_some).collect::<NullBuffer>();
        let taken = UInt32Array::from(indexes);
        let features: Vec<ArrayRef> = rows.columns()[1..]
            .iter()
            .map(|column| take(column, &taken, None))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        for (nulls, feature) in self.nulls.iter_mut().zip(&features) {
            *nulls += feature.null_count() as u64;
        }
        Ok((features, present))
    }

    /// Returns the share of `customers` with a null, for each feature of `view`.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn null_shares(&self, view: &FeatureView, customers: u64) -> Vec<(String, f64)> {
        let share = |nulls: &u64| (*nulls as f64 / customers.max(1) as f64 * 1e6).round() / 1e6;
        let features = view.features.iter().zip(&self.nulls);
        features.map(|(feature, nulls)| (format!("{}.{}", view.name, feature.name), share(nulls))).collect()
    }

    /// Returns a warning if the view has rows of unknown customers.
    fn warning(mut self, view: &str) -> Option<Warning> {
        let mut left = Some(self.rest.clone());
        while let Some(batch) = left {
            batch.column(0).as_string::<i32>().iter().flatten().for_each(|id| self.note_unknown(id));
            left = self.reader.by_ref().flatten().next();
        }
        if self.unknown_rows == 0 {
            return None;
        }
        Some(Warning {
            kind: "unknown_customers".to_owned(),
            message: format!(
                "view {view}: {} rows of customers that are not known at as_of are left out, for example",
                self.unknown_rows
            ),
            customer_id: self.unknown_example,
        })
    }
}

fn last_id(batch: &RecordBatch) -> Option<&str> {
    let last = batch.num_rows().checked_sub(1)?;
    batch.column(0).as_string_opt::<i32>().map(|ids| ids.value(last))
}
