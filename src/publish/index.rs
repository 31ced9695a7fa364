//! The lists of a publish: a Set and a ranking in pages for each segment, and what is to be removed of older publishes.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;

use super::{PublishError, sender::Sender};
use crate::{
    config::ServingConfig,
    feature::CustomerId,
    lake::Lake,
    snapshot::{
        CHURN_LIST, Forgotten, Manifest,
        reader::{BlockCache, ReadLimits, SnapshotReader},
    },
    tair::{Keys, PAGE, Write, Writer, codec::Index},
    telemetry::{Metrics, Progress},
};

/// What the index of `manifest` consists of.
pub(super) fn of(manifest: &Manifest) -> Index {
    let mut index: Index = manifest.segments.iter().map(|segment| (segment.name.clone(), segment.size)).collect();
    let all = manifest.ranked(CHURN_LIST);
    if all > 0 {
        index.insert(CHURN_LIST.to_owned(), all);
    }
    index
}

/// A reader for the rankings of `manifest`, with a cache of its own.
pub(super) fn reader(lake: &Lake, manifest: &Arc<Manifest>) -> SnapshotReader {
    let config = ServingConfig::default();
    let limits = ReadLimits { cache: 64 << 20, lake_reads: config.lake_reads, lake_timeout: config.lake_timeout };
    let metrics = Arc::new(Metrics::unobserved());
    SnapshotReader::new(lake.clone(), Arc::clone(manifest), BlockCache::new(&limits, metrics))
}

/// Writes the index of `manifest` as that of publish `number`; returns how many members it has.
pub(super) async fn publish(
    lake: &Lake,
    manifest: &Arc<Manifest>,
    writer: &Writer,
    sender: &mut Sender,
    number: u64,
    progress: &Progress,
    forgotten: &Forgotten,
) -> Result<u64, PublishError> {
    let index = of(manifest);
    progress.enter("write segments", index.values().sum());
    writer.note_index(number, &index).await?;
    let reader = reader(lake, manifest);
    let mut members = 0;
    for segment in index.keys() {
        members += segment_of(&reader, writer.keys(), sender, number, segment, (forgotten, progress)).await?;
    }
    Ok(members)
}

/// Writes the lists of one segment. In the ranking the places of `forgotten` customers are empty.
pub(super) async fn segment_of(
    reader: &SnapshotReader,
    keys: &Keys,
    sender: &mut Sender,
    number: u64,
    segment: &str,
    (forgotten, progress): (&Forgotten, &Progress),
) -> Result<u64, PublishError> {
    let set = Bytes::from(keys.segment(number, segment));
    let mut written = 0;
    for page in 0.. {
        let ids = reader.members(segment, written, PAGE).await.map_err(super::verify::shared)?;
        if ids.is_empty() {
            break;
        }
        written += ids.len() as u64;
        let list = Bytes::from(keys.ranking(number, segment, page));
        let with = |key: &Bytes, texts: &mut dyn Iterator<Item = &str>| -> Vec<Bytes> {
            std::iter::once(key.clone()).chain(texts.map(|text| Bytes::copy_from_slice(text.as_bytes()))).collect()
        };
        let members = with(&set, &mut ids.iter().filter_map(|id| place(id, forgotten)));
        if members.len() > 1 {
            sender.push([Write { command: "SADD", args: members }]).await?;
        }
        let places = with(&list, &mut ids.iter().map(|id| place(id, forgotten).unwrap_or_default()));
        // Sent again, it must not hold everybody twice.
        let anew = [Write { command: "UNLINK", args: vec![list] }, Write { command: "RPUSH", args: places }];
        sender.push(anew).await?;
        progress.done.fetch_add(ids.len() as u64, Ordering::Relaxed);
        if ids.len() < PAGE {
            break;
        }
    }
    Ok(written)
}

/// What stands for a member; nothing for one who is forgotten.
fn place<'a>(id: &'a CustomerId, forgotten: &Forgotten) -> Option<&'a str> {
    Some(id.as_str()).filter(|id| !forgotten.contains(id))
}

/// The keys of an index.
pub(super) fn keys_of(keys: &Keys, number: u64, index: &Index) -> Vec<String> {
    let mut all = Vec::new();
    for (segment, size) in index {
        all.push(keys.segment(number, segment));
        let pages = usize::try_from(*size).unwrap_or(usize::MAX).div_ceil(PAGE);
        all.extend((0..pages).map(|page| keys.ranking(number, segment, page)));
    }
    all
}

/// Removes the indexes of all publishes but those of `kept`.
pub(super) async fn remove_others(writer: &Writer, sender: &mut Sender, kept: &[u64]) -> Result<(), PublishError> {
    for (number, index) in writer.indexes().await? {
        if !kept.contains(&number) {
            for key in keys_of(writer.keys(), number, &index) {
                sender.push([Write::remove(key)]).await?;
            }
            writer.forget_index(number).await?;
        }
    }
    Ok(())
}
