//! Older indexes in Tair whose keys a publish can move or copy inside the server instead of sending members
//! again.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};

use super::{
    PublishError,
    publish_state::{Base, PublishState, manifest_of},
    target::Target,
};
use crate::{snapshot::Manifest, tair::WholeIndex};

/// Number of the spare index. No publish has this number, so no reader uses the index.
pub(super) const SPARE: u64 = 0;
/// Largest Set that the server may copy at once. A copy of this size blocks the server for 2 to 3
/// milliseconds.
const MAX_COPIED_MEMBERS: u64 = 20_000;
/// Time for which an index stays after it was replaced, so that readers can finish.
const RETENTION: TimeDelta = TimeDelta::minutes(1);

/// Command by which keys of an older index get into the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferCommand {
    /// `COPY`, for the index that readers use.
    Copy,
    /// `RENAME`, for an index that no reader uses any more. The old index is used up.
    Rename,
}

/// Complete older index in Tair that a publish reuses.
#[derive(Debug)]
pub(super) struct ReusableIndex {
    /// Number of the publish that wrote the index, or [`SPARE`].
    pub(super) number: u64,
    /// Snapshot that the index was built from.
    pub(super) manifest: Arc<Manifest>,
    transfer: TransferCommand,
}

impl ReusableIndex {
    /// Returns a source that copies the index of publish `number`, built from `manifest`.
    pub(super) fn copy_of(number: u64, manifest: Arc<Manifest>) -> Self {
        Self { number, manifest, transfer: TransferCommand::Copy }
    }

    /// Finds the best index to reuse, if the content of Tair is known at all. An index that will be used up
    /// is no longer recorded as complete afterwards.
    pub(super) async fn find(
        target: Target<'_>,
        base: &Base,
        state: &PublishState,
    ) -> Result<Option<Self>, PublishError> {
        let Target { lake, writer, forgotten, .. } = target;
        let (Base::Known(_), Some(marker), true) = (base, &state.marker, writer.moves_keys()) else {
            return Ok(None);
        };
        // An index built with another erasure list has other empty places.
        let mut whole = writer.whole_indexes().await?;
        whole.retain(|_, index| index.forgotten == forgotten.version());
        let is_retired = state.current.as_ref().is_some_and(|current| {
            current.publish == marker.publish && Utc::now() - current.published_at >= RETENTION
        });
        if let Some((&number, WholeIndex { snapshot, .. })) = whole.range(..marker.publish).next_back()
            && (number == SPARE || is_retired)
            && let Some(manifest) = manifest_of(lake, snapshot).await?
        {
            writer.forget_whole(number).await?;
            return Ok(Some(Self {
                number,
                manifest: Arc::new(manifest),
                transfer: TransferCommand::Rename,
            }));
        }
        match whole.get(&marker.publish) {
            Some(WholeIndex { snapshot, .. }) if *snapshot == marker.snapshot => {
                let manifest = manifest_of(lake, snapshot).await?;
                Ok(manifest.map(|manifest| Self::copy_of(marker.publish, Arc::new(manifest))))
            }
            _ => Ok(None),
        }
    }

    /// Returns the name of the command that transfers one key.
    pub(super) fn command(&self) -> &'static str {
        match self.transfer {
            TransferCommand::Copy => "COPY",
            TransferCommand::Rename => "RENAME",
        }
    }

    /// Checks whether the server may transfer a Set of `size` members at once.
    pub(super) fn transfers_set(&self, size: u64) -> bool {
        self.transfer == TransferCommand::Rename || size <= MAX_COPIED_MEMBERS
    }
}
