//! Comparison of one range of customers between the snapshot to publish and the snapshots whose rows Tair
//! holds.
//!
//! Column chunks with identical bytes are equal and are not decoded. All other rows are compared one by one.

use std::{collections::BTreeSet, ops::Bound};

use super::{
    row_writer::{IdSet, RowWriter},
    sender::BatchLimit,
};
use crate::{
    snapshot::{
        SnapshotError,
        aligned_scan::{IdRange, SnapshotBlocks},
        block::EncodedBlock,
        row_scan::RowBatch,
        text_page::TextPage,
    },
    tair::Batch,
};

/// Commands for one range of customers, and how many customers of each kind they cover.
#[derive(Debug, Default)]
pub(super) struct RowChanges {
    /// Batches to send, each with the number of customers of the new snapshot that it covers.
    pub(super) batches: Vec<(Batch, u64)>,
    /// Number of customers written.
    pub(super) rows: u64,
    /// Number of customers whose row in Tair is up to date.
    pub(super) unchanged: u64,
    /// Number of customers removed.
    pub(super) removed: u64,
    /// Number of customers left out because they are erased.
    pub(super) forgotten: u64,
    /// Written customers that had an untrusted row before.
    pub(super) replaced: IdSet,
}

impl RowChanges {
    /// Adds a finished batch.
    fn end(&mut self, batch: Batch) {
        let before: u64 = self.batches.iter().map(|(_, customers)| customers).sum();
        self.batches.push((batch, self.rows + self.unchanged - before));
    }
}

/// Comparison that turns differences between snapshots into commands.
#[derive(Debug)]
pub(super) struct RowDiff {
    pub(super) row_writer: RowWriter,
    /// Number of views of the snapshot.
    pub(super) views: usize,
    pub(super) limit: BatchLimit,
    /// Customers whose keys may hold anything. Their keys are removed before they are written.
    pub(super) untrusted: IdSet,
    /// Erased customers, which are removed even if a snapshot contains them.
    pub(super) forgotten: BTreeSet<String>,
}

impl RowDiff {
    /// Returns the changes of `range`. The first snapshot is the snapshot to publish, the others are the
    /// snapshots whose rows Tair may hold.
    pub(super) fn compare(&self, range: &IdRange) -> Result<RowChanges, SnapshotError> {
        let mut changes = RowChanges::default();
        let mut batch = Batch::default();
        let mut cursors = Vec::new();
        for blocks in &range.snapshots {
            cursors.push(BlockCursor::open(blocks, range)?);
        }
        loop {
            if let [target, base] = &mut cursors[..]
                && let (Some(new), Some(old)) = (target.whole_block(), base.whole_block())
                && new.last_id() == old.last_id()
                && new.has_same(old, 0)
                && !self.may_hold_forgotten(new)
            {
                self.compare_blocks(new, old, &mut batch, &mut changes)?;
                target.skip_block();
                base.skip_block();
            } else {
                for cursor in &mut cursors {
                    cursor.load()?;
                }
                if !self.compare_customer(&mut cursors, &mut batch, &mut changes) {
                    break;
                }
            }
        }
        changes.end(batch);
        Ok(changes)
    }

    /// Checks whether an erased customer lies in the id range of `block`.
    fn may_hold_forgotten(&self, block: &EncodedBlock) -> bool {
        let after = block.previous_last_id().map_or(Bound::Unbounded, Bound::Excluded);
        let mut from = self.forgotten.range::<str, _>((after, Bound::Unbounded));
        from.next().is_some_and(|id| id.as_str() <= block.last_id())
    }

    /// Compares two blocks that hold the same customers, column by column.
    fn compare_blocks(
        &self,
        new: &EncodedBlock,
        old: &EncodedBlock,
        batch: &mut Batch,
        changes: &mut RowChanges,
    ) -> Result<(), SnapshotError> {
        let mut columns: Vec<Option<(TextPage, TextPage)>> = Vec::with_capacity(self.views);
        for column in 1..=self.views {
            let same = new.has_same(old, column);
            columns.push(if same { None } else { Some((new.text_page(column)?, old.text_page(column)?)) });
        }
        if columns.iter().all(Option::is_none) {
            changes.unchanged += new.rows();
            return Ok(());
        }
        let ids = new.text_page(0)?;
        for row in 0..ids.len() {
            let differs =
                |view: usize| columns[view].as_ref().is_some_and(|(new, old)| new.get(row) != old.get(row));
            if (0..self.views).any(differs) {
                let text = |view: usize| columns[view].as_ref().and_then(|(new, _)| new.get(row));
                self.row_writer.write(batch, new.text(ids.get(row).unwrap_or_default())?, differs, text);
                changes.rows += 1;
                self.cut(batch, changes);
            } else {
                changes.unchanged += 1;
            }
        }
        Ok(())
    }

