//! State of the lake and Tair before a publish: the next publish number, and the rows that Tair is known to
//! hold.

use std::sync::Arc;

use super::PublishError;
use crate::{
    lake::Lake,
    snapshot::{Current, Manifest, SnapshotError, token},
    tair::{
        Writer,
        codec::{Marker, Publishing, field},
    },
};

/// Number of unfinished publishes up to which a publish is incremental.
const MAX_UNFINISHED: usize = 3;

/// Rows that Tair holds before the publish.
#[derive(Debug)]
pub(super) enum Base {
    /// Each customer's row comes from one of these snapshots.
    Known(Vec<Arc<Manifest>>),
    /// The rows cannot be trusted, for this reason.
    Unknown(&'static str),
}

/// Records of the lake and Tair as they were before the publish.
#[derive(Debug)]
pub(super) struct PublishState {
    pub(super) current: Option<Current>,
    pub(super) marker: Option<Marker>,
    pub(super) publishing: Option<Publishing>,
    /// Greatest publish number that has an index in Tair.
    pub(super) indexed: u64,
}

impl PublishState {
    /// Reads the records of Tair; `current` is the content of `CURRENT`.
    pub(super) async fn read(writer: &Writer, current: Option<Current>) -> Result<Self, PublishError> {
        let indexed = writer.indexes().await?.into_keys().max().unwrap_or(0);
        let (marker, publishing) = (writer.marker().await?, writer.publishing().await?);
        Ok(Self { current, marker, publishing, indexed })
    }

    /// Returns `CURRENT` if the lake and Tair both serve `manifest` already and no publish is unfinished.
    pub(super) fn published(&self, manifest: &Manifest) -> Option<&Current> {
        let (Some(current), Some(marker), None) = (&self.current, &self.marker, &self.publishing) else {
            return None;
        };
        let is_published = current.snapshot == manifest.id
            && marker.publish == current.publish
            && marker.snapshot == manifest.id.as_str();
        if is_published { Some(current) } else { None }
    }

    /// Returns the name that identifies the lake in Tair, and generates one if the lake has none.
    ///
    /// # Errors
    /// [`PublishError::OtherLake`] if Tair holds the data of another lake, unless a `full` publish replaces
    /// it.
    pub(super) async fn lake_name(&self, lake: &Lake, full: bool) -> Result<String, PublishError> {
        let ours = self.current.as_ref().and_then(|current| current.lake.clone());
        let mut markers: Vec<&Marker> = Vec::new();
        if !full {
            markers.extend(&self.marker);
            markers.extend(self.publishing.iter().flat_map(Publishing::markers));
        }
        let mut adopted = None;
        for marker in markers {
            // A publish that ended before `CURRENT` had a name left a name in Tair alone. Older versions left
            // none.
            let is_named_alike = marker.lake.is_some() && marker.lake == ours;
            if !is_named_alike && manifest_of(lake, &marker.snapshot).await?.is_none() {
                let (publish, snapshot) = (marker.publish, marker.snapshot.clone());
                return Err(PublishError::OtherLake { publish, snapshot });
            }
            adopted = marker.lake.clone().or(adopted);
        }
        match ours.or(adopted) {
            Some(name) => Ok(name),
            None => Ok(token()?),
        }
    }

    /// Returns the number of the next publish, which is greater than any number seen.
    pub(super) fn next_number(&self) -> u64 {
        let current = self.current.iter().map(|current| current.publish);
        let markers = self.marker.iter().chain(self.publishing.iter().flat_map(Publishing::markers));
        let seen = current.chain(markers.map(|marker| marker.publish)).chain([self.indexed]);
        seen.max().unwrap_or(0) + 1
    }

    /// Returns the publishes that may have left rows behind without being activated.
    pub(super) fn unfinished(&self) -> Vec<Marker> {
        let active = self.marker.as_ref().map_or(0, |marker| marker.publish);
        let markers = self.publishing.iter().flat_map(Publishing::markers);
        markers.filter(|marker| marker.publish > active).cloned().collect()
    }

