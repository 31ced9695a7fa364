//! Byte ranges of a Parquet file in memory, addressed by their offset in the file.

use bytes::{Buf, Bytes};
use parquet::{
    errors::{ParquetError, Result as ParquetResult},
    file::reader::{ChunkReader, Length},
};

/// Bytes of a file from `offset` on.
#[derive(Debug)]
pub(super) struct FileChunk {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

/// Chunks of one file, sorted by offset: an array for one chunk, which needs no allocation, or a vector.
#[derive(Debug)]
pub(super) struct FileChunks<C>(pub(super) C);

impl<C: AsRef<[FileChunk]>> FileChunks<C> {
    /// Returns the bytes of a chunk from the file offset `start` on.
    fn tail(&self, start: u64) -> ParquetResult<Bytes> {
        let chunks = self.0.as_ref();
        let found = chunks[..chunks.partition_point(|chunk| chunk.offset <= start)].last();
        let skipped = found.and_then(|chunk| {
            let skip = usize::try_from(start - chunk.offset).ok()?;
            chunk.bytes.get(skip..).map(|rest| chunk.bytes.slice_ref(rest))
        });
        skipped.ok_or_else(|| ParquetError::EOF(format!("the bytes at offset {start} were not read")))
    }
}

impl<C: AsRef<[FileChunk]>> Length for FileChunks<C> {
    fn len(&self) -> u64 {
        self.0.as_ref().last().map_or(0, |chunk| chunk.offset + chunk.bytes.len() as u64)
    }
}

impl<C: AsRef<[FileChunk]> + Send + Sync> ChunkReader for FileChunks<C> {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.tail(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.tail(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at offset {start} were not read")));
        }
        Ok(bytes.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_by_file_offset() {
        let chunk =
            |offset, text: &'static str| FileChunk { offset, bytes: Bytes::from_static(text.as_bytes()) };
        let chunks = FileChunks([chunk(4, "abc"), chunk(10, "de")]);
        let read = |start, length| chunks.get_bytes(start, length).ok();
        assert_eq!((read(4, 3), read(5, 2)), (Some("abc".into()), Some("bc".into())));
        assert_eq!((read(10, 2), read(12, 0)), (Some("de".into()), Some("".into())));
        assert_eq!((read(3, 1), read(5, 3), read(8, 1), read(11, 2)), (None, None, None, None));
        assert_eq!(chunks.len(), 12);
    }
}
