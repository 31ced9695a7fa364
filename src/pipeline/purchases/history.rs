//! Writer of the purchase lines of each customer, newest first: merges the staged partitions by customer.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringArray, new_null_array},
    compute::{filter_record_batch, interleave_record_batch},
    datatypes::{DataType, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};
use tokio::sync::mpsc;

use crate::{
    lake::Lake,
    pipeline::{
        column_reader::ColumnReader,
        error::BuildError,
        raw::RawError,
        staging::{MONEY, StagedFile, staging},
    },
    snapshot::{
        FileEntry, FileKind, SnapshotId,
        event_files::{PURCHASES_BLOCK_ROWS, PURCHASES_PART_ROWS, purchases_properties, purchases_schema},
        writer::PartWriter,
    },
};

/// Number of lines at which a block ends within a customer.
const MOST_ROWS: usize = 4 * PURCHASES_BLOCK_ROWS;

/// Lines of one block.
struct Block {
    lines: RecordBatch,
    /// Whether the next block begins with another customer.
    ends_customer: bool,
}

/// Writes the purchase lines of the staged `transactions`, which are partitioned and sorted by customer.
pub(super) async fn write(
    lake: Lake,
    id: SnapshotId,
    transactions: Vec<StagedFile>,
) -> Result<Vec<FileEntry>, BuildError> {
    let Some(first) = transactions.first() else { return Ok(Vec::new()) };
    let quantity = first.schema.field_with_name("quantity").map(|field| field.data_type().clone());
    let schema = purchases_schema(quantity.unwrap_or(DataType::Int64), MONEY);
    let (send, mut blocks) = mpsc::channel(4);
    let merged = Arc::clone(&schema);
    let merging = tokio::task::spawn_blocking(move || merge(&transactions, &merged, &send));
    let mut files: Vec<FileEntry> = Vec::new();
    let mut open: Option<PartWriter> = None;
    while let Some(Block { lines, ends_customer }) = blocks.recv().await {
        let part = match &mut open {
            Some(part) => part,
            none => {
                let path = format!("purchases/part-{:05}.parquet", files.len());
                let (kind, properties) = (FileKind::Purchases, purchases_properties());
                none.insert(PartWriter::new(&lake, &id, path, kind, Arc::clone(&schema), properties)?)
            }
        };
        part.write(&lines)?;
        part.end_block().await?;
        if ends_customer
            && part.rows() >= PURCHASES_PART_ROWS as u64
            && let Some(part) = open.take()
        {
            files.push(part.finish().await?);
        }
    }
    merging.await??;
    if let Some(part) = open {
        files.push(part.finish().await?);
    }
    Ok(files)
}

/// Merges the partitions and sends the lines in blocks. Ends early if the receiver is gone.
fn merge(
    transactions: &[StagedFile],
    schema: &SchemaRef,
    send: &mpsc::Sender<Block>,
) -> Result<(), RawError> {
    let mut partitions = Vec::new();
    let mut heap = BinaryHeap::new();
    for (at, file) in transactions.iter().enumerate() {
        let mut lines = PartitionLines::open(file, Arc::clone(schema))?;
        if let Some(id) = lines.customer()? {
            heap.push(Reverse((id, at)));
        }
        partitions.push(lines);
    }
    let mut block = BlockBuilder::default();
    while let Some(mut least) = heap.peek_mut() {
        let Reverse((id, at)) = &mut *least;
        partitions[*at].take(id, &mut block)?;
        match partitions[*at].customer()? {
            Some(next) => *id = next,
            None => drop(PeekMut::pop(least)),
        }
        while block.lines.len() >= PURCHASES_BLOCK_ROWS {
            let built = block.build(MOST_ROWS).map_err(|error| staging(&transactions[0].path, error))?;
            if send.blocking_send(built).is_err() {
                return Ok(());
            }
            for lines in &mut partitions {
                lines.held = None;
            }
        }
    }
    if !block.lines.is_empty() {
        let built = block.build(usize::MAX).map_err(|error| staging(&transactions[0].path, error))?;
        let _ = send.blocking_send(built);
    }
    Ok(())
}

