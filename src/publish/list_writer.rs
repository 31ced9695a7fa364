//! The lists of a publish: for each segment a Set of its members, and its ranking in pages.
//!
//! `SADD` with many members is the most expensive command of a publish. Keys that an older index has in
//! common with the new one are therefore moved or copied by the server itself, and only the differences are
//! sent.

use std::{collections::HashSet, sync::atomic::Ordering};

use super::{PublishError, reusable_index::ReusableIndex, sender::Sender, target::Target};
use crate::{
    snapshot::{CHURN_LIST, FileEntry, Manifest, SnapshotFiles, ranking_pages::RankingPage},
    tair::{Batch, Encoded, PAGE, Reply, TairError},
};

/// Number of keys that are transferred by one batch.
const TRANSFER_BATCH: usize = 200;

/// Checks whether the members of `list` are also kept as a Set, which segments are and churn risk lists are
/// not.
pub(super) fn has_set(list: &str) -> bool {
    list != CHURN_LIST
}

/// Returns the number of ranking pages for `rows` members.
pub(super) fn page_count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX).div_ceil(PAGE)
}

/// Writer of the lists of one publish.
pub(super) struct ListWriter<'a> {
    target: Target<'a>,
    /// Older index whose keys are reused.
    reusable: Option<ReusableIndex>,
}

/// Difference between a list and the same list of the reusable index.
struct ListDiff {
    /// Whether each page is unchanged.
    same_pages: Vec<bool>,
    /// Number of members of the older Set.
    old_set_size: u64,
    /// Changes of the Set, unless there are too many of them to be worth a transfer.
    members: Option<MemberChanges>,
}

#[derive(Default)]
struct MemberChanges {
    removed: HashSet<String>,
    added: HashSet<String>,
}

impl MemberChanges {
    /// Adds the differences between a page of the old ranking and the same page of the new one. A member that
    /// only moved to another page cancels out.
    fn compare(&mut self, old: &RankingPage, new: &RankingPage) {
        let (old, new): (HashSet<&str>, HashSet<&str>) = (old.ids().collect(), new.ids().collect());
        for id in old.difference(&new) {
            if !self.added.remove(*id) {
                self.removed.insert((*id).to_owned());
            }
        }
        for id in new.difference(&old) {
            if !self.removed.remove(*id) {
                self.added.insert((*id).to_owned());
            }
        }
    }

    fn len(&self) -> usize {
        self.removed.len() + self.added.len()
    }
}

/// Keys of a list that the server has moved or copied from the older index.
#[derive(Default)]
struct Transferred {
    pages: HashSet<usize>,
    set: bool,
}

/// Key to move or copy from the older index.
struct KeyTransfer {
    /// Page of the ranking, or `None` for the Set.
    page: Option<usize>,
    from: String,
    to: String,
    /// Command that returns the size of `to`, to check the transfer.
    size_command: &'static str,
    size: u64,
}

impl<'a> ListWriter<'a> {
    pub(super) fn new(target: Target<'a>, reusable: Option<ReusableIndex>) -> Self {
        Self { target, reusable }
    }

    /// Writes the Set and the ranking of `list`, and returns the number of its members.
    pub(super) async fn write(&mut self, list: &str, sender: &mut Sender) -> Result<u64, PublishError> {
        let Target { manifest, number, writer, progress, .. } = self.target;
        let Some(file) = ranking_file(manifest, list) else { return Ok(0) };
        let set = writer.keys().segment(number, list);
        let done = self.transfer(list, file, &set, sender).await?;
        if !done.set {
            // The key may hold members of an interrupted publish.
            sender.batch().remove(&set);
            sender.settle().await?;
        }
        self.write_missing(list, file, &set, &done, sender).await?;
        progress.done.fetch_add(file.rows, Ordering::Relaxed);
        Ok(file.rows)
    }

