//! Place of the names of segments in the rows of a snapshot.

use std::collections::BTreeSet;

use crate::{
    feature::{PERSONAL_SEGMENT_NAMES, SEGMENT_NAMES, SEGMENTS_VIEW},
    snapshot::Manifest,
};

/// Place of the names of segments in the rows of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MembershipPlace {
    /// Index of the view.
    pub(super) view: usize,
    /// Index of the feature with the names that every caller may see.
    pub(super) names: Option<usize>,
    /// Index of the feature with the names of audiences that depend on personal features.
    pub(super) personal_names: Option<usize>,
    /// Audiences that depend on personal features. Some may be among the names of the build for every caller,
    /// if a feature was declared personal after the build.
    pub(super) personal: BTreeSet<String>,
}

impl MembershipPlace {
    /// Finds the names of segments; `None` for a snapshot of a version without them.
    pub(super) fn of(manifest: &Manifest) -> Option<Self> {
        let view = manifest.view(SEGMENTS_VIEW)?;
        let features = &manifest.views[view].features;
        let place = |name: &str| features.iter().position(|feature| feature.name == name);
        let (names, personal_names) = (place(SEGMENT_NAMES), place(PERSONAL_SEGMENT_NAMES));
        Some(Self { view, names, personal_names, personal: manifest.personal_segments() })
    }
}
