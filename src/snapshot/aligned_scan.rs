//! Scan of the `rows` of several snapshots side by side: the same range of ids of each, read in large ranges
//! and processed on blocking threads.
//!
//! The ranges of ids follow from the footers alone, so they can be processed independently. Blocks are handed
//! on encoded: a comparison may find that there is nothing to decode.

use std::{collections::HashSet, ops::Range, sync::Arc};

use futures::{
    StreamExt, TryStreamExt,
    future::try_join_all,
    stream::{self, BoxStream},
};

use super::{FileKind, SnapshotError, SnapshotFiles, block::EncodedBlock, footer::Footer, run_blocking};
use crate::telemetry::in_current_span;

/// Approximate length of a range read.
const READ_BYTES: u64 = if cfg!(test) { 400 } else { 4 << 20 };
/// Number of ranges of ids in progress.
const AHEAD: usize = 4;
/// Number of footers that are read at a time.
const FOOTERS: usize = 8;

/// Blocks of one snapshot that hold the customers of an [`IdRange`].
#[derive(Debug)]
pub struct SnapshotBlocks {
    /// The blocks. The last one may also hold customers after the range.
    pub blocks: Vec<EncodedBlock>,
    /// Whether the first block may also hold customers before the range.
    pub begins_before: bool,
}

/// All customers of several snapshots with an id greater than `after` and not greater than `until`.
#[derive(Debug)]
pub struct IdRange {
    /// End of the range before; `None` for the first range.
    pub after: Option<String>,
    /// Last id of the range; a block of a snapshot ends with this id.
    pub until: String,
    /// The blocks of each snapshot, in the order of the scan.
    pub snapshots: Vec<SnapshotBlocks>,
}

/// The blocks of one snapshot in the order of ids.
struct BlockList {
    files: SnapshotFiles,
    parts: Vec<(usize, Arc<Footer>)>,
    /// Position in `parts`, and block in the part.
    blocks: Vec<(usize, usize)>,
}

impl BlockList {
    async fn open(files: &SnapshotFiles, parts: Vec<usize>) -> Result<Self, SnapshotError> {
        let read_footer = |file: usize| {
            let files = files.clone();
            // Decoding takes longer than reading, so footers are decoded in parallel.
            let task = tokio::spawn(in_current_span(async move { files.footer(file).await }));
            async move {
                let footer =
                    task.await.map_err(|source| SnapshotError::Task { task: "read a footer", source })??;
                Ok::<_, SnapshotError>((file, Arc::new(footer)))
            }
        };
        let parts: Vec<(usize, Arc<Footer>)> =
            stream::iter(parts).map(read_footer).buffered(FOOTERS).try_collect().await?;
        let blocks_of = |(part, (_, footer)): (usize, &(usize, Arc<Footer>))| {
            (0..footer.blocks()).map(move |at| (part, at))
        };
        let blocks = parts.iter().enumerate().flat_map(blocks_of).collect();
        Ok(Self { files: files.clone(), parts, blocks })
    }

    fn last_id(&self, position: usize) -> Option<&str> {
        self.blocks.get(position).map(|(part, at)| self.parts[*part].1.last_id(*at))
    }

    fn length(&self, position: usize) -> u64 {
        self.blocks.get(position).map_or(0, |(part, at)| {
            let range = self.parts[*part].1.range(*at..at + 1);
            range.end - range.start
        })
    }

    /// Reads the blocks at `positions`, one range read per part.
    async fn read(&self, positions: Range<usize>) -> Result<Vec<EncodedBlock>, SnapshotError> {
        let runs = self.blocks[positions].chunk_by(|a, b| a.0 == b.0).map(|blocks| {
            let (file, footer) = &self.parts[blocks[0].0];
            self.files.read_run(*file, footer, blocks[0].1..blocks[blocks.len() - 1].1 + 1)
        });
        Ok(try_join_all(runs).await?.concat())
    }
}

/// Bounds of an [`IdRange`], and the positions of the blocks of each snapshot.
struct RangePlan {
    after: Option<String>,
    until: String,
    snapshots: Vec<(Range<usize>, bool)>,
}

