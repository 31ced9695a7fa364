//! Publishing of snapshots: writes rows and lists into Tair, then `larder:current`, then `CURRENT` in the
//! lake.
//!
//! A publish that dies at any point can be repeated. Every phase is recorded before it begins, and rows whose
//! state is uncertain are written again.

use std::sync::Arc;

use crate::{
    config::TairConfig,
    lake::Lake,
    snapshot::{
        Current, Manifest, SnapshotError, SnapshotId, check_newer, list, publish_to_lake, read_current,
    },
    tair::{TairError, Writer, codec::Publishing},
    telemetry::{Progress, Span, SpanKind},
};

mod erase;
mod index;
mod list_check;
mod list_writer;
mod online;
mod publish_state;
mod reusable_index;
mod row_cursor;
mod row_diff;
mod row_writer;
mod rows;
mod sender;
mod target;
mod verify;

pub use erase::Erased;
pub use verify::Report;

/// Options of a publish.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether a snapshot older than the current one may be published.
    pub force: bool,
    /// Whether everything is written, whatever Tair holds.
    pub full: bool,
    /// Whether only `CURRENT` is changed. Reads then come from snapshots until the next publish into Tair.
    pub lake_only: bool,
    /// Maximum number of commands per second.
    pub max_ops: Option<u32>,
}

/// Result of a publish.
#[derive(Debug)]
pub struct Published {
    /// Content of `CURRENT` after the publish.
    pub current: Current,
    /// Data written into Tair, if there is one.
    pub written: Option<WriteSummary>,
}

/// Data that a publish wrote into Tair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Number of customers written.
    pub rows: u64,
    /// Number of customers whose row was up to date.
    pub unchanged: u64,
    /// Number of customers removed.
    pub removed: u64,
    /// Number of customers left out because they are erased.
    pub forgotten: u64,
    /// Number of members of all lists.
    pub members: u64,
    /// Reason for a full publish, or `None` for an incremental publish.
    pub full_reason: Option<&'static str>,
}

/// Errors of a publish.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Error of a snapshot or of the lake.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Error of Tair. Readers still get the previous publish.
    #[error(transparent)]
    Tair(#[from] TairError),
    /// Tair serves the new snapshot and `CURRENT` does not.
    #[error("publish {number} is active in Tair, but writing CURRENT failed; publish again")]
    HalfWay {
        /// Number of the publish.
        number: u64,
        /// Reason why `CURRENT` was not written.
        source: SnapshotError,
    },
    /// Tair holds the data of another lake.
    #[error(
        "Tair holds publish {publish} of snapshot {snapshot} from another lake; give each lake its own \
         `namespace` in [tair], or replace the other lake's data with `larder publish --current --full`"
    )]
    OtherLake {
        /// Number of the other lake's publish.
        publish: u64,
        /// Snapshot of that publish.
        snapshot: String,
    },
    /// No Tair is configured.
    #[error("there is no [tair] in the configuration")]
    NoTair,
}

/// Publisher of the snapshots of one lake, into Tair if there is one.
#[derive(Debug, Clone)]
pub struct Publisher {
    lake: Lake,
    tair: Option<TairConfig>,
    options: Options,
    progress: Arc<Progress>,
}

impl Publisher {
    /// Creates a publisher for `lake` and `tair`.
    #[must_use]
    pub fn new(lake: Lake, tair: Option<TairConfig>, options: Options) -> Self {
        Self { lake, tair, options, progress: Arc::default() }
    }

    /// Returns the progress of the publish.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Publishes the snapshot `id`, or the newest build if `id` is `None`.
    ///
    /// # Errors
    /// If the snapshot does not exist or is older than the current one (unless forced), and errors of the
    /// lake or of Tair.
    pub async fn publish(&self, id: Option<&SnapshotId>) -> Result<Published, PublishError> {
        let manifest = match id {
            Some(id) => Manifest::read(&self.lake, id).await?,
            None => list(&self.lake).await?.into_iter().next().ok_or(SnapshotError::NoCurrent)?,
        };
        let tair = match &self.tair {
            Some(tair) if !self.options.lake_only => tair,
            _ => {
                let activating = publish_to_lake(&self.lake, &manifest, None, self.options.force);
                let current = stage("publish: activate", activating).await?;
                return Ok(Published { current, written: None });
            }
        };
        let before = read_current(&self.lake).await?;
        if !self.options.force {
            check_newer(&self.lake, before.as_ref(), &manifest).await?;
        }
        let writer = Arc::new(Writer::connect(tair).await?);
        let published = Box::pin(self.publish_online(&writer, Arc::new(manifest), before)).await;
        if let Some(writer) = Arc::into_inner(writer) {
            writer.quit().await;
        }
        published
    }

    /// Publishes the snapshot that was current before this one.
    ///
    /// # Errors
    /// [`SnapshotError::NoPrevious`], or as [`Publisher::publish`].
    pub async fn rollback(&self) -> Result<Published, PublishError> {
        let current = read_current(&self.lake).await?.ok_or(SnapshotError::NoCurrent)?;
        let previous = current.previous.ok_or(SnapshotError::NoPrevious)?;
        let options = Options { force: true, ..self.options };
        Self { options, ..self.clone() }.publish(Some(&previous)).await
    }

    /// Returns the snapshots of publishes that are in progress or unfinished. They must not be pruned.
    ///
    /// # Errors
    /// Errors of Tair.
    pub async fn in_flight(&self) -> Result<Vec<SnapshotId>, PublishError> {
        let Some(tair) = &self.tair else { return Ok(Vec::new()) };
        let writer = Writer::connect(tair).await?;
        let (marker, publishing) = (writer.marker().await?, writer.publishing().await?);
        writer.quit().await;
        let markers = publishing.iter().flat_map(Publishing::markers).chain(&marker);
        Ok(markers.filter_map(|marker| marker.snapshot.parse().ok()).collect())
    }
}

/// Runs `work` as a stage of the publish in traces.
fn stage<T, E>(
    name: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    // In a box, so that the future of a publish is not larger by each stage.
    let work = Box::pin(work);
    async move {
        let mut span = Span::child(name, SpanKind::Internal);
        let result = span.around(work).await;
        span.fail_on(&result);
        result
    }
}
