//! Raw files: found in the lake or on disk, told by their names, streamed and hashed on the way.

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
use object_store::path::Path;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{RawError, Table, table_config};
use crate::{
    config::RawConfig,
    lake::{Content, Lake},
    snapshot::hex,
};

/// The format of a file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Json,
    Parquet,
}

/// A file of raw data.
#[derive(Debug, Clone)]
pub struct RawFile {
    /// The table it belongs to.
    pub table: Table,
    /// Its name in messages and in the manifest.
    pub shown: String,
    /// Its size.
    pub bytes: u64,
    pub(crate) lake: Lake,
    pub(crate) path: Path,
    pub(crate) format: Format,
    pub(crate) gzip: bool,
}

impl RawFile {
    /// The file of `bytes` bytes at `path` of `lake`, called `shown`.
    ///
    /// # Errors
    /// Of a name that tells no format.
    pub fn new(table: Table, lake: Lake, path: Path, shown: String, bytes: u64) -> Result<Self, RawError> {
        let name = path.filename().unwrap_or_default().to_ascii_lowercase();
        let (stem, gzip) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
        let format = match stem.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Format::Csv,
            Some("jsonl" | "ndjson" | "json") => Format::Json,
            Some("parquet") if !gzip => Format::Parquet,
            _ => return Err(RawError::Format { file: shown }),
        };
        Ok(Self { table, shown, bytes, lake, path, format, gzip })
    }

    /// The file as a reader for a thread that may block; `progress` counts the bytes that passed. Call it on a blocking
    /// thread of the runtime.
    pub(crate) fn open(&self, progress: Arc<AtomicU64>) -> io::Result<HashingReader> {
        let runtime = tokio::runtime::Handle::current();
        let source = match runtime.block_on(self.lake.content(&self.path)).map_err(io::Error::other)? {
            Content::File(file) => Source::File(file),
            Content::Stream(mut stream) => {
                let (send, receive) = mpsc::channel(8);
                runtime.spawn(async move {
                    while let Some(chunk) = stream.next().await {
                        if send.send(chunk.map_err(io::Error::other)).await.is_err() {
                            return;
                        }
                    }
                });
                Source::Stream { receive, chunk: Bytes::new() }
            }
        };
        Ok(HashingReader { source, hash: Sha256::new(), progress })
    }

    /// SHA-256 of the file's content.
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
        Ok(hex(&hash.finalize()))
    }
}

/// Reads a file and hashes it.
#[derive(Debug)]
pub(crate) struct HashingReader {
    source: Source,
    hash: Sha256,
    progress: Arc<AtomicU64>,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Source {
    File(File),
    /// What a task of the runtime receives.
    Stream {
        receive: mpsc::Receiver<io::Result<Bytes>>,
        chunk: Bytes,
    },
}

impl HashingReader {
    /// SHA-256 of the whole file, whatever part of it was read.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex(&self.hash.finalize()))
    }
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match &mut self.source {
            Source::File(file) => file.read(buffer)?,
            Source::Stream { receive, chunk } => {
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

/// The files of `table`, by path. An optional table that nothing configures may have none.
///
/// # Errors
/// Of a required or configured table without files, of a name that tells no format, of the lake.
pub(crate) async fn find(lake: &Lake, table: Table, raw: &RawConfig) -> Result<Vec<RawFile>, RawError> {
    let configured = table_config(table, raw).files.as_deref();
    let default = format!("raw/{}/", table.name());
    let place = configured.unwrap_or(&default);
    let mut found = Vec::new();
    let located = match lake.locate(place) {
        Ok(located) => Some(located),
        Err(error) if configured.is_some() => return Err(error.into()),
        Err(_) => None,
    };
    if let Some((store, path)) = located {
        let named = if place.ends_with('/') { None } else { store.head(&path).await? };
        let listed = match named {
            Some(file) => vec![file],
            None => store.list(&path).await?,
        };
        for file in listed {
            let hidden = |name: &str| name.starts_with(['_', '.']);
            if file.size > 0 && !file.location.filename().is_some_and(hidden) {
                let shown = if place.contains("://") || place.starts_with('/') {
                    format!("/{}", file.location)
                } else {
                    file.location.to_string()
                };
                found.push(RawFile::new(table, store.clone(), file.location, shown, file.size)?);
            }
        }
    }
    if found.is_empty() && (configured.is_some() || table == Table::Transactions) {
        let place = if place.contains("://") || place.starts_with('/') {
            place.to_owned()
        } else {
            format!("{}/{place}", lake.url())
        };
        return Err(RawError::NoFiles { table: table.name(), place });
    }
    Ok(found)
}

/// Of files with the same content, the first one by path: the place of each later one → the name of the first.
pub(crate) async fn same_content(files: &[RawFile]) -> Result<BTreeMap<usize, String>, RawError> {
    let mut by_size: BTreeMap<(Table, u64), Vec<usize>> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        by_size.entry((file.table, file.bytes)).or_default().push(at);
    }
    let mut same = BTreeMap::new();
    for candidates in by_size.values().filter(|candidates| candidates.len() > 1) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for at in candidates {
            match seen.entry(files[*at].hash().await?) {
                std::collections::btree_map::Entry::Occupied(first) => {
                    same.insert(*at, files[*first.get()].shown.clone());
                }
                std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(*at)),
            }
        }
    }
    Ok(same)
}
