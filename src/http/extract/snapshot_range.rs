//! Two snapshots, by their ids or by times.

use std::sync::Arc;

use super::{
    SnapshotRead,
    time_range::{self, DayEnd},
};
use crate::{
    http::Problem,
    serving::Timeline,
    snapshot::{Manifest, SnapshotId, rfc3339},
};

/// An earlier and a later snapshot to compare.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotRange {
    pub(crate) from: Arc<Manifest>,
    pub(crate) to: Arc<Manifest>,
}

impl SnapshotRange {
    /// Finds the snapshots of the parameters `from` and `to`, each an id, a time or a date. The defaults are
    /// the snapshot before `to`, and the current snapshot.
    pub(crate) async fn find(
        read: &SnapshotRead,
        timeline: &Timeline,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Self, Problem> {
        let to = match to {
            None => Arc::clone(&read.served.manifest),
            Some(text) => find_snapshot(read, timeline, "to", text).await?,
        };
        let from = match from {
            Some(text) => find_snapshot(read, timeline, "from", text).await?,
            None => timeline.before(&to).cloned().ok_or_else(|| {
                let why = format!("there is no snapshot before {}; a comparison needs two snapshots", to.id);
                Problem::snapshot_not_found(why)
            })?,
        };
        if from.as_of > to.as_of {
            return Err(Problem::bad_parameter("`from` must not be later than `to`"));
        }
        Ok(Self { from, to })
    }
}

/// Finds a snapshot by its id, or the last snapshot until a time. `parameter` is named in errors.
async fn find_snapshot(
    read: &SnapshotRead,
    timeline: &Timeline,
    parameter: &str,
    text: &str,
) -> Result<Arc<Manifest>, Problem> {
    if let Ok(id) = text.parse::<SnapshotId>() {
        return Ok(Arc::clone(&read.app.serving.snapshot(&id).await?.manifest));
    }
    let time = time_range::instant(text, DayEnd::Last).ok_or_else(|| {
        Problem::bad_parameter(format!("`{parameter}` must be a snapshot id, a time (RFC 3339) or a date"))
    })?;
    timeline.at(time).cloned().ok_or_else(|| {
        Problem::snapshot_not_found(format!("there is no snapshot until {}", rfc3339::format(time)))
    })
}
