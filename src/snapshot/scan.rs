//! Reading the `rows` of a snapshot, or a ranking, from the first customer to the last, in large reads, decoded ahead on other threads.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{FileEntry, FileKind, Manifest, SnapshotError, SnapshotId, blocks::Footer};
use crate::lake::Lake;

/// What one read brings, at least, where there is as much.
const READ_BYTES: u64 = 4 << 20;
/// Reads under way.
const AHEAD: usize = 3;

/// Customers in a row: ids, and for each view the texts.
#[derive(Debug, Clone)]
pub struct Rows {
    ids: StringArray,
    views: Vec<StringArray>,
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
        let texts = &self.views[view];
        texts.is_valid(row).then(|| texts.value(row))
    }

    /// How many there are whose id is at most `id`; they come first.
    #[must_use]
    pub fn up_to(&self, id: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.id(middle) <= id { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl TryFrom<RecordBatch> for Rows {
    type Error = String;

    fn try_from(batch: RecordBatch) -> Result<Self, String> {
        let mut texts = batch.columns().iter().map(|column| {
            let texts = column.as_any().downcast_ref::<StringArray>().cloned();
            texts.ok_or_else(|| "a column that should hold text does not".to_owned())
        });
        let ids = texts.next().unwrap_or_else(|| Err("it has no columns".to_owned()))?;
        Ok(Self { ids, views: texts.collect::<Result<_, _>>()? })
    }
}

/// The rows of the snapshot of `manifest`, sorted by id.
#[must_use]
pub fn rows(lake: &Lake, manifest: &Arc<Manifest>) -> BoxStream<'static, Result<Rows, SnapshotError>> {
    let mut parts: Vec<FileEntry> =
        manifest.files.iter().filter(|file| file.kind == FileKind::Rows).cloned().collect();
    parts.sort_by(|a, b| a.first.cmp(&b.first));
    blocks(lake, &manifest.id, parts, |footer, at, bytes| footer.decode_block(at, bytes)?.try_into())
}

/// The blocks of `files`, in order, as `decode` gives them.
fn blocks<T: Send + 'static>(
    lake: &Lake,
    id: &SnapshotId,
    files: Vec<FileEntry>,
    decode: fn(&Footer, usize, Bytes) -> Result<T, String>,
) -> BoxStream<'static, Result<T, SnapshotError>> {
    let (lake, id) = (lake.clone(), id.clone());
    let reads = stream::iter(files).then(move |file| {
        let (lake, id) = (lake.clone(), id.clone());
        async move { reads(lake, &id, file, decode).await }
    });
    reads
        .try_flatten()
        .try_buffered(AHEAD)
        .map_ok(|decoded| stream::iter(decoded).map(Ok))
        .try_flatten()
        .boxed()
}

type Reading<T> = futures::future::BoxFuture<'static, Result<Vec<T>, SnapshotError>>;

/// The reads that bring one file.
async fn reads<T: Send + 'static>(
    lake: Lake,
    id: &SnapshotId,
    file: FileEntry,
    decode: fn(&Footer, usize, Bytes) -> Result<T, String>,
) -> Result<BoxStream<'static, Result<Reading<T>, SnapshotError>>, SnapshotError> {
    let path = id.path(&file.path);
    let footer = Arc::new(Footer::read(&lake, &path, &file).await?);
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
    let reads = reads.into_iter().map(move |blocks| -> Result<Reading<T>, SnapshotError> {
        let (lake, path, footer) = (lake.clone(), path.clone(), Arc::clone(&footer));
        Ok(Box::pin(async move {
            let (first, last) = (footer.block(blocks[0]), footer.block(blocks[blocks.len() - 1]));
            let bytes = lake.get_range(&path, first.offset..last.offset + last.length).await?;
            let place = move |offset: u64| usize::try_from(offset - first.offset).unwrap_or(usize::MAX);
            let decode_one = move |at: &usize| {
                let block = footer.block(*at);
                decode(&footer, *at, bytes.slice(place(block.offset)..place(block.offset + block.length)))
            };
            let decode_all = move || blocks.iter().map(decode_one).collect();
            let decoded: Result<Vec<T>, String> =
                tokio::task::spawn_blocking(decode_all).await.unwrap_or_else(|error| Err(error.to_string()));
            decoded.map_err(|why| SnapshotError::Damaged { object: path.to_string(), why })
        }))
    });
    Ok(stream::iter(reads.collect::<Vec<_>>()).boxed())
}

/// The ids of a ranking, best first, in pages.
pub struct Pages {
    blocks: BoxStream<'static, Result<StringArray, SnapshotError>>,
    /// What is left of the last block.
    rest: Option<StringArray>,
    size: usize,
}

/// Ids of a page, as pieces of blocks.
#[derive(Debug, Default)]
pub struct Page(Vec<StringArray>);

impl Page {
    /// The ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|piece| piece.iter().flatten())
    }
}

impl Pages {
    /// Those of `file` of the snapshot `id`, `size` ids each but the last.
    #[must_use]
    pub fn open(lake: &Lake, id: &SnapshotId, file: &FileEntry, size: usize) -> Self {
        let blocks = blocks(lake, id, vec![file.clone()], |footer, at, bytes| {
            footer.check_block(at, &bytes)?;
            let Rows { ids, .. } = footer.decode_column(at, bytes, 0)?.try_into()?;
            Ok(ids)
        });
        Self { blocks, rest: None, size }
    }

    /// The next page.
    ///
    /// # Errors
    /// Of the lake, or of a damaged file.
    pub async fn next(&mut self) -> Result<Option<Page>, SnapshotError> {
        let (mut page, mut missing) = (Page::default(), self.size);
        while missing > 0 {
            let block = match self.rest.take().filter(|rest| !rest.is_empty()) {
                Some(rest) => rest,
                None => match self.blocks.try_next().await? {
                    Some(block) => block,
                    None => break,
                },
            };
            let length = missing.min(block.len());
            page.0.push(block.slice(0, length));
            self.rest = Some(block.slice(length, block.len() - length));
            missing -= length;
        }
        Ok((missing < self.size).then_some(page))
    }
}
