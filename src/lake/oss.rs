//! Alibaba Cloud OSS, and anything else that speaks the S3 API, as an object store over `aws-sdk-s3`.
//!
//! Knows requests and answers of the S3 API and what OSS does otherwise than S3: no path style, no chunk-signed bodies, no
//! conditional PUT, no bulk delete without a digest, and a range past the object's end answered with the whole object.
//! So every range is checked against what was asked for, and a body that breaks off is taken up again where it broke off.
//! Knows nothing of what the objects hold.

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
mod failure;
mod multipart;

pub(super) use client::LazyClient;
use failure::{failed, generic};

/// Objects that are removed at a time.
const DELETES: usize = 8;
/// How often a body that broke off is taken up again.
const RESUMES: u32 = 3;
/// The wait before the first of them; it doubles.
const RESUME_PAUSE: Duration = Duration::from_millis(100);

/// A bucket.
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
    /// The bucket `bucket`, reached with `client`.
    pub(super) fn new(client: Arc<LazyClient>, bucket: String) -> Self {
        Self { client, bucket }
    }

    async fn client(&self) -> &Client {
        self.client.get().await
    }

    fn not_implemented(&self, operation: &str) -> Error {
        Error::NotImplemented { operation: operation.to_owned(), implementer: self.to_string() }
    }

    /// Asks for an object, or for the part of it that `range` names.
    async fn ask(&self, path: &Path, options: &GetOptions, range: Option<String>) -> Result<GetObjectOutput> {
        let request =
            self.client().await.get_object().bucket(&self.bucket).key(path.as_ref()).set_range(range);
        let request =
            request.set_if_match(options.if_match.clone()).set_if_none_match(options.if_none_match.clone());
        let request = request.set_if_modified_since(options.if_modified_since.map(sdk_time));
        let request = request.set_if_unmodified_since(options.if_unmodified_since.map(sdk_time));
        let request = request.set_version_id(options.version.clone());
        request.send().await.map_err(|error| failed(path, &error))
    }

    async fn head(&self, path: &Path, options: &GetOptions) -> Result<GetResult> {
        let request = self.client().await.head_object().bucket(&self.bucket).key(path.as_ref());
        let found = request.set_version_id(options.version.clone()).send().await;
        let found = found.map_err(|error| failed(path, &error))?;
        let size = found.content_length().and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| generic(format!("{path}: the answer has no Content-Length")))?;
        let meta = meta(path, size, found.last_modified(), found.e_tag.clone(), found.version_id.clone());
        options.check_preconditions(&meta)?;
        let range = 0..size;
        let payload = GetResultPayload::Stream(stream::empty().boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::new() })
    }

    /// One page of a listing.
    async fn page(
        &self,
        prefix: Option<&str>,
        delimiter: Option<&str>,
        after: Option<&str>,
        token: Option<String>,
    ) -> Result<(ListResult, Option<String>)> {
        let request =
            self.client().await.list_objects_v2().bucket(&self.bucket).set_prefix(prefix.map(str::to_owned));
        let request =
            request.set_delimiter(delimiter.map(str::to_owned)).set_start_after(after.map(str::to_owned));
        let page = request.set_continuation_token(token).send().await;
        let page = page.map_err(|error| failed(&Path::from(prefix.unwrap_or_default()), &error))?;
        let mut result = ListResult { objects: Vec::new(), common_prefixes: Vec::new() };
        let mut odd = Vec::new();
        for object in page.contents() {
            let key = object.key().unwrap_or_default();
            // Consoles make empty objects of such names to show a folder.
            if key.ends_with('/') {
                continue;
            }
            let size = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            let e_tag = object.e_tag().map(str::to_owned);
            match Path::parse(key) {
                Ok(path) => result.objects.push(meta(&path, size, object.last_modified(), e_tag, None)),
                Err(_) => odd.push(key),
            }
        }
        for common in page.common_prefixes() {
            let prefix = common.prefix().unwrap_or_default();
            Path::parse(prefix).map_or_else(|_| odd.push(prefix), |path| result.common_prefixes.push(path));
        }
        if let Some(first) = odd.first() {
            // Other tools can write `a//b` or `a/./b`, which no path can name.
            let (bucket, keys) = (&self.bucket, odd.len());
            tracing::warn!(bucket, keys, first, "skipped objects whose keys are not valid paths");
        }
        let next = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
        Ok((result, next))
    }

    /// All pages of a listing.
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
        // One piece in memory: a body that streams would be sent in signed chunks, which OSS refuses.
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
            // Servers do not agree on what a suffix longer than the object is.
            let size = self.head(path, &GetOptions { range: None, ..options.clone() }).await?.meta.size;
            options.range = options.range.map(|range| exact(&range, size).map_or(range, GetRange::Bounded));
        }
        let asked = options.range.as_ref().map(ToString::to_string);
        let mut output = self.ask(path, &options, asked).await?;
        let mut found = Found::of(path, &output)?;
        if let (Some(range), None) = (&options.range, &found.range) {
            // The whole object: OSS answers so to a range past its end. Now that the size is known, the range is asked for anew.
            let exact = exact(range, found.size).map_err(|why| generic(format!("{path}: {why}")))?;
            if exact != (0..found.size) {
                output = self.ask(path, &options, Some(header(&exact))).await?;
                found = Found::of(path, &output)?;
            }
        }
        let range = found.range.clone().unwrap_or(0..found.size);
        if let Some(wanted) = &options.range {
            let exact = exact(wanted, found.size).map_err(|why| generic(format!("{path}: {why}")))?;
            if range != exact {
                let why = format!("{path}: the answer is of bytes {range:?}, {exact:?} were asked for");
                return Err(generic(why));
            }
        }
        if found.length.is_some_and(|length| length != range.end - range.start) {
            return Err(generic(format!("{path}: the answer's length is not that of bytes {range:?}")));
        }
        let (last_modified, e_tag) = (output.last_modified(), output.e_tag.clone());
        let meta = meta(path, found.size, last_modified, e_tag, output.version_id.clone());
        options.check_preconditions(&meta)?;
        let attributes = attributes(&output);
        let body = Body {
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
        let payload = GetResultPayload::Stream(stream::try_unfold(body, Body::next).boxed());
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
            .buffered(DELETES)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let pages = self.pages(folder(prefix), None, None);
        pages.map_ok(|page| stream::iter(page.objects).map(Ok)).try_flatten().boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let pages = self.pages(folder(prefix), None, Some(offset.to_string()));
        pages.map_ok(|page| stream::iter(page.objects).map(Ok)).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let all = ListResult { objects: Vec::new(), common_prefixes: Vec::new() };
        self.pages(folder(prefix), Some("/"), None)
            .try_fold(all, |mut all, page| async move {
                all.objects.extend(page.objects);
                all.common_prefixes.extend(page.common_prefixes);
                Ok(all)
            })
            .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if options.mode != CopyMode::Overwrite {
            // What does not exist is the caller's first surprise, here as everywhere.
            self.head(from, &GetOptions::default()).await?;
            return Err(self.not_implemented("a copy that must not overwrite"));
        }
        let source: String = url::form_urlencoded::byte_serialize(from.as_ref().as_bytes()).collect();
        // In a path a blank is no plus sign, and the slashes stay.
        let source = format!("{}/{}", self.bucket, source.replace('+', "%20").replace("%2F", "/"));
        let request =
            self.client().await.copy_object().copy_source(source).bucket(&self.bucket).key(to.as_ref());
        request.send().await.map(drop).map_err(|error| failed(from, &error))
    }
}

