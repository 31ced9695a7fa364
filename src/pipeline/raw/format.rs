//! Formats of raw files, by their names.

use std::io::{BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;

/// Format of the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// Delimited text. Holds the delimiter that the name of the file tells.
    Csv(Option<u8>),
    Json,
    Parquet,
    /// A workbook of a spreadsheet program.
    Workbook,
    /// A ZIP archive of files.
    Archive,
}

/// Compression of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
    Bzip2,
}

/// The format and the compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileKind {
    pub(crate) format: FileFormat,
    pub(crate) packing: Packing,
}

impl FileKind {
    /// Names of all formats, for messages.
    pub(crate) const NAMES: &str = ".csv, .tsv, .txt, .jsonl, .ndjson, .json (these also with .gz, .zst or \
        .bz2), .parquet, .xlsx or .zip";

    /// Returns the kind of the file `name`, or `None` for an unknown ending.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let packings = [(".gz", Packing::Gzip), (".zst", Packing::Zstd), (".bz2", Packing::Bzip2)];
        let packed = packings.iter().find_map(|(end, packing)| Some((name.strip_suffix(end)?, *packing)));
        let (stem, packing) = packed.unwrap_or((&name, Packing::None));
        let format = match stem.rsplit_once('.')?.1 {
            "csv" | "txt" => FileFormat::Csv(None),
            "tsv" | "tab" => FileFormat::Csv(Some(b'\t')),
            "jsonl" | "ndjson" | "json" => FileFormat::Json,
            "parquet" | "parq" => FileFormat::Parquet,
            "xlsx" | "xlsm" => FileFormat::Workbook,
            "zip" => FileFormat::Archive,
            _ => return None,
        };
        let is_text = matches!(format, FileFormat::Csv(_) | FileFormat::Json);
        if is_text || packing == Packing::None { Some(Self { format, packing }) } else { None }
    }
}

impl FileKind {
    /// Returns whether the content takes much more space than the file.
    pub(crate) fn is_compressed(self) -> bool {
        self.packing != Packing::None || matches!(self.format, FileFormat::Workbook | FileFormat::Archive)
    }
}

impl Packing {
    /// Returns a reader of the decompressed content of `source`.
    pub(crate) fn unpack<'a>(self, source: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
        let buffered = |source| BufReader::with_capacity(1 << 18, source);
        Ok(match self {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(MultiGzDecoder::new(buffered(source))),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(buffered(source))?),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(buffered(source))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_compression() {
        let kind = |name: &str| FileKind::of(name).map(|kind| (kind.format, kind.packing));
        assert_eq!(kind("A.CSV"), Some((FileFormat::Csv(None), Packing::None)));
        assert_eq!(kind("a.b.tsv.bz2"), Some((FileFormat::Csv(Some(b'\t')), Packing::Bzip2)));
        assert_eq!(kind("a.jsonl.zst"), Some((FileFormat::Json, Packing::Zstd)));
        assert_eq!(kind("a.xlsx"), Some((FileFormat::Workbook, Packing::None)));
        for name in ["csv", "a.parquet.gz", "a.zip.gz", "a.gz", "a.csv.bak", "README.md"] {
            assert_eq!(kind(name), None, "{name}");
        }
    }
}
