//! The right to run a scheduled build, which one process of all replicas has at a time.
//!
//! Buckets such as OSS cannot create an object only if there is none. So whoever wants the right writes its
//! own name, waits until others that wrote at the same moment are done, and reads which name stands. Two
//! builds at once would waste work and harm nothing: each writes a snapshot of its own, and publishes exclude
//! each other.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{SnapshotError, SnapshotId, build_records::FOLDER, rfc3339};
use crate::lake::Lake;

/// Time after which the right of a process that no longer renews it ends.
const LENGTH: Duration = Duration::from_mins(1);
/// Time that a write of another process may take.
const SETTLE: Duration = Duration::from_secs(1);

/// The right to run a scheduled build, until dropped or released.
#[derive(Debug)]
pub struct BuildLease {
    lake: Lake,
    token: String,
    renewing: JoinHandle<()>,
}

/// Content of the object.
#[derive(Serialize, Deserialize)]
struct Holder {
    token: String,
    #[serde(with = "rfc3339")]
    until: DateTime<Utc>,
}

fn path() -> Path {
    Path::from(format!("{FOLDER}/lease.json"))
}

impl BuildLease {
    /// Takes the right; `None` if another process has it.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`], [`SnapshotError::Write`], or [`SnapshotError::Random`].
    pub async fn take(lake: &Lake) -> Result<Option<Self>, SnapshotError> {
        if holder(lake).await?.is_some_and(|holder| holder.until > Utc::now()) {
            return Ok(None);
        }
        let token = SnapshotId::generate(Utc::now())?.to_string();
        write(lake, &token).await?;
        tokio::time::sleep(SETTLE).await;
        if holder(lake).await?.is_none_or(|holder| holder.token != token) {
            return Ok(None);
        }
        let renewing = tokio::spawn(renew(lake.clone(), token.clone()));
        Ok(Some(Self { lake: lake.clone(), token, renewing }))
    }

    /// Gives the right back, so that others need not wait until it ends.
    pub async fn release(self) {
        self.renewing.abort();
        let held = holder(&self.lake).await;
        if held.is_ok_and(|held| held.is_some_and(|held| held.token == self.token))
            && let Err(error) = self.lake.delete(&path()).await
        {
            tracing::warn!(%error, "cannot release the lease of builds");
        }
    }
}

impl Drop for BuildLease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Returns who has the right. A malformed object is as good as none.
async fn holder(lake: &Lake) -> Result<Option<Holder>, SnapshotError> {
    match lake.get(&path()).await {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn write(lake: &Lake, token: &str) -> Result<(), SnapshotError> {
    let until = Utc::now() + TimeDelta::from_std(LENGTH).unwrap_or_default();
    let text = serde_json::to_vec(&Holder { token: token.to_owned(), until })
        .map_err(|error| SnapshotError::Write { object: path().to_string(), source: error.into() })?;
    Ok(lake.put(&path(), Bytes::from(text)).await?)
}

/// Renews the right until the task is aborted or another process has taken over.
async fn renew(lake: Lake, token: String) {
    loop {
        tokio::time::sleep(LENGTH / 3).await;
        let renewed = match holder(&lake).await {
            Ok(Some(holder)) if holder.token == token => write(&lake, &token).await,
            Ok(_) => {
                tracing::warn!("the lease of builds was taken over");
                return;
            }
            Err(error) => Err(error),
        };
        if let Err(error) = renewed {
            tracing::warn!(%error, "cannot renew the lease of builds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LakeConfig;

    #[tokio::test]
    async fn one_process_has_the_right_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&LakeConfig::default(), folder.path()).expect("a lake");
        let (first, second) = tokio::join!(BuildLease::take(&lake), BuildLease::take(&lake));
        let mut taken = [first, second].map(|taken| taken.expect("the lake answers")).into_iter().flatten();
        let held = taken.next().expect("one of two has the right");
        assert!(taken.next().is_none());
        assert!(BuildLease::take(&lake).await.expect("the lake answers").is_none());
        held.release().await;
        let next = BuildLease::take(&lake).await.expect("the lake answers");
        // A process that was killed gives nothing back; its right ends.
        drop(next.expect("the right was given back"));
        assert!(BuildLease::take(&lake).await.expect("the lake answers").is_none());
        let past = Holder { token: "gone".to_owned(), until: Utc::now() };
        let past = Bytes::from(serde_json::to_vec(&past).expect("JSON"));
        lake.put(&path(), past).await.expect("written");
        assert!(BuildLease::take(&lake).await.expect("the lake answers").is_some());
    }
}
