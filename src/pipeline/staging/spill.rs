//! Spill files: the checked lines of each reading thread, in blocks of one partition each.
//!
//! Customers are partitioned by DataFusion's own hash, so that no query has to repartition the data. A thread
//! has one file per table, regardless of the number of partitions, and keeps the index of its blocks in
//! memory.

use std::{
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    buffer::Buffer,
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use arrow_ipc::{reader::StreamDecoder, writer::StreamWriter};
use datafusion::physical_plan::{expressions::Column, metrics::Time, repartition::BatchPartitioner};

use super::{
    UTC,
    attributes::{AttributeEncoder, AttributeNames},
    staging, time_type,
};
use crate::pipeline::raw::{
    RawError, Table, TableSpec,
    check::{CustomerLine, ExtraField, InteractionLine},
    transaction::TransactionLine,
    value::trimmed,
};

/// Number of rows that a thread collects before it partitions them.
const ROWS: usize = 32_768;
/// Number of rows between two checks of the collected bytes.
const LOOKED_AT: usize = 16;
/// Bytes of text at which rows are flushed early. A column of a batch holds at most 2 GiB.
const BYTES: usize = 16 << 20;

/// Returns the schema of the spilled lines of `spec`'s table. The customer id is the first column, and `file`
/// is the number of the raw file.
pub(crate) fn schema(spec: &TableSpec) -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let file = Field::new("file", DataType::Int32, false);
    let texts = spec.texts().iter().map(|column| text(&column.name, true));
    let fields = match spec.table {
        Table::Transactions => {
            let mut fields = vec![
                text("customer_id", false),
                text("order_id", false),
                text("product_id", false),
                Field::new("quantity", DataType::Int64, false),
                // In ten-thousandths: half the size of a decimal.
                Field::new("money", DataType::Int64, false),
                Field::new("ordered_at", time_type(), false),
                file,
                Field::new("is_total", DataType::Boolean, false),
            ];
            fields.extend(texts);
            fields
        }
        Table::Customers => vec![
            text("customer_id", false),
            Field::new("created_at", time_type(), true),
            Field::new("place", DataType::Int64, false),
            Field::new("updated_at", time_type(), true),
            text("attributes", false),
        ],
        Table::Interactions => {
            let mut fields = vec![
                text("customer_id", false),
                text("event", false),
                Field::new("at", time_type(), false),
                text("product_id", true),
                file,
            ];
            fields.extend(texts);
            fields
        }
    };
    Arc::new(Schema::new(fields))
}

/// Number of columns of spilled transactions before the texts.
pub(crate) const TRANSACTION_COLUMNS: usize = 8;
/// Number of columns of spilled customers before the attributes.
pub(crate) const CUSTOMER_COLUMNS: usize = 4;
/// Number of columns of spilled interactions before the texts.
pub(crate) const INTERACTION_COLUMNS: usize = 5;

/// Writer of one thread for the lines of one table: collects rows and spills them by partition.
pub(crate) struct SpillWriter {
    schema: SchemaRef,
    partitioner: BatchPartitioner,
    blocks: BlockWriter,
    rows: usize,
    columns: ColumnBuilders,
    attributes: AttributeEncoder,
}

/// Columns of the collected rows. Columns of one type are in the order of the schema.
struct ColumnBuilders {
    texts: Vec<StringBuilder>,
    integers: [Int64Builder; 2],
    files: Int32Builder,
    flags: BooleanBuilder,
    times: [TimestampMicrosecondBuilder; 2],
}

impl ColumnBuilders {
    /// Creates columns with capacity for [`ROWS`] rows, and for `bytes` in each text column.
    fn new(schema: &Schema, bytes: impl Iterator<Item = usize>) -> Self {
        let has = |kind: &DataType| schema.fields().iter().any(|field| field.data_type() == kind);
        let capacity = |kind: &DataType| if has(kind) { ROWS } else { 0 };
        let times = || TimestampMicrosecondBuilder::with_capacity(capacity(&time_type())).with_timezone(UTC);
        let integers = || Int64Builder::with_capacity(capacity(&DataType::Int64));
        Self {
            texts: bytes.map(|bytes| StringBuilder::with_capacity(ROWS, bytes)).collect(),
            integers: [integers(), integers()],
            files: Int32Builder::with_capacity(capacity(&DataType::Int32)),
            flags: BooleanBuilder::with_capacity(capacity(&DataType::Boolean)),
            times: [times(), times()],
        }
    }

