//! The lake: an object store or local folder that holds raw data and snapshots.
//!
//! All access to the lake goes through [`Lake`], which does not depend on the content of the objects. A
//! folder is served by `LocalFileSystem` of `object_store`, a bucket by the module `oss`. The length of every
//! answer is checked, since some stores answer a range past the end with the whole object.

use std::{
    fs::File,
    ops::Range,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, buffered::BufWriter,
    local::LocalFileSystem, path::Path, prefix::PrefixStore,
};

use crate::{
    config::{LakeConfig, shown_url},
    telemetry::{Span, SpanKind},
};

mod folder;
mod local_file;
mod oss;

use folder::Folder;
use oss::{LazyClient, Oss};

/// Object store that holds raw data and snapshots.
#[derive(Debug, Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    url: Arc<str>,
    folder: Option<Folder>,
    /// Client for this bucket and for other buckets with raw data.
    client: Arc<LazyClient>,
}

/// Errors of the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The URL is invalid or of an unknown kind.
    #[error("`{url}` is not a lake: {why}")]
    Url {
        /// URL without credentials.
        url: String,
        /// Description of the problem.
        why: String,
    },
    /// The object does not exist.
    #[error("there is no object {path} in the lake")]
    NotFound {
        /// Path of the object.
        path: String,
    },
    /// The store failed.
    #[error("cannot {action} {path} in the lake")]
    Store {
        /// Verb that names the operation.
        action: &'static str,
        /// Path of the object or folder.
        path: String,
        /// Error of the store.
        source: object_store::Error,
    },
    /// A symbolic link in a folder lake leads out of the folder.
    #[error(
        "{path} is a symbolic link that leads out of the lake, or below one; copy the files into the lake, \
         or give their own place as `files` of the raw table"
    )]
    Outside {
        /// Path of the object.
        path: String,
    },
    /// The answer has another length than requested.
    #[error("read {got} bytes of {path} instead of {expected}")]
    Length {
        /// Path of the object.
        path: String,
        /// Number of bytes requested.
        expected: u64,
        /// Number of bytes received.
        got: u64,
    },
    /// The lock of a folder lake could not be acquired.
    #[error("cannot lock {path}")]
    Lock {
        /// Path of the lock file.
        path: PathBuf,
        /// Error of the file system.
        source: std::io::Error,
    },
}