    /// Compares the customer with the smallest id of all sides and advances past it. Returns false at the
    /// end.
    fn compare_customer(
        &self,
        cursors: &mut [BlockCursor<'_>],
        batch: &mut Batch,
        changes: &mut RowChanges,
    ) -> bool {
        let Some(id) = cursors.iter().filter_map(BlockCursor::id).min() else { return false };
        let is_here = |cursor: &BlockCursor<'_>| cursor.id() == Some(id);
        let is_forgotten = self.forgotten.contains(id);
        match cursors.split_first() {
            // Without a base, every untrusted key that is not written is removed at the end of the publish.
            Some((_, [])) if is_forgotten => changes.forgotten += 1,
            Some((target, bases)) if is_here(target) && !is_forgotten => {
                let differs = |view: usize| {
                    bases.is_empty()
                        || bases.iter().any(|base| !is_here(base) || base.text(view) != target.text(view))
                };
                if (0..self.views).any(differs) {
                    // The key may hold fields of unknown content.
                    if self.untrusted.contains(id) {
                        self.row_writer.remove(batch, id);
                        changes.replaced.insert(id);
                    }
                    self.row_writer.write(batch, id, differs, |view| target.text(view).map(str::as_bytes));
                    changes.rows += 1;
                } else {
                    changes.unchanged += 1;
                }
            }
            _ => {
                self.row_writer.remove(batch, id);
                let counter = if is_forgotten { &mut changes.forgotten } else { &mut changes.removed };
                *counter += 1;
            }
        }
        let here: Vec<bool> = cursors.iter().map(is_here).collect();
        for (cursor, _) in cursors.iter_mut().zip(here).filter(|(_, here)| *here) {
            cursor.advance();
        }
        self.cut(batch, changes);
        true
    }

    /// Ends the batch once it reaches the limit.
    fn cut(&self, batch: &mut Batch, changes: &mut RowChanges) {
        if self.limit.is_reached(batch) {
            changes.end(std::mem::take(batch));
        }
    }
}

/// Position in the blocks of one snapshot.
struct BlockCursor<'a> {
    blocks: &'a [EncodedBlock],
    until: &'a str,
    /// Decoded rows of the first of `blocks`, if it had to be decoded.
    rows: Option<RowBatch>,
    at: usize,
}

impl<'a> BlockCursor<'a> {
    fn open(snapshot: &'a SnapshotBlocks, range: &'a IdRange) -> Result<Self, SnapshotError> {
        for block in &snapshot.blocks {
            block.check()?;
        }
        let mut cursor = Self { blocks: &snapshot.blocks, until: &range.until, rows: None, at: 0 };
        if let Some(after) = &range.after
            && snapshot.begins_before
        {
            cursor.load()?;
            cursor.at = cursor.rows.as_ref().map_or(0, |rows| rows.count_up_to(after));
            cursor.leave_finished_block();
        }
        Ok(cursor)
    }

