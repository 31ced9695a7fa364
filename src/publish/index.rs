//! The lists of a publish: a Set and a ranking in pages for each segment, and what is to be removed of older publishes.
//!
//! A Set of many members is the dearest thing that the server is asked for. So what an index of before has in common with this one is
//! taken over by the server itself, and only the rest is sent. The index of the publish before the previous one is used up by that,
//! so there are always two; where there is no other, a publish leaves a spare one for the next.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use chrono::{TimeDelta, Utc};

use super::{
    PublishError,
    plan::{Base, Found, known},
    sender::Sender,
};
use crate::{
    lake::Lake,
    snapshot::{CHURN_LIST, FileEntry, Forgotten, Manifest, SnapshotFiles},
    tair::{Batch, Encoded, Keys, PAGE, Reply, TairError, Writer, codec::Index},
    telemetry::Progress,
};

/// The members of a Set that the server may copy at once: 2 to 3 milliseconds in which it does nothing else.
const COPIED: u64 = 20_000;
/// How long an index is kept after it stopped being the current one, so that whoever read it may come to an end.
const KEPT: TimeDelta = TimeDelta::minutes(1);
/// The number of the spare index. No publish has it, so nobody reads it.
const SPARE: u64 = 0;
/// Keys that are taken over in one batch.
const TAKEN: usize = 200;

/// What the index of `manifest` consists of.
pub(super) fn of(manifest: &Manifest) -> Index {
    let mut index: Index =
        manifest.segments.iter().map(|segment| (segment.name.clone(), segment.size)).collect();
    let all = manifest.ranking_size(CHURN_LIST);
    if all > 0 {
        index.insert(CHURN_LIST.to_owned(), all);
    }
    index
}

/// Whether the members of `list` are also kept as a Set: those of a segment are.
pub(super) fn has_set(list: &str) -> bool {
    list != CHURN_LIST
}

/// An index of before that Tair has whole.
#[derive(Debug)]
pub(super) struct Source {
    number: u64,
    manifest: Arc<Manifest>,
    /// How keys are taken over: the index before the current one is used up, the current one is copied.
    command: &'static str,
}

impl Source {
    /// The best one there is, if what Tair holds is known at all. One that will be used up is no whole index from now on.
    pub(super) async fn find(
        lake: &Lake,
        writer: &Writer,
        base: &Base,
        found: &Found,
        forgotten: &Forgotten,
    ) -> Result<Option<Self>, PublishError> {
        let (Base::Known(_), Some(marker), true) = (base, &found.marker, writer.moves_keys()) else {
            return Ok(None);
        };
        // With other customers forgotten, other places are empty.
        let mut whole = writer.whole_indexes().await?;
        whole.retain(|_, (_, list)| list == forgotten.version());
        let retired = found.current.as_ref().is_some_and(|current| {
            current.publish == marker.publish && Utc::now() - current.published_at >= KEPT
        });
        if let Some((number, (snapshot, _))) =
            whole.range(..marker.publish).next_back().filter(|(number, _)| **number == SPARE || retired)
            && let Some(manifest) = known(lake, snapshot).await?
        {
            writer.forget_whole(*number).await?;
            return Ok(Some(Self { number: *number, manifest: Arc::new(manifest), command: "RENAME" }));
        }
        match whole.get(&marker.publish) {
            Some((snapshot, _)) if *snapshot == marker.snapshot => {
                let manifest = known(lake, snapshot).await?;
                let source =
                    |manifest| Self { number: marker.publish, manifest: Arc::new(manifest), command: "COPY" };
                Ok(manifest.map(source))
            }
            _ => Ok(None),
        }
    }

    /// Whether the server may take over a Set of `size` members at once.
    fn takes_set(&self, size: u64) -> bool {
        self.command == "RENAME" || size <= COPIED
    }
}

/// Leaves a copy of the index of publish `number` for the next one to use up, where there is no other.
pub(super) async fn spare(
    (lake, manifest, forgotten): (&Lake, &Arc<Manifest>, &Forgotten),
    writer: &Writer,
    sender: &mut Sender,
    number: u64,
    progress: &Progress,
) -> Result<(), PublishError> {
    if !writer.moves_keys() || writer.indexes().await?.len() > 1 {
        return Ok(());
    }
    let source = Source { number, manifest: Arc::clone(manifest), command: "COPY" };
    publish((lake, manifest, forgotten), writer, sender, SPARE, Some(source), progress).await?;
    Ok(())
}

