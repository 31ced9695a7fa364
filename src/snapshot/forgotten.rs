//! The erasure list: customers to erase, a list in the lake that every read, build and publish applies.
//!
//! Each call of `larder forget` writes one small object, which never changes afterwards, so concurrent calls
//! lose nothing. This module knows ids and objects; other modules remove the customers from snapshots and
//! from Tair.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{SnapshotError, rfc3339};
use crate::{feature::CustomerId, lake::Lake};

/// Folder of the list.
pub(super) const FOLDER: &str = "forgotten";
/// Maximum number of attempts to read the list while its objects are being removed.
const ATTEMPTS: usize = 5;
/// Length of a version, in hexadecimal digits.
const VERSION_DIGITS: usize = 16;

/// The erasure list. It is usually empty, and a check of an empty list costs one branch.
#[derive(Debug, Clone, Default)]
pub struct Forgotten {
    /// Calls by object name. The names begin with the time.
    calls: BTreeMap<String, ErasureCall>,
    ids: HashSet<CustomerId>,
    version: Arc<str>,
}

/// Customers that one call of `larder forget` named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureCall {
    /// Ids of the customers.
    pub ids: Vec<CustomerId>,
    /// Time of the call.
    pub at: DateTime<Utc>,
}

/// JSON form of a call.
#[derive(Serialize, Deserialize)]
struct StoredCall {
    ids: Vec<String>,
    #[serde(with = "rfc3339")]
    at: DateTime<Utc>,
}

impl Forgotten {
    /// Creates a list of `ids` that is not in a lake.
    #[must_use]
    pub fn of(ids: BTreeSet<CustomerId>) -> Self {
        Self { ids: ids.into_iter().collect(), ..Self::default() }
    }

    /// Reads the list.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`], or [`SnapshotError::Damaged`] for any damaged object: a part of the list is
    /// not enough.
    pub async fn read(lake: &Lake) -> Result<Self, SnapshotError> {
        Ok(Self::default().refreshed(lake).await?.unwrap_or_default())
    }

    /// Reads the list again; only new objects are read. Returns `None` if the list has not changed.
    ///
    /// # Errors
    /// Same errors as [`Forgotten::read`].
    pub async fn refreshed(&self, lake: &Lake) -> Result<Option<Self>, SnapshotError> {
        let mut attempts = 1;
        loop {
            let objects = lake.list(&Path::from(FOLDER)).await?;
            let names = objects.iter().filter(|object| object.location.extension() == Some("json"));
            let names: BTreeSet<&str> = names.filter_map(|object| object.location.filename()).collect();
            if names.iter().copied().eq(self.calls.keys().map(String::as_str)) {
                return Ok(None);
            }
            match self.with(lake, &names).await {
                // An undo removed the object after the listing.
                Err(SnapshotError::Lake(error)) if error.is_not_found() && attempts < ATTEMPTS => {
                    attempts += 1;
                }
                read => return read.map(Some),
            }
        }
    }

    /// Reads the objects `names`, unless they are known already.
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
        let mut version = String::new();
        if !calls.is_empty() {
            version = format!("{:x}", hash.finalize());
            version.truncate(VERSION_DIGITS);
        }
        Ok(Self { calls, ids, version: version.into() })
    }

    /// Adds `ids` to the list and returns the new list. Known ids are not written again.
    ///
    /// # Errors
    /// Errors of [`Forgotten::read`], [`SnapshotError::Write`], or [`SnapshotError::Random`].
    pub async fn add(lake: &Lake, ids: &BTreeSet<CustomerId>) -> Result<Self, SnapshotError> {
        let before = Self::read(lake).await?;
        let new: BTreeSet<&CustomerId> = ids.iter().filter(|id| !before.contains(id.as_str())).collect();
        if new.is_empty() {
            return Ok(before);
        }
        write_call(lake, new, rfc3339::now()).await?;
        Self::read(lake).await
    }

    /// Removes `ids` from the list and returns the new list. If interrupted, or concurrent with another call,
    /// some of `ids` may remain on the list, but no other id is removed.
    ///
    /// # Errors
    /// Same errors as [`Forgotten::add`].
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

    /// Checks whether the list contains `id`.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        !self.ids.is_empty() && self.ids.contains(id)
    }

    /// Checks whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the number of customers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Iterates over the customers, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = &CustomerId> {
        self.ids.iter()
    }

    /// Iterates over the calls, oldest first.
    pub fn calls(&self) -> impl Iterator<Item = &ErasureCall> {
        self.calls.values()
    }

    /// Returns the version of the list: a hash of the calls, empty for an empty list.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn path(name: &str) -> Path {
    Path::from(format!("{FOLDER}/{name}"))
}

async fn read_call(lake: &Lake, name: &str) -> Result<ErasureCall, SnapshotError> {
    let path = path(name);
    let damaged = |why: String| SnapshotError::damaged(&path, why);
    let stored: StoredCall =
        serde_json::from_slice(&lake.get(&path).await?).map_err(|error| damaged(error.to_string()))?;
    let ids = stored.ids.iter().map(|id| CustomerId::parse(id).map_err(|error| damaged(error.to_string())));
    Ok(ErasureCall { ids: ids.collect::<Result<_, _>>()?, at: stored.at })
}

async fn write_call(lake: &Lake, ids: BTreeSet<&CustomerId>, at: DateTime<Utc>) -> Result<(), SnapshotError> {
    let path = path(&format!("{}-{:08x}.json", at.format("%Y%m%dT%H%M%S%3fZ"), getrandom::u32()?));
    let stored = StoredCall { ids: ids.into_iter().map(CustomerId::to_string).collect(), at };
    let text = serde_json::to_vec(&stored)
        .map_err(|error| SnapshotError::Write { object: path.to_string(), source: error.into() })?;
    Ok(lake.put(&path, Bytes::from(text)).await?)
}