/// What an answer says that it holds.
struct Found {
    /// The size of the whole object.
    size: u64,
    /// The part that the answer holds, if it is one.
    range: Option<Range<u64>>,
    length: Option<u64>,
}

impl Found {
    fn of(path: &Path, output: &GetObjectOutput) -> Result<Self> {
        let length = output.content_length().and_then(|length| u64::try_from(length).ok());
        let Some(text) = output.content_range() else {
            let size = length.ok_or_else(|| generic(format!("{path}: the answer has no Content-Length")))?;
            return Ok(Self { size, range: None, length });
        };
        // `bytes 0-499/1234`
        let parse = || {
            let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            Some((first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?, size.parse().ok()?))
        };
        let (range, size) =
            parse().ok_or_else(|| generic(format!("{path}: `{text}` is no Content-Range")))?;
        Ok(Self { size, range: Some(range), length })
    }
}

/// The bytes that `range` means in an object of `size` bytes.
fn exact(range: &GetRange, size: u64) -> std::result::Result<Range<u64>, String> {
    match range {
        GetRange::Bounded(range) if range.start >= range.end => Err(format!("{range:?} is no range")),
        GetRange::Bounded(Range { start, .. }) | GetRange::Offset(start) if *start >= size => {
            Err(format!("byte {start} lies past the end at {size}"))
        }
        GetRange::Bounded(range) => Ok(range.start..range.end.min(size)),
        GetRange::Offset(start) => Ok(*start..size),
        GetRange::Suffix(length) => Ok(size.saturating_sub(*length)..size),
    }
}

fn header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// A body under way.
struct Body {
    oss: Oss,
    path: Path,
    /// The same object as at first, or none.
    options: GetOptions,
    left: Range<u64>,
    body: Option<ByteStream>,
    resumes: u32,
}

impl Body {
    /// The next bytes, from a new answer where the one before broke off.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            if self.left.is_empty() {
                return Ok(None);
            }
            let broken = match &mut self.body {
                None => match self.oss.ask(&self.path, &self.options, Some(header(&self.left))).await {
                    Ok(output) if Found::of(&self.path, &output)?.range.as_ref() == Some(&self.left) => {
                        self.body = Some(output.body);
                        continue;
                    }
                    Ok(_) => return Err(generic(format!("{}: the rest of it was refused", self.path))),
                    Err(error) => error,
                },
                Some(body) => match body.next().await {
                    Some(Ok(bytes)) => {
                        let length = bytes.len() as u64;
                        if length > self.left.end - self.left.start {
                            return Err(generic(format!("{}: the answer is longer than it said", self.path)));
                        }
                        self.left.start += length;
                        return Ok(Some((bytes, self)));
                    }
                    Some(Err(error)) => generic(format!("{}: {error}", self.path)),
                    None => generic(format!("{}: the answer ends at byte {}", self.path, self.left.start)),
                },
            };
            if self.resumes == RESUMES {
                return Err(broken);
            }
            tokio::time::sleep(RESUME_PAUSE * 2_u32.pow(self.resumes)).await;
            self.resumes += 1;
            self.body = None;
        }
    }
}

/// The prefix that lists what is below `folder`.
fn folder(folder: Option<&Path>) -> Option<String> {
    folder.filter(|folder| !folder.as_ref().is_empty()).map(|folder| format!("{folder}/"))
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
    // Without versions the API may call the only one `null`.
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