impl LakeError {
    /// Checks whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// Content of an object.
pub enum Content {
    /// Local file, positioned at its start.
    File(File),
    /// Stream of chunks.
    Stream(BoxStream<'static, object_store::Result<Bytes>>),
}

/// Exclusive right to change `CURRENT`, released when dropped. A folder lake locks a file, and the system
/// releases the lock when the process dies. Other lakes have no lock.
#[derive(Debug)]
pub struct PublishLock(#[expect(dead_code, reason = "held for its drop")] Option<File>);

impl Lake {
    /// Opens the lake of `config`: `s3://bucket/prefix`, `file:///folder`, or a path relative to `base`.
    /// Creates a missing folder. Sends no request to a bucket.
    ///
    /// # Errors
    /// [`LakeError::Url`] if the URL is invalid or the folder cannot be created.
    pub fn open(config: &LakeConfig, base: &FsPath) -> Result<Self, LakeError> {
        let url = &config.url;
        let client = Arc::new(LazyClient::new(config.clone()));
        if let Some((bucket, prefix)) = bucket(url)? {
            return Ok(Self::bucket(client, bucket, prefix));
        }
        let folder = local_path(url, base)?;
        let wrong = |why: String| LakeError::Url { url: shown_url(url), why };
        std::fs::create_dir_all(&folder)
            .map_err(|error| wrong(format!("cannot create the folder: {error}")))?;
        let folder = folder.canonicalize().map_err(|error| wrong(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| wrong(error.to_string()))?;
        let shown = url::Url::from_directory_path(&folder).map_or_else(|()| url.clone(), String::from);
        let store = Arc::new(store.with_automatic_cleanup(true));
        Ok(Self {
            store: Arc::<LocalFileSystem>::clone(&store),
            url: shown.trim_end_matches('/').into(),
            folder: Some(Folder { path: folder.into(), store }),
            client,
        })
    }

    fn bucket(client: Arc<LazyClient>, bucket: &str, prefix: Path) -> Self {
        let oss = Oss::new(Arc::clone(&client), bucket.to_owned());
        let url = if prefix.as_ref().is_empty() {
            format!("s3://{bucket}")
        } else {
            format!("s3://{bucket}/{prefix}")
        };
        let store: Arc<dyn ObjectStore> =
            if prefix.as_ref().is_empty() { Arc::new(oss) } else { Arc::new(PrefixStore::new(oss, prefix)) };
        Self { store, url: url.into(), folder: None, client }
    }

    /// Returns the URL of the lake.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the store and the path in it that `files` refers to: a path in this lake, an `s3://` or
    /// `file://` URL, or an absolute path.
    ///
    /// # Errors
    /// [`LakeError::Url`].
    pub fn locate(&self, files: &str) -> Result<(Self, Path), LakeError> {
        let wrong = |why: String| LakeError::Url { url: shown_url(files), why };
        if !files.contains("://") && !FsPath::new(files).is_absolute() {
            let path = Path::parse(files.trim_matches('/')).map_err(|error| wrong(error.to_string()))?;
            return Ok((self.clone(), path));
        }
        if let Some((bucket, path)) = bucket(files)? {
            return Ok((Self::bucket(Arc::clone(&self.client), bucket, Path::default()), path));
        }
        let path = local_path(files, FsPath::new(""))?;
        let path = path.canonicalize().map_err(|error| wrong(error.to_string()))?;
        let inside = Path::from_filesystem_path(&path).map_err(|error| wrong(error.to_string()))?;
        let (url, client) = (Arc::from("file://"), Arc::clone(&self.client));
        Ok((Self { store: Arc::new(LocalFileSystem::new()), url, folder: None, client }, inside))
    }

    /// Returns the underlying store, for Parquet readers that issue their own requests.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Reads the object at `path`.
    ///
    /// # Errors
    /// [`LakeError::NotFound`], [`LakeError::Outside`] or [`LakeError::Store`].
    pub async fn get(&self, path: &Path) -> Result<Bytes, LakeError> {
        self.check_inside(path)?;
        let span = request_span("lake get");
        let read = async { self.store.get(path).await?.bytes().await };
        let bytes = read.await;
        end_read(span, &bytes);
        bytes.map_err(|source| failed("read", path, source))
    }

    /// Reads exactly the bytes `range` of the object at `path`.
    ///
    /// # Errors
    /// As [`Lake::get`], or [`LakeError::Length`].
    pub async fn get_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes, LakeError> {
        let expected = range.end - range.start;
        let span = request_span("lake get_range");
        let read = self.store.get_range(path, range.clone()).await;
        end_read(span, &read);
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(source) => return Err(self.range_error(path, &range, source).await),
        };
        let got = bytes.len() as u64;
        if got == expected {
            Ok(bytes)
        } else {
            Err(LakeError::Length { path: path.to_string(), expected, got })
        }
    }

    /// Returns the error of a failed range read: the object is too short, or the store failed.
    async fn range_error(&self, path: &Path, range: &Range<u64>, source: object_store::Error) -> LakeError {
        match self.head(path).await {
            Ok(Some(meta)) if meta.size < range.end => LakeError::Length {
                path: path.to_string(),
                expected: range.end - range.start,
                got: meta.size.saturating_sub(range.start),
            },
            _ => failed("read", path, source),
        }
    }

    /// Reads the object at `path` as a stream of chunks.
    ///
    /// # Errors
    /// As [`Lake::get`]. Errors of the stream are those of the store.
    pub async fn stream(
        &self,
        path: &Path,
    ) -> Result<BoxStream<'static, object_store::Result<Bytes>>, LakeError> {
        self.check_inside(path)?;
        let result = self.store.get(path).await.map_err(|source| failed("read", path, source))?;
        Ok(result.into_stream())
    }

    /// Opens the object at `path`: a local file as such, any other object as a stream of chunks.
    ///
    /// # Errors
    /// As [`Lake::get`].
    pub async fn content(&self, path: &Path) -> Result<Content, LakeError> {
        self.check_inside(path)?;
        let result = self.store.get(path).await.map_err(|source| failed("read", path, source))?;
        match result.payload {
            GetResultPayload::File(file, _) => Ok(Content::File(file)),
            GetResultPayload::Stream(stream) => Ok(Content::Stream(stream)),
        }
    }

    /// Writes an object atomically: readers see the old content or the new content.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), LakeError> {
        let mut span = request_span("lake put").with(BYTES, bytes.len() as u64);
        let put = self.store.put(path, PutPayload::from(bytes)).await;
        span.fail_on(&put);
        put.map(drop).map_err(|source| failed("write", path, source))
    }

    /// Copies an object inside the lake, without downloading it.
    ///
    /// # Errors
    /// As [`Lake::get`].
    pub async fn copy(&self, from: &Path, to: &Path) -> Result<(), LakeError> {
        self.store.copy(from, to).await.map_err(|source| failed("copy", from, source))
    }

    /// Returns a writer for a large object. The object appears when the writer is shut down.
    #[must_use]
    pub fn writer(&self, path: &Path) -> BufWriter {
        BufWriter::new(Arc::clone(&self.store), path.clone())
    }

