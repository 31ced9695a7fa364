//! The customer rows of a publish: writes the difference between the new snapshot and the rows that Tair
//! holds.

use std::sync::atomic::Ordering;

use futures::TryStreamExt;

use super::{
    PublishError, WriteSummary,
    publish_state::Base,
    row_diff::RowDiff,
    row_writer::{IdSet, RowWriter},
    sender::Sender,
    target::Target,
};
use crate::{
    snapshot::{LakeReads, SnapshotFiles, aligned_scan::scan_aligned},
    tair::Writer,
};

/// Returns the ids of all customers that have a key in Tair.
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

/// Removes the rows of the customers in `strays`. Their keys are found by another scan, since a set holds
/// only hashes.
pub(super) async fn remove(writer: &Writer, sender: &mut Sender, strays: &IdSet) -> Result<(), PublishError> {
    if strays.is_empty() {
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

/// Writes the rows of `target` that differ from `base`, and removes rows of customers that `target` does not
/// have.
pub(super) async fn publish(
    target: Target<'_>,
    base: &Base,
    sender: &mut Sender,
) -> Result<WriteSummary, PublishError> {
    let Target { manifest, forgotten, writer, progress, .. } = target;
    let (bases, full_reason) = match base {
        Base::Known(bases) => (bases.as_slice(), None),
        Base::Unknown(reason) => (&[][..], Some(*reason)),
    };
    let mut strays = if full_reason.is_some() { existing(writer).await? } else { IdSet::default() };
    progress.enter("write customers", manifest.customers);
    let diff = RowDiff {
        row_writer: RowWriter::new(writer.keys(), manifest, target.number),
        views: manifest.views.len(),
        limit: sender.limit(),
        untrusted: strays.clone(),
        forgotten: forgotten.ids().map(|id| id.as_str().to_owned()).collect(),
    };
    let reads = LakeReads::offline();
    let snapshots = std::iter::once(manifest).chain(bases);
    let snapshots: Vec<_> =
        snapshots.map(|manifest| SnapshotFiles::new(target.lake, manifest, &reads)).collect();
    let compare = move |range| diff.compare(&range);
    let (unchanged, mut ranges) = scan_aligned(&snapshots, forgotten.is_empty(), compare).await?;
    let mut summary = WriteSummary { unchanged, full_reason, ..WriteSummary::default() };
    progress.done.fetch_add(unchanged, Ordering::Relaxed);
    while let Some(changes) = ranges.try_next().await? {
        summary.forgotten += changes.forgotten;
        for (batch, customers) in changes.batches {
            sender.send(batch).await?;
            progress.done.fetch_add(customers, Ordering::Relaxed);
        }
        summary.rows += changes.rows;
        summary.unchanged += changes.unchanged;
        summary.removed += changes.removed;
        strays.remove_all(&changes.replaced);
    }
    summary.removed += strays.len() as u64;
    remove(writer, sender, &strays).await?;
    Ok(summary)
}
