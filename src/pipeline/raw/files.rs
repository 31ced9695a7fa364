//! Raw files: found in the lake or on disk, with the format taken from the name, streamed and hashed while
//! read.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::StreamExt;
use object_store::{ObjectMeta, path::Path};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{
    error::RawError,
    table::{Table, table_config},
};
use crate::{
    config::RawConfig,
    lake::{Content, Lake},
    snapshot::Warning,
};

/// Format of a file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    Csv,
    Json,
    Parquet,
}

/// A raw file.
#[derive(Debug, Clone)]
pub struct RawFile {
    /// Table of the file.
    pub table: Table,
    /// Name of the file in messages and in the manifest.
    pub shown: String,
    /// Size in bytes.
    pub bytes: u64,
    pub(crate) lake: Lake,
    pub(crate) path: Path,
    pub(crate) format: FileFormat,
    pub(crate) gzip: bool,
}

impl RawFile {
    /// Describes the file of `bytes` bytes at `path` of `lake`, which messages call `shown`.
    ///
    /// # Errors
    /// Fails if the name has no known extension.
    pub fn new(table: Table, lake: Lake, path: Path, shown: String, bytes: u64) -> Result<Self, RawError> {
        let name = path.filename().unwrap_or_default().to_ascii_lowercase();
        let (stem, gzip) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
        let format = match stem.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => FileFormat::Csv,
            Some("jsonl" | "ndjson" | "json") => FileFormat::Json,
            Some("parquet") if !gzip => FileFormat::Parquet,
            _ => return Err(RawError::Format { file: shown }),
        };
        Ok(Self { table, shown, bytes, lake, path, format, gzip })
    }

    /// Opens the file for blocking reads. `progress` counts the bytes read. Must be called on a blocking
    /// thread of the runtime.
    pub(crate) fn open(&self, progress: Arc<AtomicU64>) -> io::Result<HashingReader> {
        let runtime = tokio::runtime::Handle::current();
        let source = match runtime.block_on(self.lake.content(&self.path)).map_err(io::Error::other)? {
            Content::File(file) => ByteSource::File(file),
            Content::Stream(mut stream) => {
                let (send, receive) = mpsc::channel(8);
                runtime.spawn(async move {
                    while let Some(chunk) = stream.next().await {
                        if send.send(chunk.map_err(io::Error::other)).await.is_err() {
                            return;
                        }
                    }
                });
                ByteSource::Stream { receive, chunk: Bytes::new() }
            }
        };
        Ok(HashingReader { source, hash: Sha256::new(), progress })
    }

    /// Returns the SHA-256 of the file's content.
    async fn hash(&self) -> Result<String, RawError> {
        let mut stream = self.lake.stream(&self.path).await?;
        let mut hash = Sha256::new();
        while let Some(chunk) = stream.next().await {
            let unreadable = |error: object_store::Error| RawError::Unreadable {
                file: self.shown.clone(),
                line: 0,
                why: error.to_string(),
            };
            hash.update(chunk.map_err(unreadable)?);
        }
        Ok(format!("{:x}", hash.finalize()))
    }
}

/// Reader of a raw file that hashes the content.
#[derive(Debug)]
pub(crate) struct HashingReader {
    source: ByteSource,
    hash: Sha256,
    progress: Arc<AtomicU64>,
}

/// Source of a file's bytes.
#[derive(Debug)]
enum ByteSource {
    File(File),
    /// Chunks that a task of the runtime receives.
    Stream {
        receive: mpsc::Receiver<io::Result<Bytes>>,
        chunk: Bytes,
    },
}

impl HashingReader {
    /// Reads the rest of the file and returns the SHA-256 of the whole file.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(format!("{:x}", self.hash.finalize()))
    }
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match &mut self.source {
            ByteSource::File(file) => file.read(buffer)?,
            ByteSource::Stream { receive, chunk } => {
                while chunk.is_empty() {
                    match receive.blocking_recv() {
                        Some(next) => *chunk = next?,
                        None => return Ok(0),
                    }
                }
                let length = buffer.len().min(chunk.len());
                buffer[..length].copy_from_slice(&chunk.split_to(length));
                length
            }
        };
        self.hash.update(&buffer[..length]);
        self.progress.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Raw files, and warnings about skipped objects.
#[derive(Debug, Default)]
pub(crate) struct RawFiles {
    pub(crate) files: Vec<RawFile>,
    pub(crate) warnings: Vec<Warning>,
}

/// Finds the files of all tables.
///
/// # Errors
/// Fails for a required or configured table without files, for a table of another engine, and if the lake
/// fails.
pub(crate) async fn find_all(lake: &Lake, raw: &RawConfig) -> Result<RawFiles, RawError> {
    let mut all = RawFiles::default();
    for table in Table::ALL {
        let found = find(lake, table, raw).await?;
        all.files.extend(found.files);
        all.warnings.extend(found.warnings);
    }
    Ok(all)
}

