//! Rewrites a snapshot without erased customers: files that hold one of the customers are filtered, all
//! others copied.
//!
//! The new snapshot has an id of its own, and the instant, models and counts of the old one. The manifest is
//! written last, as in a build; a build that saw customers erased meanwhile writes the manifest itself.
//! Figures of segments are counted again from the typed parts; quintile edges and models, which they depend
//! on, stay.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, atomic::Ordering},
};

use arrow::{
    array::{
        ArrayAccessor, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray,
        UInt32Array,
    },
    compute::{cast, filter_record_batch},
    datatypes::{DataType, Decimal128Type, Int64Type, UInt32Type},
};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use super::{
    FileEntry, FileKind, Forgotten, Manifest, SegmentStats, SnapshotError, SnapshotId,
    audience_loader::AudienceLoader,
    block::EncodedBlock,
    column_scan::{column, text_column},
    event_files::{CUSTOMER, events_properties, events_schema, purchases_properties},
    files::SnapshotFiles,
    reader::SnapshotReader,
    retention,
    segment_tally::SegmentTally,
    statistics::write_statistics,
    writer::{ID, PartWriter, customers_properties, ranking_properties, rows_properties},
};
use crate::{
    feature::{CustomerId, SegmentKind},
    lake::Lake,
    telemetry::Progress,
};

/// Writes the snapshot of `manifest` again without the customers of `forgotten`. The old snapshot stays as it
/// is.
///
/// # Errors
/// Same errors as [`without_erased`].
pub async fn rewrite(
    lake: &Lake,
    manifest: &Arc<Manifest>,
    forgotten: &Forgotten,
    progress: &Progress,
) -> Result<Manifest, SnapshotError> {
    let mut new = without_erased(lake, manifest, forgotten, progress).await?;
    new.rewritten_from = Some(manifest.id.clone());
    let written = new.write(lake).await;
    clean_up_after(&written, lake, &new.id).await;
    written.map(|()| new)
}

/// Writes the data files of `manifest` again without the customers of `forgotten`, under a new id. The
/// manifest of the new snapshot is returned and not written.
///
/// # Errors
/// [`SnapshotError::Lake`], [`SnapshotError::Timeout`], [`SnapshotError::Damaged`], or
/// [`SnapshotError::Write`]; there are no new files then.
pub async fn without_erased(
    lake: &Lake,
    manifest: &Arc<Manifest>,
    forgotten: &Forgotten,
    progress: &Progress,
) -> Result<Manifest, SnapshotError> {
    let id = SnapshotId::generate(manifest.as_of)?;
    progress.enter("rewrite", manifest.files.iter().map(|file| file.bytes).sum());
    let written = Box::pin(write(lake, manifest, forgotten, id.clone(), progress)).await;
    clean_up_after(&written, lake, &id).await;
    written
}

/// Removes the files of the new snapshot `id` if they could not all be written.
async fn clean_up_after<T>(written: &Result<T, SnapshotError>, lake: &Lake, id: &SnapshotId) {
    if written.is_err()
        && let Err(error) = retention::remove_folder(lake, id.as_str()).await
    {
        tracing::warn!(%error, "cannot remove the files of a failed rewrite");
    }
}

async fn write(
    lake: &Lake,
    manifest: &Arc<Manifest>,
    forgotten: &Forgotten,
    id: SnapshotId,
    progress: &Progress,
) -> Result<Manifest, SnapshotError> {
    let reader = SnapshotReader::offline(lake, manifest);
    let held: BTreeSet<&CustomerId> =
        reader.held(forgotten.ids()).await.map_err(SnapshotError::shared)?.into_iter().collect();
    let gaps = reader.gaps(forgotten).await.map_err(SnapshotError::shared)?;
    let erased = erased_numbers(&reader, &held).await?;
    let filter = ErasureFilter { lake, files: reader.files().clone(), id: &id, forgotten };
    let mut files = Vec::new();
    for (file, entry) in manifest.files.iter().enumerate() {
        let is_affected = match entry.kind {
            FileKind::Products => false,
            FileKind::Unknown => {
                let object = manifest.id.path(&entry.path).to_string();
                return Err(SnapshotError::UnknownKind { object });
            }
            FileKind::Ranking => !gaps.of(entry.segment.as_deref().unwrap_or_default()).is_empty(),
            FileKind::Events => !held.is_empty(),
            FileKind::Customers | FileKind::Rows | FileKind::Purchases => {
                held.iter().any(|id| may_hold(entry, id.as_str()))
            }
        };
        if is_affected {
            if entry.kind == FileKind::Events {
                files.push(filter.events(file, &erased).await?);
            } else {
                files.extend(filter.file(file).await?);
            }
        } else {
            lake.copy(&manifest.id.path(&entry.path), &id.path(&entry.path)).await?;
            files.push(entry.clone());
        }
        progress.done.fetch_add(entry.bytes, Ordering::Relaxed);
    }
    let customers = files.iter().filter(|file| file.kind == FileKind::Rows).map(|file| file.rows).sum();
    let mut new = Manifest {
        fingerprint: Manifest::fingerprint_of(&files),
        id,
        customers,
        files,
        ..manifest.as_ref().clone()
    };
    // A model that learned from erased customers is not used again.
    if let Some(card) = &mut new.models.churn {
        card.file = None;
    }
    new.warnings.retain(|warning| warning.customer_id.as_ref().is_none_or(|id| !forgotten.contains(id)));
    let written = Arc::new(new.clone());
    new.segments = segments(lake, &written).await?;
    if manifest.statistics.is_some() {
        new.statistics = Some(write_statistics(lake, &written).await?);
    }
    Ok(new)
}

