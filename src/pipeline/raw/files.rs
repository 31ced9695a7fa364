//! Raw files: found in the lake or on disk, with the format taken from the name, streamed and hashed while
//! read.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    delta::{self, DeltaFile},
    error::RawError,
    format::FileKind,
    pattern::Pattern,
    table::{Table, table_config},
};
use crate::{
    config::RawConfig,
    lake::{Content, Lake, LakeError},
    snapshot::Warning,
};

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
    pub(crate) kind: FileKind,
    /// Columns that the folders of the file tell: `country` of `country=UK/`.
    pub(crate) folder_columns: Vec<(String, String)>,
    /// The file as a part of a Delta table.
    pub(crate) delta: Option<Arc<DeltaFile>>,
    /// Entity tag and modification time of the object, which change with the content. `None` for a file of a
    /// Delta table, whose log decides which of the lines are valid.
    pub(crate) version: Option<String>,
    /// SHA-256 of the content, if it is known.
    pub(crate) sha256: Option<String>,
}

impl RawFile {
    /// Describes the file of `bytes` bytes at `path` of `lake`, which messages call `shown`.
    ///
    /// # Errors
    /// Fails if the name has no known extension.
    pub fn new(table: Table, lake: Lake, path: Path, shown: String, bytes: u64) -> Result<Self, RawError> {
        let kind = FileKind::of(path.filename().unwrap_or_default());
        let Some(kind) = kind else { return Err(RawError::Format { file: shown }) };
        let (folder_columns, delta, version, sha256) = (Vec::new(), None, None, None);
        Ok(Self { table, shown, bytes, lake, path, kind, folder_columns, delta, version, sha256 })
    }

