//! The spilled lines: what every reading thread has checked, in blocks of one partition each.
//!
//! The partition of a customer is the one that DataFusion's own hash gives, so that no query has to divide
//! the data again. A thread has one file per table, however many partitions there are, and an index of its
//! blocks in memory.

use std::{
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder},
    buffer::Buffer,
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use arrow_ipc::{reader::StreamDecoder, writer::StreamWriter};
use datafusion::physical_plan::{expressions::Column, metrics::Time, repartition::BatchPartitioner};
use serde::Serializer as _;

use super::{UTC, staging, time_type};
use crate::pipeline::raw::{
    RawError, Table, TableSpec,
    check::{Customer, Extra, Interaction, Transaction},
    value::trimmed,
};

/// Rows that a thread collects before it divides them.
const ROWS: usize = 32_768;
/// How many rows are added before their bytes are looked at.
const LOOKED_AT: usize = 16;
/// Bytes of text from which on fewer rows do: a column of a batch holds 2 GiB at most.
const BYTES: usize = 64 << 20;

/// Returns the schema in which lines of `spec`'s table are spilled; the id comes first. `file` is the
/// number of the file that a line stands in.
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
                // In ten-thousandths, half as long as a decimal.
                Field::new("unit_price", DataType::Int64, false),
                Field::new("ordered_at", time_type(), false),
                file,
            ];
            fields.extend(texts);
            fields
        }
        Table::Customers => vec![
            text("customer_id", false),
            Field::new("created_at", time_type(), true),
            text("extras", false),
            Field::new("place", DataType::Int64, false),
            Field::new("updated_at", time_type(), true),
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

/// The columns of spilled transactions before the texts.
pub(crate) const TRANSACTION_COLUMNS: usize = 7;
/// The columns of spilled interactions before the texts.
pub(crate) const INTERACTION_COLUMNS: usize = 5;

/// Collects the lines of one table in one thread, and spills them by partition.
pub(crate) struct Spill {
    schema: SchemaRef,
    partitioner: BatchPartitioner,
    out: Out,
    rows: usize,
    columns: Columns,
}

/// The columns of the rows that are collected, those of one type in the order of the schema.
struct Columns {
    texts: Vec<StringBuilder>,
    integers: [Int64Builder; 2],
    files: Int32Builder,
    times: [TimestampMicrosecondBuilder; 2],
}

impl Columns {
    /// Makes columns with room for [`ROWS`] rows, and for `bytes` in each column of text.
    fn new(schema: &Schema, bytes: impl Iterator<Item = usize>) -> Self {
        let has = |kind: &DataType| schema.fields().iter().any(|field| field.data_type() == kind);
        let room = |kind: &DataType| if has(kind) { ROWS } else { 0 };
        let times = || TimestampMicrosecondBuilder::with_capacity(room(&time_type())).with_timezone(UTC);
        let integers = || Int64Builder::with_capacity(room(&DataType::Int64));
        Self {
            texts: bytes.map(|bytes| StringBuilder::with_capacity(ROWS, bytes)).collect(),
            integers: [integers(), integers()],
            files: Int32Builder::with_capacity(room(&DataType::Int32)),
            times: [times(), times()],
        }
    }

    fn append_texts(&mut self, from: usize, texts: &[&str]) {
        for (builder, text) in self.texts[from..].iter_mut().zip(texts) {
            let text = trimmed(text);
            builder.append_option((!text.is_empty()).then_some(text));
        }
    }

    /// Takes the columns and leaves room for as many rows.
    fn take(&mut self, schema: &Schema) -> Vec<ArrayRef> {
        let room = Self::new(schema, self.texts.iter().map(|texts| texts.values_slice().len()));
        let mut full = std::mem::replace(self, room);
        let (mut texts, mut times) = (full.texts.iter_mut(), full.times.iter_mut());
        let mut integers = full.integers.iter_mut();
        let column = |field: &Arc<Field>| -> Option<ArrayRef> {
            Some(match field.data_type() {
                DataType::Int32 => Arc::new(full.files.finish()),
                DataType::Int64 => Arc::new(integers.next()?.finish()),
                DataType::Timestamp(..) => Arc::new(times.next()?.finish()),
                _ => Arc::new(texts.next()?.finish()),
            })
        };
        schema.fields().iter().filter_map(column).collect()
    }
}

impl Spill {
    /// Makes the file of the thread `thread` for lines of `spec`'s table in `folder`, in blocks of
    /// `partitions` partitions.
    pub(crate) fn new(
        spec: &TableSpec,
        partitions: usize,
        folder: &Path,
        thread: usize,
    ) -> Result<Self, RawError> {
        let schema = schema(spec);
        let partitioner = BatchPartitioner::new_hash_partitioner(
            vec![Arc::new(Column::new("customer_id", 0))],
            partitions,
            Time::new(),
        )
        .map_err(|error| staging(folder, error))?;
        let texts = schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8).count();
        let columns = Columns::new(&schema, std::iter::repeat_n(0, texts));
        let path = folder.join(format!("spill-{}-{thread}.arrow", spec.table.name()));
        let out = Out::new(path, &schema, partitions)?;
        Ok(Self { schema, partitioner, out, rows: 0, columns })
    }

    pub(crate) fn transaction(
        &mut self,
        id: &str,
        line: &Transaction<'_>,
        texts: &[&str],
        file: i32,
    ) -> Result<(), RawError> {
        let columns = &mut self.columns;
        columns.texts[0].append_value(id);
        columns.texts[1].append_value(&line.order_id);
        columns.texts[2].append_value(&line.product_id);
        columns.append_texts(3, texts);
        columns.integers[0].append_value(line.quantity);
        columns.integers[1].append_value(line.unit_price);
        columns.times[0].append_value(line.ordered_at);
        columns.files.append_value(file);
        self.added()
    }

    pub(crate) fn customer(
        &mut self,
        id: &str,
        line: &Customer<'_>,
        extras: &[Extra<'_>],
        place: i64,
    ) -> Result<(), RawError> {
        let members = extras
            .iter()
            .map(|extra| (extra.name, trimmed(&extra.text)))
            .filter(|(_, text)| !text.is_empty());
        let mut object = Vec::with_capacity(256);
        let written = serde_json::Serializer::new(&mut object).collect_map(members);
        written.map_err(|error| staging(&self.out.path, error))?;
        let columns = &mut self.columns;
        columns.texts[0].append_value(id);
        columns.texts[1]
            .append_value(std::str::from_utf8(&object).map_err(|error| staging(&self.out.path, error))?);
        columns.times[0].append_option(line.created_at);
        columns.times[1].append_option(line.updated_at);
        columns.integers[0].append_value(place);
        self.added()
    }

    pub(crate) fn interaction(
        &mut self,
        id: &str,
        line: &Interaction<'_>,
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
        // A record has 64 MiB at most, so that few are looked at together.
        let full = self.rows >= ROWS || (self.rows.is_multiple_of(LOOKED_AT) && is_full());
        if full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), RawError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let columns = self.columns.take(&self.schema);
        let out = &mut self.out;
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| staging(&out.path, error);
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| failed(error.into()))?;
        let parts = self.partitioner.partition_iter(batch).map_err(|error| failed(error.into()))?;
        let parts = parts.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.into()))?;
        for (partition, batch) in parts {
            out.write(partition, &batch)?;
        }
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<SpillFile, RawError> {
        self.flush()?;
        self.out.finish()
    }
}