    /// Checks whether the last publish activated its snapshot in Tair and died before it wrote `CURRENT`.
    fn is_tair_ahead(&self, marker: &Marker) -> bool {
        self.publishing.as_ref().is_some_and(|publishing| publishing.marker == *marker)
            && self.current.as_ref().is_none_or(|current| current.publish < marker.publish)
    }

    /// Returns the snapshots whose rows Tair holds, as far as that is certain.
    pub(super) async fn base(
        &self,
        lake: &Lake,
        target: &Manifest,
        full: bool,
    ) -> Result<Base, SnapshotError> {
        if full {
            return Ok(Base::Unknown("a full publish was requested"));
        }
        let Some(marker) = &self.marker else { return Ok(Base::Unknown("Tair has no snapshot")) };
        let agrees = |current: &Current| {
            current.publish == marker.publish && current.snapshot.as_str() == marker.snapshot
        };
        if !self.is_tair_ahead(marker) && !self.current.as_ref().is_some_and(agrees) {
            return Ok(Base::Unknown("Tair and CURRENT name different publishes"));
        }
        let unfinished = self.unfinished();
        if unfinished.len() > MAX_UNFINISHED {
            return Ok(Base::Unknown("too many publishes are unfinished"));
        }
        let fields = |manifest: &Manifest| manifest.views.iter().map(field).collect::<Vec<_>>();
        let mut bases = Vec::new();
        for name in unfinished.iter().chain([marker]).map(|marker| &marker.snapshot) {
            let Ok(id) = name.parse() else {
                return Ok(Base::Unknown("the previous snapshot id is invalid"));
            };
            match Manifest::read(lake, &id).await {
                Ok(base) if fields(&base) == fields(target) => bases.push(Arc::new(base)),
                Ok(_) => return Ok(Base::Unknown("the columns changed")),
                Err(SnapshotError::Lake(error)) => return Err(error.into()),
                Err(_) => return Ok(Base::Unknown("the previous snapshot is no longer in the lake")),
            }
        }
        bases.dedup_by(|a, b| a.id == b.id);
        Ok(Base::Known(bases))
    }
}

/// Returns the manifest of `snapshot`, or `None` if the lake has no readable one.
pub(super) async fn manifest_of(lake: &Lake, snapshot: &str) -> Result<Option<Manifest>, SnapshotError> {
    let Ok(id) = snapshot.parse() else { return Ok(None) };
    match Manifest::read(lake, &id).await {
        Ok(manifest) => Ok(Some(manifest)),
        Err(SnapshotError::Lake(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(publish: u64) -> Marker {
        let (snapshot, as_of) = ("20240101T000000Z-00000001".to_owned(), "2024-01-01T00:00:00Z".to_owned());
        Marker { publish, snapshot, as_of, lake: None }
    }

    fn publishing(publish: u64, unfinished: &[u64]) -> Publishing {
        Publishing {
            marker: marker(publish),
            from: None,
            unfinished: unfinished.iter().copied().map(marker).collect(),
            released: false,
            done: 0,
            customers: 0,
        }
    }

    #[test]
    fn next_number_is_greater_than_any_seen() {
        for (active, under_way, indexed, expected) in [
            (None, None, 0, 1),
            (Some(4), None, 4, 5),
            (Some(4), Some(publishing(6, &[5])), 4, 7),
            (Some(4), Some(publishing(5, &[8])), 4, 9),
            (None, None, 12, 13),
        ] {
            let marker = active.map(marker);
            let state = PublishState { current: None, marker, publishing: under_way, indexed };
            assert_eq!(state.next_number(), expected, "{state:?}");
        }
    }

    #[test]
    fn unfinished_publishes_are_those_after_the_active_one() {
        let state = PublishState {
            current: None,
            marker: Some(marker(4)),
            publishing: Some(publishing(6, &[3, 5])),
            indexed: 0,
        };
        let numbers: Vec<u64> = state.unfinished().iter().map(|marker| marker.publish).collect();
        assert_eq!(numbers, [5, 6]);
        assert!(!state.is_tair_ahead(&marker(4)) && state.is_tair_ahead(&marker(6)));
    }
}
