//! Reading some of the typed columns of `customers`, from the first customer to the last: only the bytes of these columns are
//! read, and decoded on other threads, a batch at a time.
//!
//! A block's checksum is over all of its columns, so what is read here is checked by Parquet alone. Knows nothing of what the
//! columns mean.

use std::{ops::Range, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::DataType,
};
use bytes::{Buf, Bytes};
use futures::{
    StreamExt, TryStreamExt,
    future::{BoxFuture, try_join_all},
    stream,
    stream::BoxStream,
};
use object_store::path::Path;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    errors::{ParquetError, Result as ParquetResult},
    file::reader::{ChunkReader, Length},
};

use super::{
    FileEntry, FileKind, Manifest, SnapshotError,
    blocks::{self, footer_range},
};
use crate::lake::Lake;

/// Customers of a batch.
const BATCH_ROWS: usize = 8_192;
/// Blocks that are read at a time, the one being decoded not counted.
const AHEAD: usize = 1;
/// A gap between two columns that costs less than a read of its own.
const GAP: u64 = 64 << 10;

/// Batches of customers.
pub type Batches = BoxStream<'static, Result<RecordBatch, SnapshotError>>;

/// The id and the columns `wanted`, such as `rfm.segment` or a whole view, of all customers, sorted by id. A column that the
/// snapshot does not have is not in the batches. No single read may take longer than `deadline`.
#[must_use]
pub fn columns(lake: &Lake, manifest: &Arc<Manifest>, wanted: &[&str], deadline: Duration) -> Batches {
    let wanted: Vec<&str> = std::iter::once(super::writer::ID).chain(wanted.iter().copied()).collect();
    exactly(lake, manifest, &wanted, deadline)
}

/// As [`columns`], without the id unless it is wanted.
#[must_use]
pub fn exactly(lake: &Lake, manifest: &Arc<Manifest>, wanted: &[&str], deadline: Duration) -> Batches {
    let mut parts: Vec<FileEntry> =
        manifest.files.iter().filter(|file| file.kind == FileKind::Customers).cloned().collect();
    parts.sort_by(|a, b| a.first.cmp(&b.first));
    let wanted: Arc<[String]> = wanted.iter().copied().map(str::to_owned).collect();
    let source = Arc::new(Source { lake: lake.clone(), manifest: Arc::clone(manifest), wanted, deadline });
    stream::iter(parts)
        .then(move |part| Arc::clone(&source).blocks(part))
        .try_flatten()
        .try_buffered(AHEAD)
        .map_ok(batches)
        .try_flatten()
        .boxed()
}

/// The texts of the column `name` of `batch`, `view.feature` or the id; nothing where there is no such column.
#[must_use]
pub fn texts(batch: &RecordBatch, name: &str) -> Option<StringArray> {
    let column = cast(&column(batch, name)?, &DataType::Utf8).ok()?;
    Some(column.as_string::<i32>().clone())
}

/// The column `name` of `batch`, `view.feature` or the id.
#[must_use]
pub fn column(batch: &RecordBatch, name: &str) -> Option<ArrayRef> {
    match name.split_once('.') {
        None => batch.column_by_name(name).cloned(),
        Some((view, feature)) => {
            batch.column_by_name(view)?.as_struct_opt()?.column_by_name(feature).cloned()
        }
    }
}

/// Where columns are read from.
struct Source {
    lake: Lake,
    manifest: Arc<Manifest>,
    wanted: Arc<[String]>,
    deadline: Duration,
}

/// A block whose bytes are there, and what it is of.
struct Opened {
    object: Path,
    reader: ParquetRecordBatchReader,
}

type Opening = BoxFuture<'static, Result<Opened, SnapshotError>>;

