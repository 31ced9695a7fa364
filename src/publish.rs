//! Making a snapshot the one that readers get: its rows and lists into Tair, then `larder:current`, then `CURRENT`.
//!
//! Knows snapshots, the lake and Tair; nothing of how a snapshot is built or read. Killed at any moment it can be run again:
//! what was under way is written down before it begins, and what is not known for certain is written anew.

use std::sync::Arc;

use crate::{
    config::TairConfig,
    lake::Lake,
    snapshot::{
        Current, Manifest, SnapshotError, SnapshotId, check_newer, list, publish_to_lake, read_current,
    },
    tair::{TairError, Writer},
    telemetry::Progress,
};

mod changes;
mod erase;
mod index;
mod online;
mod plan;
mod rows;
mod sender;
mod verify;

pub use erase::Erased;
pub use online::Written;
pub use verify::Report;

/// How a snapshot is to be published.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Also one that is older than the current one.
    pub force: bool,
    /// Write everything, whatever Tair seems to hold.
    pub full: bool,
    /// Change `CURRENT` alone; the snapshots answer until Tair is published to again.
    pub lake_only: bool,
    /// The most commands a second.
    pub max_ops: Option<u32>,
}

/// What a publish did.
#[derive(Debug)]
pub struct Published {
    /// What `CURRENT` says now.
    pub current: Current,
    /// What was written into Tair; nothing without one.
    pub written: Option<Written>,
}

/// Why a snapshot could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Of snapshots or the lake.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Of Tair. Readers get what they got before.
    #[error(transparent)]
    Tair(#[from] TairError),
    /// Tair has the new snapshot and `CURRENT` does not.
    #[error("Tair has publish {number}, but CURRENT could not be written; publish again")]
    HalfWay {
        /// The number of the publish.
        number: u64,
        /// Why.
        source: SnapshotError,
    },
    /// Tair serves another lake.
    #[error(
        "Tair has publish {publish} of {snapshot}, from another lake; give each lake its own `namespace` in [tair], or \
         `larder publish --current --full` puts this one's customers in the place of the other's"
    )]
    OtherLake {
        /// The other's publish.
        publish: u64,
        /// Of which snapshot it is.
        snapshot: String,
    },
    /// There is nothing to compare with the snapshot.
    #[error("there is no [tair] in the configuration")]
    NoTair,
}

/// Publishes into one lake and, where there is one, one Tair.
#[derive(Debug, Clone)]
pub struct Publisher {
    lake: Lake,
    tair: Option<TairConfig>,
    options: Options,
    progress: Arc<Progress>,
}

impl Publisher {
    /// A publisher for `lake` and `tair`.
    #[must_use]
    pub fn new(lake: Lake, tair: Option<TairConfig>, options: Options) -> Self {
        Self { lake, tair, options, progress: Arc::default() }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Publishes the snapshot `id`, or the newest build where none is named.
    ///
    /// # Errors
    /// Of a snapshot that does not exist, that is older than the current one (unless forced), of the lake or of Tair.
    pub async fn publish(&self, id: Option<&SnapshotId>) -> Result<Published, PublishError> {
        let manifest = match id {
            Some(id) => Manifest::read(&self.lake, id).await?,
            None => list(&self.lake).await?.into_iter().next().ok_or(SnapshotError::NoCurrent)?,
        };
        let Some(tair) = self.tair.as_ref().filter(|_| !self.options.lake_only) else {
            let current = publish_to_lake(&self.lake, &manifest, None, self.options.force).await?;
            return Ok(Published { current, written: None });
        };
        let before = read_current(&self.lake).await?;
        if !self.options.force {
            check_newer(&self.lake, before.as_ref(), &manifest).await?;
        }
        let writer = Arc::new(Writer::connect(tair).await?);
        let published = Box::pin(self.online(&writer, Arc::new(manifest), before)).await;
        if let Some(writer) = Arc::into_inner(writer) {
            writer.quit().await;
        }
        published
    }

    /// Publishes the snapshot that was the current one before.
    ///
    /// # Errors
    /// [`SnapshotError::NoPrevious`], or as [`Publisher::publish`].
    pub async fn rollback(&self) -> Result<Published, PublishError> {
        let current = read_current(&self.lake).await?.ok_or(SnapshotError::NoCurrent)?;
        let previous = current.previous.ok_or(SnapshotError::NoPrevious)?;
        let options = Options { force: true, ..self.options };
        Self { options, ..self.clone() }.publish(Some(&previous)).await
    }

    /// The snapshots that a publish is under way of, or was left unfinished of: they must not be pruned.
    ///
    /// # Errors
    /// Of Tair.
    pub async fn in_flight(&self) -> Result<Vec<SnapshotId>, PublishError> {
        let Some(tair) = &self.tair else { return Ok(Vec::new()) };
        let writer = Writer::connect(tair).await?;
        let (marker, publishing) = (writer.marker().await?, writer.publishing().await?);
        writer.quit().await;
        let under_way = publishing.into_iter().flat_map(|p| p.unfinished.into_iter().chain([p.marker]));
        let named = under_way.chain(marker).filter_map(|marker| marker.snapshot.parse().ok());
        Ok(named.collect())
    }
}
