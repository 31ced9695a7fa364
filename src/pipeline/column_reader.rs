//! Reader of Arrow stream files that reads the bytes of the wanted columns only.
//!
//! The reader of the crate `arrow-ipc` clears the memory of each batch and reads the batch whole, but most
//! steps of a build need a few columns of a staged table.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayData, ArrayRef, RecordBatch, RecordBatchOptions, make_array},
    buffer::Buffer,
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};
use arrow_ipc::{FieldNode, Message, convert::fb_to_schema, root_as_message};

/// Number of bytes in which a message without its body usually fits.
const HEAD_BYTES: usize = 4 << 10;
/// Bytes at the beginning of each message, before the length of its description.
const MARKER: [u8; 4] = [0xff; 4];

/// Reader of some columns of a file. The file is opened anew for each batch: a query has a reader for each
/// partition of each table, which is more than a process may have files open.
#[derive(Debug)]
pub(crate) struct ColumnReader {
    path: PathBuf,
    /// Place of the next message, and end of the last one.
    rest: Range<u64>,
    /// Schema of the file.
    stored: SchemaRef,
    /// Indexes of the wanted columns, in their order in a batch.
    columns: Vec<usize>,
    schema: SchemaRef,
    /// Beginning of the current message: its description, and perhaps some of its body.
    head: Vec<u8>,
}

/// Place of a message in its file.
struct MessagePlace {
    /// Bytes of the description in the head.
    description: Range<usize>,
    body: u64,
}

impl ColumnReader {
    /// Opens the file `path`. `columns` holds the indexes of the columns to read, `None` reads all.
    pub(crate) fn open(path: &Path, columns: Option<Vec<usize>>) -> Result<Self, ArrowError> {
        let mut reader = Self::of_range(path, &Arc::new(Schema::empty()), Vec::new(), 0..u64::MAX)?;
        let place = reader.read_head(&mut File::open(path)?)?;
        let place = place.ok_or_else(|| broken("the file ends before its schema"))?;
        let schema = reader.message(&place)?.header_as_schema();
        let stored =
            Arc::new(fb_to_schema(schema.ok_or_else(|| broken("the file does not begin with a schema"))?));
        let columns = columns.unwrap_or_else(|| (0..stored.fields().len()).collect());
        Self::of_range(path, &stored, columns, place.body..u64::MAX)
    }

    /// Returns a reader of the batches in the `range` of the file `path`, which has the columns of `stored`.
    pub(crate) fn of_range(
        path: &Path,
        stored: &SchemaRef,
        columns: Vec<usize>,
        range: Range<u64>,
    ) -> Result<Self, ArrowError> {
        let schema = Arc::new(stored.project(&columns)?);
        let (path, stored) = (path.to_path_buf(), Arc::clone(stored));
        Ok(Self { path, rest: range, stored, columns, schema, head: Vec::new() })
    }

    /// Returns the schema of the batches.
    #[cfg(any(test, feature = "cluster"))]
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Reads the beginning of the next message. Returns `None` at the end of the range or of the stream.
    fn read_head(&mut self, file: &mut File) -> Result<Option<MessagePlace>, ArrowError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(self.rest.start))?;
        self.head.clear();
        file.take(HEAD_BYTES as u64).read_to_end(&mut self.head)?;
        let length = match self.head.split_first_chunk() {
            Some((&MARKER, rest)) => rest.first_chunk().map(|length| i32::from_le_bytes(*length)),
            _ => None,
        };
        let length = size(length.ok_or_else(|| broken("the file ends too early"))?.into())?;
        if length == 0 {
            return Ok(None);
        }
        let description = 2 * MARKER.len()..2 * MARKER.len() + length;
        if description.end > self.head.len() {
            file.take((description.end - self.head.len()) as u64).read_to_end(&mut self.head)?;
        }
        let body = self.rest.start + description.end as u64;
        Ok(Some(MessagePlace { description, body }))
    }

    /// Returns the description of the message at `place`.
    fn message(&self, place: &MessagePlace) -> Result<Message<'_>, ArrowError> {
        let description = self.head.get(place.description.clone());
        let description = description.ok_or_else(|| broken("the file ends too early"))?;
        root_as_message(description).map_err(|error| broken(&error.to_string()))
    }

    /// Reads the next batch. Returns `None` at the end of the stream.
    fn read_batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let mut file = File::open(&self.path)?;
        let Some(place) = self.read_head(&mut file)? else { return Ok(None) };
        let message = self.message(&place)?;
        let batch = message.header_as_record_batch().ok_or_else(|| broken("a message is not a batch"))?;
        let (Some(nodes), Some(buffers), None) = (batch.nodes(), batch.buffers(), batch.compression()) else {
            return Err(broken("a batch is compressed or has no columns"));
        };
        let (mut nodes, mut buffers) = (nodes.iter(), buffers.iter());
        let mut found: Vec<Option<ArrayRef>> = vec![None; self.columns.len()];
        for (at, field) in self.stored.fields().iter().enumerate() {
            let shape = Shape::of(field.data_type())?;
            let nodes: Vec<FieldNode> = nodes.by_ref().take(shape.nodes).copied().collect();
            let buffers = buffers.by_ref().take(shape.buffers);
            let range = |buffer: &arrow_ipc::Buffer| {
                Ok(size(buffer.offset())?..size(buffer.offset() + buffer.length())?)
            };
            let buffers: Vec<Range<usize>> = buffers.map(range).collect::<Result<_, ArrowError>>()?;
            if let Some(wanted) = self.columns.iter().position(|column| *column == at) {
                let mut column = ColumnBytes::read(&mut file, place.body, nodes, buffers)?;
                found[wanted] = Some(make_array(column.array(field.data_type())?));
            }
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(size(batch.length())?));
        let columns = found.into_iter().flatten().collect();
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &rows)?;
        self.rest.start = place.body + size(message.bodyLength())? as u64;
        Ok(Some(batch))
    }
}