    /// Returns the block that begins at this position if all of it lies in the range.
    fn whole_block(&self) -> Option<&'a EncodedBlock> {
        self.blocks.first().filter(|block| self.rows.is_none() && block.last_id() <= self.until)
    }

    fn skip_block(&mut self) {
        self.blocks = self.blocks.get(1..).unwrap_or_default();
        (self.rows, self.at) = (None, 0);
    }

    /// Decodes the current block unless it is decoded already.
    fn load(&mut self) -> Result<(), SnapshotError> {
        if let (None, Some(block)) = (&self.rows, self.blocks.first()) {
            self.rows = Some(RowBatch::decode(block)?);
            self.leave_finished_block();
        }
        Ok(())
    }

    /// Returns the id of the current customer, or `None` at the end of the range.
    fn id(&self) -> Option<&str> {
        self.rows.as_ref().map(|rows| rows.id(self.at)).filter(|id| *id <= self.until)
    }

    fn text(&self, view: usize) -> Option<&str> {
        self.rows.as_ref().and_then(|rows| rows.text(self.at, view))
    }

    fn advance(&mut self) {
        self.at += 1;
        self.leave_finished_block();
    }

    fn leave_finished_block(&mut self) {
        if self.rows.as_ref().is_some_and(|rows| self.at >= rows.len()) {
            self.skip_block();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, HashMap},
        path::Path,
        sync::Arc,
    };

    use arrow::array::{RecordBatch, StringArray};
    use futures::TryStreamExt;
    use proptest::{collection::btree_map, prelude::*};

    use super::*;
    use crate::{
        config::LakeConfig,
        lake::Lake,
        publish::sender::BatchLimit,
        snapshot::{
            FileKind, Manifest, SnapshotFiles, SnapshotId,
            aligned_scan::scan_aligned,
            writer::{PartWriter, rows_properties, rows_schema},
        },
        tair::{Keys, codec},
    };

    /// Customers with an optional text in each of two views, and a byte that decides whether a block or part
    /// ends there.
    type Customers = BTreeMap<String, ([Option<String>; 2], u8)>;
    /// Content of Tair: key → fields.
    type Store = HashMap<String, BTreeMap<String, String>>;

    fn customers() -> impl Strategy<Value = Customers> {
        let text = || proptest::option::weighted(0.9, "[ab]{0,40}");
        btree_map("[a-c]{1,4}", ([text(), text()], any::<u8>()), 0..80)
    }

    /// Returns three snapshots: the second differs from the first in a few customers and block ends, the
    /// third in everything.
    fn snapshots() -> impl Strategy<Value = [Customers; 3]> {
        (customers(), customers(), customers(), any::<u64>()).prop_map(|(base, other, third, chosen)| {
            let mut near = base.clone();
            for (at, (id, row)) in
                other.into_iter().enumerate().filter(|(at, _)| (chosen >> (at % 64)).trailing_zeros() >= 3)
            {
                if at % 2 == 0 {
                    near.insert(id, row);
                } else {
                    near.remove(&id);
                }
            }
            [near, base, third]
        })
    }

    async fn write(lake: &Lake, number: u32, customers: &Customers) -> Arc<Manifest> {
        let id = SnapshotId::new(chrono::DateTime::UNIX_EPOCH, number);
        let schema = rows_schema(["one", "two"]);
        let (mut files, mut open): (Vec<_>, Option<PartWriter>) = (Vec::new(), None);
        for (at, (customer, (texts, end))) in customers.iter().enumerate() {
            let path = format!("rows/part-{at:05}.parquet");
            let part = match &mut open {
                Some(part) => part,
                none => none.insert(
                    PartWriter::new(lake, &id, path, FileKind::Rows, Arc::clone(&schema), rows_properties())
                        .expect("a part"),
                ),
            };
            let ids = StringArray::from(vec![customer.as_str()]);
            let views = texts.iter().map(|text| StringArray::from(vec![text.as_deref()]));
            let columns = std::iter::once(ids).chain(views).map(|column| Arc::new(column) as _).collect();
            part.write(&RecordBatch::try_new(Arc::clone(&schema), columns).expect("a row")).expect("written");
            if end % 5 == 0 {
                part.end_block().await.expect("a block");
            }
            if end % 31 == 0
                && let Some(part) = open.take()
            {
                files.push(part.finish().await.expect("a file"));
            }
        }
        if let Some(part) = open {
            files.push(part.finish().await.expect("a file"));
        }
        let view =
            |name: &str| serde_json::json!({ "name": name, "description": "", "source": "", "features": [] });
        let manifest = serde_json::json!({
            "format": 1, "id": id, "larder": "", "as_of": "1970-01-01T00:00:00Z",
            "created_at": "1970-01-01T00:00:00Z", "fingerprint": "", "customers": customers.len(),
            "views": [view("one"), view("two")], "segments": [],
            "counts": {}, "sources": [], "files": files, "stages": [],
        });
        Arc::new(serde_json::from_value(manifest).expect("a manifest"))
    }

    fn execute(batch: &Batch, store: &mut Store) {
        for command in batch.commands() {
            let words: Vec<&str> =
                command.iter().map(|word| std::str::from_utf8(word).expect("text")).collect();
            match words[0] {
                "UNLINK" => drop(store.remove(words[1])),
                "HSET" => {
                    let fields = words[2..].chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
                    store.entry(words[1].to_owned()).or_default().extend(fields);
                }
                other => panic!("{other}"),
            }
        }
    }

    /// Publishes `target` on top of `bases` into `store`, and returns the rows written, unchanged and
    /// removed.
    async fn publish(
        lake: &Lake,
        target: &Arc<Manifest>,
        forgotten: &BTreeSet<String>,
        bases: &[&Arc<Manifest>],
        store: &mut Store,
    ) -> [u64; 3] {
        let row_writer = RowWriter::new(&Keys::new("t"), target, 7);
        let diff = RowDiff {
            row_writer,
            views: 2,
            limit: BatchLimit { commands: 7 },
            untrusted: IdSet::default(),
            forgotten: forgotten.clone(),
        };
        let snapshots = std::iter::once(target).chain(bases.iter().copied());
        let snapshots: Vec<_> = snapshots.map(|manifest| SnapshotFiles::offline(lake, manifest)).collect();
        let (skipped, changes) =
            scan_aligned(&snapshots, forgotten.is_empty(), move |range| diff.compare(&range))
                .await
                .expect("footers");
        let mut counts = [0, skipped, 0];
        for changes in changes.try_collect::<Vec<_>>().await.expect("changes") {
            changes.batches.iter().for_each(|(batch, _)| execute(batch, store));
            counts = [counts[0] + changes.rows, counts[1] + changes.unchanged, counts[2] + changes.removed];
        }
        counts
    }

    fn assert_store(store: &Store, manifest: &Manifest, customers: &Customers) {
        assert_eq!(store.len(), customers.len());
        for (id, (texts, _)) in customers {
            let row = &store[&format!("t:customer:{id}")];
            for (view, text) in manifest.views.iter().zip(texts) {
                assert_eq!(row[&codec::field(view)], text.as_deref().unwrap_or("null"), "{id}");
            }
        }
    }

    #[test]
    fn incremental_publish_writes_only_differences() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        proptest!(ProptestConfig::with_cases(60), |(snapshots in snapshots())| {
            runtime.block_on(async {
                let folder = tempfile::tempdir().expect("a folder");
                let lake = Lake::open(&LakeConfig::default(), Path::new(folder.path())).expect("a lake");
                let [target, base, other] = &snapshots;
                let mut manifests = Vec::new();
                for (number, customers) in (0..).zip(&snapshots) {
                    manifests.push(write(&lake, number, customers).await);
                }
                let mut store = Store::new();
                let none = BTreeSet::new();
                let counts = publish(&lake, &manifests[1], &none, &[], &mut store).await;
                assert_eq!(counts, [base.len() as u64, 0, 0]);
                assert_store(&store, &manifests[1], base);
                // Every other row was written by an unfinished publish.
                let mut mixed = store.clone();
                let mut all = Store::new();
                publish(&lake, &manifests[2], &none, &[], &mut all).await;
                mixed.extend(all.into_iter().filter(|(key, _)| key.len() % 2 == 0));

                let before = store.clone();
                let counts = publish(&lake, &manifests[0], &none, &[&manifests[1]], &mut store).await;
                assert_store(&store, &manifests[0], target);
                let texts = |id| base.get(id).map(|before| &before.0);
                let unchanged = target.iter().filter(|(id, row)| texts(*id) == Some(&row.0)).count();
                let removed = base.keys().filter(|id| !target.contains_key(*id)).count();
                assert_eq!(counts, [target.len() - unchanged, unchanged, removed].map(|count| count as u64));

                publish(&lake, &manifests[0], &none, &[&manifests[2], &manifests[1]], &mut mixed).await;
                assert_store(&mixed, &manifests[0], target);

                // Every third customer of the other snapshot is erased.
                let forgotten: BTreeSet<String> = other.keys().step_by(3).cloned().collect();
                let mut store = before;
                publish(&lake, &manifests[0], &forgotten, &[&manifests[1]], &mut store).await;
                let mut remembered = target.clone();
                remembered.retain(|id, _| !forgotten.contains(id));
                assert_store(&store, &manifests[0], &remembered);
            });
        });
    }
}
