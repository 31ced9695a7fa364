//! Removal of erased customers from Tair: their rows, and their places in the lists of every index.
//!
//! Sets lose the members. In a ranking their places stay and become empty, since ranks are those of the
//! snapshot. The lease is held meanwhile, so that no publish writes an erased customer again.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{PublishError, Publisher, list_writer::page_count, publish_state::PublishState};
use crate::{
    feature::CustomerId,
    snapshot::{Forgotten, SnapshotId, read_current, replace_previous, token},
    tair::{Batch, Lease, Reply, TairError, Writer},
};

/// Maximum number of commands in one pipeline, and of ids in one command.
const MAX_BATCH: usize = 500;
/// Number of ranking pages that are read by one pipeline.
const PAGES_PER_READ: usize = 20;
/// Number of lease lengths for which an erasure waits for a publish in progress.
const WAIT_LEASES: u32 = 8;

/// Data that an erasure removed from Tair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Number of rows removed.
    pub rows: u64,
    /// Number of places in lists removed.
    pub places: u64,
}

impl Publisher {
    /// Removes the customers of `forgotten` from Tair, if there is one. Waits for a publish in progress.
    ///
    /// # Errors
    /// Errors of Tair. The next call or publish removes what is left.
    pub async fn erase(&self, forgotten: &Forgotten) -> Result<Option<Erased>, PublishError> {
        let Some(tair) = &self.tair else { return Ok(None) };
        let writer = Writer::connect(tair).await?;
        let lease = self.wait_for_lease(&writer).await?;
        self.progress.enter("remove from Tair", 0);
        let erased = match self.refuse_other_lake(&writer).await {
            Ok(()) => purge(&writer, &lease, forgotten).await,
            Err(error) => Err(error),
        };
        lease.release().await;
        writer.quit().await;
        erased.map(Some)
    }

    /// Fails if Tair holds the customers of another lake.
    async fn refuse_other_lake(&self, writer: &Writer) -> Result<(), PublishError> {
        let (current, marker) = (read_current(&self.lake).await?, writer.marker().await?);
        let state = PublishState { current, marker, publishing: None, indexed: 0 };
        state.lake_name(&self.lake, false).await.map(drop)
    }

    /// Acquires the lease, and waits for a publish in progress to end.
    async fn wait_for_lease(&self, writer: &Writer) -> Result<Lease, PublishError> {
        self.progress.enter("wait for the lease", 0);
        let wait = self.tair.as_ref().map_or(Duration::ZERO, |tair| tair.lease * WAIT_LEASES);
        let deadline = Instant::now() + wait;
        loop {
            match writer.lease(token()?).await {
                Err(TairError::Busy) if Instant::now() < deadline => {}
                result => return Ok(result?),
            }
        }
    }

    /// Replaces the previous snapshot in `CURRENT` if `replaced`, which maps old ids to new ids, contains it.
    ///
    /// # Errors
    /// Errors of the lake, or of Tair, whose lease keeps publishers away meanwhile.
    pub async fn replace_previous(
        &self,
        replaced: &BTreeMap<SnapshotId, SnapshotId>,
    ) -> Result<(), PublishError> {
        let current = read_current(&self.lake).await?;
        if !current
            .and_then(|current| current.previous)
            .is_some_and(|previous| replaced.contains_key(&previous))
        {
            return Ok(());
        }
        let Some(tair) = &self.tair else { return Ok(replace_previous(&self.lake, replaced).await?) };
        let writer = Writer::connect(tair).await?;
        let lease = self.wait_for_lease(&writer).await?;
        let done = replace_previous(&self.lake, replaced).await;
        lease.release().await;
        writer.quit().await;
        Ok(done?)
    }

    /// Removes customers that were erased since `applied` was read, or while Tair was unreachable.
    pub(super) async fn purge_newly_erased(
        &self,
        writer: &Writer,
        lease: &Lease,
        applied: &Forgotten,
    ) -> Result<(), PublishError> {
        let newer = applied.refreshed(&self.lake).await?;
        let forgotten = newer.as_ref().unwrap_or(applied);
        if writer.forgotten().await?.unwrap_or_default() != forgotten.version() {
            purge(writer, lease, forgotten).await?;
        }
        Ok(())
    }
}