impl Iterator for ColumnReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.read_batch().transpose();
        if !matches!(batch, Some(Ok(_))) {
            self.rest = 0..0;
        }
        batch
    }
}

/// Numbers of nodes and buffers of a column, its children included.
#[derive(Debug, Clone, Copy)]
struct Shape {
    nodes: usize,
    buffers: usize,
}

impl Shape {
    /// Returns the shape of columns of a type that builds write.
    fn of(data_type: &DataType) -> Result<Self, ArrowError> {
        let (own, children) = parts(data_type)?;
        // The first buffer has the nulls.
        let mut shape = Self { nodes: 1, buffers: 1 + own };
        for child in children {
            let child = Self::of(child.data_type())?;
            shape.nodes += child.nodes;
            shape.buffers += child.buffers;
        }
        Ok(shape)
    }
}

/// Returns the number of buffers with values of a type, and the fields of its children.
fn parts(data_type: &DataType) -> Result<(usize, &[FieldRef]), ArrowError> {
    match data_type {
        DataType::Utf8 => Ok((2, &[])),
        DataType::List(item) => Ok((1, std::slice::from_ref(item))),
        DataType::Struct(fields) => Ok((0, fields)),
        other if other.is_primitive() || *other == DataType::Boolean => Ok((1, &[])),
        other => Err(ArrowError::NotYetImplemented(format!("columns of the type {other}"))),
    }
}

/// Bytes of a column of a batch, and the nodes and buffers that are not yet a part of an array.
struct ColumnBytes {
    bytes: Buffer,
    /// Place of the bytes in the body of the message.
    start: usize,
    nodes: std::vec::IntoIter<FieldNode>,
    buffers: std::vec::IntoIter<Range<usize>>,
}

impl ColumnBytes {
    /// Reads the bytes of all `buffers`, which lie together in the body at `body`.
    fn read(
        file: &mut File,
        body: u64,
        nodes: Vec<FieldNode>,
        buffers: Vec<Range<usize>>,
    ) -> Result<Self, ArrowError> {
        let start = buffers.iter().map(|buffer| buffer.start).min().unwrap_or(0);
        let end = buffers.iter().map(|buffer| buffer.end).max().unwrap_or(start);
        let mut bytes = vec![0; end - start];
        file.seek(SeekFrom::Start(body + start as u64))?;
        file.read_exact(&mut bytes)?;
        let (nodes, buffers) = (nodes.into_iter(), buffers.into_iter());
        Ok(Self { bytes: Buffer::from_vec(bytes), start, nodes, buffers })
    }

    /// Returns the next array, of the type `data_type`, with its children.
    fn array(&mut self, data_type: &DataType) -> Result<ArrayData, ArrowError> {
        let missing = || broken("a batch has too few buffers");
        let node = self.nodes.next().ok_or_else(missing)?;
        let (length, nulls) = (size(node.length())?, size(node.null_count())?);
        let (own, children) = parts(data_type)?;
        let validity = self.buffer()?;
        let mut array = ArrayData::builder(data_type.clone()).len(length);
        if nulls > 0 {
            array = array.null_bit_buffer(Some(validity));
        }
        for _ in 0..own {
            array = array.add_buffer(self.buffer()?);
        }
        for child in children {
            array = array.add_child_data(self.array(child.data_type())?);
        }
        array.align_buffers(true).build()
    }

