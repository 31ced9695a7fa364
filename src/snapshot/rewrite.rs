//! A snapshot written anew without forgotten customers: parts that hold one are filtered, all others copied.
//!
//! The new one has an id of its own and the instant, models and counts of the old one; the manifest goes last, as a build's does.
//! Figures of segments are counted anew from the typed parts. What they were counted with, quintile edges and the models, stays.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, StringArray},
    compute::{cast, filter_record_batch},
    datatypes::{DataType, Decimal128Type, Int64Type},
};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use super::{
    FileEntry, FileKind, Forgotten, Manifest, SegmentStats, SnapshotError, SnapshotId,
    blocks::Footer,
    columns::{self, columns},
    erasure, hex, random, retention,
    tally::Tally,
    writer::{PartWriter, customers_properties, ranking_properties, rows_properties},
};
use crate::{
    feature::{CustomerId, SegmentKind},
    lake::Lake,
    telemetry::Progress,
};

/// The deadline of one read.
const DEADLINE: Duration = Duration::from_mins(1);

/// Writes the snapshot of `manifest` anew without those of `forgotten`. Nothing of the old one changes.
///
/// # Errors
/// Of the lake or of a damaged part; there is no new snapshot then.
pub async fn rewrite(
    lake: &Lake,
    manifest: &Arc<Manifest>,
    forgotten: &Forgotten,
    progress: &Progress,
) -> Result<Manifest, SnapshotError> {
    let id = SnapshotId::new(manifest.as_of, random());
    progress.enter("rewrite", manifest.files.iter().map(|file| file.bytes).sum());
    let written = Box::pin(write(lake, manifest, forgotten, id.clone(), progress)).await;
    if written.is_err()
        && let Err(error) = retention::remove_folder(lake, id.as_str()).await
    {
        tracing::warn!(%error, "left files of a failed rewrite behind");
    }
    written
}

async fn write(
    lake: &Lake,
    manifest: &Arc<Manifest>,
    forgotten: &Forgotten,
    id: SnapshotId,
    progress: &Progress,
) -> Result<Manifest, SnapshotError> {
    let reader = erasure::reader(lake, manifest);
    let held: BTreeSet<&CustomerId> =
        reader.held(forgotten.ids()).await.map_err(SnapshotError::shared)?.into_iter().collect();
    let gaps = reader.gaps(forgotten).await.map_err(SnapshotError::shared)?;
    let mut files = Vec::new();
    for entry in &manifest.files {
        let touched = match entry.kind {
            FileKind::Products => false,
            FileKind::Ranking => !gaps.of(entry.segment.as_deref().unwrap_or_default()).is_empty(),
            FileKind::Customers | FileKind::Rows => held.iter().any(|id| spans(entry, id.as_str())),
        };
        if touched {
            files.extend(filter(lake, manifest, &id, entry, forgotten).await?);
        } else {
            lake.copy(&manifest.id.path(&entry.path), &id.path(&entry.path)).await?;
            files.push(entry.clone());
        }
        progress.done.fetch_add(entry.bytes, Ordering::Relaxed);
    }
    let customers = files.iter().filter(|file| file.kind == FileKind::Rows).map(|file| file.rows).sum();
    let mut new = Manifest {
        fingerprint: Manifest::fingerprint_of(&files),
        rewritten_from: Some(manifest.id.clone()),
        id,
        customers,
        files,
        ..manifest.as_ref().clone()
    };
    // Warnings, too, name nobody who is forgotten.
    new.warnings.retain(|warning| warning.customer_id.as_ref().is_none_or(|id| !forgotten.contains(id)));
    new.segments = segments(lake, &Arc::new(new.clone())).await?;
    new.write(lake).await?;
    Ok(new)
}

/// Whether the part of `entry` may hold `id`.
fn spans(entry: &FileEntry, id: &str) -> bool {
    entry.first.as_deref().is_some_and(|first| first <= id)
        && entry.last.as_deref().is_some_and(|last| last >= id)
}

/// Writes the file of `entry` anew; nothing where nobody is left.
async fn filter(
    lake: &Lake,
    manifest: &Manifest,
    id: &SnapshotId,
    entry: &FileEntry,
    forgotten: &Forgotten,
) -> Result<Option<FileEntry>, SnapshotError> {
    let path = manifest.id.path(&entry.path);
    let damaged = |why: String| SnapshotError::Damaged { object: path.to_string(), why };
    let mut new = New { lake, id, entry, part: None };
    if entry.kind == FileKind::Customers {
        // A part of its own size has one block, and its footer need not list it: it is read whole.
        let bytes = lake.get(&path).await?;
        if hex(&Sha256::digest(&bytes)) != entry.sha256 {
            return Err(damaged("its checksum is wrong".to_owned()));
        }
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build);
        for batch in reader.map_err(|error| damaged(error.to_string()))? {
            let batch = batch.map_err(|error| damaged(error.to_string()))?;
            new.write(&without(&batch, forgotten).map_err(damaged)?)?;
        }
        return new.finish().await;
    }
    let footer = Footer::read(lake, &path, entry).await?;
    for at in 0..footer.blocks() {
        let block = footer.block(at);
        let bytes = lake.get_range(&path, block.offset..block.offset + block.length).await?;
        let batch = footer.decode_block(at, bytes).map_err(damaged)?;
        new.write(&without(&batch, forgotten).map_err(damaged)?)?;
        if let Some(part) = &mut new.part {
            part.end_block().await?;
        }
    }
    new.finish().await
}

