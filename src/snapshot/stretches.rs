//! The `rows` of several snapshots side by side: the same stretch of ids of each, read in large reads, worked on by other threads.
//!
//! Where a stretch begins and ends follows from the footers alone, so stretches need not know of each other. Blocks are handed
//! on as they lie in the lake: whoever compares them may find that there is nothing to decode.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    future::try_join_all,
    stream::{self, BoxStream},
};
use object_store::path::Path;
use parquet::arrow::ProjectionMask;

use super::{FileEntry, FileKind, Manifest, SnapshotError, blocks::Footer, scan::Rows, texts::Texts};
use crate::lake::Lake;

/// What one read of a snapshot brings, about.
const READ_BYTES: u64 = if cfg!(test) { 400 } else { 4 << 20 };
/// Stretches under way.
const AHEAD: usize = 4;
/// Footers read at a time.
const FOOTERS: usize = 8;

/// A block as it lies in the lake.
#[derive(Debug, Clone)]
pub struct EncodedBlock {
    part: Arc<Part>,
    at: usize,
    bytes: Bytes,
}

impl EncodedBlock {
    /// The number of its customers.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.part.footer.rows_of(self.at)
    }

    /// What all of its ids are greater than; nothing where that is not known.
    #[must_use]
    pub fn after(&self) -> Option<&[u8]> {
        self.at.checked_sub(1).map(|before| self.part.footer.last_id(before))
    }

    /// Its greatest id.
    #[must_use]
    pub fn last_id(&self) -> &[u8] {
        self.part.footer.last_id(self.at)
    }

    /// Whether `column` is encoded as in `other`, and so holds the same. The first one holds the ids.
    #[must_use]
    pub fn has_same(&self, other: &Self, column: usize) -> bool {
        let encoded = |block: &Self| block.part.footer.column(block.at, column);
        match (encoded(self), encoded(other)) {
            (Some((mine, codec)), Some((theirs, other_codec))) => {
                codec == other_codec && self.rows() == other.rows() && self.bytes[mine] == other.bytes[theirs]
            }
            _ => false,
        }
    }

    /// Checks the bytes.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], as of all that follow.
    pub fn check(&self) -> Result<(), SnapshotError> {
        self.part.footer.check_block(self.at, &self.bytes).map_err(|why| self.damaged(why))
    }

    /// All columns.
    ///
    /// # Errors
    /// As [`EncodedBlock::check`].
    pub fn decode(&self) -> Result<Rows, SnapshotError> {
        let batch = self.part.footer.decode_columns(self.at, self.bytes.clone(), ProjectionMask::all());
        batch.and_then(Rows::try_from).map_err(|why| self.damaged(why))
    }

    /// One column.
    ///
    /// # Errors
    /// As [`EncodedBlock::check`].
    pub fn column(&self, column: usize) -> Result<Texts, SnapshotError> {
        self.part.footer.texts(self.at, self.bytes.clone(), column).map_err(|why| self.damaged(why))
    }

    /// The text in `bytes`, which are some of its.
    ///
    /// # Errors
    /// As [`EncodedBlock::check`].
    pub fn text<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, SnapshotError> {
        std::str::from_utf8(bytes).map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, why: String) -> SnapshotError {
        SnapshotError::Damaged { object: self.part.path.to_string(), why }
    }
}

/// The customers of one snapshot in a stretch.
#[derive(Debug)]
pub struct Side {
    /// The blocks that hold them. The last one may also hold some from behind the stretch.
    pub blocks: Vec<EncodedBlock>,
    /// Whether the first one may also hold some from before it.
    pub begins_before: bool,
}

/// Everybody whose id is greater than `after` and not greater than `until`, in each of the snapshots.
#[derive(Debug)]
pub struct Stretch {
    /// The end of the stretch before.
    pub after: Option<String>,
    /// The last id, which one of the snapshots has.
    pub until: String,
    /// By snapshot, in the order asked for.
    pub sides: Vec<Side>,
}

/// A part of a snapshot.
#[derive(Debug)]
struct Part {
    path: Path,
    footer: Footer,
}

/// The blocks of one snapshot, in order.
struct Blocks {
    parts: Vec<Arc<Part>>,
    blocks: Vec<(usize, usize)>,
}

impl Blocks {
    async fn open(lake: &Lake, manifest: &Manifest, files: Vec<FileEntry>) -> Result<Self, SnapshotError> {
        let part = |file: FileEntry| {
            let (lake, path) = (lake.clone(), manifest.id.path(&file.path));
            // Decoding is most of it.
            let reading = tokio::spawn(async move {
                let footer = Footer::read(&lake, &path, &file).await?;
                Ok::<_, SnapshotError>(Arc::new(Part { path, footer }))
            });
            async move { reading.await.map_err(|error| panicked(&error))? }
        };
        let parts: Vec<Arc<Part>> = stream::iter(files).map(part).buffered(FOOTERS).try_collect().await?;
        let of = |(number, part): (usize, &Arc<Part>)| (0..part.footer.blocks()).map(move |at| (number, at));
        let blocks = parts.iter().enumerate().flat_map(of).collect();
        Ok(Self { parts, blocks })
    }

    fn last_id(&self, place: usize) -> Option<&[u8]> {
        self.blocks.get(place).map(|(part, at)| self.parts[*part].footer.last_id(*at))
    }

    fn length(&self, place: usize) -> u64 {
        self.blocks.get(place).map_or(0, |(part, at)| self.parts[*part].footer.block(*at).length)
    }