    /// Appends trimmed `texts` to the text columns from index `from` on. Empty texts become null.
    fn append_texts(&mut self, from: usize, texts: &[&str]) {
        for (builder, text) in self.texts[from..].iter_mut().zip(texts) {
            let text = trimmed(text);
            builder.append_option((!text.is_empty()).then_some(text));
        }
    }

    /// Takes the columns and leaves empty ones of the same capacity.
    fn take(&mut self, schema: &Schema) -> Vec<ArrayRef> {
        let empty = Self::new(schema, self.texts.iter().map(|texts| texts.values_slice().len()));
        let mut full = std::mem::replace(self, empty);
        let (mut texts, mut times) = (full.texts.iter_mut(), full.times.iter_mut());
        let mut integers = full.integers.iter_mut();
        let column = |field: &Arc<Field>| -> Option<ArrayRef> {
            Some(match field.data_type() {
                DataType::Int32 => Arc::new(full.files.finish()),
                DataType::Boolean => Arc::new(full.flags.finish()),
                DataType::Int64 => Arc::new(integers.next()?.finish()),
                DataType::Timestamp(..) => Arc::new(times.next()?.finish()),
                _ => Arc::new(texts.next()?.finish()),
            })
        };
        schema.fields().iter().filter_map(column).collect()
    }
}

impl SpillWriter {
    /// Creates the spill file of the thread `thread` for lines of `spec`'s table in `folder`.
    pub(crate) fn new(
        spec: &TableSpec,
        partitions: usize,
        folder: &Path,
        thread: usize,
        attribute_names: Arc<AttributeNames>,
    ) -> Result<Self, RawError> {
        let schema = schema(spec);
        let partitioner = BatchPartitioner::new_hash_partitioner(
            vec![Arc::new(Column::new("customer_id", 0))],
            partitions,
            Time::new(),
        )
        .map_err(|error| staging(folder, error))?;
        let texts = schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8).count();
        let columns = ColumnBuilders::new(&schema, std::iter::repeat_n(0, texts));
        let path = folder.join(format!("spill-{}-{thread}.arrow", spec.table.name()));
        let blocks = BlockWriter::new(path, &schema, partitions)?;
        let attributes = AttributeEncoder::new(attribute_names);
        Ok(Self { schema, partitioner, blocks, rows: 0, columns, attributes })
    }

    pub(crate) fn transaction(
        &mut self,
        id: &str,
        line: &TransactionLine<'_>,
        texts: &[&str],
        file: i32,
    ) -> Result<(), RawError> {
        let columns = &mut self.columns;
        columns.texts[0].append_value(id);
        columns.texts[1].append_value(&line.order_id);
        columns.texts[2].append_value(&line.product_id);
        columns.append_texts(3, texts);
        columns.integers[0].append_value(line.value.quantity);
        columns.integers[1].append_value(line.value.money);
        columns.flags.append_value(line.value.is_total);
        columns.times[0].append_value(line.ordered_at);
        columns.files.append_value(file);
        self.added()
    }

    pub(crate) fn customer(
        &mut self,
        id: &str,
        line: &CustomerLine<'_>,
        extras: &[ExtraField<'_>],
        place: i64,
    ) -> Result<(), RawError> {
        let columns = &mut self.columns;
        columns.texts[0].append_value(id);
        columns.texts[1].append_value(self.attributes.encode(extras));
        columns.times[0].append_option(line.created_at);
        columns.times[1].append_option(line.updated_at);
        columns.integers[0].append_value(place);
        self.added()
    }

    pub(crate) fn interaction(
        &mut self,
        id: &str,
        line: &InteractionLine<'_>,
        texts: &[&str],
        file: i32,
    ) -> Result<(), RawError> {
        let columns = &mut self.columns;
        columns.texts[0].append_value(id);
        columns.texts[1].append_value(line.event);
        columns.texts[2].append_option(line.product_id.as_deref());
        columns.append_texts(3, texts);
        columns.times[0].append_value(line.at);
        columns.files.append_value(file);
        self.added()
    }

    fn added(&mut self) -> Result<(), RawError> {
        self.rows += 1;
        let is_full =
            || self.columns.texts.iter().map(|texts| texts.values_slice().len()).sum::<usize>() >= BYTES;
        // A record has at most 64 MiB, so the check may skip a few records.
        let full = self.rows >= ROWS || (self.rows.is_multiple_of(LOOKED_AT) && is_full());
        if full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), RawError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let columns = self.columns.take(&self.schema);
        let blocks = &mut self.blocks;
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| staging(&blocks.path, error);
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| failed(error.into()))?;
        let parts = self.partitioner.partition_iter(batch).map_err(|error| failed(error.into()))?;
        let parts = parts.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.into()))?;
        for (partition, batch) in parts {
            blocks.write(partition, &batch)?;
        }
        Ok(())
    }

    /// Flushes the collected rows and ends the file.
    pub(crate) fn finish(mut self) -> Result<SpillFile, RawError> {
        self.flush()?;
        self.blocks.finish()
    }
}