    /// Sends the members of all keys that were not transferred.
    async fn write_missing(
        &self,
        list: &str,
        file: &FileEntry,
        set: &str,
        done: &Transferred,
        sender: &mut Sender,
    ) -> Result<(), PublishError> {
        let Target { lake, manifest, forgotten, number, writer, .. } = self.target;
        let needs_set = has_set(list) && !done.set;
        let pages = page_count(file.rows);
        if !needs_set && done.pages.len() == pages {
            return Ok(());
        }
        let mut ranking = SnapshotFiles::offline(lake, manifest).ranking_pages(list, PAGE);
        let mut members = Encoded::default();
        for page in 0..pages {
            let Some(ids) = ranking.next().await? else { break };
            if needs_set {
                members.clear();
                ids.ids().filter(|id| !forgotten.contains(id)).for_each(|id| members.push(id.as_bytes()));
                push_members(sender.batch(), "SADD", set, &members);
            }
            if !done.pages.contains(&page) {
                let key = writer.keys().ranking(number, list, page);
                members.clear();
                ids.ids()
                    .for_each(|id| members.push(if forgotten.contains(id) { b"" } else { id.as_bytes() }));
                // A retried batch must not append the members twice.
                sender.batch().remove(&key);
                push_members(sender.batch(), "RPUSH", &key, &members);
            }
            sender.advance().await?;
        }
        Ok(())
    }

    /// Moves or copies unchanged keys from the reusable index, and updates a transferred Set.
    async fn transfer(
        &mut self,
        list: &str,
        file: &FileEntry,
        set: &str,
        sender: &mut Sender,
    ) -> Result<Transferred, PublishError> {
        let mut done = Transferred::default();
        let Some(reusable) = &self.reusable else { return Ok(done) };
        let Some(old_file) = ranking_file(&reusable.manifest, list) else { return Ok(done) };
        let diff = self.diff(list, file, old_file, reusable).await?;
        let transfers = self.transfers(list, old_file.rows, &diff, reusable);
        let command = reusable.command();
        for transfers in transfers.chunks(TRANSFER_BATCH) {
            if !transfer_keys(command, transfers, sender, &mut done).await? {
                self.reusable = None;
                break;
            }
        }
        if let (true, Some(members)) = (done.set, &diff.members) {
            change_set(sender, "SREM", set, &members.removed).await?;
            change_set(sender, "SADD", set, &members.added).await?;
        }
        Ok(done)
    }

    /// Compares a list with the same list of the reusable index.
    async fn diff(
        &self,
        list: &str,
        file: &FileEntry,
        old_file: &FileEntry,
        reusable: &ReusableIndex,
    ) -> Result<ListDiff, PublishError> {
        let Target { lake, manifest, forgotten, .. } = self.target;
        let pages = page_count(file.rows);
        if file.sha256 == old_file.sha256 && forgotten.is_empty() {
            let members = Some(MemberChanges::default());
            return Ok(ListDiff { same_pages: vec![true; pages], old_set_size: old_file.rows, members });
        }
        let mut old_ranking = SnapshotFiles::offline(lake, &reusable.manifest).ranking_pages(list, PAGE);
        let mut new_ranking = SnapshotFiles::offline(lake, manifest).ranking_pages(list, PAGE);
        let mut same_pages = Vec::with_capacity(pages);
        let mut old_set_size = 0;
        let max_changes = usize::try_from(file.rows / 2).unwrap_or(usize::MAX);
        let compares_members = has_set(list) && reusable.transfers_set(old_file.rows);
        let mut members = if compares_members { Some(MemberChanges::default()) } else { None };
        loop {
            let (old, new) = match (old_ranking.next().await?, new_ranking.next().await?) {
                (None, None) => break,
                (old, new) => (old.unwrap_or_default(), new.unwrap_or_default()),
            };
            old_set_size += old.ids().filter(|id| !forgotten.contains(id)).count() as u64;
            let is_same = old.ids().eq(new.ids());
            same_pages.push(is_same);
            if let Some(changes) = &mut members
                && !is_same
            {
                changes.compare(&old, &new);
                if changes.len() >= max_changes {
                    members = None;
                }
            }
        }
        same_pages.truncate(pages);
        if let Some(members) = &mut members {
            members.added.retain(|id| !forgotten.contains(id));
        }
        Ok(ListDiff { same_pages, old_set_size, members })
    }

