//! Kept staging: the sorted runs of raw files in the lake, so that the next build reads only new files.
//!
//! `staged/<content>-<reading>/` holds the runs of one raw file: `<content>` is the hash of the file,
//! `<reading>` that of all settings and code that the runs depend on. The manifest is written last; a folder
//! without one is ignored. `staged/index.json` tells the content of each raw file by size and version, so
//! that a build does not read known files. Whatever is missing or damaged is read again from the raw file.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{Read, Write},
    path::{Path as FsPath, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{file_outcome::FileOutcome, guests, sorted_run, staged_lines::StagedLines};
use crate::{
    lake::{Content, Lake},
    pipeline::raw::{RawError, Table, TableSpec, files::RawFile},
    snapshot::{Forgotten, SnapshotError, staged},
};

/// Version of the files in the folders.
const FORMAT: u32 = 1;
/// Number of hexadecimal digits of the content in the name of a folder.
const CONTENT_DIGITS: usize = 32;
/// Number of hexadecimal digits of the settings in the name of a folder.
const READING_DIGITS: usize = 16;
/// Number of raw files whose runs are written to the lake at a time.
const WRITES: usize = 4;
/// Number of raw files that are read at a time to compare their content.
const READS: usize = 4;
/// Hash of the code that reads raw files, and of the versions of all libraries.
const READER: &str = env!("READER_HASH");

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Kept staging of a lake, as a build uses it.
#[derive(Debug)]
pub(crate) struct KeptStaging {
    lake: Lake,
    forgotten: Arc<Forgotten>,
    /// Folder for copies of runs in a bucket.
    scratch: PathBuf,
    index: Index,
    /// Folders of the index.
    listed: HashSet<String>,
    /// Whether known files are read to compare their content.
    verify: bool,
    /// Whether nothing is written.
    is_read_only: bool,
    /// Entries of the files that this build took from the index or has staged.
    used: Mutex<BTreeMap<(String, String), IndexEntry>>,
}

/// Content of `staged/index.json`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Index {
    /// Version of the erasure list. None of the listed runs has a customer of this list.
    erasure: String,
    files: Vec<IndexEntry>,
}

/// A raw file whose content is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IndexEntry {
    table: String,
    path: String,
    bytes: u64,
    /// Entity tag and modification time of the object.
    version: String,
    sha256: String,
    /// Folder of the runs.
    folder: String,
}

/// Content of the `manifest.json` of a folder.
#[derive(Debug, Serialize, Deserialize)]
struct KeptManifest {
    format: u32,
    /// Raw file from which the runs were made.
    path: String,
    bytes: u64,
    sha256: String,
    /// Version of the erasure list with which the file was read.
    erasure: String,
    /// Latest time of an event that was accepted, in microseconds.
    newest: i64,
    outcome: FileOutcome,
    /// Names of the staged attributes, in the order of their numbers.
    attributes: Vec<String>,
    runs: Vec<KeptObject>,
    guests: Option<KeptObject>,
}

/// An object of a folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptObject {
    name: String,
    bytes: u64,
    crc32: u32,
}

