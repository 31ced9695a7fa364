//! The customers' rows: the new snapshot's against those that Tair holds, in one pass over sorted parts.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};

use super::{PublishError, online::Written, plan::Base, sender::Sender};
use crate::{
    lake::Lake,
    snapshot::{Forgotten, Manifest, SnapshotError, scan},
    tair::{
        Keys, Write, Writer,
        codec::{self, PUBLISH},
    },
    telemetry::Progress,
};

/// The ids of customers as hashes of 128 bits: 16 bytes a customer instead of the id.
#[derive(Debug, Default)]
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
        .scan_customers(|page| page.iter().filter_map(|key| keys.customer_of(key)).for_each(|id| ids.insert(id)))
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
            found.extend(page.into_iter().filter(|key| keys.customer_of(key).is_some_and(|id| strays.contains(id))));
        })
        .await?;
    for key in found {
        sender.push([Write::remove(key)]).await?;
    }
    Ok(())
}

/// Commands that write customers under one publish.
pub(super) struct RowWriter {
    keys: Keys,
    fields: Vec<Bytes>,
    publish: Bytes,
}

impl RowWriter {
    pub(super) fn new(keys: &Keys, manifest: &Manifest, number: u64) -> Self {
        let fields = manifest.views.iter().map(|view| codec::field(view).into()).collect();
        Self { keys: keys.clone(), fields, publish: number.to_string().into() }
    }

    /// The command that writes the views of `row` that `wanted` says.
    pub(super) fn write(&self, rows: &scan::Rows, row: usize, wanted: impl Fn(usize) -> bool) -> Write {
        let mut args = Vec::with_capacity(3 + 2 * self.fields.len());
        args.push(self.keys.customer(rows.id(row)).into());
        for (view, field) in self.fields.iter().enumerate().filter(|(view, _)| wanted(*view)) {
            args.push(field.clone());
            args.push(codec::value(&rows.bytes(row, view)));
        }
        args.push(Bytes::from_static(PUBLISH.as_bytes()));
        args.push(self.publish.clone());
        Write { command: "HSET", args }
    }

    pub(super) fn removal(&self, id: &str) -> Write {
        Write::remove(self.keys.customer(id))
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
    let row_writer = RowWriter::new(writer.keys(), target, number);
    let views = target.views.len();
    let mut written = Written::default();
    match base {
        Base::Unknown(why) => {
            written.everything = Some(why);
            let mut strays = existing(writer).await?;
            progress.enter("write customers", target.customers);
            let mut cursor = Cursor::open(lake, target).await?;
            while let Some((rows, row)) = cursor.row() {
                if forgotten.contains(rows.id(row)) {
                    written.forgotten += 1;
                    cursor.advance().await?;
                    continue;
                }
                let write = row_writer.write(rows, row, |_| true);
                // Whatever fields the key has, they are of no use.
                let replaced = strays.remove(rows.id(row)).then(|| row_writer.removal(rows.id(row)));
                written.rows += 1;
                sender.push(replaced.into_iter().chain([write])).await?;
                progress.done.fetch_add(1, Ordering::Relaxed);
                cursor.advance().await?;
            }
            written.removed = strays.len() as u64;
            remove(writer, sender, &strays).await?;
        }
        Base::Known(bases) => {
            progress.enter("write customers", target.customers);
            let mut cursor = Cursor::open(lake, target).await?;
            let mut bases = open_all(lake, bases).await?;
            loop {
                let ids = bases.iter().map(Cursor::id).chain([cursor.id()]).flatten();
                let Some(id) = ids.min().map(str::to_owned) else { break };
                let is_forgotten = forgotten.contains(&id);
                match cursor.row().filter(|_| cursor.id() == Some(&id) && !is_forgotten) {
                    None => {
                        let counter = if is_forgotten { &mut written.forgotten } else { &mut written.removed };
                        *counter += 1;
                        sender.push([row_writer.removal(&id)]).await?;
                    }
                    Some((rows, row)) => {
                        let differs = |view: usize| {
                            bases.iter().any(|base| match base.row().filter(|_| base.id() == Some(&id)) {
                                None => true,
                                Some((before, at)) => before.text(at, view) != rows.text(row, view),
                            })
                        };
                        if (0..views).any(differs) {
                            written.rows += 1;
                            sender.push([row_writer.write(rows, row, differs)]).await?;
                        } else {
                            written.unchanged += 1;
                        }
                        progress.done.fetch_add(1, Ordering::Relaxed);
                    }
                }
                for cursor in bases.iter_mut().chain([&mut cursor]) {
                    if cursor.id() == Some(&id) {
                        cursor.advance().await?;
                    }
                }
            }
        }
    }
    Ok(written)
}

async fn open_all(lake: &Lake, manifests: &[Arc<Manifest>]) -> Result<Vec<Cursor>, SnapshotError> {
    let mut cursors = Vec::new();
    for manifest in manifests {
        cursors.push(Cursor::open(lake, manifest).await?);
    }
    Ok(cursors)
}

/// A place in the rows of a snapshot.
pub(super) struct Cursor {
    stream: BoxStream<'static, Result<scan::Rows, SnapshotError>>,
    rows: Option<scan::Rows>,
    at: usize,
}

impl Cursor {
    pub(super) async fn open(lake: &Lake, manifest: &Arc<Manifest>) -> Result<Self, SnapshotError> {
        let mut cursor = Self { stream: scan::rows(lake, manifest), rows: None, at: 0 };
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
    pub(super) fn row(&self) -> Option<(&scan::Rows, usize)> {
        self.rows.as_ref().map(|rows| (rows, self.at))
    }

    fn id(&self) -> Option<&str> {
        self.row().map(|(rows, row)| rows.id(row))
    }

    pub(super) async fn advance(&mut self) -> Result<(), SnapshotError> {
        self.at += 1;
        if self.rows.as_ref().is_some_and(|rows| self.at < rows.len()) { Ok(()) } else { self.load().await }
    }
}
