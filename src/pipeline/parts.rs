//! Writer of a snapshot's parts: joins the staged views by customer and writes them as typed `customers`
//! parts and as `rows` parts, whose rows are ready to serve.
//!
//! The sorted ids of all customers say where each part begins. So parts are written independently of each
//! other, several at a time.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use datafusion::common::runtime::SpawnedTask;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{
    customer_ids::SortedCustomers,
    days_since, encode,
    error::{BuildError, ViewError},
    raw::RawError,
    view_files::{CustomerRange, ViewFiles},
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

mod part_view;

use part_view::{PartView, ViewChunk, ViewFigures, ViewSource};

/// Number of customers that are joined at a time.
const CHUNK: usize = 8_192;
/// Memory of a part that is being written, relative to its staged rows: the rows, their copy while they are
/// joined, and the columns of the typed part.
const PART_COPIES: u64 = 3;

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
    pub(super) files: ViewFiles,
}

impl ServedView {
    /// Returns the view's entry in the manifest.
    pub(super) fn feature_view(&self, config: &Config) -> FeatureView {
        let view = &self.definition;
        let columns = self.files.schema.fields().iter().skip(1);
        let features = columns.filter(|field| days_since::feature_of(field.name()).is_none()).map(|field| {
            let note = view.columns.get(field.name());
            Feature {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                description: note.map(|note| note.description.clone()).unwrap_or_default(),
                personal: note.is_some_and(|note| note.personal),
                days_since: self.files.schema.index_of(&days_since::times_of(field.name())).is_ok(),
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

/// Customers and views of the parts of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartsInput<'a> {
    pub(super) target: SnapshotTarget<'a>,
    pub(super) customers: &'a Arc<SortedCustomers>,
    pub(super) views: &'a [FeatureView],
    /// Staged rows of each of `views`, whose features may be some of the staged ones.
    pub(super) staged: &'a [ViewFiles],
    pub(super) forgotten: &'a Arc<Forgotten>,
    /// As-of time, in microseconds since 1970.
    pub(super) as_of: i64,
    /// Whether to write `rows` parts too.
    pub(super) with_rows: bool,
    pub(super) threads: usize,
    /// Memory for the parts that are written at the same time, in bytes. One part is written in any case.
    pub(super) memory: u64,
}

impl PartsInput<'_> {
    /// Returns the number of parts to write at a time.
    fn at_a_time(&self) -> usize {
        let staged: u64 = self.staged.iter().map(ViewFiles::bytes).sum();
        let customers = self.customers.ids.len().max(1) as u64;
        let part = staged.saturating_mul(PART_COPIES) / customers * PART_ROWS as u64;
        let fitting = usize::try_from(self.memory / part.max(1)).unwrap_or(usize::MAX);
        fitting.clamp(1, self.threads.max(1))
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

/// Writes the parts, several at a time.
pub(super) async fn write(input: PartsInput<'_>, progress: &Progress) -> Result<WrittenParts, BuildError> {
    let sources: Result<Vec<ViewSource>, RawError> =
        input.views.iter().zip(input.staged).map(|(view, files)| ViewSource::new(view, files)).collect();
    let sources = sources?;
    let names = input.views.iter().map(|view| view.name.as_str());
    let writer = Arc::new(PartsWriter {
        lake: input.target.lake.clone(),
        id: input.target.id.clone(),
        customers: Arc::clone(input.customers),
        typed_schema: typed_schema(&sources),
        rows_schema: input.with_rows.then(|| rows_schema(names)),
        sources,
        forgotten: Arc::clone(input.forgotten),
        as_of: input.as_of,
        done: Arc::clone(&progress.done),
    });
    // Without customers, the rows of the views are still counted.
    let parts = input.customers.ids.len().div_ceil(PART_ROWS).max(1);
    let mut written = stream::iter(0..parts)
        .map(|part| SpawnedTask::spawn(Arc::clone(&writer).write_part(part)))
        .buffered(input.at_a_time());
    let (mut typed, mut rows) = (Vec::new(), Vec::new());
    let mut figures = vec![ViewFigures::default(); input.views.len()];
    while let Some(part) = written.next().await {
        let part = part??;
        typed.extend(part.typed);
        rows.extend(part.rows);
        figures.iter_mut().zip(part.figures).for_each(|(all, of_part)| all.add(of_part));
    }
    typed.extend(rows);
    let customers = input.customers.ids.len() as u64;
    let shares =
        input.views.iter().zip(&figures).flat_map(|(view, figures)| figures.null_shares(view, customers));
    let warnings = input.views.iter().zip(&figures).filter_map(|(view, figures)| figures.warning(&view.name));
    Ok(WrittenParts { files: typed, null_shares: shares.collect(), warnings: warnings.collect() })
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

fn typed_schema(sources: &[ViewSource]) -> SchemaRef {
    let structs = sources.iter().filter(|source| source.has_features()).map(|source| {
        Field::new(&source.name, DataType::Struct(source.schema.fields()[1..].to_vec().into()), true)
    });
    Arc::new(Schema::new(
        [Field::new(ID, DataType::Utf8, false)].into_iter().chain(structs).collect::<Vec<_>>(),
    ))
}

/// Writer of all parts.
struct PartsWriter {
    lake: Lake,
    id: SnapshotId,
    customers: Arc<SortedCustomers>,
    sources: Vec<ViewSource>,
    typed_schema: SchemaRef,
    rows_schema: Option<SchemaRef>,
    forgotten: Arc<Forgotten>,
    as_of: i64,
    /// Number of customers that are done.
    done: Arc<AtomicU64>,
}

/// The files of one part, and figures of each view. There are no files without customers.
struct WrittenPart {
    typed: Option<FileEntry>,
    rows: Option<FileEntry>,
    figures: Vec<ViewFigures>,
}

impl PartsWriter {
    /// Joins the views for the customers of `part` and writes them, each kind of file in its own task.
    async fn write_part(self: Arc<Self>, part: usize) -> Result<WrittenPart, BuildError> {
        let ids = &self.customers.ids;
        let first = part * PART_ROWS;
        let end = (first + PART_ROWS).min(ids.len());
        let range = CustomerRange {
            from: (part > 0).then(|| ids.get(first)),
            until: (end < ids.len()).then(|| ids.get(end)),
        };
        let views = self.sources.iter().map(|source| PartView::read(source, range, &self.forgotten));
        let mut views = views.collect::<Result<Vec<_>, RawError>>()?;
        let (send, receive) = mpsc::channel(2);
        let typed = SpawnedTask::spawn(Arc::clone(&self).write_typed(part, receive));
        let (mut writers, mut rows) = (vec![send], None);
        if let Some(schema) = &self.rows_schema {
            let (send, receive) = mpsc::channel(2);
            rows = Some(SpawnedTask::spawn(Arc::clone(&self).write_rows(part, Arc::clone(schema), receive)));
            writers.push(send);
        }
        self.send_chunks(first..end, &mut views, writers).await?;
        let typed = typed.await??;
        let rows = match rows {
            Some(rows) => rows.await??,
            None => None,
        };
        Ok(WrittenPart { typed, rows, figures: views.into_iter().map(PartView::finish).collect() })
    }

    /// Joins the views for `customers`, positions in the ids, and sends them to each of `writers`.
    async fn send_chunks(
        &self,
        customers: Range<usize>,
        views: &mut [PartView<'_>],
        writers: Vec<mpsc::Sender<Arc<CustomerChunk>>>,
    ) -> Result<(), ViewError> {
        for start in customers.clone().step_by(CHUNK) {
            let end = (start + CHUNK).min(customers.end);
            let SortedCustomers { ids, partitions } = &*self.customers;
            let ids = StringArray::from_iter_values((start..end).map(|at| ids.get(at)));
            let partitions = &partitions[start..end];
            let aligned: Result<Vec<_>, ViewError> =
                views.iter_mut().map(|view| view.align(&ids, partitions, self.as_of)).collect();
            let chunk = Arc::new(CustomerChunk { ids, views: aligned? });
            for writer in &writers {
                // If a writer has hung up, it has failed. Awaiting its task returns the error.
                if writer.send(Arc::clone(&chunk)).await.is_err() {
                    return Ok(());
                }
            }
            self.done.fetch_add((end - start) as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn write_typed(
        self: Arc<Self>,
        part: usize,
        mut chunks: mpsc::Receiver<Arc<CustomerChunk>>,
    ) -> Result<Option<FileEntry>, BuildError> {
        let schema = &self.typed_schema;
        let mut file = self.part_file(part, FileKind::Customers, Arc::clone(schema))?;
        while let Some(chunk) = chunks.recv().await {
            let mut columns: Vec<ArrayRef> = vec![Arc::new(chunk.ids.clone())];
            let with_features = chunk.views.iter().filter(|view| !view.features.is_empty());
            for (view, field) in with_features.zip(&schema.fields()[1..]) {
                let DataType::Struct(fields) = field.data_type() else { continue };
                let (features, present) = (view.features.clone(), view.present.clone());
                columns.push(Arc::new(StructArray::new(fields.clone(), features, Some(present))));
            }
            file.write(&RecordBatch::try_new(Arc::clone(schema), columns).map_err(unwritten)?)?;
        }
        finish(file).await
    }

    async fn write_rows(
        self: Arc<Self>,
        part: usize,
        schema: SchemaRef,
        mut chunks: mpsc::Receiver<Arc<CustomerChunk>>,
    ) -> Result<Option<FileEntry>, BuildError> {
        let mut file = self.part_file(part, FileKind::Rows, Arc::clone(&schema))?;
        while let Some(chunk) = chunks.recv().await {
            let mut columns: Vec<ArrayRef> = vec![Arc::new(chunk.ids.clone())];
            for ViewChunk { stored, present, .. } in &chunk.views {
                let texts = encode::rows(stored, |row| present.is_valid(row), chunk.ids.len())
                    .map_err(ViewError::Encode)?;
                columns.push(Arc::new(texts));
            }
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(unwritten)?;
            file.write_in_blocks(&batch).await?;
        }
        finish(file).await
    }

    /// Opens the file of a part.
    fn part_file(&self, part: usize, kind: FileKind, schema: SchemaRef) -> Result<PartWriter, SnapshotError> {
        let (folder, properties) = match kind {
            FileKind::Rows => ("rows", rows_properties()),
            _ => ("customers", customers_properties()),
        };
        let path = format!("{folder}/part-{part:05}.parquet");
        PartWriter::new(&self.lake, &self.id, path, kind, schema, properties)
    }
}

/// Finishes a part. A part without customers does not appear.
async fn finish(file: PartWriter) -> Result<Option<FileEntry>, BuildError> {
    if file.rows() == 0 {
        return Ok(None);
    }
    Ok(Some(file.finish().await?))
}

fn unwritten(error: ArrowError) -> SnapshotError {
    SnapshotError::Write { object: "parts".to_owned(), source: error.into() }
}
