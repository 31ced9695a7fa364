//! Object store over `aws-sdk-s3` for Alibaba Cloud OSS and other stores with the S3 API.
//!
//! OSS differs from S3: no path style, no chunk-signed bodies, no conditional PUT, no bulk delete without a
//! digest, and a range past the end of the object is answered with the whole object. Hence every range in an
//! answer is checked against the request. A body that ends early is resumed at the same byte.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    operation::get_object::GetObjectOutput,
    primitives::{ByteStream, DateTime as SdkTime},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, path::Path,
};

mod client;
mod extent;
mod failure;
mod multipart;

pub(super) use client::LazyClient;
use extent::{Extent, exact, header};
use failure::{failed, generic};

/// Number of concurrent deletes.
const CONCURRENT_DELETES: usize = 8;
/// Maximum number of times that a body is resumed.
const MAX_RESUMES: u32 = 3;
/// Backoff before the first resume, which doubles with each resume.
const RESUME_BACKOFF: Duration = Duration::from_millis(100);

/// Bucket of an object store.
#[derive(Debug, Clone)]
pub(super) struct Oss {
    client: Arc<LazyClient>,
    bucket: String,
}

impl fmt::Display for Oss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)
    }
}

impl Oss {
    /// Creates a store for `bucket`.
    pub(super) fn new(client: Arc<LazyClient>, bucket: String) -> Self {
        Self { client, bucket }
    }

    async fn client(&self) -> &Client {
        self.client.get().await
    }

    fn not_implemented(&self, operation: &str) -> Error {
        Error::NotImplemented { operation: operation.to_owned(), implementer: self.to_string() }
    }

    /// Requests an object, or the bytes of it that the header `range` names.
    async fn request(
        &self,
        path: &Path,
        options: &GetOptions,
        range: Option<String>,
    ) -> Result<GetObjectOutput> {
        let request = self
            .client()
            .await
            .get_object()
            .bucket(&self.bucket)
            .key(path.as_ref())
            .set_range(range)
            .set_if_match(options.if_match.clone())
            .set_if_none_match(options.if_none_match.clone())
            .set_if_modified_since(options.if_modified_since.map(sdk_time))
            .set_if_unmodified_since(options.if_unmodified_since.map(sdk_time))
            .set_version_id(options.version.clone());
        request.send().await.map_err(|error| failed(path, &error))
    }

    async fn head(&self, path: &Path, options: &GetOptions) -> Result<GetResult> {
        let request = self.client().await.head_object().bucket(&self.bucket).key(path.as_ref());
        let sent = request.set_version_id(options.version.clone()).send().await;
        let found = sent.map_err(|error| failed(path, &error))?;
        let length = found.content_length().and_then(|size| u64::try_from(size).ok());
        let size = length.ok_or_else(|| generic(format!("{path}: the response has no Content-Length")))?;
        let meta = meta(path, size, found.last_modified(), found.e_tag.clone(), found.version_id.clone());
        options.check_preconditions(&meta)?;
        let range = 0..size;
        let payload = GetResultPayload::Stream(stream::empty().boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::new() })
    }

    /// Returns one page of a listing, and the token of the next page.
    async fn page(
        &self,
        prefix: Option<&str>,
        delimiter: Option<&str>,
        after: Option<&str>,
        token: Option<String>,
    ) -> Result<(ListResult, Option<String>)> {
        let request = self
            .client()
            .await
            .list_objects_v2()
            .bucket(&self.bucket)
            .set_prefix(prefix.map(str::to_owned))
            .set_delimiter(delimiter.map(str::to_owned))
            .set_start_after(after.map(str::to_owned))
            .set_continuation_token(token);
        let sent = request.send().await;
        let page = sent.map_err(|error| failed(&Path::from(prefix.unwrap_or_default()), &error))?;
        let mut result = ListResult { objects: Vec::new(), common_prefixes: Vec::new() };
        let mut invalid = Vec::new();
        for object in page.contents() {
            let key = object.key().unwrap_or_default();
            // Consoles create empty objects with such names to show a folder.
            if key.ends_with('/') {
                continue;
            }
            let size = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            let e_tag = object.e_tag().map(str::to_owned);
            match Path::parse(key) {
                Ok(path) => result.objects.push(meta(&path, size, object.last_modified(), e_tag, None)),
                Err(_) => invalid.push(key),
            }
        }
        for common in page.common_prefixes() {
            let prefix = common.prefix().unwrap_or_default();
            Path::parse(prefix)
                .map_or_else(|_| invalid.push(prefix), |path| result.common_prefixes.push(path));
        }
        if let Some(first) = invalid.first() {
            // Other tools can write keys such as `a//b` or `a/./b`, which are not valid paths.
            let (bucket, keys) = (&self.bucket, invalid.len());
            tracing::warn!(bucket, keys, first, "skipped objects with invalid keys");
        }
        let next = if page.is_truncated == Some(true) { page.next_continuation_token } else { None };
        Ok((result, next))
    }

    /// Returns all pages of a listing.
    fn pages(
        &self,
        prefix: Option<String>,
        delimiter: Option<&'static str>,
        after: Option<String>,
    ) -> BoxStream<'static, Result<ListResult>> {
        let start = Some((None, after));
        let oss = self.clone();
        stream::try_unfold(start, move |state| {
            let (oss, prefix) = (oss.clone(), prefix.clone());
            async move {
                let Some((token, after)) = state else { return Ok(None) };
                let (result, next) = oss.page(prefix.as_deref(), delimiter, after.as_deref(), token).await?;
                Ok(Some((result, next.map(|token| (Some(token), None)))))
            }
        })
        .boxed()
    }
}

