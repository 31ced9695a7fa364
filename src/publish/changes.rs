//! What has to be written of a stretch of customers: the snapshot to publish against those whose rows Tair holds.
//!
//! What is encoded alike is alike and is not decoded. Everything else is compared row by row.

use std::{collections::BTreeSet, ops::Bound};

use super::{
    rows::{IdSet, RowWriter},
    sender::Limit,
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

/// Commands, and what they come to.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Each with the number of customers of the new snapshot that it goes through.
    pub(super) batches: Vec<(Batch, u64)>,
    /// Customers written.
    pub(super) rows: u64,
    /// Customers that are as they were.
    pub(super) unchanged: u64,
    /// Customers removed.
    pub(super) removed: u64,
    /// Customers left out since they are forgotten.
    pub(super) forgotten: u64,
    /// Of those written, the ones that were there.
    pub(super) replaced: IdSet,
}

impl Changes {
    fn end(&mut self, batch: Batch) {
        let before: u64 = self.batches.iter().map(|(_, customers)| customers).sum();
        self.batches.push((batch, self.rows + self.unchanged - before));
    }
}

/// Makes the commands that change customers.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) row_writer: RowWriter,
    pub(super) views: usize,
    pub(super) limit: Limit,
    /// Customers whose keys may hold anything: they are removed before they are written.
    pub(super) there: IdSet,
    /// Customers who are removed, whatever the snapshots say.
    pub(super) forgotten: BTreeSet<String>,
}

impl Comparison {
    /// The changes of `stretch`, whose first side is the snapshot to publish, and whose others are what Tair may hold.
    pub(super) fn of(&self, range: &IdRange) -> Result<Changes, SnapshotError> {
        let mut changes = Changes::default();
        let mut batch = Batch::default();
        let mut places = Vec::new();
        for side in &range.snapshots {
            places.push(Place::open(side, range)?);
        }
        loop {
            if let [target, base] = &mut places[..]
                && let (Some(new), Some(old)) = (target.whole_block(), base.whole_block())
                && new.last_id() == old.last_id()
                && new.has_same(old, 0)
                && !self.may_hold_forgotten(new)
            {
                self.blocks(new, old, &mut batch, &mut changes)?;
                target.skip_block();
                base.skip_block();
            } else {
                for place in &mut places {
                    place.load()?;
                }
                if !self.customer(&mut places, &mut batch, &mut changes) {
                    break;
                }
            }
        }
        changes.end(batch);
        Ok(changes)
    }

    fn may_hold_forgotten(&self, block: &EncodedBlock) -> bool {
        let after = block.previous_last_id().map_or(Bound::Unbounded, Bound::Excluded);
        let mut from = self.forgotten.range::<str, _>((after, Bound::Unbounded));
        from.next().is_some_and(|id| id.as_str() <= block.last_id())
    }

