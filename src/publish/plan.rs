//! What a publish has to write: which number it gets, and what Tair is known to hold.

use std::sync::Arc;

use super::PublishError;
use crate::{
    lake::Lake,
    snapshot::{Current, Manifest, SnapshotError, token},
    tair::codec::{Marker, Publishing, field},
};

/// Unfinished publishes that a comparison goes back to.
const UNFINISHED: usize = 3;

/// What Tair holds before the publish.
#[derive(Debug)]
pub(super) enum Base {
    /// Rows of one of these snapshots, whichever it is for a customer.
    Known(Vec<Arc<Manifest>>),
    /// Nothing that can be relied upon, and why.
    Unknown(&'static str),
}

/// What was found before the publish.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) current: Option<Current>,
    pub(super) marker: Option<Marker>,
    pub(super) publishing: Option<Publishing>,
    /// The greatest number of an index.
    pub(super) indexed: u64,
}

impl Found {
    /// Whether Tair and the lake have `manifest` already, and nothing is left unfinished.
    pub(super) fn is_done(&self, manifest: &Manifest) -> bool {
        let (Some(current), Some(marker), None) = (&self.current, &self.marker, &self.publishing) else {
            return false;
        };
        current.snapshot == manifest.id
            && marker.publish == current.publish
            && marker.snapshot == manifest.id.as_str()
    }

    /// The name by which what is written into Tair is known as this lake's. What is there already may be another's only where it is
    /// all to be written anew.
    pub(super) async fn lake_name(&self, lake: &Lake, full: bool) -> Result<String, PublishError> {
        let ours = self.current.as_ref().and_then(|current| current.lake.clone());
        let mut there: Vec<Marker> = self.marker.iter().cloned().collect();
        if let Some(publishing) = &self.publishing {
            there.extend(publishing.unfinished.iter().chain([&publishing.marker]).cloned());
        }
        if full {
            there.clear();
        }
        let mut adopted = None;
        for marker in there {
            // A publish that ended before `CURRENT` had a name left one in Tair alone; publishes of older versions have none.
            let is_named_alike = marker.lake.is_some() && marker.lake == ours;
            if !is_named_alike && known(lake, &marker.snapshot).await?.is_none() {
                return Err(PublishError::OtherLake { publish: marker.publish, snapshot: marker.snapshot });
            }
            adopted = marker.lake.or(adopted);
        }
        match ours.or(adopted) {
            Some(name) => Ok(name),
            None => Ok(token()?),
        }
    }

    /// One more than any number seen.
    pub(super) fn number(&self) -> u64 {
        let current = self.current.iter().map(|current| current.publish);
        let publishing = self.publishing.iter().flat_map(|p| p.unfinished.iter().chain([&p.marker]));
        let seen = current.chain(self.marker.iter().chain(publishing).map(|marker| marker.publish));
        seen.chain([self.indexed]).max().unwrap_or(0) + 1
    }

    /// The publishes that may have left rows behind.
    pub(super) fn unfinished(&self) -> Vec<Marker> {
        let flipped = self.marker.as_ref().map_or(0, |marker| marker.publish);
        let all = self.publishing.iter().flat_map(|p| p.unfinished.iter().chain([&p.marker]));
        all.filter(|marker| marker.publish > flipped).cloned().collect()
    }

    /// What Tair holds, as far as it is certain.
    pub(super) async fn base(
        &self,
        lake: &Lake,
        target: &Manifest,
        full: bool,
    ) -> Result<Base, SnapshotError> {
        if full {
            return Ok(Base::Unknown("it was asked for"));
        }
        let Some(marker) = &self.marker else { return Ok(Base::Unknown("Tair has no snapshot")) };
        let agrees = |current: &Current| {
            current.publish == marker.publish && current.snapshot.as_str() == marker.snapshot
        };
        // Died between the two flips: Tair is ahead of the lake by the publish that it was.
        let ahead = self.publishing.as_ref().is_some_and(|publishing| publishing.marker == *marker)
            && self.current.as_ref().is_none_or(|current| current.publish < marker.publish);
        if !ahead && !self.current.as_ref().is_some_and(agrees) {
            return Ok(Base::Unknown("Tair and CURRENT name different publishes"));
        }
        let unfinished = self.unfinished();
        if unfinished.len() > UNFINISHED {
            return Ok(Base::Unknown("too many publishes were left unfinished"));
        }
        let fields = |manifest: &Manifest| manifest.views.iter().map(field).collect::<Vec<_>>();
        let mut bases = Vec::new();
        for name in unfinished.iter().chain([marker]).map(|marker| &marker.snapshot) {
            let Ok(id) = name.parse() else {
                return Ok(Base::Unknown("the snapshot before has no known name"));
            };
            match Manifest::read(lake, &id).await {
                Ok(base) if fields(&base) == fields(target) => bases.push(Arc::new(base)),
                Ok(_) => return Ok(Base::Unknown("the columns changed")),
                Err(SnapshotError::Lake(error)) => return Err(error.into()),
                Err(_) => return Ok(Base::Unknown("the snapshot before is gone from the lake")),
            }
        }
        bases.dedup_by(|a, b| a.id == b.id);
        Ok(Base::Known(bases))
    }
}

/// The manifest of `snapshot`, unless the lake has none that can be read.
pub(super) async fn known(lake: &Lake, snapshot: &str) -> Result<Option<Manifest>, SnapshotError> {
    let Ok(id) = snapshot.parse() else { return Ok(None) };
    match Manifest::read(lake, &id).await {
        Ok(manifest) => Ok(Some(manifest)),
        Err(SnapshotError::Lake(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}
