//! An open snapshot, with what every answer from it needs made ready once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use chrono::Utc;

use crate::{
    feature::ViewKeys,
    lake::Lake,
    snapshot::{
        Current, Manifest,
        reader::{BlockCache, SnapshotReader},
        rfc3339,
    },
    tair::Fields,
};

/// An open snapshot and the publish that it is served under.
#[derive(Debug)]
pub struct Served {
    /// The number of the publish; 0 for a snapshot that is open for a cursor's sake.
    pub publish: u64,
    /// When it was published.
    pub(super) published_at: Option<chrono::DateTime<Utc>>,
    /// The snapshot's manifest.
    pub manifest: Arc<Manifest>,
    /// The JSON keys of each view, in the manifest's order.
    pub keys: Vec<ViewKeys>,
    /// How many bytes these have, all in all.
    pub keys_bytes: usize,
    /// The manifest's `as_of` in RFC 3339.
    pub as_of: String,
    /// The fields of Tair that hold its views.
    pub(super) fields: Fields,
    /// A weak entity tag for all that is answered from it: it changes with the publish and with the form of the rows.
    pub tag: Bytes,
    pub(super) reader: SnapshotReader,
}

impl Served {
    pub(super) fn open(lake: &Lake, manifest: Arc<Manifest>, current: Option<&Current>, blocks: BlockCache) -> Self {
        let publish = current.map_or(0, |current| current.publish);
        let keys: Vec<ViewKeys> = manifest.views.iter().map(ViewKeys::new).collect();
        Self {
            publish,
            published_at: current.map(|current| current.published_at),
            keys_bytes: keys.iter().map(ViewKeys::bytes).sum(),
            keys,
            as_of: rfc3339::format(manifest.as_of),
            fields: Fields::new(&manifest.views),
            tag: tag(publish, &manifest),
            reader: SnapshotReader::new(lake.clone(), Arc::clone(&manifest), blocks),
            manifest,
        }
    }
}

fn tag(publish: u64, manifest: &Manifest) -> Bytes {
    let mut form = DefaultHasher::new();
    for view in &manifest.views {
        view.name.hash(&mut form);
        view.features.iter().for_each(|feature| (&feature.name, &feature.data_type).hash(&mut form));
    }
    format!("W/\"{publish}-{}-{:08x}\"", manifest.id, form.finish() >> 32).into()
}