    /// Reads the blocks of `places`, each part with one read.
    async fn read(
        &self,
        lake: &Lake,
        places: std::ops::Range<usize>,
    ) -> Result<Vec<EncodedBlock>, SnapshotError> {
        let of_parts = self.blocks[places].chunk_by(|a, b| a.0 == b.0).map(|blocks| async move {
            let part = &self.parts[blocks[0].0];
            let (first, last) =
                (part.footer.block(blocks[0].1), part.footer.block(blocks[blocks.len() - 1].1));
            let bytes = lake.get_range(&part.path, first.offset..last.offset + last.length).await?;
            let block = |(_, at): &(usize, usize)| {
                let block = part.footer.block(*at);
                let place = |offset: u64| usize::try_from(offset - first.offset).unwrap_or(usize::MAX);
                let bytes = bytes.slice(place(block.offset)..place(block.offset + block.length));
                EncodedBlock { part: Arc::clone(part), at: *at, bytes }
            };
            Ok::<_, SnapshotError>(blocks.iter().map(block).collect::<Vec<_>>())
        });
        Ok(try_join_all(of_parts).await?.concat())
    }
}

/// Where a stretch lies in each snapshot.
struct Plan {
    after: Option<String>,
    until: String,
    sides: Vec<(std::ops::Range<usize>, bool)>,
}

/// Cuts the ids of all `snapshots` into stretches.
fn plan(snapshots: &[Blocks]) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut places = vec![0; snapshots.len()];
    let mut after: Option<Vec<u8>> = None;
    let text = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
    let budget = READ_BYTES * snapshots.len() as u64;
    loop {
        let (mut ends, mut bytes, mut until): (_, _, Option<&[u8]>) = (places.clone(), 0, None);
        while let Some(last) =
            snapshots.iter().zip(&ends).filter_map(|(blocks, end)| blocks.last_id(*end)).min()
        {
            let mut together = true;
            for (blocks, end) in snapshots.iter().zip(&mut ends) {
                if blocks.last_id(*end) == Some(last) {
                    bytes += blocks.length(*end);
                    *end += 1;
                } else {
                    together &= blocks.last_id(*end).is_none();
                }
            }
            until = Some(last);
            // Rather where blocks of all snapshots end.
            if bytes >= budget && together || bytes >= 2 * budget {
                break;
            }
        }
        let Some(until) = until else { return plans };
        let sides = snapshots.iter().zip(&places).zip(&ends).map(|((blocks, place), end)| {
            let ends_here = *end > *place && blocks.last_id(end - 1) == Some(until);
            let behind = if ends_here { *end } else { (end + 1).min(blocks.blocks.len()) };
            let before = place.checked_sub(1).and_then(|before| blocks.last_id(before));
            (*place..behind, after.is_some() && before != after.as_deref())
        });
        plans.push(Plan { after: after.as_deref().map(text), until: text(until), sides: sides.collect() });
        after = Some(until.to_vec());
        places = ends;
    }
}

/// What `work` makes of the `rows` of `manifests`, stretch by stretch, in order; where `skips_same`, parts that are the same in all of
/// them are left out. Also returns how many customers those hold.
///
/// # Errors
/// Of the lake, or of a damaged part.
pub async fn stretches<T: Send + 'static>(
    lake: &Lake,
    manifests: &[&Arc<Manifest>],
    skips_same: bool,
    work: impl Fn(Stretch) -> Result<T, SnapshotError> + Send + Sync + 'static,
) -> Result<(u64, BoxStream<'static, Result<T, SnapshotError>>), SnapshotError> {
    let parts = |manifest: &Manifest| -> Vec<FileEntry> {
        let mut parts: Vec<_> =
            manifest.files.iter().filter(|file| file.kind == FileKind::Rows).cloned().collect();
        parts.sort_by(|a, b| a.first.cmp(&b.first));
        parts
    };
    let in_all = |file: &FileEntry| {
        let has = |manifest: &&Arc<Manifest>| {
            let same = |other: &FileEntry| other.kind == FileKind::Rows && other.sha256 == file.sha256;
            manifest.files.iter().any(same)
        };
        skips_same && manifests.len() > 1 && manifests.iter().all(has)
    };
    let same = manifests
        .first()
        .map_or(0, |first| parts(first).iter().filter(|file| in_all(file)).map(|file| file.rows).sum());
    let opened = manifests.iter().map(|manifest| {
        Blocks::open(lake, manifest, parts(manifest).into_iter().filter(|file| !in_all(file)).collect())
    });
    let snapshots = try_join_all(opened).await?;
    let (plans, snapshots, work) = (plan(&snapshots), Arc::new(snapshots), Arc::new(work));
    let lake = lake.clone();
    let tasks = stream::iter(plans).map(move |plan| {
        let (lake, snapshots, work) = (lake.clone(), Arc::clone(&snapshots), Arc::clone(&work));
        // Goes on by itself while whoever takes what was made is busy.
        let task = tokio::spawn(async move {
            let sides = snapshots.iter().zip(plan.sides).map(|(blocks, (places, begins_before))| {
                let lake = &lake;
                async move {
                    Ok::<_, SnapshotError>(Side { blocks: blocks.read(lake, places).await?, begins_before })
                }
            });
            let stretch = Stretch { after: plan.after, until: plan.until, sides: try_join_all(sides).await? };
            tokio::task::spawn_blocking(move || work(stretch)).await.map_err(|error| panicked(&error))?
        });
        async move { task.await.map_err(|error| panicked(&error))? }
    });
    Ok((same, tasks.buffered(AHEAD).boxed()))
}

fn panicked(error: &tokio::task::JoinError) -> SnapshotError {
    SnapshotError::Damaged { object: "rows".to_owned(), why: error.to_string() }
}
