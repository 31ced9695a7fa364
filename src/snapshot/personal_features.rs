//! Personal features of a snapshot, and the named audiences that depend on them.

use std::collections::BTreeSet;

use super::{Manifest, SegmentStats};
use crate::{
    config::ColumnRef,
    feature::{SEGMENTS_VIEW, SegmentKind, feature_name},
};

impl Manifest {
    /// Iterates over the personal features as pairs of view and feature.
    pub fn personal(&self) -> impl Iterator<Item = (&str, &str)> {
        self.views.iter().flat_map(|view| {
            let personal = view.features.iter().filter(|feature| feature.personal);
            personal.map(|feature| (view.name.as_str(), feature.name.as_str()))
        })
    }

    /// Checks whether `feature` of `view` holds personal data.
    #[must_use]
    pub fn is_personal(&self, view: &str, feature: &str) -> bool {
        self.personal().any(|personal| personal == (view, feature))
    }

    /// Marks the features as personal that are personal in `newer`: a feature that was declared personal
    /// later must not be readable from an older snapshot.
    pub fn mark_personal(&mut self, newer: &Self) {
        self.mark(|view, feature| newer.is_personal(view, feature));
    }

    /// Marks the features as personal that the configuration declares personal.
    pub fn declare_personal(&mut self, columns: &[ColumnRef]) {
        self.mark(|view, feature| {
            columns.iter().any(|column| column.view == view && feature_name(&column.column) == feature)
        });
    }

    fn mark(&mut self, personal: impl Fn(&str, &str) -> bool) {
        let known = self.personal_segments();
        for view in &mut self.views {
            for feature in &mut view.features {
                feature.personal |= personal(&view.name, &feature.name);
            }
        }
        // The build wrote the names of these audiences among those that every caller may see.
        if self.personal_segments() != known
            && let Some(view) = self.views.iter_mut().find(|view| view.name == SEGMENTS_VIEW)
        {
            view.features.iter_mut().for_each(|feature| feature.personal = true);
        }
    }

    /// Returns the names of the audiences that depend on personal features.
    #[must_use]
    pub fn personal_segments(&self) -> BTreeSet<String> {
        let personal = self.segments.iter().filter(|segment| !self.personal_behind(segment).is_empty());
        personal.map(|segment| segment.name.clone()).collect()
    }

    /// Returns the personal features that decide about the members of `segment`, as `view.feature`: those of
    /// its own expression, of the audiences in the expression, and of audiences that take customers first.
    #[must_use]
    pub fn personal_behind(&self, segment: &SegmentStats) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if segment.kind != SegmentKind::Audience || self.personal().next().is_none() {
            return found;
        }
        let audiences = || self.segments.iter().filter(|known| known.kind == SegmentKind::Audience);
        let (mut seen, mut open) = (BTreeSet::from([segment.name.as_str()]), vec![segment]);
        while let Some(next) = open.pop() {
            let names = self.personal().map(|(view, feature)| format!("{view}.{feature}"));
            found.extend(names.filter(|name| mentions(&next.definition, name)));
            for other in audiences() {
                let takes_first =
                    priority(other).is_some_and(|first| priority(next).is_some_and(|rank| first < rank));
                if (takes_first || mentions(&next.definition, &other.name)) && seen.insert(&other.name) {
                    open.push(other);
                }
            }
        }
        found
    }

    /// Removes the figures of audiences that depend on personal features.
    pub fn remove_personal_segments(&mut self) {
        let personal = self.personal_segments();
        self.segments.retain(|segment| !personal.contains(&segment.name));
        self.files.retain(|file| file.segment.as_ref().is_none_or(|name| !personal.contains(name)));
    }
}

/// Checks whether `definition` contains `name`, not as a part of a longer name.
fn mentions(definition: &str, name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    definition.match_indices(name).any(|(at, _)| {
        let (before, after) = (&definition[..at], &definition[at + name.len()..]);
        !before.ends_with(is_letter) && !after.starts_with(is_letter)
    })
}

/// Returns the priority of an audience, which ends its definition.
fn priority(audience: &SegmentStats) -> Option<u64> {
    audience.definition.rsplit_once("; priority ")?.1.parse().ok()
}
