//! Whether Tair holds what the current snapshot says: records, counts, lists, and customers one by one.

use std::sync::{Arc, atomic::Ordering};

use super::{
    PublishError, Publisher,
    index::{self, Lists, has_set},
    plan::Found,
    rows::{self, IdSet, RowWriter},
    sender::Sender,
};
use crate::{
    feature::CustomerId,
    lake::Lake,
    snapshot::{
        Current, Forgotten, Manifest, SnapshotError, read_current, reader::SnapshotReader,
        row_scan::RowBatch, token,
    },
    tair::{
        Batch, Encoded, PAGE, Reply, TairError, Writer,
        codec::{self, PUBLISH},
    },
};

/// Customers that are compared unless all are.
const SAMPLE: u64 = 1_000;
/// Customers of one pipeline.
const PIPELINE: usize = 250;
/// Differences that are told one by one.
const TOLD: usize = 20;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The publish that was looked at.
    pub publish: u64,
    /// Customers in Tair.
    pub customers: u64,
    /// Customers whose values were compared.
    pub compared: u64,
    /// Segments whose lists were looked at.
    pub segments: u64,
    /// Differences.
    pub differences: u64,
    /// The first few, in words.
    pub told: Vec<String>,
    /// Whether what differed was mended.
    pub repaired: bool,
}

impl Report {
    fn tell(&mut self, what: String) {
        self.differences += 1;
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }
}

/// The answer to one command.
type Answer = Result<Reply, TairError>;