/// Writes the index of `manifest` as that of publish `number`; returns how many members it has.
pub(super) async fn publish(
    (lake, manifest, forgotten): (&Lake, &Arc<Manifest>, &Forgotten),
    writer: &Writer,
    sender: &mut Sender,
    number: u64,
    source: Option<Source>,
    progress: &Progress,
) -> Result<u64, PublishError> {
    let index = of(manifest);
    let stage = if number == SPARE { "prepare the next publish" } else { "write segments" };
    progress.enter(stage, index.values().sum());
    writer.note_index(number, &index).await?;
    let mut lists = Lists { lake, manifest, forgotten, keys: writer.keys(), number, source };
    let mut members = 0;
    for segment in index.keys() {
        members += lists.write(segment, sender, progress).await?;
    }
    sender.settle().await?;
    writer.note_whole(number, manifest.id.as_str(), forgotten.version()).await?;
    Ok(members)
}

/// Writes the lists of one publish.
pub(super) struct Lists<'a> {
    pub(super) lake: &'a Lake,
    pub(super) manifest: &'a Arc<Manifest>,
    /// In rankings their places are empty.
    pub(super) forgotten: &'a Forgotten,
    pub(super) keys: &'a Keys,
    pub(super) number: u64,
    pub(super) source: Option<Source>,
}

/// What a list has in common with the one before.
struct Common {
    /// By page, whether it is the same.
    pages: Vec<bool>,
    /// The members of the Set of before.
    set: u64,
    /// Members that are no more, and those that are new, unless they are too many.
    members: Option<(HashSet<String>, HashSet<String>)>,
}

/// What of a list the server has taken over.
#[derive(Default)]
struct Taken {
    pages: HashSet<usize>,
    set: bool,
}

