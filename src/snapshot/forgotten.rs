//! The customers who are to be forgotten: a list in the lake that every read, build and publish honours.
//!
//! Every call leaves one small object, which nobody changes afterwards, so two calls at a time lose nothing.
//! Knows ids and objects; who is removed from where, others know.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{SnapshotError, hex, random, rfc3339};
use crate::{feature::CustomerId, lake::Lake};

/// The folder of the list.
pub(super) const FOLDER: &str = "forgotten";
/// How often the list is read anew when one of its objects goes meanwhile.
const TRIES: usize = 5;

/// Who is forgotten. Nobody, most of the time: then asking costs one branch.
#[derive(Debug, Clone, Default)]
pub struct Forgotten {
    /// The calls by the names of their objects, which begin with the time.
    calls: BTreeMap<String, Call>,
    ids: HashSet<CustomerId>,
    version: Arc<str>,
}

/// Whom one call of `larder forget` named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The customers.
    pub ids: Vec<CustomerId>,
    /// When they were named.
    pub at: DateTime<Utc>,
}

/// A call as its object holds it.
#[derive(Serialize, Deserialize)]
struct Stored {
    ids: Vec<String>,
    #[serde(with = "rfc3339")]
    at: DateTime<Utc>,
}

impl Forgotten {
    /// Reads the list.
    ///
    /// # Errors
    /// Of the lake, or of an object that is not what it should be: a list that is not known whole is not
    /// known.
    pub async fn read(lake: &Lake) -> Result<Self, SnapshotError> {
        Ok(Self::default().refreshed(lake).await?.unwrap_or_default())
    }

    /// The list as it is now, or nothing where it is still this one. Only objects that are new are read.
    ///
    /// # Errors
    /// As [`Forgotten::read`].
    pub async fn refreshed(&self, lake: &Lake) -> Result<Option<Self>, SnapshotError> {
        let mut tries = 1;
        loop {
            let objects = lake.list(&Path::from(FOLDER)).await?;
            let names = objects.iter().filter(|object| object.location.extension() == Some("json"));
            let names: BTreeSet<&str> = names.filter_map(|object| object.location.filename()).collect();
            if names.iter().copied().eq(self.calls.keys().map(String::as_str)) {
                return Ok(None);
            }
            match self.with(lake, &names).await {
                // Taken back meanwhile; what stays of it has another name.
                Err(SnapshotError::Lake(error)) if error.is_not_found() && tries < TRIES => tries += 1,
                read => return read.map(Some),
            }
        }
    }

    /// The list that consists of the objects `names`.
    async fn with(&self, lake: &Lake, names: &BTreeSet<&str>) -> Result<Self, SnapshotError> {
        let mut calls = BTreeMap::new();
        for name in names {
            let call = match self.calls.get(*name) {
                Some(call) => call.clone(),
                None => read_call(lake, name).await?,
            };
            calls.insert((*name).to_owned(), call);
        }
        let ids = calls.values().flat_map(|call| call.ids.iter().cloned()).collect();
        let mut hash = Sha256::new();
        for name in calls.keys() {
            hash.update(format!("{name}\n"));
        }
        let version = if calls.is_empty() { String::new() } else { hex(&hash.finalize()[..8]) };
        Ok(Self { calls, ids, version: version.into() })
    }

    /// Puts `ids` on the list, and gives the list with them. Those that are on it already are not written
    /// again.
    ///
    /// # Errors
    /// As [`Forgotten::read`].
    pub async fn add(lake: &Lake, ids: &BTreeSet<CustomerId>) -> Result<Self, SnapshotError> {
        let before = Self::read(lake).await?;
        let new: BTreeSet<&CustomerId> = ids.iter().filter(|id| !before.contains(id.as_str())).collect();
        if new.is_empty() {
            return Ok(before);
        }
        write_call(lake, new, rfc3339::now()).await?;
        Self::read(lake).await
    }

    /// Takes `ids` off the list, and gives the list without them. Killed, or at the same time as another, it
    /// may leave some of them on it, but never takes off anybody else.
    ///
    /// # Errors
    /// As [`Forgotten::read`].
    pub async fn undo(lake: &Lake, ids: &BTreeSet<CustomerId>) -> Result<Self, SnapshotError> {
        for (name, call) in Self::read(lake).await?.calls {
            let stay: BTreeSet<&CustomerId> = call.ids.iter().filter(|id| !ids.contains(*id)).collect();
            if stay.len() < call.ids.len() {
                if !stay.is_empty() {
                    write_call(lake, stay, call.at).await?;
                }
                lake.delete(&path(&name)).await?;
            }
        }
        Self::read(lake).await
    }

    /// Whether `id` is forgotten.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        !self.ids.is_empty() && self.ids.contains(id)
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How many are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Everybody who is, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &CustomerId> {
        self.ids.iter()
    }

    /// The calls, oldest first.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// A word that is another one for another list; empty for that of nobody.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn path(name: &str) -> Path {
    Path::from(format!("{FOLDER}/{name}"))
}

async fn read_call(lake: &Lake, name: &str) -> Result<Call, SnapshotError> {
    let path = path(name);
    let damaged = |why: String| SnapshotError::Damaged { object: path.to_string(), why };
    let stored: Stored =
        serde_json::from_slice(&lake.get(&path).await?).map_err(|error| damaged(error.to_string()))?;
    let ids = stored.ids.iter().map(|id| CustomerId::parse(id).map_err(|error| damaged(error.to_string())));
    Ok(Call { ids: ids.collect::<Result<_, _>>()?, at: stored.at })
}

async fn write_call(lake: &Lake, ids: BTreeSet<&CustomerId>, at: DateTime<Utc>) -> Result<(), SnapshotError> {
    let path = path(&format!("{}-{:08x}.json", at.format("%Y%m%dT%H%M%S%3fZ"), random()));
    let stored = Stored { ids: ids.into_iter().map(CustomerId::to_string).collect(), at };
    let text = serde_json::to_vec(&stored)
        .map_err(|error| SnapshotError::Write { object: path.to_string(), source: error.into() })?;
    Ok(lake.put(&path, Bytes::from(text)).await?)
}
