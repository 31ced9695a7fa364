//! Rows of a view in temporary files, one per partition. Files that are sorted by customer have an index, by
//! which a range of customers is read without reading the rest.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
};
use arrow_ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

use super::{
    column_reader::ColumnReader,
    raw::RawError,
    staging::{StagedFile, staging},
};

/// Size of the buffer of a file that is written.
const BUFFER: usize = 64 << 10;
/// Greatest number of rows of a batch in a file. A range of customers is a small piece of each partition, and
/// reads whole batches.
const BATCH_ROWS: usize = 1_024;

/// Returns the name of the file with the rows of `view` in the partition `number`.
pub(crate) fn name(view: &str, number: usize) -> String {
    format!("view-{view}-{number}.arrow")
}

/// Order of the rows of a view in its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// The files are the partitions of the staging, each sorted by customer.
    Partitions,
    /// Any order.
    Any,
}

/// Rows of a view in temporary files.
#[derive(Debug, Clone)]
pub(crate) struct ViewFiles {
    pub(crate) schema: SchemaRef,
    pub(crate) order: RowOrder,
    files: Arc<[ViewFile]>,
}

impl ViewFiles {
    pub(crate) fn new(schema: SchemaRef, order: RowOrder, files: Vec<ViewFile>) -> Self {
        Self { schema, order, files: files.into() }
    }

    /// Returns the staged files.
    pub(crate) fn staged(&self) -> impl Iterator<Item = &StagedFile> {
        self.files.iter().map(|file| &file.file)
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.staged().map(|file| file.rows as u64).sum()
    }

    /// Returns the size of the files in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Reads the rows of the customers of `range` from each file. The files must be sorted. `columns` holds
    /// the indexes of the columns to read, which include the id as the first one.
    pub(crate) fn read(
        &self,
        range: CustomerRange<'_>,
        columns: &[usize],
    ) -> Result<Vec<Vec<RecordBatch>>, RawError> {
        self.files.iter().map(|file| file.read(range, columns)).collect()
    }
}

/// Customers from an id until before another one, both optional.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CustomerRange<'a> {
    pub(crate) from: Option<&'a str>,
    pub(crate) until: Option<&'a str>,
}

impl CustomerRange<'_> {
    /// Returns the rows of `batch` in the range. The first column has the ids, sorted.
    fn rows(&self, batch: &RecordBatch) -> Range<usize> {
        let ids = batch.column(0).as_string::<i32>();
        let from = self.from.map_or(0, |from| lower_bound(ids, from));
        let until = self.until.map_or(ids.len(), |until| lower_bound(ids, until));
        from..until.max(from)
    }
}

/// Returns the row of the first of the sorted `ids` that is not less than `id`.
fn lower_bound(ids: &StringArray, id: &str) -> usize {
    let (mut low, mut high) = (0, ids.len());
    while low < high {
        let middle = low.midpoint(high);
        if ids.value(middle) < id { low = middle + 1 } else { high = middle }
    }
    low
}

/// A file of the rows of a view, with an index of its batches.
#[derive(Debug, Clone)]
pub(crate) struct ViewFile {
    file: StagedFile,
    bytes: u64,
    batches: Vec<BatchPlace>,
}

/// Place of a batch in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct BatchPlace {
    /// First customer of the batch.
    first: Box<str>,
    offset: u64,
}

/// Description of a [`ViewFile`] without its place.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ViewFileEntry {
    rows: usize,
    bytes: u64,
    batches: Vec<BatchPlace>,
}

#[cfg(feature = "cluster")]
impl ViewFileEntry {
    /// Describes `file`.
    pub(crate) fn of(file: &ViewFile) -> Self {
        Self { rows: file.file.rows, bytes: file.bytes, batches: file.batches.clone() }
    }

    /// Describes a file of `rows` rows that is only read as a whole.
    pub(crate) fn without_index(rows: usize) -> Self {
        Self { rows, bytes: 0, batches: Vec::new() }
    }

    /// Returns the file at `path` with rows of `schema`.
    pub(crate) fn at(self, path: PathBuf, schema: SchemaRef) -> ViewFile {
        let Self { rows, bytes, batches } = self;
        ViewFile { file: StagedFile { path, schema, rows }, bytes, batches }
    }
}

impl ViewFile {
    /// Returns the local path.
    #[cfg(feature = "cluster")]
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.file.path
    }

    /// Reads the rows of `range`.
    fn read(&self, range: CustomerRange<'_>, columns: &[usize]) -> Result<Vec<RecordBatch>, RawError> {
        let mut found = Vec::new();
        let before = |id: &str| self.batches.partition_point(|batch| *batch.first < *id);
        // The batch before the first one that begins in the range may hold the first customers.
        let first = range.from.map_or(0, |from| before(from).saturating_sub(1));
        let end = range.until.map_or(self.batches.len(), before);
        if first >= end {
            return Ok(found);
        }
        let start = self.batches[first].offset;
        let stop = self.batches.get(end).map_or(self.bytes, |batch| batch.offset);
        let failed = |error| staging(&self.file.path, error);
        let StagedFile { path, schema, .. } = &self.file;
        for batch in ColumnReader::of_range(path, schema, columns.to_vec(), start..stop).map_err(failed)? {
            let batch = batch.map_err(failed)?;
            let rows = range.rows(&batch);
            if rows.len() == batch.num_rows() {
                found.push(batch);
            } else if !rows.is_empty() {
                // A slice would keep the memory of all rows of the batch.
                let rows: UInt32Array = rows.map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
                let taken = take_record_batch(&batch, &rows);
                found.push(taken.map_err(|error| staging(&self.file.path, error))?);
            }
        }
        Ok(found)
    }
}