impl KeptStaging {
    /// Reads the index in `lake`; without one, all raw files are read. `verify` is whether the content of
    /// known files is read and compared.
    pub(crate) async fn open(lake: &Lake, forgotten: Arc<Forgotten>, scratch: &FsPath, verify: bool) -> Self {
        let index: Index = match lake.get(&staged::index_path()).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "damaged index of the kept staging; reading all raw files");
                Index::default()
            }),
            Err(error) if error.is_not_found() => Index::default(),
            Err(error) => {
                tracing::warn!(%error, "cannot read the index of the kept staging; reading all raw files");
                Index::default()
            }
        };
        let listed = index.files.iter().map(|entry| entry.folder.clone()).collect();
        let (lake, scratch, used) = (lake.clone(), scratch.to_path_buf(), Mutex::default());
        Self { lake, forgotten, scratch, index, listed, verify, is_read_only: false, used }
    }

    /// Opens the kept staging in `lake` to write to, without the index.
    #[cfg(feature = "cluster")]
    pub(crate) fn without_index(lake: &Lake, forgotten: Arc<Forgotten>, scratch: &FsPath) -> Self {
        let (lake, scratch, used) = (lake.clone(), scratch.to_path_buf(), Mutex::default());
        let (index, listed) = (Index::default(), HashSet::new());
        let (verify, is_read_only) = (false, false);
        Self { lake, forgotten, scratch, index, listed, verify, is_read_only, used }
    }

    /// Returns the staging for a process that writes nothing to it.
    #[cfg(feature = "cluster")]
    pub(crate) fn read_only(self) -> Self {
        Self { is_read_only: true, ..self }
    }

    /// Returns whether the content of `file` can be kept, and is not known without reading the file.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_unread(&self, file: &RawFile) -> bool {
        let is_known = |entry: &IndexEntry| {
            entry.table == file.table.name()
                && entry.path == file.shown
                && entry.bytes == file.bytes
                && file.version.as_ref() == Some(&entry.version)
        };
        file.version.is_some() && (self.verify || !self.index.files.iter().any(is_known))
    }

    /// Notes the hash of the content of each file that is in the index, unless the hash is known.
    pub(super) async fn note_contents(&self, files: &mut [RawFile]) -> Result<(), RawError> {
        let known: HashMap<(&str, &str), &IndexEntry> = self
            .index
            .files
            .iter()
            .map(|entry| ((entry.table.as_str(), entry.path.as_str()), entry))
            .collect();
        let mut found = Vec::new();
        for (at, file) in files.iter().enumerate() {
            let Some(version) = file.version.as_ref().filter(|_| file.sha256.is_none()) else { continue };
            let Some(entry) = known.get(&(file.table.name(), file.shown.as_str())) else { continue };
            if self.verify {
                found.push(content(at, file).boxed());
            } else if entry.bytes == file.bytes && entry.version == *version {
                found.push(std::future::ready(Ok((at, entry.sha256.clone()))).boxed());
            }
        }
        let found: Vec<(usize, String)> = stream::iter(found).buffered(READS).try_collect().await?;
        for (at, sha256) in found {
            files[at].sha256 = Some(sha256);
        }
        Ok(())
    }

    /// Returns the kept lines of `file`, if there are any. Blocks, so it must be called on a blocking thread
    /// of the runtime.
    pub(super) fn find(&self, file: &RawFile, spec: &TableSpec) -> Option<StagedLines> {
        let (sha256, _) = (file.sha256.as_ref()?, file.version.as_ref()?);
        let folder = folder(sha256, file, spec);
        match tokio::runtime::Handle::current().block_on(self.load(file, spec, &folder)) {
            Ok(lines) => lines.inspect(|_| self.use_entry(file, sha256, &folder)),
            Err(error) => {
                tracing::warn!(file = %file.shown, folder, %error, "cannot use the kept staging");
                None
            }
        }
    }

    fn use_entry(&self, file: &RawFile, sha256: &str, folder: &str) {
        let Some(version) = file.version.clone() else { return };
        let (table, path) = (file.table.name().to_owned(), file.shown.clone());
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let (sha256, folder) = (sha256.to_owned(), folder.to_owned());
        let entry = IndexEntry { table, path, bytes: file.bytes, version, sha256, folder };
        used.insert((entry.table.clone(), entry.path.clone()), entry);
    }

    /// Loads the lines in `folder`. Returns `None` if there are none that the raw file would give today.
    async fn load(
        &self,
        file: &RawFile,
        spec: &TableSpec,
        folder: &str,
    ) -> Result<Option<StagedLines>, Failure> {
        let manifest: KeptManifest = match self.lake.get(&staged::object_path(folder, staged::MANIFEST)).await
        {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if manifest.format != FORMAT || !manifest.is_valid(spec, &self.forgotten) {
            return Ok(None);
        }
        let mut runs = Vec::new();
        for run in &manifest.runs {
            runs.push(self.local_copy(folder, run).await?);
        }
        if !self.is_without_erased(folder, &manifest) && staged::hold_any(&runs, self.forgotten.ids())? {
            return Ok(None);
        }
        let mut outcome = manifest.outcome;
        if let Some(object) = &manifest.guests {
            let bytes = self.lake.get(&staged::object_path(folder, &object.name)).await?;
            object.check(bytes.len() as u64, crc32fast::hash(&bytes))?;
            (outcome.guest_lines, outcome.guest_orders) = guests::decode(bytes)?;
        }
        tracing::debug!(file = %file.shown, folder, "using the kept staging");
        let (sha256, attributes) = (manifest.sha256, manifest.attributes);
        Ok(Some(StagedLines { sha256, outcome, attributes, runs, is_kept: true }))
    }

    /// Returns whether the runs of `folder` are known to have no customer of the erasure list: the file was
    /// read with this list, or the last build that used the folder had this list.
    fn is_without_erased(&self, folder: &str, manifest: &KeptManifest) -> bool {
        let version = self.forgotten.version();
        manifest.erasure == version || (self.index.erasure == version && self.listed.contains(folder))
    }

    /// Returns a file of this build with the content of `object`, whose checksum is verified. The file stays
    /// if the object is removed meanwhile.
    async fn local_copy(&self, folder: &str, object: &KeptObject) -> Result<PathBuf, Failure> {
        let path = staged::object_path(folder, &object.name);
        let (local, content) = (self.lake.local_path(&path), self.lake.content(&path).await?);
        let copy = self.scratch.join(format!("kept-{folder}-{}", object.name));
        let mut hash = crc32fast::Hasher::new();
        let mut bytes = 0;
        match (local, content) {
            (Some(local), Content::File(_)) => {
                if std::fs::hard_link(&local, &copy).is_err() {
                    std::fs::copy(&local, &copy)?;
                }
                let (bytes, crc32) = checksum(File::open(&copy)?)?;
                object.check(bytes, crc32)?;
                return Ok(copy);
            }
            (_, Content::Stream(mut stream)) => {
                let mut file = File::create(&copy)?;
                while let Some(chunk) = stream.next().await {
                    let chunk = chunk?;
                    hash.update(&chunk);
                    bytes += chunk.len() as u64;
                    file.write_all(&chunk)?;
                }
            }
            (None, Content::File(_)) => return Err("the object has no local path".into()),
        }
        object.check(bytes, hash.finalize())?;
        Ok(copy)
    }

    /// Writes the lines that this build has read to the lake, then the index. A failure is logged and costs
    /// the next build time.
    pub(super) async fn store(
        &self,
        files: &[RawFile],
        specs: &BTreeMap<Table, TableSpec>,
        staged: &BTreeMap<usize, StagedLines>,
    ) {
        if self.is_read_only {
            return;
        }
        let indexed = match self.write_all(files, specs, staged).await {
            Ok(()) => self.write_index().await.map_err(Failure::from),
            Err(error) => Err(error),
        };
        if let Err(error) = indexed {
            tracing::warn!(%error, "cannot keep the staging; the next build reads these raw files again");
        }
    }

    /// Writes the lines that are not kept yet.
    pub(super) async fn write_all(
        &self,
        files: &[RawFile],
        specs: &BTreeMap<Table, TableSpec>,
        staged: &BTreeMap<usize, StagedLines>,
    ) -> Result<(), Failure> {
        let new = staged.iter().filter(|(_, lines)| !lines.is_kept).filter_map(|(at, lines)| {
            let file = files.get(*at)?;
            file.version.as_ref()?;
            Some((file, specs.get(&file.table)?, lines))
        });
        let writes: Vec<_> = new.map(|(file, spec, lines)| self.write(file, spec, lines)).collect();
        stream::iter(writes).buffer_unordered(WRITES).try_collect::<()>().await
    }

    /// Writes the lines of one file.
    async fn write(&self, file: &RawFile, spec: &TableSpec, lines: &StagedLines) -> Result<(), Failure> {
        let folder = &folder(&lines.sha256, file, spec);
        let manifest_path = staged::object_path(folder, staged::MANIFEST);
        self.lake.delete(&manifest_path).await?;
        let mut runs = Vec::new();
        for (number, local) in lines.runs.iter().enumerate() {
            let name = staged::run_name(number);
            let file = File::open(local)?;
            let (bytes, crc32) = tokio::task::spawn_blocking(move || checksum(file)).await??;
            self.lake.upload(local, &staged::object_path(folder, &name)).await?;
            runs.push(KeptObject { name, bytes, crc32 });
        }
        let guests = if lines.outcome.guest_lines.is_empty() {
            None
        } else {
            let bytes = Bytes::from(guests::encode(&lines.outcome.guest_lines, &lines.outcome.guest_orders)?);
            let name = staged::GUESTS.to_owned();
            let object = KeptObject { name, bytes: bytes.len() as u64, crc32: crc32fast::hash(&bytes) };
            self.lake.put(&staged::object_path(folder, staged::GUESTS), bytes).await?;
            Some(object)
        };
        let manifest = KeptManifest {
            format: FORMAT,
            path: file.shown.clone(),
            bytes: file.bytes,
            sha256: lines.sha256.clone(),
            erasure: self.forgotten.version().to_owned(),
            newest: spec.times.newest,
            outcome: lines.outcome.clone(),
            attributes: lines.attributes.clone(),
            runs,
            guests,
        };
        self.lake.put(&manifest_path, serde_json::to_vec(&manifest)?.into()).await?;
        self.use_entry(file, &lines.sha256, folder);
        Ok(())
    }

    /// Writes the index if it differs from the one that was read.
    async fn write_index(&self) -> Result<(), SnapshotError> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let index =
            Index { erasure: self.forgotten.version().to_owned(), files: used.into_values().collect() };
        if index == self.index {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&index).unwrap_or_default();
        Ok(self.lake.put(&staged::index_path(), bytes.into()).await?)
    }
}

