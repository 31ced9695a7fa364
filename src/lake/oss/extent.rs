//! Byte ranges of requests and responses.

use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use object_store::{GetRange, Result, path::Path};

use super::failure::generic;

/// Part of an object that a response contains.
pub(super) struct Extent {
    /// Size of the whole object.
    pub(super) size: u64,
    /// Range of bytes, unless the response contains the whole object.
    pub(super) range: Option<Range<u64>>,
    /// Length of the body.
    pub(super) length: Option<u64>,
}

impl Extent {
    /// Reads the headers of `output`.
    pub(super) fn of(path: &Path, output: &GetObjectOutput) -> Result<Self> {
        let length = output.content_length().and_then(|length| u64::try_from(length).ok());
        let Some(text) = output.content_range() else {
            let size =
                length.ok_or_else(|| generic(format!("{path}: the response has no Content-Length")))?;
            return Ok(Self { size, range: None, length });
        };
        // `bytes 0-499/1234`
        let parse = || {
            let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            Some((first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?, size.parse().ok()?))
        };
        let (range, size) =
            parse().ok_or_else(|| generic(format!("{path}: invalid Content-Range `{text}`")))?;
        Ok(Self { size, range: Some(range), length })
    }
}

/// Returns the bytes that `range` selects in an object of `size` bytes.
pub(super) fn exact(range: &GetRange, size: u64) -> std::result::Result<Range<u64>, String> {
    match range {
        GetRange::Bounded(range) if range.start >= range.end => Err(format!("{range:?} is an empty range")),
        GetRange::Bounded(Range { start, .. }) | GetRange::Offset(start) if *start >= size => {
            Err(format!("byte {start} is past the end at {size}"))
        }
        GetRange::Bounded(range) => Ok(range.start..range.end.min(size)),
        GetRange::Offset(start) => Ok(*start..size),
        GetRange::Suffix(length) => Ok(size.saturating_sub(*length)..size),
    }
}

/// Returns the value of a `Range` header.
pub(super) fn header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}
