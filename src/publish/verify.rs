//! Verification of Tair against the current snapshot: records, counts, lists, and customers one by one.

use std::sync::{Arc, atomic::Ordering};

use super::{
    PublishError, Publisher, index,
    list_check::{ListCheck, shared},
    list_writer::ListWriter,
    publish_state::PublishState,
    row_cursor::RowCursor,
    row_writer::{IdSet, RowWriter},
    rows,
    sender::Sender,
    target::Target,
};
use crate::{
    snapshot::{
        Current, Forgotten, Manifest, SnapshotError, read_current, reader::SnapshotReader,
        row_scan::RowBatch, token,
    },
    tair::{
        Batch, Encoded, Lease, Reply, TairError, Writer,
        codec::{self, PUBLISH},
    },
};

/// Number of customers that are compared unless all are.
const SAMPLE: u64 = 1_000;
/// Number of customers in one pipeline.
const PIPELINE: usize = 250;
/// Number of differences that are reported one by one.
const MAX_MESSAGES: usize = 20;

/// Result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of the publish that was verified.
    pub publish: u64,
    /// Number of customers in Tair.
    pub customers: u64,
    /// Number of customers whose values were compared.
    pub compared: u64,
    /// Number of segments whose lists were checked.
    pub segments: u64,
    /// Number of differences.
    pub differences: u64,
    /// Descriptions of the first differences.
    pub messages: Vec<String>,
    /// Whether the differences were repaired.
    pub repaired: bool,
}

impl Report {
    fn add(&mut self, message: String) {
        self.differences += 1;
        if self.messages.len() < MAX_MESSAGES {
            self.messages.push(message);
        }
    }
}

/// Row of the snapshot: a decoded block, and the row in it.
type SnapshotRow = (RowBatch, usize);

/// Verification in progress.
struct Verification<'a> {
    target: Target<'a>,
    /// Whether all customers and lists are compared, instead of sizes and a sample.
    all: bool,
    /// Sender of repairs, if differences are repaired.
    repairs: Option<Sender>,
    row_writer: RowWriter,
    report: Report,
}

impl Publisher {
    /// Compares Tair with the current snapshot: `all` customers and lists, or sizes and a sample. `repair`
    /// rewrites rows and lists that differ. Differences are no error.
    ///
    /// # Errors
    /// Errors of the lake or of Tair.
    pub async fn verify(&self, all: bool, repair: bool) -> Result<Report, PublishError> {
        let tair = self.tair.as_ref().ok_or(PublishError::NoTair)?;
        let current = read_current(&self.lake).await?.ok_or(SnapshotError::NoCurrent)?;
        let manifest = Arc::new(Manifest::read(&self.lake, &current.snapshot).await?);
        let writer = Arc::new(Writer::connect(tair).await?);
        let lease = if repair { Some(Arc::new(writer.lease(token()?).await?)) } else { None };
        let report = Box::pin(self.verify_publish(&writer, &manifest, &current, all, lease.as_ref())).await;
        if let Some(lease) = lease.and_then(Arc::into_inner) {
            lease.release().await;
        }
        report
    }

    /// Verifies the records, then rows and lists. Repairs nothing if Tair holds another publish.
    async fn verify_publish(
        &self,
        writer: &Arc<Writer>,
        manifest: &Arc<Manifest>,
        current: &Current,
        all: bool,
        lease: Option<&Arc<Lease>>,
    ) -> Result<Report, PublishError> {
        let mut report = Report { publish: current.publish, ..Report::default() };
        if !self.verify_records(writer, manifest, current, &mut report).await? {
            return Ok(report);
        }
        let forgotten = Forgotten::read(&self.lake).await?;
        let target = Target {
            lake: &self.lake,
            manifest,
            forgotten: &forgotten,
            number: current.publish,
            writer,
            progress: &self.progress,
        };
        let repairs = lease.map(|lease| Sender::new(writer, lease, self.options.max_ops));
        let row_writer = RowWriter::new(writer.keys(), manifest, current.publish);
        let mut verification = Verification { target, all, repairs, row_writer, report };
        let result = verification.run().await;
        let Verification { repairs, mut report, .. } = verification;
        if let Some(mut sender) = repairs {
            sender.settle().await?;
            report.repaired = report.differences > 0 && result.is_ok();
        }
        result.map(|()| report)
    }