impl KeptManifest {
    /// Returns whether the raw file would give the same lines under the limits of `spec` and with the erasure
    /// list `forgotten`.
    fn is_valid(&self, spec: &TableSpec, forgotten: &Forgotten) -> bool {
        // The limit moves with the clock. Lines within an earlier limit are within a later one.
        let is_in_time = self.newest == spec.times.newest
            || (self.newest < spec.times.newest && !self.outcome.exceeds_newest());
        // Lines of a customer who is no longer on the list are not in the runs.
        is_in_time && (self.outcome.forgotten == 0 || self.erasure == forgotten.version())
    }
}

impl KeptObject {
    fn check(&self, bytes: u64, crc32: u32) -> Result<(), Failure> {
        if bytes == self.bytes && crc32 == self.crc32 {
            Ok(())
        } else {
            Err(format!("{} is damaged: the checksum differs", self.name).into())
        }
    }
}

/// Reads the file of index `at`. Returns the index and the SHA-256 of the content.
async fn content(at: usize, file: &RawFile) -> Result<(usize, String), RawError> {
    Ok((at, file.hash().await?))
}

/// Returns size and checksum of a local file.
fn checksum(mut file: File) -> std::io::Result<(u64, u32)> {
    let (mut hash, mut bytes) = (crc32fast::Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok((bytes, hash.finalize()));
        }
        hash.update(&buffer[..length]);
        bytes += length as u64;
    }
}

/// Returns the name of the folder for the runs of `file` with the content of hash `sha256`.
fn folder(sha256: &str, file: &RawFile, spec: &TableSpec) -> String {
    let mut hash = Sha256::new();
    // The hash of customers may differ between processors and versions of DataFusion.
    let canary = sorted_run::buckets(&["larder", "1"].map(Some).into_iter().collect());
    hash.update(format!(
        "{READER}\n{FORMAT}\n{canary:?}\n{}\n{:?}\n{:?}\n{}",
        file.shown,
        file.kind,
        file.folder_columns,
        spec.reading(&file.shown),
    ));
    let reading = format!("{:x}", hash.finalize());
    format!("{}-{}", &sha256[..CONTENT_DIGITS.min(sha256.len())], &reading[..READING_DIGITS])
}