impl Lists<'_> {
    /// Writes the lists of one segment, and returns how many members it has.
    pub(super) async fn write(
        &mut self,
        segment: &str,
        sender: &mut Sender,
        progress: &Progress,
    ) -> Result<u64, PublishError> {
        let Some(file) = file_of(self.manifest, segment) else { return Ok(0) };
        let pages = usize::try_from(file.rows).unwrap_or(usize::MAX).div_ceil(PAGE);
        let set = self.keys.segment(self.number, segment);
        let mut taken = Taken { set: !has_set(segment), ..Taken::default() };
        if let Some(common) = self.common(segment, file).await? {
            let tries_set = !taken.set;
            self.take(segment, &common, sender, &mut taken).await?;
            if let (true, true, Some((gone, new))) = (tries_set, taken.set, &common.members) {
                change(sender, "SREM", &set, gone).await?;
                change(sender, "SADD", &set, new).await?;
            }
        }
        if !taken.set || !has_set(segment) {
            // Whatever is there, it goes before members are added.
            sender.batch().remove(&set);
            sender.settle().await?;
        }
        let mut read = SnapshotFiles::offline(self.lake, self.manifest).ranking_pages(segment, PAGE);
        let mut members = Encoded::default();
        for page in (0..pages).take_while(|_| !taken.set || taken.pages.len() < pages) {
            let Some(ids) = read.next().await? else { break };
            if !taken.set {
                members.clear();
                ids.ids()
                    .filter(|id| !self.forgotten.contains(id))
                    .for_each(|id| members.push(id.as_bytes()));
                add(sender.batch(), "SADD", &set, &members);
            }
            if !taken.pages.contains(&page) {
                let list = self.keys.ranking(self.number, segment, page);
                members.clear();
                ids.ids().for_each(|id| {
                    members.push(if self.forgotten.contains(id) { b"" } else { id.as_bytes() });
                });
                // Sent again, it must not hold everybody twice.
                sender.batch().remove(&list);
                add(sender.batch(), "RPUSH", &list, &members);
            }
            sender.advance().await?;
        }
        progress.done.fetch_add(file.rows, Ordering::Relaxed);
        Ok(file.rows)
    }

    /// Compares the list with that of the source, if there is one.
    async fn common(&self, segment: &str, file: &FileEntry) -> Result<Option<Common>, PublishError> {
        let Some(source) = &self.source else { return Ok(None) };
        let Some(before) = file_of(&source.manifest, segment) else { return Ok(None) };
        let pages = usize::try_from(file.rows).unwrap_or(usize::MAX).div_ceil(PAGE);
        if file.sha256 == before.sha256 && self.forgotten.is_empty() {
            return Ok(Some(Common {
                pages: vec![true; pages],
                set: before.rows,
                members: Some((HashSet::new(), HashSet::new())),
            }));
        }
        let mut old = SnapshotFiles::offline(self.lake, &source.manifest).ranking_pages(segment, PAGE);
        let mut new = SnapshotFiles::offline(self.lake, self.manifest).ranking_pages(segment, PAGE);
        let (mut same, mut gone, mut come) =
            (Vec::with_capacity(pages), HashSet::<String>::new(), HashSet::<String>::new());
        let mut set = 0;
        let mut compares_members = has_set(segment) && source.takes_set(before.rows);
        loop {
            let (was, is) = (old.next().await?, new.next().await?);
            let (was, is) = match (was, is) {
                (None, None) => break,
                (was, is) => (was.unwrap_or_default(), is.unwrap_or_default()),
            };
            set += was.ids().filter(|id| !self.forgotten.contains(id)).count() as u64;
            let equal = was.ids().eq(is.ids());
            same.push(equal);
            if !equal && compares_members {
                let (before, now): (HashSet<&str>, HashSet<&str>) = (was.ids().collect(), is.ids().collect());
                for id in before.difference(&now).filter(|id| !come.remove(**id)).collect::<Vec<_>>() {
                    gone.insert((*id).to_owned());
                }
                for id in now.difference(&before).filter(|id| !gone.remove(**id)).collect::<Vec<_>>() {
                    come.insert((*id).to_owned());
                }
                compares_members =
                    gone.len() + come.len() < usize::try_from(file.rows / 2).unwrap_or(usize::MAX);
            }
        }
        same.truncate(pages);
        come.retain(|id| !self.forgotten.contains(id));
        Ok(Some(Common { pages: same, set, members: compares_members.then_some((gone, come)) }))
    }

    /// Lets the server take over what is common.
    async fn take(
        &mut self,
        segment: &str,
        common: &Common,
        sender: &mut Sender,
        taken: &mut Taken,
    ) -> Result<(), PublishError> {
        let Some(source) = &self.source else { return Ok(()) };
        let size = source.manifest.ranking_size(segment);
        let mut wanted = Vec::new();
        if !taken.set && common.members.is_some() && source.takes_set(size) {
            let keys = (self.keys.segment(source.number, segment), self.keys.segment(self.number, segment));
            wanted.push((None, keys, "SCARD", common.set));
        }
        for (page, _) in common.pages.iter().enumerate().filter(|(_, same)| **same) {
            let key = |number| self.keys.ranking(number, segment, page);
            let size = size.saturating_sub((page * PAGE) as u64).min(PAGE as u64);
            wanted.push((Some(page), (key(source.number), key(self.number)), "LLEN", size));
        }
        for keys in wanted.chunks(TAKEN) {
            let mut batch = Batch::default();
            for (_, (from, to), count, _) in keys {
                batch.push(source.command, &[from.as_bytes(), to.as_bytes()]);
                batch.push(count, &[to.as_bytes()]);
            }
            // What is not answered may have been done: it is written anew like what was refused.
            let answers = match sender.ask(&batch).await {
                Err(error) if error.is_passing() => Vec::new(),
                answers => answers?,
            };
            for ((page, _, _, size), answers) in keys.iter().zip(answers.chunks(2)) {
                let [moved, count] = answers else { continue };
                if moved.is_ok() && count.as_ref().is_ok_and(|count| count.number() == Some(*size)) {
                    if let Some(page) = page {
                        taken.pages.insert(*page);
                    } else {
                        taken.set = true;
                    }
                }
            }
            if answers.iter().any(|answer: &Result<Reply, TairError>| answer.is_err()) {
                // A server that does not know the command, or a user who may not use it.
                self.source = None;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Adds the command that puts `members`, if there are any, into `key`.
fn add(batch: &mut Batch, command: &'static str, key: &str, members: &Encoded) {
    if members.count() > 0 {
        let _ = batch.command(command, 1 + members.count()).text(key.as_bytes()).encoded(members);
    }
}

/// Takes `members` out of a Set, or adds them.
async fn change(
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

fn file_of<'a>(manifest: &'a Manifest, segment: &str) -> Option<&'a FileEntry> {
    manifest.ranking(segment).map(|file| &manifest.files[file])
}

/// The keys of an index.
fn keys_of(keys: &Keys, number: u64, index: &Index) -> Vec<String> {
    let mut all = Vec::new();
    for (segment, size) in index {
        all.push(keys.segment(number, segment));
        let pages = usize::try_from(*size).unwrap_or(usize::MAX).div_ceil(PAGE);
        all.extend((0..pages).map(|page| keys.ranking(number, segment, page)));
    }
    all
}

/// Removes the indexes of all publishes but those of `kept`.
pub(super) async fn remove_others(
    writer: &Writer,
    sender: &mut Sender,
    kept: &[u64],
) -> Result<(), PublishError> {
    for (number, index) in writer.indexes().await? {
        if !kept.contains(&number) {
            writer.forget_whole(number).await?;
            for key in keys_of(writer.keys(), number, &index) {
                sender.batch().remove(&key);
                sender.advance().await?;
            }
            sender.settle().await?;
            writer.forget_index(number).await?;
        }
    }
    Ok(())
}