/// Lines that wait to be sent.
#[derive(Default)]
struct BlockBuilder {
    batches: Vec<RecordBatch>,
    /// Index of the batch, and row.
    lines: Vec<(usize, usize)>,
}

impl BlockBuilder {
    /// Returns the first lines, at most `most`. The batches are kept as long as lines are left.
    fn build(&mut self, most: usize) -> Result<Block, ArrowError> {
        let rest = self.lines.split_off(most.min(self.lines.len()));
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let lines = interleave_record_batch(&batches, &self.lines)?;
        self.lines = rest;
        if self.lines.is_empty() {
            self.batches.clear();
        }
        Ok(Block { lines, ends_customer: self.lines.is_empty() })
    }
}

/// Columns of staged transactions that a purchase line is made of.
const LINE_COLUMNS: [&str; 8] = [
    "customer_id",
    "ordered_at",
    "order_id",
    "product_id",
    "product_name",
    "quantity",
    "amount",
    "is_purchase",
];

/// Reader of the purchase lines of a partition.
struct PartitionLines {
    file: StagedFile,
    schema: SchemaRef,
    reader: ColumnReader,
    batch: RecordBatch,
    /// Next row of the batch.
    row: usize,
    /// Index of the batch in the block that is being built.
    held: Option<usize>,
}

impl PartitionLines {
    fn open(file: &StagedFile, schema: SchemaRef) -> Result<Self, RawError> {
        let reader = file.open_columns(LINE_COLUMNS)?;
        let batch = RecordBatch::new_empty(Arc::clone(&schema));
        Ok(Self { file: file.clone(), schema, reader, batch, row: 0, held: None })
    }

    /// Returns the customer of the next line; `None` at the end.
    fn customer(&mut self) -> Result<Option<String>, RawError> {
        while self.row >= self.batch.num_rows() {
            let Some(batch) = self.reader.next() else { return Ok(None) };
            let purchases = batch.and_then(|batch| purchases(&batch, &self.schema));
            self.batch = purchases.map_err(|error| staging(&self.file.path, error))?;
            (self.row, self.held) = (0, None);
        }
        Ok(Some(self.ids().value(self.row).to_owned()))
    }

    fn ids(&self) -> &StringArray {
        self.batch.column(0).as_string()
    }

    /// Moves the lines of the customer `id` to `block`, newest first.
    fn take(&mut self, id: &str, block: &mut BlockBuilder) -> Result<(), RawError> {
        let start = block.lines.len();
        while self.customer()?.is_some_and(|next| next == id) {
            let held = *self.held.get_or_insert_with(|| {
                block.batches.push(self.batch.clone());
                block.batches.len() - 1
            });
            let end = (self.row..self.batch.num_rows()).find(|row| self.ids().value(*row) != id);
            let end = end.unwrap_or(self.batch.num_rows());
            block.lines.extend((self.row..end).map(|row| (held, row)));
            self.row = end;
        }
        let batches = &block.batches;
        let time = |(batch, row): &(usize, usize)| {
            batches[*batch].column(1).as_primitive::<TimestampMicrosecondType>().value(*row)
        };
        // The staging has the lines of one instant in a defined order.
        block.lines[start..].sort_by_key(|line| Reverse(time(line)));
        Ok(())
    }
}

/// Returns the purchase lines of a batch of staged transactions in the form of `schema`.
fn purchases(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        let missing = || ArrowError::SchemaError(format!("the staged transactions have no column {name}"));
        batch.column_by_name(name).cloned().ok_or_else(missing)
    };
    let names = batch.column_by_name("product_name").cloned();
    let names: ArrayRef = names.unwrap_or_else(|| new_null_array(&DataType::Utf8, batch.num_rows()));
    let columns = vec![
        column("customer_id")?,
        column("ordered_at")?,
        column("order_id")?,
        column("product_id")?,
        names,
        column("quantity")?,
        column("amount")?,
    ];
    let is_purchase = column("is_purchase")?;
    filter_record_batch(&RecordBatch::try_new(Arc::clone(schema), columns)?, is_purchase.as_boolean())
}
