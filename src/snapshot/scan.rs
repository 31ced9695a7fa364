//! Reading the `rows` of a snapshot from the first customer to the last, in large reads, decoded ahead on other threads.

use std::sync::Arc;

use arrow::{
    array::{Array, StringArray},
    buffer::Buffer,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{
    FileEntry, FileKind, Manifest, SnapshotError,
    blocks::{Block, Footer},
};
use crate::lake::Lake;

/// What one read brings, at least, where there is as much.
const READ_BYTES: u64 = 4 << 20;
/// Reads under way.
const AHEAD: usize = 3;

/// Customers in a row: ids, and for each view the texts, as bytes that many may share.
#[derive(Debug, Clone)]
pub struct Rows {
    ids: StringArray,
    views: Vec<(StringArray, Bytes)>,
}

impl Rows {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of the customer at `row`.
    #[must_use]
    pub fn id(&self, row: usize) -> &str {
        self.ids.value(row)
    }

    /// The text of the view at `view` of the customer at `row`; nothing where the customer is absent from it.
    #[must_use]
    pub fn text(&self, row: usize, view: usize) -> Option<&str> {
        let (texts, _) = &self.views[view];
        texts.is_valid(row).then(|| texts.value(row))
    }

    /// As [`Rows::text`], without a copy.
    #[must_use]
    pub fn bytes(&self, row: usize, view: usize) -> Option<Bytes> {
        let (texts, all) = &self.views[view];
        let offsets = texts.value_offsets();
        let place = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
        texts.is_valid(row).then(|| all.slice(place(row)..place(row + 1)))
    }
}

/// A buffer of Arrow's that `Bytes` may own.
struct Shared(Buffer);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// The rows of the snapshot of `manifest`, sorted by id.
#[must_use]
pub fn rows(lake: &Lake, manifest: &Arc<Manifest>) -> BoxStream<'static, Result<Rows, SnapshotError>> {
    let mut parts: Vec<FileEntry> = manifest.files.iter().filter(|file| file.kind == FileKind::Rows).cloned().collect();
    parts.sort_by(|a, b| a.first.cmp(&b.first));
    let (lake, manifest) = (lake.clone(), Arc::clone(manifest));
    let reads = stream::iter(parts).then(move |part| {
        let (lake, manifest) = (lake.clone(), Arc::clone(&manifest));
        async move { part_reads(lake, manifest, part).await }
    });
    reads.try_flatten().try_buffered(AHEAD).map_ok(|rows| stream::iter(rows).map(Ok)).try_flatten().boxed()
}

type Reading = futures::future::BoxFuture<'static, Result<Vec<Rows>, SnapshotError>>;

/// The reads that bring one part.
async fn part_reads(
    lake: Lake,
    manifest: Arc<Manifest>,
    part: FileEntry,
) -> Result<BoxStream<'static, Result<Reading, SnapshotError>>, SnapshotError> {
    let path = manifest.id.path(&part.path);
    let footer = Arc::new(Footer::read(&lake, &path, &part).await?);
    let mut reads: Vec<Vec<usize>> = Vec::new();
    let mut filled = READ_BYTES;
    for at in 0..footer.blocks() {
        if filled >= READ_BYTES {
            reads.push(Vec::new());
            filled = 0;
        }
        filled += footer.block(at).length;
        if let Some(read) = reads.last_mut() {
            read.push(at);
        }
    }
    let reads = reads.into_iter().map(move |blocks| -> Result<Reading, SnapshotError> {
        let (lake, path, footer) = (lake.clone(), path.clone(), Arc::clone(&footer));
        Ok(Box::pin(async move {
            let (first, last) = (footer.block(blocks[0]), footer.block(blocks[blocks.len() - 1]));
            let bytes = lake.get_range(&path, first.offset..last.offset + last.length).await?;
            let decode = move || blocks.iter().map(|at| decode(&footer, *at, first, &bytes)).collect();
            let decoded: Result<Vec<Rows>, String> =
                tokio::task::spawn_blocking(decode).await.unwrap_or_else(|error| Err(error.to_string()));
            decoded.map_err(|why| SnapshotError::Damaged { object: path.to_string(), why })
        }))
    });
    Ok(stream::iter(reads.collect::<Vec<_>>()).boxed())
}

fn decode(footer: &Footer, at: usize, first: Block, bytes: &Bytes) -> Result<Rows, String> {
    let block = footer.block(at);
    let place = |offset: u64| usize::try_from(offset - first.offset).map_err(|error| error.to_string());
    let batch = footer.decode_block(at, bytes.slice(place(block.offset)?..place(block.offset + block.length)?))?;
    let mut texts = batch.columns().iter().map(|column| {
        let texts = column.as_any().downcast_ref::<StringArray>().cloned();
        texts.ok_or_else(|| "a column that should hold text does not".to_owned())
    });
    let ids = texts.next().unwrap_or_else(|| Err("it has no columns".to_owned()))?;
    let views = texts.map(|texts| {
        let texts = texts?;
        let all = Bytes::from_owner(Shared(texts.values().clone()));
        Ok((texts, all))
    });
    Ok(Rows { ids, views: views.collect::<Result<_, String>>()? })
}
