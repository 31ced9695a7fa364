//! Going through `rows` from the first customer to the last, past the blocks where nobody is wanted.
//!
//! Blocks that lie side by side are read at once. They pass by the cache: who goes through everything would leave nothing
//! in it for those who come back. Deadline and number of reads are those of all reads.

use std::{ops::Range, sync::Arc};

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::SnapshotReader;
use crate::snapshot::{SnapshotError, blocks::Footer};

/// What one read brings at most, unless a block is larger.
const READ_BYTES: u64 = 2 << 20;

/// Blocks side by side that hold somebody who is wanted.
#[derive(Debug, Clone)]
pub struct Stretch {
    file: usize,
    footer: Arc<Footer>,
    blocks: Range<usize>,
    /// The place of the first of its customers among all of the snapshot, counted from 0.
    start: u64,
}

/// The bytes of a [`Stretch`].
#[derive(Debug)]
pub struct ReadStretch {
    object: String,
    stretch: Stretch,
    bytes: Bytes,
}

impl SnapshotReader {
    /// The stretches in which somebody is `wanted`, which is asked of the places of a block's customers.
    ///
    /// # Errors
    /// As [`SnapshotReader::row`].
    pub async fn stretches(
        &self,
        wanted: impl Fn(Range<u64>) -> bool + Send,
    ) -> Result<Vec<Stretch>, Arc<SnapshotError>> {
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut start = 0;
        for &file in &self.parts {
            let footer = self.footer(file).await?;
            let mut open: Option<(Stretch, u64)> = None;
            for at in 0..footer.blocks() {
                let (rows, bytes) = (footer.rows_of(at), footer.block(at).length);
                if wanted(start..start + rows) {
                    match &mut open {
                        Some((stretch, length))
                            if stretch.blocks.end == at && *length + bytes <= READ_BYTES =>
                        {
                            stretch.blocks.end += 1;
                            *length += bytes;
                        }
                        _ => {
                            stretches.extend(open.take().map(|(stretch, _)| stretch));
                            open = Some((
                                Stretch { file, footer: Arc::clone(&footer), blocks: at..at + 1, start },
                                bytes,
                            ));
                        }
                    }
                }
                start += rows;
            }
            stretches.extend(open.map(|(stretch, _)| stretch));
        }
        Ok(stretches)
    }

    /// Reads a stretch.
    ///
    /// # Errors
    /// As [`SnapshotReader::row`].
    pub async fn stretch(&self, stretch: Stretch) -> Result<ReadStretch, Arc<SnapshotError>> {
        let path = self.manifest.id.path(&self.manifest.files[stretch.file].path);
        let (first, last) =
            (stretch.footer.block(stretch.blocks.start), stretch.footer.block(stretch.blocks.end - 1));
        let read = self.cache.read(&self.lake, &path, first.offset..last.offset + last.length).await;
        let bytes = read.inspect_err(|error| self.cache.count_error(error))?;
        Ok(ReadStretch { object: path.to_string(), stretch, bytes })
    }
}

impl ReadStretch {
    /// Decodes its blocks one by one, each with the place of its first customer: the id, and a text column per view.
    ///
    /// # Errors
    /// Of a damaged block, or what `each` makes of one.
    pub fn decode(
        &self,
        mut each: impl FnMut(u64, &RecordBatch) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let Stretch { footer, blocks, .. } = &self.stretch;
        let damaged = |why: String| SnapshotError::Damaged { object: self.object.clone(), why };
        let base = footer.block(blocks.start).offset;
        let mut start = self.stretch.start;
        for at in blocks.clone() {
            let block = footer.block(at);
            let place =
                |offset: u64| usize::try_from(offset - base).map_err(|error| damaged(error.to_string()));
            let bytes = self.bytes.slice(place(block.offset)?..place(block.offset + block.length)?);
            each(start, &footer.decode_block(at, bytes).map_err(damaged)?)?;
            start += footer.rows_of(at);
        }
        Ok(())
    }
}
