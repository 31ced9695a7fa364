//! Writer of a snapshot's parts: joins the staged views by customer and writes them as typed `customers`
//! parts and as `rows` parts, whose rows are ready to serve.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::{
    days_since, encode,
    error::{BuildError, ViewError},
    query::Session,
    raw::RawError,
    staging::StagedFile,
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

mod view_cursor;

use view_cursor::{ViewChunk, ViewCursor};

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
        let columns = self.file.schema.fields().iter().skip(1);
        let features = columns.filter(|field| days_since::feature_of(field.name()).is_none()).map(|field| {
            let note = view.columns.get(field.name());
            Feature {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                description: note.map(|note| note.description.clone()).unwrap_or_default(),
                personal: note.is_some_and(|note| note.personal),
                days_since: self.file.schema.index_of(&days_since::times_of(field.name())).is_ok(),
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
    pub(super) files: Vec<FileEntry>,
    pub(super) warnings: Vec<Warning>,
    /// Share of customers with a null, by `view.feature`.
    pub(super) null_shares: BTreeMap<String, f64>,
}

/// Consecutive customers, sorted by id, with all their views.
#[derive(Debug)]
struct CustomerChunk {
    ids: StringArray,
    views: Vec<ViewChunk>,
}

/// Writes the `customers` and `rows` parts, each kind in its own task. `staged` holds a file for each of
/// `views`.
pub(super) async fn write(
    target: SnapshotTarget<'_>,
    session: &Session,
    views: &[FeatureView],
    staged: &[StagedFile],
    forgotten: &Arc<Forgotten>,
    progress: &Progress,
) -> Result<WrittenParts, BuildError> {
    let mut cursors = cursors(views, staged, forgotten)?;
    let (typed_send, typed_receive) = mpsc::channel(4);
    let (rows_send, rows_receive) = mpsc::channel(4);
    let (lake, id) = (target.lake, target.id);
    let typed_schema = customers_schema(views, &cursors);
    let typed = tokio::spawn(write_customers(lake.clone(), id.clone(), typed_schema, typed_receive));
    let names: Vec<String> = views.iter().map(|view| view.name.clone()).collect();
    let rows = tokio::spawn(write_rows(lake.clone(), id.clone(), names, rows_receive));
    let customers = send_chunks(session, &mut cursors, vec![typed_send, rows_send], progress).await?;
    let (typed, rows) = (typed.await?, rows.await?);
    let null_shares =
        cursors.iter().zip(views).flat_map(|(cursor, view)| cursor.null_shares(view, customers)).collect();
    let mut files = typed?;
    files.extend(rows?);
    let warnings =
        cursors.into_iter().zip(views).filter_map(|(cursor, view)| cursor.warning(&view.name)).collect();
    Ok(WrittenParts { files, warnings, null_shares })
}

/// Writes `customers` parts alone, with the features of `views`, which may be some of those in `staged`.
pub(super) async fn write_typed(
    target: SnapshotTarget<'_>,
    session: &Session,
    views: &[FeatureView],
    staged: &[StagedFile],
    forgotten: &Arc<Forgotten>,
) -> Result<Vec<FileEntry>, BuildError> {
    let mut cursors = cursors(views, staged, forgotten)?;
    let (send, receive) = mpsc::channel(4);
    let schema = customers_schema(views, &cursors);
    let typed = tokio::spawn(write_customers(target.lake.clone(), target.id.clone(), schema, receive));
    send_chunks(session, &mut cursors, vec![send], &Progress::default()).await?;
    typed.await?
}

fn cursors(
    views: &[FeatureView],
    staged: &[StagedFile],
    forgotten: &Arc<Forgotten>,
) -> Result<Vec<ViewCursor>, RawError> {
    views.iter().zip(staged).map(|(view, file)| ViewCursor::new(view, file, forgotten)).collect()
}

/// Sends all customers with their views to each of `writers`. Returns the number of customers.
async fn send_chunks(
    session: &Session,
    cursors: &mut [ViewCursor],
    writers: Vec<mpsc::Sender<Arc<CustomerChunk>>>,
    progress: &Progress,
) -> Result<u64, BuildError> {
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
        let as_of = session.as_of().timestamp_micros();
        let aligned: Result<Vec<_>, ViewError> =
            cursors.iter_mut().map(|cursor| cursor.align(&ids, as_of)).collect();
        let chunk = Arc::new(CustomerChunk { ids, views: aligned? });
        for writer in &writers {
            // If a writer has hung up, it has failed. Awaiting its task returns the error.
            if writer.send(Arc::clone(&chunk)).await.is_err() {
                return Ok(customers);
            }
        }
        progress.done.store(customers, Ordering::Relaxed);
    }
    Ok(customers)
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
        let with_features = chunk.views.iter().filter(|view| !view.features.is_empty());
        for (view, field) in with_features.zip(&schema.fields()[1..]) {
            let DataType::Struct(fields) = field.data_type() else { continue };
            let (features, present) = (view.features.clone(), view.present.clone());
            columns.push(Arc::new(StructArray::new(fields.clone(), features, Some(present))));
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
        for ViewChunk { stored, present, .. } in &chunk.views {
            let texts = encode::rows(stored, |row| present.is_valid(row), chunk.ids.len())
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
