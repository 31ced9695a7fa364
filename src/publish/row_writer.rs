//! Encoding of customer rows as Tair commands, and compact sets of customer ids.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{
    snapshot::Manifest,
    tair::{
        Batch, Encoded, Keys,
        codec::{self, PUBLISH},
    },
};

/// Set of customer ids, stored as 128-bit hashes: 16 bytes a customer instead of the id.
#[derive(Debug, Clone, Default)]
pub(super) struct IdSet(HashSet<u128>);

impl IdSet {
    pub(super) fn insert(&mut self, id: &str) {
        self.0.insert(hash(id));
    }

    /// Removes `id` and returns whether the set contained it.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(&hash(id))
    }

    /// Removes every id of `others`.
    pub(super) fn remove_all(&mut self, others: &Self) {
        for id in &others.0 {
            self.0.remove(id);
        }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.contains(&hash(id))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn hash(id: &str) -> u128 {
    let mut halves = (DefaultHasher::new(), DefaultHasher::new());
    (0_u8, id).hash(&mut halves.0);
    (1_u8, id).hash(&mut halves.1);
    u128::from(halves.0.finish()) << 64 | u128::from(halves.1.finish())
}

/// Encoder of the commands that write and remove customer rows under one publish number.
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

    /// Appends the `HSET` that writes the `wanted` views of customer `id`; `text` returns the value of a
    /// view.
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

    /// Appends the `UNLINK` that removes customer `id`.
    pub(super) fn remove(&self, batch: &mut Batch, id: &str) {
        let _ = batch.command("UNLINK", 1).joined(&self.prefix, id.as_bytes());
    }
}