impl Source {
    /// The blocks of a part.
    async fn blocks(
        self: Arc<Self>,
        part: FileEntry,
    ) -> Result<BoxStream<'static, Result<Opening, SnapshotError>>, SnapshotError> {
        let object = self.manifest.id.path(&part.path);
        let footer = async { Ok(self.lake.get_range(&object, footer_range(&object, &part)?).await?) };
        let footer = self.in_time(&object, footer).await?;
        let metadata = blocks::columns(&object, &part, &footer)?;
        let groups = metadata.metadata().num_row_groups();
        let blocks = (0..groups).map(move |at| -> Result<Opening, SnapshotError> {
            let (source, object, metadata) = (Arc::clone(&self), object.clone(), metadata.clone());
            let length = part.bytes;
            Ok(Box::pin(async move { source.open(object, &metadata, length, at).await }))
        });
        Ok(stream::iter(blocks.collect::<Vec<_>>()).boxed())
    }

    /// Reads what is wanted of block `at`.
    async fn open(
        &self,
        object: Path,
        metadata: &ArrowReaderMetadata,
        length: u64,
        at: usize,
    ) -> Result<Opened, SnapshotError> {
        let mask = ProjectionMask::columns(metadata.parquet_schema(), self.wanted.iter().map(String::as_str));
        let group = metadata.metadata().row_group(at);
        let ranges = (0..group.num_columns()).filter(|leaf| mask.leaf_included(*leaf)).map(|leaf| {
            let (start, length) = group.column(leaf).byte_range();
            start..start + length
        });
        let reads = near_together(ranges.collect()).into_iter().map(|range| async {
            let start = range.start;
            let read = async { Ok(self.lake.get_range(&object, range).await?) };
            Ok::<_, SnapshotError>((start, self.in_time(&object, read).await?))
        });
        let pieces = Pieces { length, pieces: try_join_all(reads).await? };
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(pieces, metadata.clone())
            .with_row_groups(vec![at])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| damaged(&object, &error))?;
        Ok(Opened { object, reader })
    }

    async fn in_time<T>(
        &self,
        object: &Path,
        read: impl Future<Output = Result<T, SnapshotError>>,
    ) -> Result<T, SnapshotError> {
        tokio::time::timeout(self.deadline, read).await.unwrap_or_else(|_| {
            Err(SnapshotError::Timeout { object: object.to_string(), millis: self.deadline.as_millis() })
        })
    }
}

/// Decodes a block batch by batch, away from those who answer requests.
fn batches(opened: Opened) -> Batches {
    let decode = |mut opened: Opened| async move {
        let object = opened.object.clone();
        let decoded = tokio::task::spawn_blocking(move || {
            let batch = opened.reader.next().transpose();
            batch.map(|batch| batch.map(|batch| (batch, opened)))
        });
        let decoded = decoded.await.map_err(|error| damaged(&object, &error))?;
        decoded.map_err(|error| damaged(&object, &error))
    };
    stream::try_unfold(opened, decode).boxed()
}

fn damaged(object: &Path, why: &dyn std::fmt::Display) -> SnapshotError {
    SnapshotError::Damaged { object: object.to_string(), why: why.to_string() }
}

/// The ranges in order, those that lie near together as one.
fn near_together(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end + GAP => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Some of the bytes of a file, in the places that they have in it.
struct Pieces {
    length: u64,
    pieces: Vec<(u64, Bytes)>,
}

impl Pieces {
    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        let at = self.pieces.partition_point(|(first, _)| *first <= start).checked_sub(1);
        let found = at.map(|at| &self.pieces[at]).and_then(|(first, bytes)| {
            let skip = usize::try_from(start - first).ok().filter(|skip| *skip <= bytes.len())?;
            Some(bytes.slice(skip..))
        });
        found
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} lies outside the columns that were read")))
    }
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Pieces {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes from {start} lie outside the columns that were read"
            )));
        }
        Ok(bytes.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_near_together_is_read_at_once() {
        let near = |ranges: [Range<u64>; 3]| near_together(ranges.to_vec());
        assert_eq!(near([100..200, 0..100, GAP + 250..GAP + 260]), [0..200, GAP + 250..GAP + 260]);
        assert_eq!(near([GAP + 150..GAP + 160, 500..600, 0..100]).len(), 1);
    }
}