#[async_trait]
impl ObjectStore for Oss {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Overwrite {
            return Err(self.not_implemented("a conditional put"));
        }
        // The body is one buffer: a streaming body would be sent in signed chunks, which OSS rejects.
        let body = ByteStream::from(Bytes::from(payload));
        let mut request = self.client().await.put_object().bucket(&self.bucket).key(path.as_ref()).body(body);
        if !options.tags.encoded().is_empty() {
            request = request.tagging(options.tags.encoded());
        }
        for (attribute, value) in &options.attributes {
            let value = value.as_ref();
            request = match attribute {
                Attribute::CacheControl => request.cache_control(value),
                Attribute::ContentDisposition => request.content_disposition(value),
                Attribute::ContentEncoding => request.content_encoding(value),
                Attribute::ContentLanguage => request.content_language(value),
                Attribute::ContentType => request.content_type(value),
                Attribute::Metadata(key) => request.metadata(key.as_ref(), value),
                _ => return Err(self.not_implemented("this attribute of an object")),
            };
        }
        let put = request.send().await.map_err(|error| failed(path, &error))?;
        Ok(PutResult { e_tag: put.e_tag, version: put.version_id })
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() || !options.tags.encoded().is_empty() {
            return Err(self.not_implemented("attributes of an object of several parts"));
        }
        Ok(Box::new(multipart::start(self, path).await?))
    }

    async fn get_opts(&self, path: &Path, mut options: GetOptions) -> Result<GetResult> {
        if options.head {
            return self.head(path, &options).await;
        }
        if let Some(GetRange::Suffix(_)) = options.range {
            // Servers differ in how they answer a suffix longer than the object.
            let size = self.head(path, &GetOptions { range: None, ..options.clone() }).await?.meta.size;
            options.range = options.range.map(|range| exact(&range, size).map_or(range, GetRange::Bounded));
        }
        let requested = options.range.as_ref().map(ToString::to_string);
        let mut output = self.request(path, &options, requested).await?;
        let mut extent = Extent::of(path, &output)?;
        if let (Some(range), None) = (&options.range, &extent.range) {
            // OSS answers a range past the end with the whole object. The response reveals the size, so that
            // an exact range can be requested.
            let exact = exact(range, extent.size).map_err(|why| generic(format!("{path}: {why}")))?;
            if exact != (0..extent.size) {
                output = self.request(path, &options, Some(header(&exact))).await?;
                extent = Extent::of(path, &output)?;
            }
        }
        let range = extent.range.clone().unwrap_or(0..extent.size);
        if let Some(wanted) = &options.range {
            let exact = exact(wanted, extent.size).map_err(|why| generic(format!("{path}: {why}")))?;
            if range != exact {
                let why = format!("{path}: the response has bytes {range:?} instead of {exact:?}");
                return Err(generic(why));
            }
        }
        if extent.length.is_some_and(|length| length != range.end - range.start) {
            return Err(generic(format!("{path}: Content-Length does not match bytes {range:?}")));
        }
        let (last_modified, e_tag) = (output.last_modified(), output.e_tag.clone());
        let meta = meta(path, extent.size, last_modified, e_tag, output.version_id.clone());
        options.check_preconditions(&meta)?;
        let attributes = attributes(&output);
        let body = ResumableBody {
            oss: self.clone(),
            path: path.clone(),
            options: GetOptions {
                if_match: meta.e_tag.clone(),
                version: options.version,
                ..GetOptions::default()
            },
            left: range.clone(),
            body: Some(output.body),
            resumes: 0,
        };
        let payload = GetResultPayload::Stream(stream::try_unfold(body, ResumableBody::next).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let oss = self.clone();
        paths
            .map(move |path| {
                let oss = oss.clone();
                async move {
                    let path = path?;
                    let request = oss.client().await.delete_object().bucket(&oss.bucket).key(path.as_ref());
                    request.send().await.map_err(|error| failed(&path, &error))?;
                    Ok(path)
                }
            })
            .buffered(CONCURRENT_DELETES)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let pages = self.pages(folder_prefix(prefix), None, None);
        pages.map_ok(|page| stream::iter(page.objects).map(Ok)).try_flatten().boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let pages = self.pages(folder_prefix(prefix), None, Some(offset.to_string()));
        pages.map_ok(|page| stream::iter(page.objects).map(Ok)).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let all = ListResult { objects: Vec::new(), common_prefixes: Vec::new() };
        self.pages(folder_prefix(prefix), Some("/"), None)
            .try_fold(all, |mut all, page| async move {
                all.objects.extend(page.objects);
                all.common_prefixes.extend(page.common_prefixes);
                Ok(all)
            })
            .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if options.mode != CopyMode::Overwrite {
            // As in other stores, a missing source takes precedence.
            self.head(from, &GetOptions::default()).await?;
            return Err(self.not_implemented("a copy that must not overwrite"));
        }
        let source: String = url::form_urlencoded::byte_serialize(from.as_ref().as_bytes()).collect();
        // In a path, a space is not written as a plus sign, and slashes are kept.
        let source = format!("{}/{}", self.bucket, source.replace('+', "%20").replace("%2F", "/"));
        let request =
            self.client().await.copy_object().copy_source(source).bucket(&self.bucket).key(to.as_ref());
        request.send().await.map(drop).map_err(|error| failed(from, &error))
    }
}