/// Finds the files of `table`, sorted by path. An optional table without configuration may have no files.
///
/// # Errors
/// Same errors as [`find_all`].
pub(crate) async fn find(lake: &Lake, table: Table, raw: &RawConfig) -> Result<RawFiles, RawError> {
    let configured = table_config(table, raw).files.as_deref();
    let default = format!("raw/{}/", table.name());
    let place = configured.unwrap_or(&default);
    let elsewhere = place.contains("://") || place.starts_with('/');
    let mut found = RawFiles::default();
    let located = match lake.locate(place) {
        Ok(located) => Some(located),
        Err(error) if configured.is_some() => return Err(error.into()),
        Err(_) => None,
    };
    let shown = |path: &Path| if elsewhere { format!("/{path}") } else { path.to_string() };
    if let Some((store, path)) = located {
        let named = if place.ends_with('/') { None } else { store.head(&path).await? };
        if let Some(file) = named {
            found.files.push(RawFile::new(
                table,
                store,
                file.location.clone(),
                shown(&file.location),
                file.size,
            )?);
        } else {
            let listed = data_files(&store, &path).await?;
            let mut skipped = Vec::new();
            for file in listed {
                match RawFile::new(
                    table,
                    store.clone(),
                    file.location.clone(),
                    shown(&file.location),
                    file.size,
                ) {
                    Ok(file) => found.files.push(file),
                    Err(_) => skipped.push(shown(&file.location)),
                }
            }
            found.warnings.extend(skipped_warning(table, &skipped));
            found.warnings.extend(folder_column(&found.files, &path).map(|column| {
                let message = format!(
                    "folders of {} are named {column}=…, which is not read as a column; write its values \
                     into the files",
                    table.name()
                );
                Warning::new("folder_columns", message)
            }));
        }
    }
    if found.files.is_empty() && (configured.is_some() || table == Table::Transactions) {
        let place = if elsewhere { place.to_owned() } else { format!("{}/{place}", lake.url()) };
        let skipped = found.warnings.first().map(|warning| format!(" ({warning})")).unwrap_or_default();
        return Err(RawError::NoFiles { table: table.name(), place: place + &skipped });
    }
    Ok(found)
}

fn skipped_warning(table: Table, names: &[String]) -> Option<Warning> {
    let first = names.first()?;
    let files = if names.len() == 1 { "1 file" } else { &format!("{} files", names.len()) };
    let message = format!("skipped {files} of {} with unknown formats, for example {first}", table.name());
    Some(Warning::new("skipped_files", message))
}

/// Returns the column that a Hive-style partition folder below `place` names: `country` of `country=UK/`.
fn folder_column(files: &[RawFile], place: &Path) -> Option<String> {
    files.iter().find_map(|file| {
        let mut folders: Vec<_> =
            file.path.prefix_match(place)?.map(|part| part.as_ref().to_owned()).collect();
        folders.pop();
        folders.iter().find_map(|folder| Some(folder.split_once('=')?.0.to_owned()))
    })
}

/// Lists the objects below `folder` that hold data. Skips empty objects, and objects and folders whose names
/// begin with `_` or `.`, where engines keep temporary and internal files.
///
/// # Errors
/// Fails if the folder is a table of another engine, and if the lake fails.
pub(crate) async fn data_files(lake: &Lake, folder: &Path) -> Result<Vec<ObjectMeta>, RawError> {
    let mut files = Vec::new();
    for file in lake.list(folder).await? {
        let inside = file.location.prefix_match(folder).into_iter().flatten();
        let parts: Vec<String> = inside.map(|part| part.as_ref().to_owned()).collect();
        if let Some((depth, format)) = table_format(&parts) {
            let place = parts[..depth].iter().fold(folder.clone(), |place, part| place.join(part.as_str()));
            return Err(RawError::TableFormat { place: format!("{}/{place}", lake.url()), format });
        }
        if file.size > 0 && !parts.iter().any(|part| part.starts_with(['_', '.'])) {
            files.push(file);
        }
    }
    Ok(files)
}

/// Returns the depth and the format of the other engine's table that the object of the path `parts` belongs
/// to.
fn table_format(parts: &[String]) -> Option<(usize, &'static str)> {
    let folder = |name: &str| parts.iter().rev().skip(1).rev().position(|part| part == name);
    let is_metadata =
        parts.last().is_some_and(|name| name.ends_with(".metadata.json") || name == "version-hint.text");
    folder("_delta_log")
        .map(|depth| (depth, "Delta Lake"))
        .or_else(|| folder(".hoodie").map(|depth| (depth, "Apache Hudi")))
        .or_else(|| if is_metadata { Some((folder("metadata")?, "Apache Iceberg")) } else { None })
}

/// Finds files with the same content, of which only one is read: the first by path, and of `customers` the
/// last, since the last line of a customer counts. Returns the name of the file that is read, by index of the
/// files that are not.
pub(crate) async fn same_content(files: &[RawFile]) -> Result<BTreeMap<usize, String>, RawError> {
    let mut by_size: BTreeMap<(Table, u64), Vec<usize>> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        by_size.entry((file.table, file.bytes)).or_default().push(at);
    }
    let mut same = BTreeMap::new();
    for ((table, _), candidates) in by_size.iter().filter(|(_, candidates)| candidates.len() > 1) {
        let mut by_hash: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for at in candidates {
            by_hash.entry(files[*at].hash().await?).or_default().push(*at);
        }
        for places in by_hash.values() {
            let read = if *table == Table::Customers { places[places.len() - 1] } else { places[0] };
            let others = places.iter().filter(|at| **at != read);
            same.extend(others.map(|at| (*at, files[read].shown.clone())));
        }
    }
    Ok(same)
}
