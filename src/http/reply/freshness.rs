//! The snapshot that an answer is from.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    serving::{Label, Served},
    snapshot::{Manifest, rfc3339},
};

/// The snapshot that an answer is from.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Freshness {
    /// Id of the snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that the snapshot describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
}

impl From<&Served> for Freshness {
    fn from(served: &Served) -> Self {
        Self { snapshot: served.manifest.id.to_string(), as_of: served.as_of.clone() }
    }
}

impl From<&Manifest> for Freshness {
    fn from(manifest: &Manifest) -> Self {
        Self { snapshot: manifest.id.to_string(), as_of: rfc3339::format(manifest.as_of) }
    }
}

impl From<&Label> for Freshness {
    fn from(label: &Label) -> Self {
        Self { snapshot: label.snapshot.to_string(), as_of: label.as_of.to_string() }
    }
}