/// A spill file being written: an Arrow stream, of which it is known where each batch stands.
struct Out {
    path: PathBuf,
    stream: StreamWriter<Counted>,
    /// The length of the head, which holds the schema.
    head: usize,
    blocks: Vec<Vec<Block>>,
}

/// Where a batch of one partition stands.
#[derive(Debug, Clone, Copy)]
struct Block {
    at: u64,
    length: usize,
}

/// Counts the bytes that are written.
struct Counted {
    file: BufWriter<File>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Out {
    fn new(path: PathBuf, schema: &Schema, partitions: usize) -> Result<Self, RawError> {
        let create = || -> Result<StreamWriter<Counted>, ArrowError> {
            let file = BufWriter::with_capacity(1 << 18, File::create(&path)?);
            StreamWriter::try_new(Counted { file, bytes: 0 }, schema)
        };
        let stream = create().map_err(|error| staging(&path, error))?;
        let head = usize::try_from(stream.get_ref().bytes).unwrap_or(usize::MAX);
        Ok(Self { path, stream, head, blocks: vec![Vec::new(); partitions] })
    }

    fn write(&mut self, partition: usize, batch: &RecordBatch) -> Result<(), RawError> {
        let at = self.stream.get_ref().bytes;
        self.stream.write(batch).map_err(|error| staging(&self.path, error))?;
        let length = usize::try_from(self.stream.get_ref().bytes - at).unwrap_or(usize::MAX);
        self.blocks[partition].push(Block { at, length });
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

/// The lines of one table that one thread has spilled.
#[derive(Debug)]
pub(crate) struct SpillFile {
    path: PathBuf,
    head: usize,
    /// The batches of each partition.
    blocks: Vec<Vec<Block>>,
}

impl SpillFile {
    /// Removes the file.
    pub(crate) fn remove(&self) -> Result<(), RawError> {
        std::fs::remove_file(&self.path).map_err(|error| staging(&self.path, error))
    }

    fn read(&self, partition: usize, batches: &mut Vec<RecordBatch>) -> Result<(), ArrowError> {
        let blocks = &self.blocks[partition];
        if blocks.is_empty() {
            return Ok(());
        }
        let mut file = File::open(&self.path)?;
        let mut decoder = StreamDecoder::new();
        for block in [Block { at: 0, length: self.head }].iter().chain(blocks) {
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

/// Loads the lines of `partition` from the `files` of all threads.
pub(crate) fn load(
    spec: &TableSpec,
    files: &[SpillFile],
    partition: usize,
    scratch: &Path,
) -> Result<RecordBatch, RawError> {
    let mut batches = Vec::new();
    for file in files {
        file.read(partition, &mut batches).map_err(|error| staging(&file.path, error))?;
    }
    concat_batches(&schema(spec), &batches).map_err(|error| staging(scratch, error))
}