/// Divides the ids of all `snapshots` into ranges.
fn plan(snapshots: &[BlockList]) -> Vec<RangePlan> {
    let mut plans = Vec::new();
    let mut positions = vec![0; snapshots.len()];
    let mut after: Option<String> = None;
    let budget = READ_BYTES * snapshots.len() as u64;
    loop {
        let (mut ends, mut bytes, mut until): (_, _, Option<&str>) = (positions.clone(), 0, None);
        while let Some(last) = snapshots.iter().zip(&ends).filter_map(|(list, end)| list.last_id(*end)).min()
        {
            let mut all_end_here = true;
            for (list, end) in snapshots.iter().zip(&mut ends) {
                if list.last_id(*end) == Some(last) {
                    bytes += list.length(*end);
                    *end += 1;
                } else {
                    all_end_here &= list.last_id(*end).is_none();
                }
            }
            until = Some(last);
            // A range preferably ends where blocks of all snapshots end, so that no block is read twice.
            if bytes >= budget && all_end_here || bytes >= 2 * budget {
                break;
            }
        }
        let Some(until) = until else { return plans };
        let blocks = snapshots.iter().zip(&positions).zip(&ends).map(|((list, position), end)| {
            let ends_here = *end > *position && list.last_id(end - 1) == Some(until);
            let behind = if ends_here { *end } else { (end + 1).min(list.blocks.len()) };
            let before = position.checked_sub(1).and_then(|before| list.last_id(before));
            (*position..behind, after.is_some() && before != after.as_deref())
        });
        let blocks = blocks.collect();
        plans.push(RangePlan { after: after.take(), until: until.to_owned(), snapshots: blocks });
        after = Some(until.to_owned());
        positions = ends;
    }
}

/// Results of an aligned scan, in the order of ids.
pub type Aligned<T> = BoxStream<'static, Result<T, SnapshotError>>;

/// Streams the results of `work` on each range of ids of `snapshots`. With `skip_same`, parts that all
/// snapshots share are skipped. Also returns the number of customers in skipped parts.
///
/// # Errors
/// [`SnapshotError::Lake`], [`SnapshotError::Timeout`], or [`SnapshotError::Damaged`] for a footer; in the
/// stream also for blocks.
pub async fn scan_aligned<T: Send + 'static>(
    snapshots: &[SnapshotFiles],
    skip_same: bool,
    work: impl Fn(IdRange) -> Result<T, SnapshotError> + Send + Sync + 'static,
) -> Result<(u64, Aligned<T>), SnapshotError> {
    let parts = |files: &SnapshotFiles| files.manifest.parts(FileKind::Rows);
    let hashes = |files: &SnapshotFiles| -> HashSet<String> {
        parts(files).into_iter().map(|file| files.entry(file).sha256.clone()).collect()
    };
    let mut shared = HashSet::new();
    if let [first, second, others @ ..] = snapshots
        && skip_same
    {
        shared = hashes(first);
        for other in [second].into_iter().chain(others).map(hashes) {
            shared.retain(|hash| other.contains(hash));
        }
    }
    let is_shared = |files: &SnapshotFiles, file: usize| shared.contains(&files.entry(file).sha256);
    let skipped = snapshots.first().map_or(0, |files| {
        let skipped = parts(files).into_iter().filter(|file| is_shared(files, *file));
        skipped.map(|file| files.entry(file).rows).sum()
    });
    let opened = snapshots.iter().map(|files| {
        BlockList::open(files, parts(files).into_iter().filter(|file| !is_shared(files, *file)).collect())
    });
    let lists = try_join_all(opened).await?;
    let (plans, lists, work) = (plan(&lists), Arc::new(lists), Arc::new(work));
    let tasks =
        stream::iter(plans).map(move |plan| {
            // A task of its own makes progress while the consumer is busy.
            let task = tokio::spawn(in_current_span(process(plan, Arc::clone(&lists), Arc::clone(&work))));
            async move {
                task.await.map_err(|source| SnapshotError::Task { task: "read a range of ids", source })?
            }
        });
    Ok((skipped, tasks.buffered(AHEAD).boxed()))
}

/// Reads a range of ids and processes it on a blocking thread.
async fn process<T: Send + 'static>(
    plan: RangePlan,
    lists: Arc<Vec<BlockList>>,
    work: Arc<impl Fn(IdRange) -> Result<T, SnapshotError> + Send + Sync + 'static>,
) -> Result<T, SnapshotError> {
    let snapshots = lists.iter().zip(plan.snapshots).map(|(list, (positions, begins_before))| async move {
        Ok::<_, SnapshotError>(SnapshotBlocks { blocks: list.read(positions).await?, begins_before })
    });
    let range = IdRange { after: plan.after, until: plan.until, snapshots: try_join_all(snapshots).await? };
    run_blocking("process a range of ids", move || work(range)).await?
}
