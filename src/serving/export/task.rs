//! Task that reads the snapshot and formats an export, in passes over ranges of ranks.

use std::{ops::Range, sync::Arc};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use futures::{StreamExt, stream};

use super::{
    Export, ExportError, ExportFormat, ExportOrder,
    change_labels::ChangeLabels,
    parquet::ParquetFile,
    piece_sender::PieceSender,
    ranks::Ranks,
    text::{LineFormat, LineWriter},
};
use crate::{
    serving::Served,
    snapshot::{SnapshotError, reader::FetchedRowRun, run_blocking, writer::ID},
};

/// Number of block runs of the snapshot that are read and formatted ahead.
const AHEAD: usize = 2;
/// Number of members that are sorted by rank at a time.
const SORTED_MEMBERS: u32 = 65_536;

/// Task that produces an export.
pub(super) struct ExportTask {
    pub(super) served: Arc<Served>,
    pub(super) export: Export,
    /// Number of customers that the complete export has.
    pub(super) rows: u64,
    /// Ranks of the members, if they are already known.
    pub(super) ranks: Option<Arc<Ranks>>,
    /// Changes by rank, for an export of changes.
    pub(super) labels: Option<Arc<ChangeLabels>>,
}

impl ExportTask {
    /// Sends the whole export to `out`.
    pub(super) async fn run(self, mut out: PieceSender) -> Result<(), ExportError> {
        let found = match self.export.format {
            ExportFormat::Csv => self.write_text(LineFormat::Csv, &mut out).await,
            ExportFormat::Ndjson => self.write_text(LineFormat::Ndjson, &mut out).await,
            ExportFormat::Parquet => self.write_parquet(&mut out).await,
        }?;
        if found != self.rows {
            return Err(ExportError::Count { expected: self.rows, found });
        }
        out.flush().await
    }

    /// Returns the ranks of the members, and reads them if necessary.
    async fn ranks(&self) -> Result<Arc<Ranks>, ExportError> {
        match &self.ranks {
            Some(ranks) => Ok(Arc::clone(ranks)),
            None => Ok(Arc::new(Ranks::of(&self.served, &self.export.list).await?)),
        }
    }

    /// Returns the range of ranks that each pass through the snapshot exports.
    fn passes(&self, ranks: &Ranks) -> Vec<Range<u32>> {
        let members_per_pass = match self.export.order {
            ExportOrder::Id => u32::MAX,
            ExportOrder::Rank => SORTED_MEMBERS,
        };
        let last = ranks.last().max(self.labels.as_ref().map_or(0, |labels| labels.last_gone()));
        let starts = (1..=last.max(1)).step_by(members_per_pass as usize);
        starts.map(|start| start..start.saturating_add(members_per_pass)).collect()
    }

    /// Writes the export as text lines. Returns the number of exported customers.
    async fn write_text(&self, format: LineFormat, out: &mut PieceSender) -> Result<u64, ExportError> {
        let (columns, labels) = (self.export.columns.clone(), self.labels.clone());
        let writer = Arc::new(LineWriter::new(format, columns, self.export.csv, labels));
        out.write(&writer.header()).await?;
        out.flush().await?;
        let ranks = self.ranks().await?;
        let mut found = 0;
        for pass in self.passes(&ranks) {
            let runs = self.served.reader.row_runs(|places| ranks.any(places, pass.clone())).await?;
            let formatting = runs.into_iter().map(|run| {
                let (served, writer, ranks) =
                    (Arc::clone(&self.served), Arc::clone(&writer), Arc::clone(&ranks));
                let pass = pass.clone();
                async move {
                    let read = served.reader.fetch(run).await?;
                    format_step(move || RankedLines::new(&read, &writer, &ranks, &pass)).await
                }
            });
            let mut formatted = stream::iter(formatting).buffered(AHEAD);
            let mut unsorted = Vec::new();
            while let Some(lines) = formatted.next().await {
                let lines = lines?;
                found += lines.ends.len() as u64;
                match self.export.order {
                    ExportOrder::Id => out.write(&lines.text).await?,
                    ExportOrder::Rank => unsorted.push(lines),
                }
            }
            if let Some(lines) = self.absent_lines(&writer, &pass) {
                found += lines.ends.len() as u64;
                match self.export.order {
                    ExportOrder::Id => out.write(&lines.text).await?,
                    ExportOrder::Rank => unsorted.push(lines),
                }
            }
            let mut sorted: Vec<(u32, &[u8])> = unsorted.iter().flat_map(RankedLines::iter).collect();
            sorted.sort_unstable_by_key(|(rank, _)| *rank);
            for (_, line) in sorted {
                out.write(line).await?;
            }
        }
        Ok(found)
    }

