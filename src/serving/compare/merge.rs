//! Merge of two snapshots: both are read in batches, sorted by customer id, and every customer is counted
//! once.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, Decimal128Array, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Decimal128Type},
};
use futures::StreamExt;

use super::{Cell, MigrationMatrices, Placement};
use crate::{
    serving::reads::churn_list,
    snapshot::{
        Forgotten, SnapshotError, SnapshotFiles,
        column_scan::{self, ColumnBatches},
        run_blocking,
        writer::ID,
    },
};

/// Number of [`Placement::Absent`].
const ABSENT: usize = 0;
/// Number of [`Placement::Unplaced`].
const UNPLACED: usize = 1;
/// Number of the first segment.
const FIRST_SEGMENT: usize = 2;

/// Segments of one kind, numbered from [`FIRST_SEGMENT`] on.
#[derive(Debug, Default)]
struct SegmentNumbers(Vec<String>);

impl SegmentNumbers {
    /// Returns the number of the segment `name`, and assigns one if the segment is new.
    fn number(&mut self, name: &str) -> usize {
        // A linear search is fast enough for the few segments of a kind.
        let position = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        FIRST_SEGMENT + position
    }
}

/// Row of a customer in a snapshot: the numbers of the placements, and `rfm.monetary` in ten-thousandths.
#[derive(Debug, Clone, Copy, Default)]
struct PlacedCustomer {
    rfm: usize,
    churn: usize,
    monetary: i128,
}

/// Scan of the customers of a snapshot, sorted by id.
struct CustomerScan {
    batches: ColumnBatches,
    batch: PlacedBatch,
}

impl CustomerScan {
    fn new(files: &SnapshotFiles) -> Self {
        let batches = files.columns_with_id(&["rfm.segment", "rfm.monetary", "churn.risk"]);
        Self { batches, batch: PlacedBatch::default() }
    }

    /// Takes the current batch, or the next one if the current one is used up.
    async fn take_batch(&mut self) -> Result<PlacedBatch, SnapshotError> {
        while !self.batch.has_ended && self.batch.at >= self.batch.ids.len() {
            self.batch = match self.batches.next().await.transpose()? {
                Some(batch) => PlacedBatch::new(&batch),
                None => PlacedBatch { has_ended: true, ..PlacedBatch::default() },
            };
        }
        Ok(std::mem::take(&mut self.batch))
    }
}

/// Batch of customers with the columns that place them.
struct PlacedBatch {
    ids: StringArray,
    rfm: Option<StringArray>,
    risk: Option<StringArray>,
    monetary: Option<Decimal128Array>,
    /// Index of the next customer.
    at: usize,
    /// Whether the snapshot has no more customers.
    has_ended: bool,
}

impl Default for PlacedBatch {
    fn default() -> Self {
        let ids = StringArray::new_null(0);
        Self { ids, rfm: None, risk: None, monetary: None, at: 0, has_ended: false }
    }
}

impl PlacedBatch {
    fn new(batch: &RecordBatch) -> Self {
        let monetary = column_scan::column(batch, "rfm.monetary")
            .and_then(|column| cast(&column, &DataType::Decimal128(38, 4)).ok())
            .map(|column| column.as_primitive::<Decimal128Type>().clone());
        Self {
            ids: column_scan::text_column(batch, ID).unwrap_or_else(|| StringArray::new_null(0)),
            rfm: column_scan::text_column(batch, "rfm.segment"),
            risk: column_scan::text_column(batch, "churn.risk"),
            monetary,
            at: 0,
            has_ended: false,
        }
    }

    /// Returns the id of the next customer.
    fn next_id(&self) -> Option<&str> {
        (self.at < self.ids.len()).then(|| self.ids.value(self.at))
    }

    /// Checks whether the next customer, if the snapshot has one, is in this batch.
    fn knows_next(&self) -> bool {
        self.has_ended || self.at < self.ids.len()
    }

