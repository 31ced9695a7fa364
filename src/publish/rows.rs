//! The customers' rows: the new snapshot's against those that Tair holds, stretch by stretch.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, atomic::Ordering},
};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};

use super::{PublishError, changes::Comparison, online::Written, plan::Base, sender::Sender};
use crate::{
    lake::Lake,
    snapshot::{
        Forgotten, LakeReads, Manifest, SnapshotError, SnapshotFiles, aligned_scan::scan_aligned,
        row_scan::RowBatch,
    },
    tair::{
        Batch, Encoded, Keys, Writer,
        codec::{self, PUBLISH},
    },
    telemetry::Progress,
};

/// The ids of customers as hashes of 128 bits: 16 bytes a customer instead of the id.
#[derive(Debug, Clone, Default)]
pub(super) struct IdSet(HashSet<u128>);

impl IdSet {
    pub(super) fn insert(&mut self, id: &str) {
        self.0.insert(hash(id));
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(&hash(id))
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.contains(&hash(id))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn hash(id: &str) -> u128 {
    let mut halves = (DefaultHasher::new(), DefaultHasher::new());
    (0_u8, id).hash(&mut halves.0);
    (1_u8, id).hash(&mut halves.1);
    u128::from(halves.0.finish()) << 64 | u128::from(halves.1.finish())
}

/// The customers whose keys there are.
pub(super) async fn existing(writer: &Writer) -> Result<IdSet, PublishError> {
    let mut ids = IdSet::default();
    let keys = writer.keys();
    writer
        .scan_customers(|page| {
            page.iter().filter_map(|key| keys.customer_of(key)).for_each(|id| ids.insert(id));
        })
        .await?;
    Ok(ids)
}

/// Removes the customers of `strays`.
pub(super) async fn remove(writer: &Writer, sender: &mut Sender, strays: &IdSet) -> Result<(), PublishError> {
    if strays.len() == 0 {
        return Ok(());
    }
    let mut found = Vec::new();
    let keys = writer.keys();
    writer
        .scan_customers(|page| {
            found.extend(
                page.into_iter().filter(|key| keys.customer_of(key).is_some_and(|id| strays.contains(id))),
            );
        })
        .await?;
    for key in found {
        sender.batch().remove(&key);
        sender.advance().await?;
    }
    Ok(())
}

/// Commands that write customers under one publish.
#[derive(Debug, Clone)]
pub(super) struct RowWriter {
    prefix: Vec<u8>,
    fields: Vec<Encoded>,
    publish: Encoded,
}

impl RowWriter {
    pub(super) fn new(keys: &Keys, manifest: &Manifest, number: u64) -> Self {
        let fields = manifest.views.iter().map(|view| Encoded::of(codec::field(view).as_bytes())).collect();
        let mut publish = Encoded::of(PUBLISH.as_bytes());
        publish.push(itoa::Buffer::new().format(number).as_bytes());
        Self { prefix: keys.customer("").into_bytes(), fields, publish }
    }

    /// Adds the command that writes the views of `wanted`, whose values `text` tells, of the customer `id`.
    pub(super) fn write<'a>(
        &self,
        batch: &mut Batch,
        id: &str,
        wanted: impl Fn(usize) -> bool,
        text: impl Fn(usize) -> Option<&'a [u8]>,
    ) {
        let wanted = || (0..self.fields.len()).filter(|view| wanted(*view));
        let count = 1 + 2 * wanted().count() + self.publish.count();
        let command = batch.command("HSET", count).joined(&self.prefix, id.as_bytes());
        let views = wanted().fold(command, |command, view| {
            command.encoded(&self.fields[view]).text(text(view).unwrap_or(codec::ABSENT))
        });
        let _ = views.encoded(&self.publish);
    }

    /// Adds the command that removes the customer `id`.
    pub(super) fn remove(&self, batch: &mut Batch, id: &str) {
        let _ = batch.command("UNLINK", 1).joined(&self.prefix, id.as_bytes());
    }
}

/// Writes what of `target`, less the `forgotten`, differs from `base`.
pub(super) async fn publish(
    lake: &Lake,
    (target, forgotten): (&Arc<Manifest>, &Forgotten),
    base: &Base,
    writer: &Writer,
    sender: &mut Sender,
    number: u64,
    progress: &Progress,
) -> Result<Written, PublishError> {
    let (bases, everything) = match base {
        Base::Known(bases) => (bases.as_slice(), None),
        Base::Unknown(why) => (&[][..], Some(*why)),
    };
    let mut strays = if everything.is_some() { existing(writer).await? } else { IdSet::default() };
    progress.enter("write customers", target.customers);
    let row_writer = RowWriter::new(writer.keys(), target, number);
    let comparison = Comparison {
        row_writer,
        views: target.views.len(),
        limit: sender.limit(),
        there: strays.clone(),
        forgotten: forgotten.ids().map(|id| id.as_str().to_owned()).collect(),
    };
    let reads = LakeReads::offline();
    let snapshots = std::iter::once(target).chain(bases);
    let snapshots: Vec<_> = snapshots.map(|manifest| SnapshotFiles::new(lake, manifest, &reads)).collect();
    let (unchanged, mut stretches) =
        scan_aligned(&snapshots, forgotten.is_empty(), move |range| comparison.of(&range)).await?;
    let mut written = Written { unchanged, everything, ..Written::default() };
    progress.done.fetch_add(unchanged, Ordering::Relaxed);
    while let Some(changes) = stretches.try_next().await? {
        written.forgotten += changes.forgotten;
        for (batch, customers) in changes.batches {
            sender.send(batch).await?;
            progress.done.fetch_add(customers, Ordering::Relaxed);
        }
        written.rows += changes.rows;
        written.unchanged += changes.unchanged;
        written.removed += changes.removed;
        for id in &changes.replaced.0 {
            strays.0.remove(id);
        }
    }
    written.removed += strays.len() as u64;
    remove(writer, sender, &strays).await?;
    Ok(written)
}

/// A place in the rows of a snapshot.
pub(super) struct Cursor {
    stream: BoxStream<'static, Result<RowBatch, SnapshotError>>,
    rows: Option<RowBatch>,
    at: usize,
}

impl Cursor {
    pub(super) async fn open(lake: &Lake, manifest: &Arc<Manifest>) -> Result<Self, SnapshotError> {
        let mut cursor = Self { stream: SnapshotFiles::offline(lake, manifest).rows(), rows: None, at: 0 };
        cursor.load().await?;
        Ok(cursor)
    }

    async fn load(&mut self) -> Result<(), SnapshotError> {
        self.at = 0;
        self.rows = loop {
            match self.stream.next().await.transpose()? {
                Some(rows) if rows.is_empty() => {}
                rows => break rows,
            }
        };
        Ok(())
    }

    /// The customer here, unless it is the end.
    pub(super) fn row(&self) -> Option<(&RowBatch, usize)> {
        self.rows.as_ref().map(|rows| (rows, self.at))
    }

    pub(super) async fn advance(&mut self) -> Result<(), SnapshotError> {
        self.at += 1;
        if self.rows.as_ref().is_some_and(|rows| self.at < rows.len()) { Ok(()) } else { self.load().await }
    }
}