/// Checks whether `id` is in the range of ids of a part.
fn may_hold(entry: &FileEntry, id: &str) -> bool {
    entry.first.as_deref().is_some_and(|first| first <= id)
        && entry.last.as_deref().is_some_and(|last| last >= id)
}

/// Copies files of a snapshot into a new snapshot, without erased customers.
struct ErasureFilter<'a> {
    lake: &'a Lake,
    files: SnapshotFiles,
    /// Id of the new snapshot.
    id: &'a SnapshotId,
    forgotten: &'a Forgotten,
}

impl ErasureFilter<'_> {
    /// Filters one file. Writes nothing, and returns `None`, if no row remains.
    async fn file(&self, file: usize) -> Result<Option<FileEntry>, SnapshotError> {
        let damaged = |why: String| self.files.damaged(file, why);
        let mut part = None;
        if self.files.entry(file).kind == FileKind::Customers {
            // A part of `customers` may have a single block and no block list, so the part is read as a
            // whole.
            let bytes = self.files.read_whole(file).await?;
            if format!("{:x}", Sha256::digest(&bytes)) != self.files.entry(file).sha256 {
                return Err(damaged("checksum mismatch".to_owned()));
            }
            let batches = ParquetRecordBatchReaderBuilder::try_new(bytes)
                .and_then(ParquetRecordBatchReaderBuilder::build)
                .map_err(|error| damaged(error.to_string()))?;
            for batch in batches {
                let batch = batch.map_err(|error| damaged(error.to_string()))?;
                self.write(file, &batch, &mut part)?;
            }
        } else {
            let mut blocks = self.files.scan_blocks(vec![file], EncodedBlock::decode);
            while let Some(batch) = blocks.try_next().await? {
                self.write(file, &batch, &mut part)?;
                if let Some(part) = &mut part {
                    part.end_block().await?;
                }
            }
        }
        match part {
            Some(part) => part.finish().await.map(Some),
            None => Ok(None),
        }
    }

    /// Filters an index file, and numbers the remaining customers anew. `erased` holds the numbers of the
    /// erased customers in ascending order. The file is written even if no row remains, since the number of
    /// index files decides which one holds a key.
    async fn events(&self, file: usize, erased: &[u32]) -> Result<FileEntry, SnapshotError> {
        let (path, kind) = (self.files.entry(file).path.clone(), FileKind::Events);
        let (schema, properties) = (events_schema(), events_properties());
        let mut part = PartWriter::new(self.lake, self.id, path, kind, schema, properties)?;
        let mut blocks = self.files.scan_blocks(vec![file], EncodedBlock::decode);
        while let Some(batch) = blocks.try_next().await? {
            let kept = renumbered(&batch, erased).ok_or_else(|| {
                self.files.damaged(file, "the column of customers does not hold numbers".to_owned())
            })?;
            if kept.num_rows() > 0 {
                part.write(&kept)?;
                part.end_block().await?;
            }
        }
        part.finish().await
    }

    /// Writes the remaining rows of `batch` to `part`, which is created for the first of them.
    fn write(
        &self,
        file: usize,
        batch: &RecordBatch,
        part: &mut Option<PartWriter>,
    ) -> Result<(), SnapshotError> {
        let kept = without(batch, self.forgotten).map_err(|why| self.files.damaged(file, why))?;
        if kept.num_rows() == 0 {
            return Ok(());
        }
        if let Some(part) = part {
            return part.write(&kept);
        }
        let entry = self.files.entry(file);
        let properties = match entry.kind {
            FileKind::Customers => customers_properties(),
            FileKind::Ranking => ranking_properties(),
            FileKind::Rows | FileKind::Products => rows_properties(),
            FileKind::Purchases => purchases_properties(),
            FileKind::Events | FileKind::Unknown => events_properties(),
        };
        let path = entry.path.clone();
        let mut new = PartWriter::new(self.lake, self.id, path, entry.kind, kept.schema(), properties)?;
        if let Some(segment) = &entry.segment {
            new = new.of_segment(segment);
        }
        part.insert(new).write(&kept)
    }
}