    /// Returns the next customer.
    fn next_customer(&mut self, segments: &mut SegmentNumbers, risks: &mut SegmentNumbers) -> PlacedCustomer {
        let row = self.at;
        self.at += 1;
        let placement = |texts: &Option<StringArray>, numbers: &mut SegmentNumbers| match texts {
            Some(texts) if texts.is_valid(row) => numbers.number(texts.value(row)),
            _ => UNPLACED,
        };
        let monetary = match &self.monetary {
            Some(column) if column.is_valid(row) => column.value(row),
            _ => 0,
        };
        PlacedCustomer { rfm: placement(&self.rfm, segments), churn: placement(&self.risk, risks), monetary }
    }
}

/// Totals of a cell: number of customers, and sums of `rfm.monetary` in both snapshots.
#[derive(Debug, Clone, Copy, Default)]
struct CellTotals {
    customers: u64,
    before: i128,
    after: i128,
}

/// Totals by the numbers of the placements in the earlier and the later snapshot.
type MatrixTotals = HashMap<(usize, usize), CellTotals>;

/// Matrices under construction.
#[derive(Debug, Default)]
struct Matrices {
    segments: SegmentNumbers,
    risks: SegmentNumbers,
    rfm: MatrixTotals,
    churn: MatrixTotals,
}

impl Matrices {
    /// Adds the customers of both batches, in the order of ids, until one batch is used up. Erased customers
    /// are left out.
    fn add(&mut self, before: &mut PlacedBatch, after: &mut PlacedBatch, forgotten: &Forgotten) {
        while before.knows_next() && after.knows_next() {
            let (order, is_erased) = match (before.next_id(), after.next_id()) {
                (None, None) => break,
                (Some(id), None) => (Ordering::Less, forgotten.contains(id)),
                (None, Some(id)) => (Ordering::Greater, forgotten.contains(id)),
                (Some(was), Some(is)) => (was.cmp(is), forgotten.contains(was.min(is))),
            };
            let (segments, risks) = (&mut self.segments, &mut self.risks);
            let absent = PlacedCustomer::default();
            let was = if order.is_le() { before.next_customer(segments, risks) } else { absent };
            let is = if order.is_ge() { after.next_customer(segments, risks) } else { absent };
            if is_erased {
                continue;
            }
            let matrices = [(&mut self.rfm, (was.rfm, is.rfm)), (&mut self.churn, (was.churn, is.churn))];
            for (matrix, placements) in matrices {
                let totals = matrix.entry(placements).or_default();
                totals.customers += 1;
                totals.before += was.monetary;
                totals.after += is.monetary;
            }
        }
    }

    fn finish(self) -> MigrationMatrices {
        let churn_segments: Vec<String> = self.risks.0.iter().map(|risk| churn_list(Some(risk))).collect();
        MigrationMatrices {
            rfm: cells(self.rfm, &self.segments.0),
            churn: cells(self.churn, &churn_segments),
        }
    }
}

/// Compares all customers of two snapshots except for erased ones.
pub(super) async fn compare(
    before: &SnapshotFiles,
    after: &SnapshotFiles,
    forgotten: &Arc<Forgotten>,
) -> Result<MigrationMatrices, SnapshotError> {
    let (mut before, mut after) = (CustomerScan::new(before), CustomerScan::new(after));
    let mut matrices = Matrices::default();
    loop {
        let (mut was, mut is) = (before.take_batch().await?, after.take_batch().await?);
        if was.has_ended && is.has_ended {
            return Ok(matrices.finish());
        }
        let forgotten = Arc::clone(forgotten);
        let add = move || {
            matrices.add(&mut was, &mut is, &forgotten);
            (matrices, was, is)
        };
        (matrices, before.batch, after.batch) = run_blocking("compare snapshots", add).await?;
    }
}

/// Converts totals to cells, sorted by placement. `segments` are the names of the segments by number.
fn cells(matrix: MatrixTotals, segments: &[String]) -> Vec<Cell> {
    let placement = |number: usize| match number {
        ABSENT => Placement::Absent,
        UNPLACED => Placement::Unplaced,
        segment => Placement::Segment(segments[segment - FIRST_SEGMENT].clone()),
    };
    let cells = matrix.into_iter().map(|((from, to), totals)| {
        let CellTotals { customers, before, after } = totals;
        Cell { from: placement(from), to: placement(to), customers, before, after }
    });
    let mut cells: Vec<Cell> = cells.collect();
    cells.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    cells
}