/// Writer of a [`ViewFile`].
pub(crate) struct ViewFileWriter {
    file: StagedFile,
    writer: StreamWriter<BufWriter<Appended>>,
    batches: Vec<BatchPlace>,
}

impl ViewFileWriter {
    /// Creates the file `path`.
    pub(crate) fn create(path: PathBuf, schema: SchemaRef) -> Result<Self, RawError> {
        File::create(&path).map_err(|error| staging(&path, error))?;
        let file = BufWriter::with_capacity(BUFFER, Appended { path: path.clone(), length: 0 });
        let writer = StreamWriter::try_new(file, &schema).map_err(|error| staging(&path, error))?;
        Ok(Self { file: StagedFile { path, schema, rows: 0 }, writer, batches: Vec::new() })
    }

    /// Appends `batch`.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), RawError> {
        for start in (0..batch.num_rows()).step_by(BATCH_ROWS) {
            let part = batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
            if let Some(ids) = part.column(0).as_string_opt::<i32>() {
                let place = BatchPlace { first: ids.value(0).into(), offset: self.length() };
                self.batches.push(place);
            }
            self.writer.write(&part).map_err(|error| staging(&self.file.path, error))?;
        }
        self.file.rows += batch.num_rows();
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<ViewFile, RawError> {
        self.writer.finish().map_err(|error| staging(&self.file.path, error))?;
        let bytes = self.length();
        Ok(ViewFile { file: self.file, bytes, batches: self.batches })
    }

    /// Returns the number of bytes so far.
    fn length(&self) -> u64 {
        let file = self.writer.get_ref();
        file.get_ref().length + file.buffer().len() as u64
    }
}

/// File that is opened anew for each write. A view has a writer for each partition, which is more than a
/// process may have files open.
#[derive(Debug)]
struct Appended {
    path: PathBuf,
    length: u64,
}

impl Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = OpenOptions::new().append(true).open(&self.path)?.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ArrayRef, Int64Array},
        datatypes::{DataType, Field, Schema},
    };

    use super::*;

    /// Writes a file with the ids `000`, `002`, … in batches of `size`, each with its number.
    fn file(folder: &std::path::Path, count: i64, size: usize) -> ViewFile {
        let fields = [("customer_id", DataType::Utf8), ("n", DataType::Int64), ("m", DataType::Int64)];
        let fields: Vec<Field> = fields.map(|(name, kind)| Field::new(name, kind, false)).into();
        let schema = Arc::new(Schema::new(fields));
        let path = folder.join(format!("{count}-{size}.arrow"));
        let mut writer = ViewFileWriter::create(path, Arc::clone(&schema)).expect("a file");
        for numbers in (0..count).collect::<Vec<_>>().chunks(size) {
            let ids: StringArray = numbers.iter().map(|n| Some(format!("{:03}", n * 2))).collect();
            let n: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
            let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::clone(&n), n];
            writer
                .write(&RecordBatch::try_new(Arc::clone(&schema), columns).expect("rows"))
                .expect("written");
        }
        writer.finish().expect("finished")
    }

    fn sorted(file: ViewFile) -> ViewFiles {
        ViewFiles::new(Arc::clone(&file.file.schema), RowOrder::Partitions, vec![file])
    }

    #[test]
    fn ranges_of_customers_are_disjoint_and_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        for size in [1, 3, 7, 100] {
            let files = sorted(file(folder.path(), 50, size));
            assert_eq!((files.rows(), files.bytes() > 0), (50, true));
            for bounds in [vec![], vec!["000"], vec!["013", "014", "015"], vec!["0", "098", "0990"]] {
                let mut edges: Vec<Option<&str>> = vec![None];
                edges.extend(bounds.iter().map(|bound| Some(*bound)));
                edges.push(None);
                let mut found = Vec::new();
                for pair in edges.windows(2) {
                    let range = CustomerRange { from: pair[0], until: pair[1] };
                    for batch in files.read(range, &[0, 2]).expect("rows").into_iter().flatten() {
                        assert_eq!(batch.num_columns(), 2);
                        let ids = batch.column(0).as_string::<i32>();
                        found.extend(ids.iter().flatten().map(str::to_owned));
                        let is_inside = |id: &str| {
                            range.from.is_none_or(|from| from <= id)
                                && range.until.is_none_or(|until| id < until)
                        };
                        assert!(ids.iter().flatten().all(is_inside), "{range:?}");
                    }
                }
                let expected: Vec<String> = (0..50).map(|n| format!("{:03}", n * 2)).collect();
                assert_eq!(found, expected, "batches of {size}, bounds {bounds:?}");
            }
        }
    }

    #[test]
    fn an_empty_file_has_no_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = sorted(file(folder.path(), 0, 1));
        let all = CustomerRange { from: None, until: None };
        assert_eq!(files.read(all, &[0]).expect("rows"), [Vec::<RecordBatch>::new()]);
    }
}
