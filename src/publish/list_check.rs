//! Comparison of one list in Tair with the ranking of the snapshot.

use std::sync::Arc;

use super::{PublishError, list_writer::has_set};
use crate::{
    snapshot::{SnapshotError, reader::SnapshotReader},
    tair::{Batch, PAGE, Reply, TairError, Writer},
};

/// Answer to one command.
type CommandResult = Result<Reply, TairError>;

/// List of a publish, and the expected content.
pub(super) struct ListCheck<'a> {
    pub(super) writer: &'a Writer,
    /// Reader of the snapshot's rankings.
    pub(super) reader: &'a SnapshotReader,
    pub(super) publish: u64,
    pub(super) list: &'a str,
    /// Number of places of the ranking.
    pub(super) size: u64,
    /// Ranks of erased customers, sorted. Their places are empty.
    pub(super) gaps: &'a [u64],
}

impl ListCheck<'_> {
    /// Returns the first difference in words, or `None` if the list is correct. Compares `all` members, or
    /// only sizes and those rankings whose erased customers no Set reveals.
    pub(super) async fn difference(&self, all: bool) -> Result<Option<String>, PublishError> {
        let set = self.writer.keys().segment(self.publish, self.list);
        let has_set = has_set(self.list);
        let members = if has_set { self.size.saturating_sub(self.gaps.len() as u64) } else { 0 };
        let found = self.count("SCARD", &set).await?;
        if found != Some(members) {
            let number = found.map_or("no".to_owned(), |found| found.to_string());
            return Ok(Some(format!("its Set has {number} members instead of {members}")));
        }
        let mut offset = 0;
        for page in 0.. {
            if offset >= self.size {
                break;
            }
            let key = self.writer.keys().ranking(self.publish, self.list, page);
            let length = (self.size - offset).min(PAGE as u64);
            if all || !has_set {
                if let Some(part) = self.page_difference(&key, &set, offset).await? {
                    return Ok(Some(match part {
                        DifferingPart::Ranking => format!("page {page} of its ranking differs"),
                        DifferingPart::Set => "its Set has other members".to_owned(),
                    }));
                }
            } else if self.count("LLEN", &key).await? != Some(length) {
                return Ok(Some(format!("page {page} of its ranking does not have {length} members")));
            }
            offset += length;
        }
        Ok(None)
    }

    /// Returns the part that differs from the ranks of the snapshot from `offset`: the page `key`, or the Set
    /// `set`.
    async fn page_difference(
        &self,
        key: &str,
        set: &str,
        offset: u64,
    ) -> Result<Option<DifferingPart>, PublishError> {
        let ids = self.reader.members(self.list, offset, PAGE).await.map_err(shared)?;
        let mut reads = Batch::default();
        if has_set(self.list) {
            for id in &ids {
                reads.push("SISMEMBER", &[set.as_bytes(), id.as_str().as_bytes()]);
            }
        }
        reads.push("LRANGE", &[key.as_bytes(), b"0", b"-1"]);
        let mut answers = self.writer.answers(&reads).await?;
        let ranking = answers.pop().and_then(Result::ok).map(Reply::texts).unwrap_or_default();
        let is_present: Vec<bool> =
            (offset..).take(ids.len()).map(|rank| self.gaps.binary_search(&rank).is_err()).collect();
        let places = ids.iter().zip(&is_present);
        let is_same = ranking.len() == ids.len()
            && ranking.iter().zip(places).all(|(found, (id, is_present))| {
                let expected = if *is_present { id.as_str().as_bytes() } else { b"" };
                found.as_deref() == Some(expected)
            });
        if !is_same {
            return Ok(Some(DifferingPart::Ranking));
        }
        let is_member = |answer: CommandResult| number(answer) == Some(1);
        let agrees = |(answer, is_present): (CommandResult, &bool)| is_member(answer) == *is_present;
        if answers.into_iter().zip(&is_present).all(agrees) { Ok(None) } else { Ok(Some(DifferingPart::Set)) }
    }

    /// Returns the number that `command` answers for `key`, or `None` for a key of another type.
    async fn count(&self, command: &'static str, key: &str) -> Result<Option<u64>, TairError> {
        let mut batch = Batch::default();
        batch.push(command, &[key.as_bytes()]);
        Ok(self.writer.answers(&batch).await?.into_iter().next().and_then(number))
    }
}

/// Part of a list that differs from the snapshot.
enum DifferingPart {
    Ranking,
    Set,
}

fn number(answer: CommandResult) -> Option<u64> {
    answer.ok().and_then(|reply| reply.number())
}

/// Converts an error that several readers may have waited for.
pub(super) fn shared(error: Arc<SnapshotError>) -> PublishError {
    SnapshotError::shared(error).into()
}