    /// Compares two blocks of the same customers.
    fn blocks(
        &self,
        new: &EncodedBlock,
        old: &EncodedBlock,
        batch: &mut Batch,
        changes: &mut Changes,
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

    /// Compares the next customer, if there is one, and goes on behind it.
    fn customer(&self, places: &mut [Place<'_>], batch: &mut Batch, changes: &mut Changes) -> bool {
        let Some(id) = places.iter().filter_map(Place::id).min() else { return false };
        let is_here = |place: &Place<'_>| place.id() == Some(id);
        let is_forgotten = self.forgotten.contains(id);
        match places.split_first() {
            // Where nothing is known, whatever is there and not written is removed in the end.
            Some((_, [])) if is_forgotten => changes.forgotten += 1,
            Some((target, bases)) if is_here(target) && !is_forgotten => {
                let differs = |view: usize| {
                    bases.is_empty()
                        || bases.iter().any(|base| !is_here(base) || base.text(view) != target.text(view))
                };
                if (0..self.views).any(differs) {
                    // Whatever fields the key has, they are of no use.
                    if self.there.contains(id) {
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
        let here: Vec<bool> = places.iter().map(is_here).collect();
        for (place, _) in places.iter_mut().zip(here).filter(|(_, here)| *here) {
            place.advance();
        }
        self.cut(batch, changes);
        true
    }

    fn cut(&self, batch: &mut Batch, changes: &mut Changes) {
        if self.limit.is_reached(batch) {
            changes.end(std::mem::take(batch));
        }
    }
}

/// A place in one side of a stretch.
struct Place<'a> {
    blocks: &'a [EncodedBlock],
    until: &'a str,
    /// The first of `blocks`, where it had to be decoded.
    rows: Option<RowBatch>,
    at: usize,
}

impl<'a> Place<'a> {
    fn open(side: &'a SnapshotBlocks, range: &'a IdRange) -> Result<Self, SnapshotError> {
        for block in &side.blocks {
            block.check()?;
        }
        let mut place = Self { blocks: &side.blocks, until: &range.until, rows: None, at: 0 };
        if let Some(after) = range.after.as_ref().filter(|_| side.begins_before) {
            place.load()?;
            place.at = place.rows.as_ref().map_or(0, |rows| rows.count_up_to(after));
            place.settle();
        }
        Ok(place)
    }

    /// The block that begins here, where it lies in the stretch as a whole.
    fn whole_block(&self) -> Option<&'a EncodedBlock> {
        self.blocks.first().filter(|block| self.rows.is_none() && block.last_id() <= self.until)
    }

    fn skip_block(&mut self) {
        self.blocks = self.blocks.get(1..).unwrap_or_default();
        (self.rows, self.at) = (None, 0);
    }

    /// Decodes the block here, if it is not yet.
    fn load(&mut self) -> Result<(), SnapshotError> {
        if let (None, Some(block)) = (&self.rows, self.blocks.first()) {
            self.rows = Some(RowBatch::decode(block)?);
            self.settle();
        }
        Ok(())
    }

    /// The customer here, unless it is the end.
    fn id(&self) -> Option<&str> {
        self.rows.as_ref().map(|rows| rows.id(self.at)).filter(|id| *id <= self.until)
    }

    fn text(&self, view: usize) -> Option<&str> {
        self.rows.as_ref().and_then(|rows| rows.text(self.at, view))
    }

    fn advance(&mut self) {
        self.at += 1;
        self.settle();
    }

    /// Leaves a block that is at its end.
    fn settle(&mut self) {
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
        publish::sender::Limit,
        snapshot::{
            FileKind, Manifest, SnapshotFiles, SnapshotId,
            aligned_scan::scan_aligned,
            writer::{PartWriter, rows_properties, rows_schema},
        },
        tair::{Keys, codec},
    };

    /// Customers with a text in each of two views, or none, and whether a block and a part end with one.
    type Customers = BTreeMap<String, ([Option<String>; 2], u8)>;
    /// What Tair holds.
    type Store = HashMap<String, BTreeMap<String, String>>;

    fn customers() -> impl Strategy<Value = Customers> {
        let text = || proptest::option::weighted(0.9, "[ab]{0,40}");
        btree_map("[a-c]{1,4}", ([text(), text()], any::<u8>()), 0..80)
    }

    /// Three snapshots: the second differs from the first in a few customers, in ends of blocks too, the third in anything.
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
            "format": 1, "id": id, "larder": "", "as_of": "1970-01-01T00:00:00Z", "created_at": "1970-01-01T00:00:00Z",
            "fingerprint": "", "customers": customers.len(), "views": [view("one"), view("two")], "segments": [],
            "counts": {}, "sources": [], "files": files, "stages": [],
        });
        Arc::new(serde_json::from_value(manifest).expect("a manifest"))
    }

    fn carry_out(batch: &Batch, store: &mut Store) {
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

    /// The store after `target` was published on top of `bases`, and what was counted.
    async fn publish(
        lake: &Lake,
        (target, forgotten): (&Arc<Manifest>, &BTreeSet<String>),
        bases: &[&Arc<Manifest>],
        store: &mut Store,
    ) -> [u64; 3] {
        let row_writer = RowWriter::new(&Keys::new("t"), target, 7);
        let comparison = Comparison {
            row_writer,
            views: 2,
            limit: Limit { commands: 7 },
            there: IdSet::default(),
            forgotten: forgotten.clone(),
        };
        let snapshots = std::iter::once(target).chain(bases.iter().copied());
        let snapshots: Vec<_> = snapshots.map(|manifest| SnapshotFiles::offline(lake, manifest)).collect();
        let made = scan_aligned(&snapshots, forgotten.is_empty(), move |range| comparison.of(&range))
            .await
            .expect("footers");
        let mut counts = [0, made.0, 0];
        for changes in made.1.try_collect::<Vec<_>>().await.expect("changes") {
            changes.batches.iter().for_each(|(batch, _)| carry_out(batch, store));
            counts = [counts[0] + changes.rows, counts[1] + changes.unchanged, counts[2] + changes.removed];
        }
        counts
    }

    fn holds(store: &Store, manifest: &Manifest, customers: &Customers) {
        assert_eq!(store.len(), customers.len());
        for (id, (texts, _)) in customers {
            let row = &store[&format!("t:customer:{id}")];
            for (view, text) in manifest.views.iter().zip(texts) {
                assert_eq!(row[&codec::field(view)], text.as_deref().unwrap_or("null"), "{id}");
            }
        }
    }

    #[test]
    fn whatever_differs_is_written_and_nothing_else() {
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
                let nobody = BTreeSet::new();
                let counts = publish(&lake, (&manifests[1], &nobody), &[], &mut store).await;
                assert_eq!(counts, [base.len() as u64, 0, 0]);
                holds(&store, &manifests[1], base);
                // Some rows are of an unfinished publish.
                let mut mixed = store.clone();
                let mut all = Store::new();
                publish(&lake, (&manifests[2], &nobody), &[], &mut all).await;
                mixed.extend(all.into_iter().filter(|(key, _)| key.len() % 2 == 0));

                let before = store.clone();
                let counts = publish(&lake, (&manifests[0], &nobody), &[&manifests[1]], &mut store).await;
                holds(&store, &manifests[0], target);
                let unchanged = target.iter().filter(|(id, row)| base.get(*id).is_some_and(|b| b.0 == row.0)).count();
                let removed = base.keys().filter(|id| !target.contains_key(*id)).count();
                assert_eq!(counts, [target.len() - unchanged, unchanged, removed].map(|count| count as u64));

                publish(&lake, (&manifests[0], &nobody), &[&manifests[2], &manifests[1]], &mut mixed).await;
                holds(&mixed, &manifests[0], target);

                // Every third of the other snapshot is forgotten.
                let forgotten: BTreeSet<String> = other.keys().step_by(3).cloned().collect();
                let mut store = before;
                publish(&lake, (&manifests[0], &forgotten), &[&manifests[1]], &mut store).await;
                let mut remembered = target.clone();
                remembered.retain(|id, _| !forgotten.contains(id));
                holds(&store, &manifests[0], &remembered);
            });
        });
    }
}