/// Writer of a spill file: an Arrow stream and the position of each batch.
struct BlockWriter {
    path: PathBuf,
    stream: StreamWriter<CountingFile>,
    /// Length of the head, which holds the schema.
    head: usize,
    /// Positions of the batches of each partition.
    blocks: Vec<Vec<BlockRange>>,
}

/// Byte range of a batch of one partition.
#[derive(Debug, Clone, Copy)]
struct BlockRange {
    at: u64,
    length: usize,
}

/// File that counts the bytes written.
struct CountingFile {
    file: BufWriter<File>,
    bytes: u64,
}

impl Write for CountingFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl BlockWriter {
    fn new(path: PathBuf, schema: &Schema, partitions: usize) -> Result<Self, RawError> {
        let create = || -> Result<StreamWriter<CountingFile>, ArrowError> {
            let file = BufWriter::with_capacity(1 << 18, File::create(&path)?);
            StreamWriter::try_new(CountingFile { file, bytes: 0 }, schema)
        };
        let stream = create().map_err(|error| staging(&path, error))?;
        let head = usize::try_from(stream.get_ref().bytes).unwrap_or(usize::MAX);
        Ok(Self { path, stream, head, blocks: vec![Vec::new(); partitions] })
    }

    fn write(&mut self, partition: usize, batch: &RecordBatch) -> Result<(), RawError> {
        let at = self.stream.get_ref().bytes;
        self.stream.write(batch).map_err(|error| staging(&self.path, error))?;
        let length = usize::try_from(self.stream.get_ref().bytes - at).unwrap_or(usize::MAX);
        self.blocks[partition].push(BlockRange { at, length });
        Ok(())
    }

    fn finish(mut self) -> Result<SpillFile, RawError> {
        self.stream
            .finish()
            .and_then(|()| self.stream.flush())
            .map_err(|error| staging(&self.path, error))?;
        Ok(SpillFile { path: self.path, head: self.head, blocks: self.blocks })
    }
}

/// Finished spill file of one thread and one table.
#[derive(Debug)]
pub(crate) struct SpillFile {
    path: PathBuf,
    head: usize,
    /// Positions of the batches of each partition.
    blocks: Vec<Vec<BlockRange>>,
}

impl SpillFile {
    /// Removes the file.
    pub(crate) fn remove(&self) -> Result<(), RawError> {
        std::fs::remove_file(&self.path).map_err(|error| staging(&self.path, error))
    }

    /// Appends the batches of `partition` to `batches`.
    fn read(&self, partition: usize, batches: &mut Vec<RecordBatch>) -> Result<(), ArrowError> {
        let blocks = &self.blocks[partition];
        if blocks.is_empty() {
            return Ok(());
        }
        let mut file = File::open(&self.path)?;
        let mut decoder = StreamDecoder::new();
        for block in [BlockRange { at: 0, length: self.head }].iter().chain(blocks) {
            let mut bytes = Vec::with_capacity(block.length);
            file.seek(SeekFrom::Start(block.at))?;
            (&mut file).take(block.length as u64).read_to_end(&mut bytes)?;
            let mut bytes = Buffer::from(bytes);
            while !bytes.is_empty() {
                batches.extend(decoder.decode(&mut bytes)?);
            }
        }
        Ok(())
    }
}

/// Loads the first `columns` columns of the lines of `partition` from the spill files of all threads.
pub(crate) fn load(
    schema: &SchemaRef,
    columns: usize,
    files: &[SpillFile],
    partition: usize,
    scratch: &Path,
) -> Result<RecordBatch, RawError> {
    let mut batches = Vec::new();
    for file in files {
        file.read(partition, &mut batches).map_err(|error| staging(&file.path, error))?;
    }
    let columns: Vec<usize> = (0..columns).collect();
    let projected = || -> Result<RecordBatch, ArrowError> {
        let batches: Vec<RecordBatch> =
            batches.iter().map(|batch| batch.project(&columns)).collect::<Result<_, _>>()?;
        concat_batches(&Arc::new(schema.project(&columns)?), &batches)
    };
    projected().map_err(|error| staging(scratch, error))
}