    fn buffer(&mut self) -> Result<Buffer, ArrowError> {
        let buffer = self.buffers.next().ok_or_else(|| broken("a batch has too few buffers"))?;
        Ok(self.bytes.slice_with_length(buffer.start - self.start, buffer.len()))
    }
}

fn size(number: i64) -> Result<usize, ArrowError> {
    usize::try_from(number).map_err(|_| broken("a size is negative"))
}

fn broken(why: &str) -> ArrowError {
    ArrowError::IpcError(why.to_owned())
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            BooleanArray, Decimal128Array, Float64Array, Int32Array, ListBuilder, StringArray, StringBuilder,
            StructArray, TimestampMicrosecondArray,
        },
        datatypes::{Field, Fields},
    };
    use arrow_ipc::{reader::StreamReader, writer::StreamWriter};

    use super::*;

    /// Returns rows with columns of each kind of type, with nulls every third row.
    fn rows(count: i32, start: i32) -> RecordBatch {
        let numbers = start..start + count;
        let some = |number: i32| number % 3 != 0;
        let text =
            |number: i32| some(number).then(|| "é".repeat(usize::try_from(number % 5).expect("a length")));
        let texts: StringArray = numbers.clone().map(text).collect();
        let whole: Int32Array = numbers.clone().map(Some).collect();
        let flags: BooleanArray =
            numbers.clone().map(|number| some(number).then_some(number % 2 == 0)).collect();
        let money: Decimal128Array =
            numbers.clone().map(|number| some(number).then(|| i128::from(number))).collect();
        let floats: Float64Array =
            numbers.clone().map(|number| some(number).then(|| f64::from(number))).collect();
        let times: TimestampMicrosecondArray =
            numbers.clone().map(|number| some(number).then(|| i64::from(number))).collect();
        let pair = Fields::from(vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("n", DataType::Int32, true),
        ]);
        let pairs = StructArray::new(pair, vec![Arc::new(texts.clone()), Arc::new(whole.clone())], None);
        let mut lists = ListBuilder::new(StringBuilder::new());
        for number in numbers {
            (0..number % 4).for_each(|item| lists.values().append_value(item.to_string()));
            lists.append(some(number));
        }
        let columns: [(&str, ArrayRef); 8] = [
            ("texts", Arc::new(texts)),
            ("whole", Arc::new(whole)),
            ("flags", Arc::new(flags)),
            ("pairs", Arc::new(pairs)),
            ("money", Arc::new(money)),
            ("lists", Arc::new(lists.finish())),
            ("floats", Arc::new(floats)),
            ("times", Arc::new(times)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .expect("rows")
    }

    /// Writes batches of different sizes, one of which is a slice.
    fn written(path: &Path) -> SchemaRef {
        let schema = rows(0, 0).schema();
        let mut writer =
            StreamWriter::try_new(File::create(path).expect("a file"), &schema).expect("a writer");
        for batch in [rows(1, 0), rows(0, 0), rows(3_000, 1), rows(100, 7).slice(13, 61)] {
            writer.write(&batch).expect("written");
        }
        writer.finish().expect("finished");
        schema
    }

    #[test]
    fn columns_are_those_that_the_reader_of_arrow_finds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.arrow");
        let schema = written(&path);
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let one = all.iter().map(|column| vec![*column]);
        for columns in [all.clone(), Vec::new(), vec![7, 0, 3], vec![5, 1]].into_iter().chain(one) {
            let file = File::open(&path).expect("a file");
            let expected: Vec<RecordBatch> = StreamReader::try_new(file, Some(columns.clone()))
                .expect("a stream")
                .map(|batch| batch.expect("a batch"))
                .collect();
            let reader = ColumnReader::open(&path, Some(columns.clone())).expect("a stream");
            assert_eq!(reader.schema(), Arc::new(schema.project(&columns).expect("columns")));
            let found: Vec<RecordBatch> = reader.map(|batch| batch.expect("a batch")).collect();
            assert_eq!(found, expected, "{columns:?}");
            assert_eq!(found.len(), 4);
        }
        let whole: Vec<RecordBatch> =
            ColumnReader::open(&path, None).expect("a stream").map(Result::unwrap).collect();
        assert_eq!(whole[2], rows(3_000, 1));
    }

    #[test]
    fn a_file_that_ends_too_early_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, cut) = (folder.path().join("rows.arrow"), folder.path().join("cut.arrow"));
        written(&path);
        let bytes = std::fs::read(&path).expect("a file");
        for length in (0..bytes.len() - 1).step_by(97).chain([bytes.len() - 8, bytes.len() - 1]) {
            std::fs::write(&cut, &bytes[..length]).expect("written");
            let read =
                ColumnReader::open(&cut, None).and_then(Iterator::collect::<Result<Vec<RecordBatch>, _>>);
            assert!(read.is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}
