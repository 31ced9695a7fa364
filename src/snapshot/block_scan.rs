//! Scans of whole files: blocks in order, read in large ranges ahead of the consumer and decoded on blocking
//! threads.

use std::{ops::Range, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{SnapshotError, block::EncodedBlock, files::SnapshotFiles, footer::Footer, run_blocking};

/// Maximum length of a range read, unless a block is longer.
const READ_BYTES: u64 = 4 << 20;
/// Number of range reads in flight.
const AHEAD: usize = 3;

impl SnapshotFiles {
    /// Streams the blocks of `files`, checked, as `decode` returns them.
    pub(super) fn scan_blocks<T: Send + 'static>(
        &self,
        files: Vec<usize>,
        decode: impl Fn(&EncodedBlock) -> Result<T, SnapshotError> + Clone + Send + 'static,
    ) -> BoxStream<'static, Result<T, SnapshotError>> {
        let this = self.clone();
        let runs = stream::iter(files).then(move |file| {
            let (this, decode) = (this.clone(), decode.clone());
            async move {
                let footer = Arc::new(this.footer(file).await?);
                let blocks = 0..footer.blocks();
                Ok::<_, SnapshotError>(this.scan_some(file, footer, blocks, decode))
            }
        });
        runs.try_flatten().boxed()
    }

    /// Streams the adjacent `blocks` of `file`, checked, as `decode` returns them.
    pub(super) fn scan_some<T: Send + 'static>(
        &self,
        file: usize,
        footer: Arc<Footer>,
        blocks: Range<usize>,
        decode: impl Fn(&EncodedBlock) -> Result<T, SnapshotError> + Clone + Send + 'static,
    ) -> BoxStream<'static, Result<T, SnapshotError>> {
        let this = self.clone();
        let runs = footer.runs(blocks, READ_BYTES).into_iter().map(move |blocks| {
            Ok(this.clone().decode_run(file, Arc::clone(&footer), blocks, decode.clone()))
        });
        stream::iter(runs)
            .try_buffered(AHEAD)
            .map_ok(|decoded| stream::iter(decoded).map(Ok))
            .try_flatten()
            .boxed()
    }

    async fn decode_run<T: Send + 'static>(
        self,
        file: usize,
        footer: Arc<Footer>,
        blocks: Range<usize>,
        decode: impl Fn(&EncodedBlock) -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<Vec<T>, SnapshotError> {
        let run = self.read_run(file, &footer, blocks).await?;
        let decode_all = move || run.iter().map(|block| block.check().and_then(|()| decode(block))).collect();
        let decoded: Result<_, _> = run_blocking("decode blocks", decode_all).await?;
        decoded.map_err(|error| self.count_error(error))
    }
}