impl Publisher {
    /// Compares Tair with the current snapshot: `all` customers and lists, or sizes and a sample; `repair` mends rows and lists.
    ///
    /// # Errors
    /// Of the lake or of Tair. A difference is none.
    pub async fn verify(&self, all: bool, repair: bool) -> Result<Report, PublishError> {
        let tair = self.tair.as_ref().ok_or(PublishError::NoTair)?;
        let current = read_current(&self.lake).await?.ok_or(SnapshotError::NoCurrent)?;
        let manifest = Arc::new(Manifest::read(&self.lake, &current.snapshot).await?);
        let writer = Arc::new(Writer::connect(tair).await?);
        let lease = if repair { Some(Arc::new(writer.lease(token()?).await?)) } else { None };
        let mut report = Report { publish: current.publish, ..Report::default() };
        let records = Box::pin(records(&writer, &self.lake, (&manifest, &current), &mut report)).await;
        let mut mending = lease.as_ref().map(|lease| Sender::new(&writer, lease, self.options.max_ops));
        // What belongs to another publish is not this one's to mend.
        let mends = matches!(records, Ok(true));
        let result = match records {
            Ok(true) => Box::pin(self.contents(&writer, &manifest, all, &mut mending, &mut report)).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Some(mut sender) = mending {
            sender.settle().await?;
            report.repaired = mends && report.differences > 0 && result.is_ok();
        }
        if let Some(lease) = lease.and_then(Arc::into_inner) {
            lease.release().await;
        }
        result.map(|()| report)
    }

    async fn contents(
        &self,
        writer: &Arc<Writer>,
        manifest: &Arc<Manifest>,
        all: bool,
        mending: &mut Option<Sender>,
        report: &mut Report,
    ) -> Result<(), PublishError> {
        let publish = report.publish;
        self.progress.enter("count customers", 0);
        let mut there = rows::existing(writer).await?;
        report.customers = there.len() as u64;
        self.progress.enter("compare customers", manifest.customers);
        let forgotten = Forgotten::read(&self.lake).await?;
        self.customers(writer, (manifest, &forgotten), all, &mut there, mending, report).await?;
        if there.len() > 0 {
            let who = if forgotten.is_empty() {
                "not in the snapshot"
            } else {
                "not in the snapshot, or forgotten"
            };
            report.tell(format!("{} customers are in Tair and {who}", there.len()));
            if let Some(sender) = mending {
                rows::remove(writer, sender, &there).await?;
            }
        }
        self.progress.enter("compare segments", 0);
        let reader = SnapshotReader::offline(&self.lake, manifest);
        let gaps = reader.gaps(&forgotten).await.map_err(shared)?;
        for (segment, size) in index::of(manifest) {
            report.segments += 1;
            let wrong = lists(writer, &reader, publish, &segment, (size, gaps.of(&segment)), all).await?;
            if let Some(why) = wrong {
                report.tell(format!("segment {segment}: {why}"));
                if let Some(sender) = mending {
                    writer.note_index(publish, &index::of(manifest)).await?;
                    let (lake, keys, forgotten) = (&self.lake, writer.keys(), &forgotten);
                    let mut lists = Lists { lake, manifest, forgotten, keys, number: publish, source: None };
                    lists.write(&segment, sender, &self.progress).await?;
                }
            }
        }
        Ok(())
    }

    /// Compares customers, and takes those of the snapshot out of `there`.
    async fn customers(
        &self,
        writer: &Arc<Writer>,
        (manifest, forgotten): (&Arc<Manifest>, &Forgotten),
        all: bool,
        there: &mut IdSet,
        mending: &mut Option<Sender>,
        report: &mut Report,
    ) -> Result<(), PublishError> {
        let step = if all { 1 } else { (manifest.customers / SAMPLE).max(1) };
        let row_writer = RowWriter::new(writer.keys(), manifest, report.publish);
        let mut fields = Encoded::default();
        manifest.views.iter().for_each(|view| fields.push(codec::field(view).as_bytes()));
        fields.push(PUBLISH.as_bytes());
        let mut cursor = rows::Cursor::open(&self.lake, manifest).await?;
        let (mut at, mut asked) = (0_u64, Vec::new());
        loop {
            let here = cursor.row().map(|(rows, row)| (rows.clone(), row));
            let end = here.is_none();
            if let Some((rows, row)) = here {
                if forgotten.contains(rows.id(row)) {
                    // Whoever is in Tair all the same stays in `there`.
                } else if !there.remove(rows.id(row)) {
                    report.tell(format!("customer {} is missing", rows.id(row)));
                    if let Some(sender) = mending {
                        row_writer.write(
                            sender.batch(),
                            rows.id(row),
                            |_| true,
                            |view| rows.text(row, view).map(str::as_bytes),
                        );
                        sender.advance().await?;
                    }
                } else if at.is_multiple_of(step) {
                    asked.push((rows, row));
                }
                at += 1;
                self.progress.done.fetch_add(1, Ordering::Relaxed);
                cursor.advance().await?;
            }
            if asked.len() == PIPELINE || end {
                report.compared += asked.len() as u64;
                let mut reads = Batch::default();
                for (rows, row) in &asked {
                    let key = writer.keys().customer(rows.id(*row));
                    let _ = reads.command("HMGET", 1 + fields.count()).text(key.as_bytes()).encoded(&fields);
                }
                let answers = writer.answers(&reads).await?;
                for ((rows, row), answer) in asked.drain(..).zip(answers) {
                    if let Some(why) = difference(&rows, row, answer, report.publish)? {
                        report.tell(format!("customer {}: {why}", rows.id(row)));
                        if let Some(sender) = mending {
                            row_writer.remove(sender.batch(), rows.id(row));
                            row_writer.write(
                                sender.batch(),
                                rows.id(row),
                                |_| true,
                                |view| rows.text(row, view).map(str::as_bytes),
                            );
                            sender.advance().await?;
                        }
                    }
                }
            }
            if end {
                return Ok(());
            }
        }
    }
}

/// Whether Tair has the publish that `CURRENT` names, whole.
async fn records(
    writer: &Writer,
    lake: &Lake,
    (manifest, current): (&Manifest, &Current),
    report: &mut Report,
) -> Result<bool, PublishError> {
    let publish = current.publish;
    let (marker, publishing) = (writer.marker().await?, writer.publishing().await?);
    let found =
        Found { current: Some(current.clone()), marker: marker.clone(), publishing: None, indexed: 0 };
    match found.lake_name(lake, false).await {
        Err(error @ PublishError::OtherLake { .. }) => {
            report.tell(error.to_string());
            return Ok(false);
        }
        name => drop(name?),
    }
    if let Some(publishing) = publishing {
        report.tell(format!(
            "publish {} was left unfinished; `larder publish --current` puts it right",
            publishing.marker.publish
        ));
    }
    match marker {
        Some(marker) if marker.publish == publish && marker.snapshot == manifest.id.as_str() => Ok(true),
        Some(marker) => {
            let there = (marker.publish, marker.snapshot);
            report.tell(format!(
                "Tair has publish {} of {}, CURRENT {publish} of {}; `larder publish --current` puts it right",
                there.0, there.1, manifest.id
            ));
            Ok(false)
        }
        None => {
            report.tell("Tair has no snapshot; `larder publish --current` writes it".to_owned());
            Ok(false)
        }
    }
}

/// What is wrong with the row found, if anything is.
fn difference(
    rows: &RowBatch,
    row: usize,
    answer: Answer,
    publish: u64,
) -> Result<Option<String>, TairError> {
    let values = match answer {
        Ok(found) => found.texts(),
        Err(error) if error.is_wrong_type() => return Ok(Some("the key is of another type".to_owned())),
        Err(error) => return Err(error),
    };
    let Some(found) = codec::row(&values.iter().map(Option::as_deref).collect::<Vec<_>>()) else {
        return Ok(Some("a view is missing".to_owned()));
    };
    if found.publish > publish {
        return Ok(Some(format!("it is of publish {}", found.publish)));
    }
    let differs = (0..found.views.len())
        .find(|view| found.views.get(*view) != rows.text(row, *view).map(str::as_bytes));
    Ok(differs.map(|view| format!("the values of view number {} differ", view + 1)))
}

/// What is wrong with the lists of a segment, if anything is.
async fn lists(
    writer: &Writer,
    reader: &SnapshotReader,
    publish: u64,
    segment: &str,
    (size, gaps): (u64, &[u64]),
    all: bool,
) -> Result<Option<String>, PublishError> {
    let set = writer.keys().segment(publish, segment);
    let number = |answer: Answer| answer.ok().and_then(|reply| reply.number());
    let count = async |command: &'static str, key: &str| -> Result<Option<u64>, TairError> {
        let mut batch = Batch::default();
        batch.push(command, &[key.as_bytes()]);
        Ok(writer.answers(&batch).await?.into_iter().next().and_then(number))
    };
    let members = size.saturating_sub(gaps.len() as u64);
    let members = if has_set(segment) { members } else { 0 };
    let there = count("SCARD", &set).await?;
    if there != Some(members) {
        return Ok(Some(format!(
            "its Set has {} members, not {members}",
            there.map_or("no".to_owned(), |n| n.to_string())
        )));
    }
    let (mut offset, mut page) = (0, 0);
    while offset < size {
        let list = writer.keys().ranking(publish, segment, page);
        let expected = (size - offset).min(PAGE as u64);
        // Where no Set tells by its size that somebody is missing, the places themselves must.
        if all || !has_set(segment) {
            let ids = reader.members(segment, offset, PAGE).await.map_err(shared)?;
            let mut reads = Batch::default();
            for id in ids.iter().filter(|_| has_set(segment)) {
                reads.push("SISMEMBER", &[set.as_bytes(), id.as_str().as_bytes()]);
            }
            reads.push("LRANGE", &[list.as_bytes(), b"0", b"-1"]);
            let mut answers = writer.answers(&reads).await?;
            let ranking = answers.pop().and_then(Result::ok).map(Reply::texts).unwrap_or_default();
            let there = |rank: u64| gaps.binary_search(&rank).is_err();
            let places: Vec<(&CustomerId, bool)> = ids.iter().zip((offset..).map(there)).collect();
            let same = ranking.len() == ids.len()
                && ranking.into_iter().zip(&places).all(|(found, (id, there))| {
                    let expected = if *there { id.as_str().as_bytes() } else { b"" };
                    found.as_deref() == Some(expected)
                });
            if !same {
                return Ok(Some(format!("page {page} of its ranking differs")));
            }
            if !answers
                .into_iter()
                .zip(&places)
                .all(|(answer, (_, there))| number(answer) == Some(u64::from(*there)))
            {
                return Ok(Some("its Set has other members".to_owned()));
            }
        } else {
            let there = count("LLEN", &list).await?;
            if there != Some(expected) {
                return Ok(Some(format!("page {page} of its ranking has not {expected} members")));
            }
        }
        offset += expected;
        page += 1;
    }
    Ok(None)
}

/// An error that several readers may have waited for.
pub(super) fn shared(error: Arc<SnapshotError>) -> PublishError {
    SnapshotError::shared(error).into()
}