/// A file that is written anew, once there is anybody to write.
struct New<'a> {
    lake: &'a Lake,
    id: &'a SnapshotId,
    entry: &'a FileEntry,
    part: Option<PartWriter>,
}

impl New<'_> {
    fn write(&mut self, kept: &RecordBatch) -> Result<(), SnapshotError> {
        if kept.num_rows() == 0 {
            return Ok(());
        }
        let part = match &mut self.part {
            Some(part) => part,
            none => {
                let properties = match self.entry.kind {
                    FileKind::Customers => customers_properties(),
                    FileKind::Ranking => ranking_properties(),
                    FileKind::Rows | FileKind::Products => rows_properties(),
                };
                let (path, kind) = (self.entry.path.clone(), self.entry.kind);
                let part = PartWriter::new(self.lake, self.id, path, kind, kept.schema(), properties)?;
                none.insert(match &self.entry.segment {
                    Some(segment) => part.of_segment(segment),
                    None => part,
                })
            }
        };
        part.write(kept)
    }

    async fn finish(self) -> Result<Option<FileEntry>, SnapshotError> {
        match self.part {
            Some(part) => part.finish().await.map(Some),
            None => Ok(None),
        }
    }
}

/// The rows of `batch`, whose first column is the id, that are not of `forgotten` customers.
fn without(batch: &RecordBatch, forgotten: &Forgotten) -> Result<RecordBatch, String> {
    let ids =
        batch.column(0).as_any().downcast_ref::<StringArray>().ok_or("its first column holds no ids")?;
    let kept: BooleanArray =
        ids.iter().map(|id| Some(!id.is_some_and(|id| forgotten.contains(id)))).collect();
    filter_record_batch(batch, &kept).map_err(|error| error.to_string())
}

/// The figures of the segments of `manifest`, counted from its files.
async fn segments(lake: &Lake, manifest: &Arc<Manifest>) -> Result<Vec<SegmentStats>, SnapshotError> {
    let mut audiences: Vec<(&str, HashSet<CustomerId>)> = Vec::new();
    let reader = erasure::reader(lake, manifest);
    for segment in manifest.segments.iter().filter(|segment| segment.kind == SegmentKind::Audience) {
        let members = reader.members(&segment.name, 0, usize::MAX).await.map_err(SnapshotError::shared)?;
        audiences.push((&segment.name, members.into_iter().collect()));
    }
    let scores = ["rfm.r_score", "rfm.f_score", "rfm.m_score"];
    let wanted = [&["rfm.segment", "rfm.monetary", "churn.risk"], &scores[..]].concat();
    let mut batches = columns(lake, manifest, &wanted, DEADLINE);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    while let Some(batch) = batches.next().await.transpose()? {
        let typed = |name: &str, to: &DataType| {
            columns::column(&batch, name).and_then(|column| cast(&column, to).ok())
        };
        let monetary = typed("rfm.monetary", &DataType::Decimal128(38, 4));
        let monetary = monetary.as_ref().map(AsArray::as_primitive::<Decimal128Type>);
        let scores = scores.map(|name| typed(name, &DataType::Int64));
        let scores = scores.each_ref().map(|column| column.as_ref().map(AsArray::as_primitive::<Int64Type>));
        let texts = ["customer_id", "rfm.segment", "churn.risk"].map(|name| columns::texts(&batch, name));
        for row in 0..batch.num_rows() {
            let text = |at: usize| {
                texts[at].as_ref().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
            };
            let of = audiences.iter().filter(|(_, members)| text(0).is_some_and(|id| members.contains(id)));
            let names = of.map(|(name, _)| (*name).to_owned()).chain(text(1).map(str::to_owned));
            for name in names.chain(text(2).map(|risk| format!("{}_{risk}", super::CHURN_LIST))) {
                let tally = tallies.entry(name).or_default();
                tally.size += 1;
                tally.revenue +=
                    monetary.filter(|column| column.is_valid(row)).map_or(0, |column| column.value(row));
                for ((sum, count), column) in tally.scores.iter_mut().zip(scores) {
                    if let Some(column) = column.filter(|column| column.is_valid(row)) {
                        *sum += column.value(row);
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