/// Returns the numbers of the customers `held`, in ascending order. Customers are numbered in the order of
/// their ids.
async fn erased_numbers(
    reader: &SnapshotReader,
    held: &BTreeSet<&CustomerId>,
) -> Result<Vec<u32>, SnapshotError> {
    if held.is_empty() || !reader.manifest().has_events() {
        return Ok(Vec::new());
    }
    let ids = AudienceLoader::new(reader.files().clone()).ids().await?;
    let number = |id: &&CustomerId| u32::try_from(ids.search(id.as_str()).ok()?).ok();
    let mut numbers: Vec<u32> = held.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns the rows of an index block without the customers `erased`, with the numbers that the other
/// customers have without them.
fn renumbered(batch: &RecordBatch, erased: &[u32]) -> Option<RecordBatch> {
    let (at, _) = batch.schema_ref().column_with_name(CUSTOMER)?;
    let numbers = batch.column(at).as_primitive_opt::<UInt32Type>()?;
    let kept: BooleanArray =
        numbers.values().iter().map(|number| Some(erased.binary_search(number).is_err())).collect();
    let before = |number: u32| u32::try_from(erased.partition_point(|erased| *erased < number)).unwrap_or(0);
    let new: UInt32Array = numbers.unary(|number| number - before(number));
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(new);
    filter_record_batch(&RecordBatch::try_new(batch.schema(), columns).ok()?, &kept).ok()
}

/// Removes the rows of `forgotten` customers from `batch`, whose first column is the id.
fn without(batch: &RecordBatch, forgotten: &Forgotten) -> Result<RecordBatch, String> {
    let ids =
        batch.column(0).as_any().downcast_ref::<StringArray>().ok_or("the first column holds no ids")?;
    let kept: BooleanArray =
        ids.iter().map(|id| Some(!id.is_some_and(|id| forgotten.contains(id)))).collect();
    filter_record_batch(batch, &kept).map_err(|error| error.to_string())
}

/// Counts the segments of `manifest` from its files.
async fn segments(lake: &Lake, manifest: &Arc<Manifest>) -> Result<Vec<SegmentStats>, SnapshotError> {
    let mut audiences: Vec<(&str, HashSet<CustomerId>)> = Vec::new();
    let reader = SnapshotReader::offline(lake, manifest);
    for segment in manifest.segments.iter().filter(|segment| segment.kind == SegmentKind::Audience) {
        let members = reader.members(&segment.name, 0, usize::MAX).await.map_err(SnapshotError::shared)?;
        audiences.push((&segment.name, members.into_iter().collect()));
    }
    let score_names = ["rfm.r_score", "rfm.f_score", "rfm.m_score"];
    let wanted = [&["rfm.segment", "rfm.monetary", "churn.risk"], &score_names[..]].concat();
    let mut batches = reader.files().columns_with_id(&wanted);
    let mut tallies: BTreeMap<String, SegmentTally> = BTreeMap::new();
    while let Some(batch) = batches.try_next().await? {
        let [ids, segments, risks] = [ID, "rfm.segment", "churn.risk"].map(|name| text_column(&batch, name));
        let monetary = numbers::<Decimal128Type>(&batch, "rfm.monetary", &DataType::Decimal128(38, 4));
        let scores = score_names.map(|name| numbers::<Int64Type>(&batch, name, &DataType::Int64));
        for row in 0..batch.num_rows() {
            let id = value(ids.as_ref(), row);
            let of = audiences.iter().filter(|(_, members)| id.is_some_and(|id| members.contains(id)));
            let risk = value(risks.as_ref(), row).map(|risk| format!("{}_{risk}", super::CHURN_LIST));
            let names = of.map(|(name, _)| (*name).to_owned()).chain(risk);
            for name in names.chain(value(segments.as_ref(), row).map(str::to_owned)) {
                let tally = tallies.entry(name).or_default();
                tally.size += 1;
                tally.revenue += value(monetary.as_ref(), row).unwrap_or(0);
                for ((sum, count), column) in tally.scores.iter_mut().zip(&scores) {
                    if let Some(score) = value(column.as_ref(), row) {
                        *sum += score;
                        *count += 1;
                    }
                }
            }
        }
    }
    let stats = manifest.segments.iter().map(|old| {
        let tally = tallies.remove(&old.name).unwrap_or_default();
        tally.stats(old.name.clone(), old.kind, old.definition.clone(), manifest.customers)
    });
    Ok(stats.collect())
}

/// Casts the column `name` of `batch` to numbers; `None` if the snapshot lacks the column.
fn numbers<T: ArrowPrimitiveType>(
    batch: &RecordBatch,
    name: &str,
    to: &DataType,
) -> Option<PrimitiveArray<T>> {
    cast(&column(batch, name)?, to).ok()?.as_primitive_opt::<T>().cloned()
}

fn value<A: ArrayAccessor>(column: Option<A>, row: usize) -> Option<A::Item> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}