    /// Formats the customers with ranks in `pass` whom the snapshot does not have.
    fn absent_lines(&self, writer: &LineWriter, pass: &Range<u32>) -> Option<RankedLines> {
        let gone = self.labels.as_ref()?.gone(pass);
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(gone.iter().map(|(_, id)| *id)));
        let batch = RecordBatch::try_from_iter([(ID, ids)]).ok()?;
        let mut lines = RankedLines { text: Vec::new(), ends: Vec::new() };
        for (row, (rank, _)) in gone.iter().enumerate() {
            writer.write(&batch, row, *rank, &mut lines.text);
            lines.ends.push((*rank, lines.text.len()));
        }
        Some(lines)
    }

    /// Writes the export as a Parquet file. Returns the number of exported customers.
    async fn write_parquet(&self, out: &mut PieceSender) -> Result<u64, ExportError> {
        let Self { served, export, .. } = self;
        let metadata =
            [("larder.snapshot", served.manifest.id.as_str()), ("larder.as_of", served.as_of.as_str())];
        let mut file = ParquetFile::new(export.columns.clone(), metadata, self.labels.clone());
        let feature_names = export.columns.feature_names();
        let feature_names: Vec<&str> = feature_names.iter().map(String::as_str).collect();
        let ranks = self.ranks().await?;
        let mut found = 0;
        for pass in self.passes(&ranks) {
            let mut batches = served.reader.files().text_views_with_id(&feature_names);
            let (mut start, mut unsorted) = (0, Vec::new());
            let (mut next, mut schema) = (batches.next().await, None);
            while let Some(batch) = next {
                let batch = batch.map_err(Arc::new)?;
                schema = Some(batch.schema());
                let batch_ranks: Vec<u32> = ranks.from(start, pass.clone()).take(batch.num_rows()).collect();
                start += batch.num_rows() as u64;
                let selected = batch_ranks.iter().filter(|rank| **rank > 0).count() as u64;
                // The first batch is used even if no row is selected, since it determines the column types.
                if selected == 0 && file.has_begun() {
                    next = batches.next().await;
                    continue;
                }
                found += selected;
                let sorts = export.order == ExportOrder::Rank;
                // The next batch is decoded while this one is written.
                let step = select_and_write(file, batch, batch_ranks, sorts);
                let (step, decoded) = futures::join!(step, batches.next());
                next = decoded;
                let (rows, finished);
                (file, rows, finished) = step?;
                unsorted.extend(rows);
                out.write(&finished).await?;
            }
            let gone = self.labels.as_ref().map(|labels| labels.gone(&pass)).unwrap_or_default();
            if !gone.is_empty() {
                found += gone.len() as u64;
                let (gone_ranks, ids): (Vec<u32>, Vec<&str>) = gone.into_iter().unzip();
                let batch = file.absent(&ids, schema).map_err(Arc::new)?;
                let sorts = export.order == ExportOrder::Rank;
                let (rows, finished);
                (file, rows, finished) = select_and_write(file, batch, gone_ranks, sorts).await?;
                unsorted.extend(rows);
                out.write(&finished).await?;
            }
            let sorted;
            (file, sorted) = format_step(move || {
                let sorted = file.sort_by_rank(&unsorted)?;
                Ok((file, sorted))
            })
            .await?;
            if let Some(rows) = sorted {
                out.write(&file.write(&rows).await.map_err(Arc::new)?).await?;
            }
        }
        out.write(&file.end().await.map_err(Arc::new)?).await?;
        Ok(found)
    }
}

/// Runs a step of an export on a thread for computations.
async fn format_step<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Arc<SnapshotError>> {
    run_blocking("format an export", step).await?.map_err(Arc::new)
}

/// Selects the rows of `batch` that have a rank. Returns the rows if they are still to be sorted; otherwise
/// writes the rows and returns the finished bytes of the file.
async fn select_and_write(
    file: ParquetFile,
    batch: RecordBatch,
    ranks: Vec<u32>,
    sorts: bool,
) -> Result<(ParquetFile, Option<RecordBatch>, Vec<u8>), Arc<SnapshotError>> {
    let select = move || {
        let rows = file.select(&batch, &ranks)?;
        let rows = if sorts { file.without_references(&rows)? } else { rows };
        Ok((file, rows))
    };
    let (mut file, rows) = format_step(select).await?;
    if sorts {
        return Ok((file, Some(rows), Vec::new()));
    }
    let finished = file.write(&rows).await.map_err(Arc::new)?;
    Ok((file, None, finished))
}

/// Text lines of some customers, in the order of the snapshot.
struct RankedLines {
    text: Vec<u8>,
    /// Rank of each customer, and end of its line in `text`.
    ends: Vec<(u32, usize)>,
}

impl RankedLines {
    /// Formats the customers of `read` whose ranks are in `pass`.
    fn new(
        read: &FetchedRowRun,
        writer: &LineWriter,
        ranks: &Ranks,
        pass: &Range<u32>,
    ) -> Result<Self, SnapshotError> {
        let mut lines = Self { text: Vec::new(), ends: Vec::new() };
        read.decode(|start, batch| {
            for (row, rank) in ranks.from(start, pass.clone()).take(batch.num_rows()).enumerate() {
                if rank > 0 {
                    writer.write(batch, row, rank, &mut lines.text);
                    lines.ends.push((rank, lines.text.len()));
                }
            }
            Ok(())
        })?;
        Ok(lines)
    }

    /// Iterates over the lines with their ranks.
    fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        self.ends.iter().zip(starts).map(|((rank, end), start)| (*rank, &self.text[start..*end]))
    }
}
