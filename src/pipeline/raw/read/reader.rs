//! State of reading one file, which the readers of all formats share.

use crate::pipeline::raw::{
    check::{ExtraField, LineError, LineFields, RawLine},
    error::RawError,
    spec::TableSpec,
};

/// Reader of one file.
pub(super) struct FileReader<'a> {
    pub(super) file: &'a str,
    pub(super) spec: &'a TableSpec,
    pub(super) lines: u64,
    pub(super) physical_lines: u64,
    /// Number of the current line.
    pub(super) at: u64,
    pub(super) sink: &'a mut dyn FnMut(u64, RawLine<'_>) -> Result<(), RawError>,
}

impl FileReader<'_> {
    /// Passes a record to the sink.
    #[inline]
    pub(super) fn record(
        &mut self,
        fields: LineFields<'_>,
        extras: Vec<ExtraField<'_>>,
    ) -> Result<(), RawError> {
        self.lines += 1;
        (self.sink)(self.at, RawLine::Record { fields, extras })
    }

    /// Passes `lines` bad lines to the sink.
    #[inline]
    pub(super) fn bad(&mut self, error: LineError, lines: u64) -> Result<(), RawError> {
        self.lines += lines;
        (self.sink)(self.at, RawLine::Bad { error, lines })
    }
}

/// Returns the error for a file that cannot be read. `line` is the last line read, or 0.
pub(super) fn unreadable(file: &str, line: u64, why: &dyn std::fmt::Display) -> RawError {
    RawError::Unreadable { file: file.to_owned(), line, why: why.to_string() }
}

/// Returns the error for a text that is not UTF-8.
pub(super) fn not_utf8(what: &str) -> LineError {
    LineError {
        cause: format!("{what} has bytes that are not UTF-8"),
        found: "save the file as UTF-8".to_owned(),
    }
}
