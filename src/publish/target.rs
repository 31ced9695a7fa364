//! The input of one publish: the snapshot, the erasure list, the publish number and the connections to write
//! with.

use std::sync::Arc;

use crate::{
    lake::Lake,
    snapshot::{Forgotten, Manifest},
    tair::Writer,
    telemetry::Progress,
};

/// Snapshot to write into Tair under a publish number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) lake: &'a Lake,
    pub(super) manifest: &'a Arc<Manifest>,
    /// Erased customers, which are left out of rows and Sets and whose places in rankings are empty.
    pub(super) forgotten: &'a Forgotten,
    pub(super) number: u64,
    pub(super) writer: &'a Arc<Writer>,
    pub(super) progress: &'a Progress,
}