    /// Opens the file for blocking reads. `progress` counts the bytes read. Must be called on a blocking
    /// thread of the runtime.
    pub(crate) fn open(&self, progress: Arc<AtomicU64>) -> io::Result<HashingReader> {
        let runtime = tokio::runtime::Handle::current();
        let source = match runtime.block_on(self.lake.content(&self.path)).map_err(failed)? {
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

    /// Returns the SHA-256 of the file's content, which is read unless it is known.
    async fn content(&self) -> Result<String, RawError> {
        match &self.sha256 {
            Some(sha256) => Ok(sha256.clone()),
            None => self.hash().await,
        }
    }

    /// Reads the file and returns the SHA-256 of the content.
    pub(crate) async fn hash(&self) -> Result<String, RawError> {
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

/// Returns the error of a read with its cause, such as the refusal of a bucket, which a message alone would
/// lose.
fn failed(error: LakeError) -> io::Error {
    match std::error::Error::source(&error) {
        Some(cause) => io::Error::other(format!("{error}: {cause}")),
        None => io::Error::other(error),
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
    let config = table_config(table, raw);
    let default = [format!("raw/{}/", table.name())];
    let is_configured = !config.files.is_empty();
    let places = if is_configured { config.files.as_slice() } else { &default };
    let setting = |why| RawError::Setting { table: table.name(), why };
    let ignored = config.ignore.iter().map(|text| Pattern::new(text));
    let ignored: Vec<Pattern> = ignored.collect::<Result<_, _>>().map_err(setting)?;
    let mut found = RawFiles::default();
    let mut skipped = Vec::new();
    for place in places {
        let (folder, pattern) = split_pattern(place).map_err(setting)?;
        let (store, path) = match lake.locate(folder) {
            Ok(located) => located,
            Err(error) if is_configured => return Err(error.into()),
            Err(_) => continue,
        };
        let is_elsewhere = place.contains("://") || place.starts_with('/');
        let shown = |path: &Path| if is_elsewhere { format!("/{path}") } else { path.to_string() };
        let is_folder = pattern.is_some() || place.ends_with('/');
        let named = if is_folder { None } else { store.head(&path).await? };
        let is_named = named.is_some();
        let listed = match named {
            Some(file) => vec![Listed::from(file)],
            None => data_and_tables(&store, &path).await?,
        };
        for Listed { path: location, bytes, delta, version } in listed {
            let name = shown(&location);
            let inside = location.prefix_match(&path).into_iter().flatten();
            let inside: Vec<_> = inside.map(|part| part.as_ref().to_owned()).collect();
            let is_matched = pattern.as_ref().is_none_or(|pattern| pattern.matches_whole(&inside.join("/")));
            let is_known = found.files.iter().any(|known| known.shown == name);
            if !is_matched || is_known || ignored.iter().any(|pattern| pattern.matches(&name)) {
                continue;
            }
            match RawFile::new(table, store.clone(), location, name.clone(), bytes) {
                // The log of a Delta table has the values of its folders.
                Ok(raw) if delta.is_some() => found.files.push(RawFile { delta, ..raw }),
                Ok(raw) => {
                    let folder_columns = folder_columns(&raw.path, &path);
                    found.files.push(RawFile { folder_columns, version, ..raw });
                }
                Err(error) if is_named => return Err(error),
                Err(_) => skipped.push(name),
            }
        }
    }
    found.files.sort_by(|a, b| a.shown.cmp(&b.shown));
    found.warnings.extend(skipped_warning(table, &skipped));
    if found.files.is_empty() && (is_configured || table == Table::Transactions) {
        let inside = |place: &String| {
            let is_elsewhere = place.contains("://") || place.starts_with('/');
            if is_elsewhere { place.clone() } else { format!("{}/{place}", lake.url()) }
        };
        let place = places.iter().map(inside).collect::<Vec<_>>().join(", ");
        let skipped = found.warnings.first().map(|warning| format!(" ({warning})")).unwrap_or_default();
        let table = table.name();
        let remedy = if is_configured {
            format!("correct `files` in [raw.{table}]")
        } else {
            format!("upload files with `larder upload {table} FILE…`, or set `files` in [raw.{table}]")
        };
        return Err(RawError::NoFiles { table, place: place + &skipped, remedy });
    }
    Ok(found)
}

/// Splits a place with wildcards into the folder before the first wildcard, and the pattern of paths in the
/// folder.
fn split_pattern(place: &str) -> Result<(&str, Option<Pattern>), String> {
    let Some(wildcard) = place.find(Pattern::WILDCARDS) else { return Ok((place, None)) };
    let folder = place[..wildcard].rfind('/').map_or(0, |end| end + 1);
    Ok((&place[..folder], Some(Pattern::new(&place[folder..])?)))
}

fn skipped_warning(table: Table, names: &[String]) -> Option<Warning> {
    let first = names.first()?;
    let files = if names.len() == 1 { "1 file" } else { &format!("{} files", names.len()) };
    let message = format!("skipped {files} of {} with unknown formats, for example {first}", table.name());
    Some(Warning::new("skipped_files", message))
}

/// Returns the columns that Hive-style folders between `folder` and the file at `path` name: `country` of
/// `country=UK/`.
pub(crate) fn folder_columns(path: &Path, folder: &Path) -> Vec<(String, String)> {
    let Some(parts) = path.prefix_match(folder) else { return Vec::new() };
    let mut parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
    parts.pop();
    let column = |part: &String| {
        let (name, value) = part.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
        let value = if value == HIVE_NULL { "" } else { &value };
        Some((name.to_owned(), value.to_owned()))
    };
    parts.iter().filter_map(column).collect()
}

/// Name of the folder of lines whose column is null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A listed file.
struct Listed {
    path: Path,
    bytes: u64,
    delta: Option<Arc<DeltaFile>>,
    version: Option<String>,
}

impl From<ObjectMeta> for Listed {
    fn from(file: ObjectMeta) -> Self {
        let modified = file.last_modified.timestamp_micros();
        let version = Some(format!("{} {modified}", file.e_tag.unwrap_or_default()));
        Self { path: file.location, bytes: file.size, delta: None, version }
    }
}

/// Lists the objects below `folder` that hold data, and of each Delta table the files of its current version.
///
/// # Errors
/// Fails if the folder is a table of another engine, and if the lake fails.
async fn data_and_tables(lake: &Lake, folder: &Path) -> Result<Vec<Listed>, RawError> {
    let Objects { files, tables } = data_objects(lake, folder).await?;
    let mut listed: Vec<Listed> = files.into_iter().map(Listed::from).collect();
    for table in tables {
        let read = delta::current_files(lake, &table).await;
        let files = read.map_err(|why| RawError::Delta { place: format!("{}/{table}", lake.url()), why })?;
        listed.extend(files.into_iter().map(|file| Listed {
            path: file.path.clone(),
            bytes: file.bytes,
            delta: Some(Arc::new(file)),
            version: None,
        }));
    }
    Ok(listed)
}

/// Lists the objects below `folder` that hold data.
///
/// # Errors
/// Fails if the folder is a Delta table or a table of another engine, and if the lake fails.
pub(crate) async fn data_files(lake: &Lake, folder: &Path) -> Result<Vec<ObjectMeta>, RawError> {
    let Objects { files, tables } = data_objects(lake, folder).await?;
    match tables.first() {
        Some(table) => Err(table_of(lake, table, "Delta Lake")),
        None => Ok(files),
    }
}

/// Objects of a folder.
#[derive(Default)]
struct Objects {
    files: Vec<ObjectMeta>,
    /// Folders of Delta tables.
    tables: BTreeSet<Path>,
}

/// Lists the objects below `folder` that hold data. Skips empty objects, and objects and folders whose names
/// begin with `_` or `.`, where engines keep temporary and internal files.
async fn data_objects(lake: &Lake, folder: &Path) -> Result<Objects, RawError> {
    let mut objects = Objects::default();
    for file in lake.list(folder).await? {
        let inside = file.location.prefix_match(folder).into_iter().flatten();
        let parts: Vec<String> = inside.map(|part| part.as_ref().to_owned()).collect();
        let place = |depth: usize| {
            parts[..depth].iter().fold(folder.clone(), |place, part| place.join(part.as_str()))
        };
        if let Some(depth) = folder_depth(&parts, DELTA_LOG) {
            objects.tables.insert(place(depth));
        } else if let Some((depth, format)) = table_format(&parts) {
            return Err(table_of(lake, &place(depth), format));
        } else if file.size > 0 && !parts.iter().any(|part| part.starts_with(['_', '.'])) {
            objects.files.push(file);
        }
    }
    let Objects { files, tables } = &mut objects;
    files.retain(|file| !tables.iter().any(|table| file.location.prefix_matches(table)));
    Ok(objects)
}

/// Name of the folder of a Delta table's log.
const DELTA_LOG: &str = "_delta_log";

fn table_of(lake: &Lake, place: &Path, format: &'static str) -> RawError {
    RawError::TableFormat { place: format!("{}/{place}", lake.url()), format }
}

/// Returns the depth of the folder `name` in the path `parts` of an object.
fn folder_depth(parts: &[String], name: &str) -> Option<usize> {
    parts.iter().rev().skip(1).rev().position(|part| part == name)
}

/// Returns the depth and the format of the other engine's table that the object of the path `parts` belongs
/// to.
fn table_format(parts: &[String]) -> Option<(usize, &'static str)> {
    let is_metadata =
        parts.last().is_some_and(|name| name.ends_with(".metadata.json") || name == "version-hint.text");
    let iceberg = || if is_metadata { folder_depth(parts, "metadata") } else { None };
    folder_depth(parts, ".hoodie")
        .map(|depth| (depth, "Apache Hudi"))
        .or_else(|| iceberg().map(|depth| (depth, "Apache Iceberg")))
}

/// Finds files with the same content, of which only one is read: the first by path, and of `customers` the
/// last, since the last line of a customer counts. Returns the name of the file that is read, by index of the
/// files that are not.
pub(crate) async fn same_content(files: &[RawFile]) -> Result<BTreeMap<usize, String>, RawError> {
    let mut by_size: BTreeMap<(Table, u64), Vec<usize>> = BTreeMap::new();
    // Of a Delta table every file counts: the log says which are valid.
    for (at, file) in files.iter().enumerate().filter(|(_, file)| file.delta.is_none()) {
        by_size.entry((file.table, file.bytes)).or_default().push(at);
    }
    let mut same = BTreeMap::new();
    for ((table, _), candidates) in by_size.iter().filter(|(_, candidates)| candidates.len() > 1) {
        let mut by_hash: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for at in candidates {
            by_hash.entry(files[*at].content().await?).or_default().push(*at);
        }
        for places in by_hash.values() {
            let read = if *table == Table::Customers { places[places.len() - 1] } else { places[0] };
            let others = places.iter().filter(|at| **at != read);
            same.extend(others.map(|at| (*at, files[read].shown.clone())));
        }
    }
    Ok(same)
}
