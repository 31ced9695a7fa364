//! The index of a publish in Tair: all its lists, the record of complete indexes, and the removal of old
//! indexes.
//!
//! A publish uses up the index before the current one, so Tair always holds two. If there is no other index,
//! a publish leaves a spare copy of its own for the next publish.

use std::sync::Arc;

use super::{
    PublishError,
    list_writer::{ListWriter, page_count},
    reusable_index::{ReusableIndex, SPARE},
    sender::Sender,
    target::Target,
};
use crate::{
    snapshot::{CHURN_LIST, Manifest},
    tair::{Keys, Writer, codec::Index},
};

/// Returns the lists of `manifest` and the number of members of each.
pub(super) fn lists_of(manifest: &Manifest) -> Index {
    let mut index: Index =
        manifest.segments.iter().map(|segment| (segment.name.clone(), segment.size)).collect();
    let ranked = manifest.ranking_size(CHURN_LIST);
    if ranked > 0 {
        index.insert(CHURN_LIST.to_owned(), ranked);
    }
    index
}

/// Writes the index of `target` and returns the number of members of all lists.
pub(super) async fn publish(
    target: Target<'_>,
    reusable: Option<ReusableIndex>,
    sender: &mut Sender,
) -> Result<u64, PublishError> {
    let Target { manifest, writer, number, forgotten, progress, .. } = target;
    let index = lists_of(manifest);
    let stage = if number == SPARE { "prepare the next publish" } else { "write segments" };
    progress.enter(stage, index.values().sum());
    writer.note_index(number, &index).await?;
    let mut lists = ListWriter::new(target, reusable);
    let mut members = 0;
    for list in index.keys() {
        members += lists.write(list, sender).await?;
    }
    sender.settle().await?;
    writer.note_whole(number, manifest.id.as_str(), forgotten.version()).await?;
    Ok(members)
}

/// Leaves a copy of the index of `target` for the next publish to use up, unless there is another index.
pub(super) async fn prepare_spare(target: Target<'_>, sender: &mut Sender) -> Result<(), PublishError> {
    if !target.writer.moves_keys() || target.writer.indexes().await?.len() > 1 {
        return Ok(());
    }
    let reusable = ReusableIndex::copy_of(target.number, Arc::clone(target.manifest));
    publish(Target { number: SPARE, ..target }, Some(reusable), sender).await?;
    Ok(())
}

/// Removes the indexes of all publishes except those in `kept`.
pub(super) async fn remove_others(
    writer: &Writer,
    sender: &mut Sender,
    kept: &[u64],
) -> Result<(), PublishError> {
    for (number, index) in writer.indexes().await? {
        if kept.contains(&number) {
            continue;
        }
        writer.forget_whole(number).await?;
        for key in keys_of(writer.keys(), number, &index) {
            sender.batch().remove(&key);
            sender.advance().await?;
        }
        sender.settle().await?;
        writer.forget_index(number).await?;
        tracing::debug!(publish = number, "index dropped");
    }
    Ok(())
}

/// Returns all keys of an index.
fn keys_of(keys: &Keys, number: u64, index: &Index) -> Vec<String> {
    let mut all = Vec::new();
    for (list, size) in index {
        all.push(keys.segment(number, list));
        all.extend((0..page_count(*size)).map(|page| keys.ranking(number, list, page)));
    }
    all
}
