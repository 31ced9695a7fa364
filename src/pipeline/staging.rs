//! The staging: raw lines, checked and typed, in temporary Arrow files, divided by customer.
//!
//! First every reading thread spills its lines into one file per partition; the partition of a customer is the one that
//! DataFusion's own hash gives, so that no query has to divide the data again. Then each partition is loaded, cut at
//! `as_of`, sorted by customer and order, and written as the tables that views see ([`mod@derive`]).

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{
        ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use arrow_ipc::{reader::StreamReader, writer::StreamWriter};
use datafusion::physical_plan::{expressions::Column, metrics::Time, repartition::BatchPartitioner};

use serde::Serializer as _;

use super::raw::{
    Customer, Extra, Interaction, RawError, Table, TableSpec, Transaction,
    value::{PRICE_DIGITS, PRICE_SCALE, trimmed},
};

pub(crate) mod derive;
pub(crate) mod lines;

/// The zone of every time in staging and snapshot.
pub(crate) const UTC: &str = "UTC";
/// Rows that a spilling thread collects before it divides them.
const SPILL_ROWS: usize = 32_768;

/// A time in microseconds, UTC.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// Times of that type.
pub(crate) fn times(micros: Vec<i64>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from(micros).with_timezone(UTC)
}

/// The temporary folder of one build, removed when dropped. The lock tells a later build whether its owner still lives.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
    _lock: File,
}

const PREFIX: &str = "larder-staging-";