    /// Returns the keys of a list that can be taken from the reusable index, whose ranking has `old_rows`
    /// members.
    fn transfers(
        &self,
        list: &str,
        old_rows: u64,
        diff: &ListDiff,
        reusable: &ReusableIndex,
    ) -> Vec<KeyTransfer> {
        let (keys, number) = (self.target.writer.keys(), self.target.number);
        let mut transfers = Vec::new();
        if has_set(list) && diff.members.is_some() && reusable.transfers_set(old_rows) {
            transfers.push(KeyTransfer {
                page: None,
                from: keys.segment(reusable.number, list),
                to: keys.segment(number, list),
                size_command: "SCARD",
                size: diff.old_set_size,
            });
        }
        for (page, _) in diff.same_pages.iter().enumerate().filter(|(_, is_same)| **is_same) {
            transfers.push(KeyTransfer {
                page: Some(page),
                from: keys.ranking(reusable.number, list, page),
                to: keys.ranking(number, list, page),
                size_command: "LLEN",
                size: old_rows.saturating_sub((page * PAGE) as u64).min(PAGE as u64),
            });
        }
        transfers
    }
}

/// Transfers keys with `command` and adds the ones that have the expected size afterwards to `done`. Returns
/// false if the server refused, because it does not know the command or the user may not run it.
async fn transfer_keys(
    command: &'static str,
    transfers: &[KeyTransfer],
    sender: &mut Sender,
    done: &mut Transferred,
) -> Result<bool, PublishError> {
    let mut batch = Batch::default();
    for transfer in transfers {
        batch.push(command, &[transfer.from.as_bytes(), transfer.to.as_bytes()]);
        batch.push(transfer.size_command, &[transfer.to.as_bytes()]);
    }
    // Without an answer the keys may or may not have been transferred. They are written again.
    let answers = match sender.ask(&batch).await {
        Err(error) if error.is_transient() => Vec::new(),
        answers => answers?,
    };
    for (transfer, answers) in transfers.iter().zip(answers.chunks(2)) {
        let [moved, size] = answers else { continue };
        if moved.is_ok() && size.as_ref().is_ok_and(|size| size.number() == Some(transfer.size)) {
            match transfer.page {
                Some(page) => drop(done.pages.insert(page)),
                None => done.set = true,
            }
        }
    }
    Ok(answers.iter().all(|answer: &Result<Reply, TairError>| answer.is_ok()))
}

/// Appends the command that adds `members` to `key`, unless there are no members.
fn push_members(batch: &mut Batch, command: &'static str, key: &str, members: &Encoded) {
    if members.count() > 0 {
        let _ = batch.command(command, 1 + members.count()).text(key.as_bytes()).encoded(members);
    }
}

/// Adds members to a Set (`SADD`) or removes members from it (`SREM`).
async fn change_set(
    sender: &mut Sender,
    command: &'static str,
    set: &str,
    members: &HashSet<String>,
) -> Result<(), PublishError> {
    let members: Vec<&String> = members.iter().collect();
    for members in members.chunks(PAGE) {
        let begun = sender.batch().command(command, 1 + members.len()).text(set.as_bytes());
        let _ = members.iter().fold(begun, |begun, id| begun.text(id.as_bytes()));
        sender.advance().await?;
    }
    Ok(())
}

/// Returns the ranking file of `list`.
fn ranking_file<'a>(manifest: &'a Manifest, list: &str) -> Option<&'a FileEntry> {
    manifest.ranking(list).map(|file| &manifest.files[file])
}