/// Body of a response, which is resumed if it ends early.
struct ResumableBody {
    oss: Oss,
    path: Path,
    /// Conditions that the object is still the same.
    options: GetOptions,
    left: Range<u64>,
    body: Option<ByteStream>,
    resumes: u32,
}

impl ResumableBody {
    /// Returns the next bytes, from a new response if the previous one ended early.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            if self.left.is_empty() {
                return Ok(None);
            }
            let broken = match &mut self.body {
                None => match self.oss.request(&self.path, &self.options, Some(header(&self.left))).await {
                    Ok(output) if Extent::of(&self.path, &output)?.range.as_ref() == Some(&self.left) => {
                        self.body = Some(output.body);
                        continue;
                    }
                    Ok(_) => {
                        return Err(generic(format!("{}: the rest of the object was refused", self.path)));
                    }
                    Err(error) => error,
                },
                Some(body) => match body.next().await {
                    Some(Ok(bytes)) => {
                        let length = bytes.len() as u64;
                        if length > self.left.end - self.left.start {
                            return Err(generic(format!(
                                "{}: the response is longer than its range",
                                self.path
                            )));
                        }
                        self.left.start += length;
                        return Ok(Some((bytes, self)));
                    }
                    Some(Err(error)) => generic(format!("{}: {error}", self.path)),
                    None => generic(format!("{}: the response ends at byte {}", self.path, self.left.start)),
                },
            };
            if self.resumes == MAX_RESUMES {
                return Err(broken);
            }
            tokio::time::sleep(RESUME_BACKOFF * 2_u32.pow(self.resumes)).await;
            self.resumes += 1;
            self.body = None;
        }
    }
}

/// Returns the prefix of all objects below `folder`.
fn folder_prefix(folder: Option<&Path>) -> Option<String> {
    match folder {
        Some(folder) if !folder.as_ref().is_empty() => Some(format!("{folder}/")),
        _ => None,
    }
}

fn meta(
    path: &Path,
    size: u64,
    modified: Option<&SdkTime>,
    e_tag: Option<String>,
    version: Option<String>,
) -> ObjectMeta {
    let modified = modified.and_then(|time| DateTime::from_timestamp(time.secs(), time.subsec_nanos()));
    let last_modified = modified.unwrap_or(DateTime::UNIX_EPOCH);
    // A bucket without versioning may name the only version `null`.
    let version = version.filter(|version| version != "null");
    ObjectMeta { location: path.clone(), last_modified, size, e_tag, version }
}

fn sdk_time(time: DateTime<Utc>) -> SdkTime {
    SdkTime::from_secs(time.timestamp())
}

fn attributes(output: &GetObjectOutput) -> Attributes {
    let plain = [
        (Attribute::CacheControl, &output.cache_control),
        (Attribute::ContentDisposition, &output.content_disposition),
        (Attribute::ContentEncoding, &output.content_encoding),
        (Attribute::ContentLanguage, &output.content_language),
        (Attribute::ContentType, &output.content_type),
    ];
    let mut attributes = Attributes::new();
    for (attribute, value) in plain {
        if let Some(value) = value {
            attributes.insert(attribute, value.clone().into());
        }
    }
    for (key, value) in output.metadata.iter().flatten() {
        attributes.insert(Attribute::Metadata(key.clone().into()), value.clone().into());
    }
    attributes
}
