//! The staging: checked and typed raw lines, partitioned by customer.
//!
//! First, the lines of each raw file are sorted into runs ([`sorted_run`]), which the lake keeps for later
//! builds ([`kept`]). Then each partition is loaded from all runs, cut at `as_of`, merged by customer and
//! order, and written to temporary Arrow files as the tables that views read ([`mod@derive`]).

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

use arrow::{
    array::TimestampMicrosecondArray,
    datatypes::{DataType, Schema, SchemaRef, TimeUnit},
};
use arrow_ipc::writer::StreamWriter;

use super::{column_reader::ColumnReader, raw::RawError};
use crate::config::Config;

pub(crate) mod attributes;
pub(crate) mod derive;
pub(crate) mod event_span;
mod file_outcome;
pub(crate) mod guests;
mod id_ranks;
pub(crate) mod kept;
pub(crate) mod line_buffer;
mod line_columns;
mod line_schema;
pub(crate) mod lines;
pub(crate) mod read_outcome;
mod run_queue;
pub(crate) mod sorted_run;
mod staged_lines;

/// Time zone of every timestamp in staging and snapshot.
pub(crate) const UTC: &str = "UTC";

/// Type of money: `DECIMAL(38,4)`.
pub(crate) const MONEY: DataType = DataType::Decimal128(38, 4);

/// Type of timestamps ([`time_type`]) as the SQL function `arrow_cast` reads it.
pub(crate) const TIME_TYPE: &str = "Timestamp(Microsecond, Some(\"UTC\"))";

/// Returns the type of timestamps: microseconds in UTC.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// Returns a timestamp column. `micros` are microseconds since 1970.
pub(crate) fn times(micros: Vec<i64>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from(micros).with_timezone(UTC)
}

/// Temporary folder of one build, removed on drop. A locked file in the folder shows later builds that its
/// owner is still running.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
    _lock: File,
}

const PREFIX: &str = "larder-staging-";

impl Scratch {
    /// Creates the folder where the settings want temporary files.
    pub(crate) fn configured(config: &Config) -> Result<Self, RawError> {
        let folder = config.build.staging.as_ref();
        Self::new(&folder.map_or_else(std::env::temp_dir, |folder| config.resolve(folder)))
    }

    /// Creates the folder in `parent`, and removes the folders of builds that were killed.
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
        // The file is locked before it gets its final name, so that no other build takes the folder for
        // abandoned.
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

/// A staged table, or one partition of it: an Arrow stream file.
#[derive(Debug, Clone)]
pub(crate) struct StagedFile {
    pub(crate) path: PathBuf,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: usize,
}

impl StagedFile {
    /// Opens the file for the columns `names`, in this order. Repeated names and those of no column are left
    /// out.
    pub(crate) fn open_columns<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<ColumnReader, RawError> {
        let mut columns = Vec::new();
        for column in names.into_iter().filter_map(|name| self.schema.index_of(name).ok()) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        open(&self.path, Some(columns))
    }
}

/// Returns the error for a failed temporary file in `place`.
pub(crate) fn staging(place: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RawError {
    RawError::Staging { place: place.display().to_string(), source: source.into() }
}

/// Writer of an Arrow stream file.
pub(crate) type ArrowWriter = StreamWriter<BufWriter<File>>;

/// Creates an Arrow stream file.
pub(crate) fn create(path: &Path, schema: &Schema) -> Result<ArrowWriter, RawError> {
    let file = File::create(path).map_err(|error| staging(path, error))?;
    StreamWriter::try_new(BufWriter::with_capacity(1 << 16, file), schema)
        .map_err(|error| staging(path, error))
}

/// Opens an Arrow stream file. `columns` holds the indexes of the columns to read, `None` reads all.
pub(crate) fn open(path: &Path, columns: Option<Vec<usize>>) -> Result<ColumnReader, RawError> {
    ColumnReader::open(path, columns).map_err(|error| staging(path, error))
}
