//! Buffer of the checked lines of one raw file, in columns.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};

use super::{UTC, attributes::AttributeEncoder, time_type};
use crate::pipeline::raw::{
    Table, TableSpec,
    check::{CustomerLine, ExtraField, InteractionLine},
    transaction::TransactionLine,
    value::trimmed,
};

/// Number of lines between two checks of the collected bytes.
const LOOKED_AT: usize = 16;
/// Number of lines for which an empty buffer has capacity.
const INITIAL_ROWS: usize = 4_096;

/// Returns the schema of the staged lines of `spec`'s table. The customer id is the first column.
pub(super) fn schema(spec: &TableSpec) -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
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
                Field::new("is_total", DataType::Boolean, false),
            ];
            fields.extend(texts);
            fields
        }
        Table::Customers => vec![
            text("customer_id", false),
            Field::new("created_at", time_type(), true),
            Field::new("line", DataType::Int64, false),
            Field::new("updated_at", time_type(), true),
            text("attributes", false),
        ],
        Table::Interactions => {
            let mut fields = vec![
                text("customer_id", false),
                text("event", false),
                Field::new("at", time_type(), false),
                text("product_id", true),
            ];
            fields.extend(texts);
            fields
        }
    };
    Arc::new(Schema::new(fields))
}

/// Index of the column of `customers` with the number of the line in its file.
pub(super) const LINE_COLUMN: usize = 2;
/// Index of the column of `customers` with the attributes.
pub(super) const ATTRIBUTES_COLUMN: usize = 4;

/// Size at which a run is complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunLimits {
    /// Number of lines.
    lines: usize,
    /// Bytes of text. A column of a batch holds at most 2 GiB.
    bytes: usize,
}

impl RunLimits {
    /// Number of lines of a run if memory suffices. Longer runs make better use of the pages that a partition
    /// reads, and take more memory.
    const LINES: usize = 1 << 19;
    /// Bytes of a line, with its text, for which memory is planned.
    const LINE_BYTES: u64 = 128;
    /// Share of the memory that lines of runs may take: one in so many. A thread holds the lines of a run, a
    /// sorted copy and the encoded pages.
    const SHARE: u64 = 8;

    /// Returns the limits for `threads` threads that may use `memory` bytes together.
    pub(crate) fn new(memory: u64, threads: usize) -> Self {
        let bytes = (memory / Self::SHARE / threads.max(1) as u64).clamp(1 << 20, 64 << 20);
        let lines = usize::try_from(bytes / Self::LINE_BYTES).unwrap_or(Self::LINES).min(Self::LINES);
        Self { lines, bytes: usize::try_from(bytes).unwrap_or(64 << 20) }
    }
}

/// Checked lines of one raw file.
pub(super) struct LineBuffer {
    schema: SchemaRef,
    rows: usize,
    columns: ColumnBuilders,
    attributes: AttributeEncoder,
}

/// Columns of the collected lines. Columns of one type are in the order of the schema.
struct ColumnBuilders {
    texts: Vec<StringBuilder>,
    integers: [Int64Builder; 2],
    flags: BooleanBuilder,
    times: [TimestampMicrosecondBuilder; 2],
}

impl ColumnBuilders {
    /// Creates columns with capacity for `rows` rows, and for `bytes` in each text column.
    fn new(schema: &Schema, rows: usize, bytes: impl Iterator<Item = usize>) -> Self {
        let has = |kind: &DataType| schema.fields().iter().any(|field| field.data_type() == kind);
        let capacity = |kind: &DataType| if has(kind) { rows } else { 0 };
        let times = || TimestampMicrosecondBuilder::with_capacity(capacity(&time_type())).with_timezone(UTC);
        let integers = || Int64Builder::with_capacity(capacity(&DataType::Int64));
        Self {
            texts: bytes.map(|bytes| StringBuilder::with_capacity(rows, bytes)).collect(),
            integers: [integers(), integers()],
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

    /// Returns the columns in the order of `schema`.
    fn finish(mut self, schema: &Schema) -> Vec<ArrayRef> {
        let (mut texts, mut times) = (self.texts.iter_mut(), self.times.iter_mut());
        let mut integers = self.integers.iter_mut();
        let column = |field: &Arc<Field>| -> Option<ArrayRef> {
            Some(match field.data_type() {
                DataType::Boolean => Arc::new(self.flags.finish()),
                DataType::Int64 => Arc::new(integers.next()?.finish()),
                DataType::Timestamp(..) => Arc::new(times.next()?.finish()),
                _ => Arc::new(texts.next()?.finish()),
            })
        };
        schema.fields().iter().filter_map(column).collect()
    }
}

impl LineBuffer {
    /// Creates an empty buffer for lines of `spec`'s table.
    pub(super) fn new(spec: &TableSpec) -> Self {
        let schema = schema(spec);
        let texts = schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8).count();
        let columns = ColumnBuilders::new(&schema, INITIAL_ROWS, std::iter::repeat_n(0, texts));
        Self { schema, rows: 0, columns, attributes: AttributeEncoder::default() }
    }

    pub(super) fn transaction(&mut self, id: &str, line: &TransactionLine<'_>, texts: &[&str]) {
        let columns = &mut self.columns;
        columns.texts[0].append_value(id);
        columns.texts[1].append_value(&line.order_id);
        columns.texts[2].append_value(&line.product_id);
        columns.append_texts(3, texts);
        columns.integers[0].append_value(line.value.quantity);
        columns.integers[1].append_value(line.value.money);
        columns.flags.append_value(line.value.is_total);
        columns.times[0].append_value(line.ordered_at);
        self.rows += 1;
    }

    /// Adds a line of `customers`. `number` is the number of the line in its file.
    pub(super) fn customer(
        &mut self,
        id: &str,
        line: &CustomerLine<'_>,
        extras: &[ExtraField<'_>],
        number: i64,
    ) {
        let columns = &mut self.columns;
        columns.texts[0].append_value(id);
        columns.texts[1].append_value(self.attributes.encode(extras));
        columns.times[0].append_option(line.created_at);
        columns.times[1].append_option(line.updated_at);
        columns.integers[0].append_value(number);
        self.rows += 1;
    }

    pub(super) fn interaction(&mut self, id: &str, line: &InteractionLine<'_>, texts: &[&str]) {
        let columns = &mut self.columns;
        columns.texts[0].append_value(id);
        columns.texts[1].append_value(line.event);
        columns.texts[2].append_option(line.product_id.as_deref());
        columns.append_texts(3, texts);
        columns.times[0].append_value(line.at);
        self.rows += 1;
    }

    /// Returns whether the lines are enough for a run.
    pub(super) fn is_full(&self, limits: RunLimits) -> bool {
        let bytes = || self.columns.texts.iter().map(|texts| texts.values_slice().len()).sum::<usize>();
        // A record has at most 64 MiB, so the check may skip a few records.
        self.rows >= limits.lines || (self.rows.is_multiple_of(LOOKED_AT) && bytes() >= limits.bytes)
    }

    /// Takes the lines and leaves an empty buffer of the same capacity.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let bytes = self.columns.texts.iter().map(|texts| texts.values_slice().len());
        let empty = ColumnBuilders::new(&self.schema, self.rows, bytes);
        self.rows = 0;
        let columns = std::mem::replace(&mut self.columns, empty).finish(&self.schema);
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    /// Returns whether the buffer has no lines.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the names of the attributes of all lines, in the order of their numbers.
    pub(super) fn into_attributes(self) -> Vec<String> {
        self.attributes.into_names()
    }
}