    /// Compares the records of Tair with `CURRENT`. Returns whether Tair holds the publish that `CURRENT`
    /// names.
    async fn verify_records(
        &self,
        writer: &Writer,
        manifest: &Manifest,
        current: &Current,
        report: &mut Report,
    ) -> Result<bool, PublishError> {
        let publish = current.publish;
        let (marker, publishing) = (writer.marker().await?, writer.publishing().await?);
        let (current, active) = (Some(current.clone()), marker.clone());
        let state = PublishState { current, marker: active, publishing: None, indexed: 0 };
        match state.lake_name(&self.lake, false).await {
            Ok(_) => {}
            Err(error @ PublishError::OtherLake { .. }) => {
                report.add(error.to_string());
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        if let Some(publishing) = publishing {
            let number = publishing.marker.publish;
            report.add(format!("publish {number} is unfinished; run `larder publish --current`"));
        }
        match marker {
            Some(marker) if marker.publish == publish && marker.snapshot == manifest.id.as_str() => Ok(true),
            Some(marker) => {
                report.add(format!(
                    "Tair holds publish {} of snapshot {}, but CURRENT {publish} names snapshot {}; \
                     run `larder publish --current`",
                    marker.publish, marker.snapshot, manifest.id
                ));
                Ok(false)
            }
            None => {
                report.add("Tair has no snapshot; run `larder publish --current`".to_owned());
                Ok(false)
            }
        }
    }
}

impl Verification<'_> {
    async fn run(&mut self) -> Result<(), PublishError> {
        let Target { manifest, forgotten, writer, progress, .. } = self.target;
        progress.enter("count customers", 0);
        let mut unseen = rows::existing(writer).await?;
        self.report.customers = unseen.len() as u64;
        progress.enter("compare customers", manifest.customers);
        Box::pin(self.compare_customers(&mut unseen)).await?;
        if !unseen.is_empty() {
            let reason =
                if forgotten.is_empty() { "not in the snapshot" } else { "not in the snapshot, or erased" };
            self.report.add(format!("{} customers are in Tair and {reason}", unseen.len()));
            if let Some(sender) = &mut self.repairs {
                rows::remove(writer, sender, &unseen).await?;
            }
        }
        progress.enter("compare segments", 0);
        Box::pin(self.compare_lists()).await
    }

    /// Compares customers, and removes those that the snapshot has from `unseen`.
    async fn compare_customers(&mut self, unseen: &mut IdSet) -> Result<(), PublishError> {
        let Target { lake, manifest, forgotten, progress, .. } = self.target;
        let step = if self.all { 1 } else { (manifest.customers / SAMPLE).max(1) };
        let mut cursor = RowCursor::open(lake, manifest).await?;
        let (mut at, mut pending) = (0_u64, Vec::new());
        while let Some((rows, row)) = cursor.row() {
            let id = rows.id(row);
            if forgotten.contains(id) {
                // If Tair has the customer, the id stays in `unseen` and counts as a difference.
            } else if !unseen.remove(id) {
                self.report.add(format!("customer {id} is missing"));
                self.repair_row(&(rows.clone(), row), false).await?;
            } else if at.is_multiple_of(step) {
                pending.push((rows.clone(), row));
            }
            at += 1;
            progress.done.fetch_add(1, Ordering::Relaxed);
            cursor.advance().await?;
            if pending.len() == PIPELINE {
                self.compare_values(&mut pending).await?;
            }
        }
        self.compare_values(&mut pending).await
    }

    /// Compares the values of the `pending` rows with Tair by one pipeline.
    async fn compare_values(&mut self, pending: &mut Vec<SnapshotRow>) -> Result<(), PublishError> {
        let Target { manifest, writer, number, .. } = self.target;
        let mut fields = Encoded::default();
        manifest.views.iter().for_each(|view| fields.push(codec::field(view).as_bytes()));
        fields.push(PUBLISH.as_bytes());
        let mut reads = Batch::default();
        for (rows, row) in &*pending {
            let key = writer.keys().customer(rows.id(*row));
            let _ = reads.command("HMGET", 1 + fields.count()).text(key.as_bytes()).encoded(&fields);
        }
        self.report.compared += pending.len() as u64;
        let answers = writer.answers(&reads).await?;
        for (row, answer) in pending.drain(..).zip(answers) {
            if let Some(difference) = row_difference(&row, answer, number)? {
                self.report.add(format!("customer {}: {difference}", row.0.id(row.1)));
                self.repair_row(&row, true).await?;
            }
        }
        Ok(())
    }

    /// Writes `row` if differences are repaired; `replace` removes the key first.
    async fn repair_row(&mut self, (rows, row): &SnapshotRow, replace: bool) -> Result<(), PublishError> {
        let Some(sender) = &mut self.repairs else { return Ok(()) };
        let id = rows.id(*row);
        if replace {
            self.row_writer.remove(sender.batch(), id);
        }
        let text = |view| rows.text(*row, view).map(str::as_bytes);
        self.row_writer.write(sender.batch(), id, |_| true, text);
        Ok(sender.advance().await?)
    }

    /// Compares the lists of all segments.
    async fn compare_lists(&mut self) -> Result<(), PublishError> {
        let Target { lake, manifest, forgotten, writer, number: publish, .. } = self.target;
        let reader = SnapshotReader::offline(lake, manifest);
        let gaps = reader.gaps(forgotten).await.map_err(shared)?;
        let lists = index::lists_of(manifest);
        for (list, &size) in &lists {
            self.report.segments += 1;
            let check = ListCheck { writer, reader: &reader, publish, list, size, gaps: gaps.of(list) };
            if let Some(difference) = check.difference(self.all).await? {
                self.report.add(format!("segment {list}: {difference}"));
                if let Some(sender) = &mut self.repairs {
                    writer.note_index(publish, &lists).await?;
                    ListWriter::new(self.target, None).write(list, sender).await?;
                }
            }
        }
        Ok(())
    }
}

/// Returns how the row in Tair differs from the snapshot's, or `None` if it does not.
fn row_difference(
    (rows, row): &SnapshotRow,
    answer: Result<Reply, TairError>,
    publish: u64,
) -> Result<Option<String>, TairError> {
    let values = match answer {
        Ok(reply) => reply.texts(),
        Err(error) if error.is_wrong_type() => return Ok(Some("the key has another type".to_owned())),
        Err(error) => return Err(error),
    };
    let Some(stored) = codec::row(&values.iter().map(Option::as_deref).collect::<Vec<_>>()) else {
        return Ok(Some("a view is missing".to_owned()));
    };
    if stored.publish > publish {
        return Ok(Some(format!("the row belongs to publish {}", stored.publish)));
    }
    let differs = (0..stored.views.len())
        .find(|view| stored.views.get(*view) != rows.text(*row, *view).map(str::as_bytes));
    Ok(differs.map(|view| format!("the values of view number {} differ", view + 1)))
}
