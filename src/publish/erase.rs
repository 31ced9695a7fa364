//! Taking forgotten customers out of Tair: their rows, and their places in the lists of every publish that is there.
//!
//! A Set loses them; in a ranking their places stay, empty, since ranks are those of the snapshot. Under the lease, so that no
//! publish writes what goes here.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{PublishError, Publisher, plan::Found};
use crate::{
    feature::CustomerId,
    snapshot::{Forgotten, SnapshotId, read_current, replace_previous, token},
    tair::{Batch, Lease, PAGE, Reply, TairError, Writer},
};

/// Commands of one pipeline, and ids of one command.
const TOGETHER: usize = 500;
/// Pages of rankings that are read at a time.
const PAGES: usize = 20;
/// For how many leases a publish under way is waited for.
const WAIT: u32 = 8;

/// What was taken out of Tair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Customers whose rows were there.
    pub rows: u64,
    /// Places of lists that they had.
    pub places: u64,
}

impl Publisher {
    /// Takes the customers of `forgotten` out of Tair, where there is one. A publish under way is waited for.
    ///
    /// # Errors
    /// Of Tair; what was not taken out is so by the next call or publish.
    pub async fn erase(&self, forgotten: &Forgotten) -> Result<Option<Erased>, PublishError> {
        let Some(tair) = &self.tair else { return Ok(None) };
        let writer = Writer::connect(tair).await?;
        let lease = self.patiently(&writer).await?;
        self.progress.enter("remove from Tair", 0);
        let erased = match self.refuse_another_lake(&writer).await {
            Ok(()) => everywhere(&writer, &lease, forgotten).await,
            Err(error) => Err(error),
        };
        lease.release().await;
        writer.quit().await;
        erased.map(Some)
    }

    /// Refuses a Tair whose customers are those of another lake.
    async fn refuse_another_lake(&self, writer: &Writer) -> Result<(), PublishError> {
        let (current, marker) = (read_current(&self.lake).await?, writer.marker().await?);
        let found = Found { current, marker, publishing: None, indexed: 0 };
        found.lake_name(&self.lake, false).await.map(drop)
    }

    /// The lease, also after a publish under way.
    async fn patiently(&self, writer: &Writer) -> Result<Lease, PublishError> {
        self.progress.enter("wait for the lease", 0);
        let patient = Instant::now() + self.tair.as_ref().map_or(Duration::ZERO, |tair| tair.lease * WAIT);
        loop {
            match writer.lease(token()?).await {
                Err(TairError::Busy) if Instant::now() < patient => {}
                taken => return Ok(taken?),
            }
        }
    }

    /// Names the snapshots of `replaced`, old → new, by their new names in `CURRENT`, as its previous one.
    ///
    /// # Errors
    /// Of Tair, whose lease keeps publishers away meanwhile, or of the lake.
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
        let lease = self.patiently(&writer).await?;
        let done = replace_previous(&self.lake, replaced).await;
        lease.release().await;
        writer.quit().await;
        Ok(done?)
    }

    /// Takes those out of Tair who were forgotten since the list was `honoured`, or while Tair could not be reached.
    pub(super) async fn catch_up(
        &self,
        writer: &Writer,
        lease: &Lease,
        honoured: &Forgotten,
    ) -> Result<(), PublishError> {
        let newer = honoured.refreshed(&self.lake).await?;
        let forgotten = newer.as_ref().unwrap_or(honoured);
        if writer.forgotten().await?.unwrap_or_default() != forgotten.version() {
            everywhere(writer, lease, forgotten).await?;
        }
        Ok(())
    }
}

/// Takes everybody of `forgotten` out, and notes that it was done.
async fn everywhere(writer: &Writer, lease: &Lease, forgotten: &Forgotten) -> Result<Erased, PublishError> {
    let keys = writer.keys();
    let mut erased = Erased::default();
    let ids: Vec<&str> = forgotten.ids().map(CustomerId::as_str).collect();
    for ids in ids.chunks(TOGETHER) {
        let mut removals = Batch::default();
        for id in ids {
            removals.remove(&keys.customer(id));
        }
        erased.rows += removed(&ask(writer, lease, removals).await?);
    }
    for (number, index) in writer.indexes().await? {
        // It is not any more what its snapshot and the list of its time say.
        lease.check()?;
        writer.forget_whole(number).await?;
        for (list, size) in index {
            let set = keys.segment(number, &list);
            let mut members = Batch::default();
            for ids in ids.chunks(TOGETHER) {
                let begun = members.command("SREM", 1 + ids.len()).text(set.as_bytes());
                let _ = ids.iter().fold(begun, |begun, id| begun.text(id.as_bytes()));
            }
            erased.places += removed(&ask(writer, lease, members).await?);
            let pages = usize::try_from(size).unwrap_or(usize::MAX).div_ceil(PAGE);
            let pages: Vec<String> = (0..pages).map(|page| keys.ranking(number, &list, page)).collect();
            for pages in pages.chunks(PAGES) {
                let mut reads = Batch::default();
                for page in pages {
                    reads.push("LRANGE", &[page.as_bytes(), b"0", b"-1"]);
                }
                let mut empty = Batch::default();
                for (page, found) in pages.iter().zip(ask(writer, lease, reads).await?) {
                    let members = found.map(Reply::texts).unwrap_or_default();
                    for (at, id) in members.iter().enumerate() {
                        let id = id.as_deref().and_then(|id| std::str::from_utf8(id).ok());
                        if id.is_some_and(|id| forgotten.contains(id)) {
                            empty.push("LSET", &[page.as_bytes(), at.to_string().as_bytes(), b""]);
                        }
                    }
                }
                erased.places += empty.len() as u64;
                ask(writer, lease, empty).await?;
            }
        }
    }
    lease.check()?;
    writer.set_forgotten(forgotten.version()).await?;
    Ok(erased)
}

/// The answers to `commands`; none of a key that is of another type and so holds nobody.
async fn ask(writer: &Writer, lease: &Lease, commands: Batch) -> Result<Vec<Option<Reply>>, TairError> {
    lease.check()?;
    let answers = writer.answers(&commands).await?.into_iter().map(|answer| match answer {
        Ok(reply) => Ok(Some(reply)),
        Err(error) if error.is_wrong_type() => Ok(None),
        Err(error) => Err(error),
    });
    answers.collect()
}

fn removed(replies: &[Option<Reply>]) -> u64 {
    replies.iter().flatten().filter_map(Reply::number).sum()
}