impl Scratch {
    /// Makes the folder in `parent`, and removes those that killed builds left there.
    pub(crate) fn new(parent: &Path) -> Result<Self, RawError> {
        let failed = |source: std::io::Error| staging(parent, source);
        std::fs::create_dir_all(parent).map_err(failed)?;
        for entry in std::fs::read_dir(parent).map_err(failed)?.flatten() {
            let abandoned = entry.file_name().to_string_lossy().starts_with(PREFIX)
                && File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
            if abandoned {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        // Locked before it has its final name, so that nobody takes it for abandoned.
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(failed)?;
        let unlocked = folder.path().join("lock.new");
        let lock = File::create(&unlocked).and_then(|lock| lock.lock().map(|()| lock)).map_err(failed)?;
        std::fs::rename(&unlocked, folder.path().join("lock")).map_err(failed)?;
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// An error of a temporary file in `place`.
pub(crate) fn staging(place: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RawError {
    RawError::Staging { place: place.display().to_string(), source: source.into() }
}

/// An Arrow stream file being written.
pub(crate) type ArrowWriter = StreamWriter<BufWriter<File>>;

pub(crate) fn create(path: &Path, schema: &Schema) -> Result<ArrowWriter, RawError> {
    let file = File::create(path).map_err(|error| staging(path, error))?;
    StreamWriter::try_new(BufWriter::with_capacity(1 << 16, file), schema).map_err(|error| staging(path, error))
}

/// Reads an Arrow stream file, of which `projection` names the columns wanted.
pub(crate) fn open(path: &Path, projection: Option<Vec<usize>>) -> Result<StreamReader<BufReader<File>>, RawError> {
    let file = File::open(path).map_err(|error| staging(path, error))?;
    StreamReader::try_new(BufReader::with_capacity(1 << 18, file), projection).map_err(|error| staging(path, error))
}

/// The schema in which lines of `spec`'s table are spilled; the id comes first.
pub(crate) fn spill_schema(spec: &TableSpec) -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let fields = match spec.table {
        Table::Transactions => {
            let mut fields = vec![
                text("customer_id", false),
                text("order_id", false),
                text("product_id", false),
                Field::new("quantity", DataType::Int64, false),
                Field::new("unit_price", DataType::Decimal128(PRICE_DIGITS, PRICE_SCALE), false),
                Field::new("ordered_at", time_type(), false),
            ];
            fields.extend(spec.texts().iter().map(|column| text(&column.name, true)));
            fields
        }
        Table::Customers => vec![
            text("customer_id", false),
            Field::new("created_at", time_type(), true),
            text("extras", false),
            Field::new("place", DataType::Int64, false),
        ],
        Table::Interactions => vec![
            text("customer_id", false),
            text("event", false),
            Field::new("at", time_type(), false),
            text("product_id", true),
        ],
    };
    Arc::new(Schema::new(fields))
}

/// Collects the lines of one table in one thread, and spills them by partition.
pub(crate) struct Spill {
    schema: SchemaRef,
    partitioner: BatchPartitioner,
    files: Vec<Option<ArrowWriter>>,
    folder: PathBuf,
    name: String,
    rows: usize,
    texts: Vec<StringBuilder>,
    integers: Vec<i64>,
    prices: Vec<i128>,
    times: Vec<Option<i64>>,
}

impl Spill {
    /// For lines of `spec`'s table, into `partitions` files of the thread `thread` in `folder`.
    pub(crate) fn new(spec: &TableSpec, partitions: usize, folder: &Path, thread: usize) -> Result<Self, RawError> {
        let schema = spill_schema(spec);
        let partitioner = BatchPartitioner::new_hash_partitioner(
            vec![Arc::new(Column::new("customer_id", 0))],
            partitions,
            Time::new(),
        )
        .map_err(|error| staging(folder, error))?;
        let texts = schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8).count();
        Ok(Self {
            schema,
            partitioner,
            files: (0..partitions).map(|_| None).collect(),
            folder: folder.to_path_buf(),
            name: format!("{}-{thread}", spec.table.name()),
            rows: 0,
            texts: (0..texts).map(|_| StringBuilder::new()).collect(),
            integers: Vec::new(),
            prices: Vec::new(),
            times: Vec::new(),
        })
    }

    pub(crate) fn transaction(&mut self, id: &str, line: &Transaction<'_>, texts: &[&str]) -> Result<(), RawError> {
        self.texts[0].append_value(id);
        self.texts[1].append_value(line.order_id);
        self.texts[2].append_value(line.product_id);
        for (builder, text) in self.texts[3..].iter_mut().zip(texts) {
            builder.append_option(Some(trimmed(text)).filter(|text| !text.is_empty()));
        }
        self.integers.push(line.quantity);
        self.prices.push(i128::from(line.unit_price));
        self.times.push(Some(line.ordered_at));
        self.added()
    }

    pub(crate) fn customer(
        &mut self,
        id: &str,
        line: &Customer<'_>,
        extras: &[Extra<'_>],
        place: i64,
    ) -> Result<(), RawError> {
        let members =
            extras.iter().map(|extra| (extra.name, trimmed(&extra.text))).filter(|(_, text)| !text.is_empty());
        let mut object = Vec::with_capacity(256);
        let written = serde_json::Serializer::new(&mut object).collect_map(members);
        written.map_err(|error| staging(&self.folder, error))?;
        self.texts[0].append_value(id);
        self.texts[1].append_value(std::str::from_utf8(&object).map_err(|error| staging(&self.folder, error))?);
        self.times.push(line.created_at);
        self.integers.push(place);
        self.added()
    }

    pub(crate) fn interaction(&mut self, id: &str, line: &Interaction<'_>) -> Result<(), RawError> {
        self.texts[0].append_value(id);
        self.texts[1].append_value(line.event);
        self.texts[2].append_option(line.product_id);
        self.times.push(Some(line.at));
        self.added()
    }

    fn added(&mut self) -> Result<(), RawError> {
        self.rows += 1;
        if self.rows >= SPILL_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), RawError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let mut texts = self.texts.iter_mut();
        let (mut integers, mut prices) = (std::mem::take(&mut self.integers), std::mem::take(&mut self.prices));
        let mut times = std::mem::take(&mut self.times);
        let columns: Vec<ArrayRef> = self
            .schema
            .fields()
            .iter()
            .map(|field| -> ArrayRef {
                match field.data_type() {
                    DataType::Int64 => Arc::new(Int64Array::from(std::mem::take(&mut integers))),
                    DataType::Decimal128(..) => {
                        let prices = Decimal128Array::from(std::mem::take(&mut prices));
                        Arc::new(prices.with_data_type(DataType::Decimal128(PRICE_DIGITS, PRICE_SCALE)))
                    }
                    DataType::Timestamp(..) => {
                        let times = TimestampMicrosecondArray::from(std::mem::take(&mut times));
                        Arc::new(times.with_timezone(UTC))
                    }
                    _ => Arc::new(texts.next().map_or_else(|| StringArray::new_null(0), StringBuilder::finish)),
                }
            })
            .collect();
        let failed = |error| staging(&self.folder, error);
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| staging(&self.folder, error))?;
        let (files, folder, name, schema) = (&mut self.files, &self.folder, &self.name, &self.schema);
        for part in self.partitioner.partition_iter(batch).map_err(|error| staging(folder, error))? {
            let (partition, batch) = part.map_err(|error| staging(folder, error))?;
            let file = match &mut files[partition] {
                Some(file) => file,
                empty => empty.insert(create(&spill_path(folder, name, partition), schema)?),
            };
            file.write(&batch).map_err(failed)?;
        }
        Ok(())
    }

    /// Ends the files; returns those of each partition.
    pub(crate) fn finish(mut self) -> Result<Vec<Option<PathBuf>>, RawError> {
        self.flush()?;
        let mut paths = Vec::new();
        for (partition, file) in self.files.iter_mut().enumerate() {
            let Some(mut file) = file.take() else {
                paths.push(None);
                continue;
            };
            file.finish().map_err(|error| staging(&self.folder, error))?;
            paths.push(Some(spill_path(&self.folder, &self.name, partition)));
        }
        Ok(paths)
    }
}

fn spill_path(folder: &Path, name: &str, partition: usize) -> PathBuf {
    folder.join(format!("spill-{name}-{partition}.arrow"))
}