    /// Removes an object. A missing object is not an error.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub async fn delete(&self, path: &Path) -> Result<(), LakeError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed("remove", path, source)),
        }
    }

    /// Lists the objects below `folder`, sorted by path. Skips files whose names are invalid keys.
    ///
    /// # Errors
    /// [`LakeError::Outside`] or [`LakeError::Store`].
    pub async fn list(&self, folder: &Path) -> Result<Vec<ObjectMeta>, LakeError> {
        let _span = request_span("lake list");
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        let mut listed = self.store.list(Some(folder));
        while let Some(object) = listed.next().await {
            match object {
                Ok(object) => found.push(object),
                // A file whose name is no key of a bucket cannot be in one, and is no data of Larder's.
                Err(error @ object_store::Error::InvalidPath { .. }) => invalid.push(error),
                Err(source) => return Err(failed("list", folder, source)),
            }
        }
        if let Some(first) = invalid.first() {
            tracing::warn!(%folder, files = invalid.len(), %first, "skipped files with invalid names");
        }
        found.sort_by(|a, b| a.location.cmp(&b.location));
        if let Some(inside) = &self.folder {
            inside.check_all(found.iter().map(|object| &object.location))?;
        }
        Ok(found)
    }

    /// Lists the names of the folders directly below `folder`, sorted.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub async fn folders(&self, folder: &Path) -> Result<Vec<String>, LakeError> {
        let listed = self
            .store
            .list_with_delimiter(Some(folder))
            .await
            .map_err(|source| failed("list", folder, source))?;
        let prefixes = listed.common_prefixes.iter();
        let mut names: Vec<String> = prefixes.filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Returns size and modification time of the object at `path`, or `None` if it does not exist.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>, LakeError> {
        match self.store.head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("look up", path, source)),
        }
    }

    /// Refuses an object of a folder lake that a symbolic link takes out of the folder. Reads of ranges do
    /// without this check: they are of snapshots, whose manifests and sizes were read before.
    fn check_inside(&self, path: &Path) -> Result<(), LakeError> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.check(path))
    }

    /// Waits for the right to change `CURRENT`. Only a folder lake has a lock.
    ///
    /// # Errors
    /// [`LakeError::Lock`].
    pub async fn publish_lock(&self) -> Result<PublishLock, LakeError> {
        let Some(folder) = self.folder.clone() else { return Ok(PublishLock(None)) };
        let path = folder.path.join(".publish.lock");
        let lock = move || {
            let file = File::options().create(true).append(true).open(&path);
            let locked = file.and_then(|file| file.lock().map(|()| file));
            locked.map_err(|source| LakeError::Lock { path, source })
        };
        match tokio::task::spawn_blocking(lock).await {
            Ok(locked) => locked.map(|file| PublishLock(Some(file))),
            Err(_) => Ok(PublishLock(None)),
        }
    }
}

/// Attribute of the bytes that a request read or wrote.
const BYTES: &str = "larder.lake.bytes";

/// Begins the span of a request to the store. The path is left out: names of raw files may be personal.
fn request_span(operation: &'static str) -> Span {
    Span::child(operation, SpanKind::Client)
}

/// Ends the span of a read.
fn end_read(mut span: Span, read: &object_store::Result<Bytes>) {
    match read {
        Ok(bytes) => span.set(BYTES, bytes.len() as u64),
        Err(_) => span.fail(),
    }
}

fn failed(action: &'static str, path: &Path, source: object_store::Error) -> LakeError {
    match source {
        object_store::Error::NotFound { .. } => LakeError::NotFound { path: path.to_string() },
        source => LakeError::Store { action, path: path.to_string(), source },
    }
}

/// Returns the local path of a `file://` URL or a plain path.
fn local_path(url: &str, base: &FsPath) -> Result<PathBuf, LakeError> {
    let wrong = |why: &str| LakeError::Url { url: shown_url(url), why: why.to_owned() };
    match url.split_once("://") {
        None if url.is_empty() => Err(wrong("the URL is empty")),
        None => Ok(base.join(url)),
        Some(("file", _)) => {
            let parsed = url::Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
            parsed.to_file_path().map_err(|()| wrong("a file URL needs an absolute path, file:///like/this"))
        }
        Some(_) => Err(wrong("the URL must begin with s3:// or file://, or be a path")),
    }
}

/// Returns bucket and path of an `s3://bucket/path` URL, or `None` for any other URL.
fn bucket(url: &str) -> Result<Option<(&str, Path)>, LakeError> {
    let wrong = |why: String| LakeError::Url { url: shown_url(url), why };
    let Some(rest) = url.strip_prefix("s3://") else { return Ok(None) };
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?', '#']) {
        return Err(wrong(
            "the URL must be s3://bucket or s3://bucket/path; keys come from the environment".to_owned(),
        ));
    }
    let path = Path::parse(path.trim_matches('/')).map_err(|error| wrong(error.to_string()))?;
    Ok(Some((bucket, path)))
}