/// Removes all customers of `forgotten` from Tair and records the version of the list.
async fn purge(writer: &Writer, lease: &Lease, forgotten: &Forgotten) -> Result<Erased, PublishError> {
    let ids: Vec<&str> = forgotten.ids().map(CustomerId::as_str).collect();
    let mut erased = Erased { rows: purge_rows(writer, lease, &ids).await?, places: 0 };
    for (number, index) in writer.indexes().await? {
        // The index no longer matches its snapshot and the erasure list that it was built with.
        lease.check()?;
        writer.forget_whole(number).await?;
        for (list, size) in index {
            let set = writer.keys().segment(number, &list);
            erased.places += purge_set(writer, lease, &set, &ids).await?;
            let pages = 0..page_count(size);
            let pages: Vec<String> = pages.map(|page| writer.keys().ranking(number, &list, page)).collect();
            erased.places += purge_ranking(writer, lease, &pages, forgotten).await?;
        }
    }
    lease.check()?;
    writer.set_forgotten(forgotten.version()).await?;
    Ok(erased)
}

/// Removes the rows of `ids` and returns how many existed.
async fn purge_rows(writer: &Writer, lease: &Lease, ids: &[&str]) -> Result<u64, TairError> {
    let mut removed = 0;
    for ids in ids.chunks(MAX_BATCH) {
        let mut removals = Batch::default();
        for id in ids {
            removals.remove(&writer.keys().customer(id));
        }
        removed += sum(&ask(writer, lease, removals).await?);
    }
    Ok(removed)
}

/// Removes `ids` from the Set `set` and returns how many were members.
async fn purge_set(writer: &Writer, lease: &Lease, set: &str, ids: &[&str]) -> Result<u64, TairError> {
    let mut members = Batch::default();
    for ids in ids.chunks(MAX_BATCH) {
        let begun = members.command("SREM", 1 + ids.len()).text(set.as_bytes());
        let _ = ids.iter().fold(begun, |begun, id| begun.text(id.as_bytes()));
    }
    Ok(sum(&ask(writer, lease, members).await?))
}

/// Empties the places of `forgotten` in the `pages` of a ranking and returns how many there were.
async fn purge_ranking(
    writer: &Writer,
    lease: &Lease,
    pages: &[String],
    forgotten: &Forgotten,
) -> Result<u64, TairError> {
    let mut emptied = 0;
    for pages in pages.chunks(PAGES_PER_READ) {
        let mut reads = Batch::default();
        for page in pages {
            reads.push("LRANGE", &[page.as_bytes(), b"0", b"-1"]);
        }
        let mut writes = Batch::default();
        for (page, reply) in pages.iter().zip(ask(writer, lease, reads).await?) {
            let members = reply.map(Reply::texts).unwrap_or_default();
            for (at, id) in members.iter().enumerate() {
                let text = id.as_deref().and_then(|id| std::str::from_utf8(id).ok());
                if text.is_some_and(|id| forgotten.contains(id)) {
                    writes.push("LSET", &[page.as_bytes(), at.to_string().as_bytes(), b""]);
                }
            }
        }
        emptied += writes.len() as u64;
        ask(writer, lease, writes).await?;
    }
    Ok(emptied)
}

/// Returns the answers to `commands`. The answer for a key of another type, which holds no customer, is
/// `None`.
async fn ask(writer: &Writer, lease: &Lease, commands: Batch) -> Result<Vec<Option<Reply>>, TairError> {
    lease.check()?;
    let answers = writer.answers(&commands).await?.into_iter().map(|answer| match answer {
        Ok(reply) => Ok(Some(reply)),
        Err(error) if error.is_wrong_type() => Ok(None),
        Err(error) => Err(error),
    });
    answers.collect()
}

fn sum(replies: &[Option<Reply>]) -> u64 {
    replies.iter().flatten().filter_map(Reply::number).sum()
}
